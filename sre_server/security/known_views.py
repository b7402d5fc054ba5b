"""What clients were found to see of the cluster, kept for as long as every answer that this stands on is good."""

from collections import OrderedDict
from collections.abc import Collection, Hashable
from weakref import WeakValueDictionary

from msgspec import Struct

from sre_server.security.authorization import WHOLE, Extent
from sre_server.security.verdicts import REMEMBERED


class WholeNamespaces(Struct, frozen=True, weakref=True, cache_hash=True):
    """A view of whole namespaces."""

    allowed: frozenset[str]

    def extent(self, namespace: str) -> Extent | None:
        """See `View.extent`."""
        return WHOLE if namespace in self.allowed else None

    def in_force(self) -> bool:
        """See `View.in_force`."""
        return True


class _Known(Struct, frozen=True):
    namespaces: Collection[str]
    view: WholeNamespaces
    until: float


class KnownViews:
    """The last view of each client, until a monotonic time in seconds.

    Together they name as many namespaces as `at_most`; where they are too many, those go that were found first. Equal
    ones are one object, so that looking for what is made of them compares no names.
    """

    def __init__(self, at_most: int = REMEMBERED) -> None:
        self._at_most = at_most
        self._of: OrderedDict[Hashable, _Known] = OrderedDict()
        self._size = 0
        self._shared: WeakValueDictionary[frozenset[str], WholeNamespaces] = WeakValueDictionary()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._of)

    def find(self, client: Hashable, namespaces: Collection[str], now: float) -> WholeNamespaces | None:
        """Return what the client sees of these namespaces, the same object that `keep` was given, or None."""
        known = self._of.get(client)
        return known.view if known is not None and known.namespaces is namespaces and now < known.until else None

    def keep(
        self, client: Hashable, namespaces: Collection[str], view: WholeNamespaces, now: float, until: float
    ) -> WholeNamespaces:
        """Keep a view in place of an older one; return it, or its equal that is there already."""
        view = self._shared.setdefault(view.allowed, view)
        self.drop(client)
        if now < until:
            self._of[client] = _Known(namespaces, view, until)
            self._size += _size(view)
        while self._of and (self._size > self._at_most or next(iter(self._of.values())).until <= now):
            self.drop(next(iter(self._of)))
        return view

    def drop(self, client: Hashable) -> None:
        """Forget what the client sees, as an answer has changed."""
        known = self._of.pop(client, None)
        if known is not None:
            self._size -= _size(known.view)


def _size(view: WholeNamespaces) -> int:
    return 1 + len(view.allowed)
