"""What a client may do: the interface of whoever decides that, and the simplest one, which allows everything."""

from collections.abc import Callable, Collection, Hashable, Mapping
from enum import Enum
from typing import Final, Protocol, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred

from sre_server.security.identity import Identity

Thing = TypeVar("Thing")


class Verb(Enum):
    """The two things that a client can want with a Deployment."""

    READ = "read"
    SCALE = "scale"


class Decision(Struct, frozen=True):
    """Yes or no, and the rule that decided, in words for the client."""

    allowed: bool
    rule: str


class Extent(Struct, frozen=True):
    """How much of one namespace a client may read: what `allows` says yes to by name, or everything without it.

    `told` is whether it may know that the namespace exists where there is nothing in it that it may read.
    """

    allows: Callable[[str], bool] | None = None
    told: bool = True
    names: frozenset[str] | None = None
    """The only names that `allows` could say yes to, where they are few enough to be known."""

    def of(self, by_name: Mapping[str, Thing]) -> Mapping[str, Thing]:
        """Return what of these may be read: the mapping itself if that is all of it."""
        if self.allows is None:
            return by_name
        names = by_name if self.names is None else self.names & by_name.keys()
        return {name: by_name[name] for name in names if self.allows(name)}


WHOLE: Final = Extent()


class View(Hashable, Protocol):
    """What a client may read of the cluster; clients with the same rights have equal ones."""

    def extent(self, namespace: str) -> Extent | None:
        """Return how much of a namespace may be read, whether it exists or not; None for nothing."""

    def in_force(self) -> bool:
        """Tell whether anybody may have this view any more; where rules were replaced, those of before are not."""


class _Everything(Struct, frozen=True):
    def extent(self, namespace: str) -> Extent:
        return WHOLE

    def in_force(self) -> bool:
        return True


EVERYTHING: Final[View] = _Everything()


class Authorizer(Protocol):
    """Decides; an answer that has to be fetched comes as a Deferred, and fails with Unavailable if it cannot be had."""

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision | Deferred[Decision]:
        """Decide on one Deployment, whether it exists or not."""

    def preview(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision | Deferred[Decision]:
        """Tell what `decide` would say, for information: it may be some seconds old, so nothing is done on it."""

    def decide_on_everything(self, identity: Identity) -> Decision | Deferred[Decision]:
        """Decide whether the client may READ every Deployment, those included that there are not yet."""

    def view(self, identity: Identity, namespaces: Collection[str]) -> View | Deferred[View]:
        """Return what the client may READ of these namespaces; raises NotPermitted, saying why, if it may not ask."""

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """Tell whether it is known by now, without asking anybody, that the client may READ this Deployment."""

    def known_view(self, identity: Identity, namespaces: Collection[str]) -> View | None:
        """Return what `view` would, if that is known without asking anybody."""


class AnyClient:
    """Every client that the CA vouches for may do everything."""

    _DECISION = Decision(allowed=True, rule="every client with a trusted certificate may do everything")

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
        """See `Authorizer.decide`."""
        return self._DECISION

    preview = decide

    def decide_on_everything(self, identity: Identity) -> Decision:
        """See `Authorizer.decide_on_everything`."""
        return self._DECISION

    def view(self, identity: Identity, namespaces: Collection[str]) -> View:
        """See `Authorizer.view`."""
        return EVERYTHING

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """See `Authorizer.known_to_read`."""
        return self._DECISION.allowed

    def known_view(self, identity: Identity, namespaces: Collection[str]) -> View:
        """See `Authorizer.known_view`."""
        return EVERYTHING
