"""The changes of counts that are remembered: the last ones of each Deployment, and so many in all.

Of a Deployment of which more cannot be told it is known from when on its changes are complete.
"""

from collections import OrderedDict
from collections.abc import Iterator
from itertools import count
from typing import Final

from msgspec import Struct

from sre_server.model import Author
from sre_server.texts import at_least_as_new

OF_ONE: Final = 20
IN_ALL: Final = 20_000
OURS: Final = "sre-server"
THROUGH_SCALE: Final = "through /scale, program unknown"
_NEVER: Final = float("-inf")


class CountChange(Struct, gc=False):
    """One change of a count; `at` is when it was seen, in seconds since the epoch, `version` what it left.

    `program` is what set the count as far as the cluster knows, `author` whose request it was, where it went through
    this server. With a `gap`, there may have been steps in between that nobody told of. `since` is the version that was
    told before, if this is all that was changed in the spec since then.
    """

    at: float
    namespace: str
    deployment: str
    uid: str
    version: str
    before: int
    after: int
    program: str
    gap: bool = False
    author: Author | None = None
    since: str = ""

    @property
    def by(self) -> str | None:
        """Whose request it was; this server's own name where it is known to have been one, and not whose."""
        if self.author is not None:
            return self.author.identity
        return OURS if self.program == OURS else None

    def is_by(self, version: str) -> bool:
        """Tell whether a write that left a Deployment at this version was this change."""
        if self.since and not at_least_as_new(self.since, version):
            return at_least_as_new(self.version, version)
        return version == self.version

    def attribute(self, author: Author, *, certain: bool) -> None:
        """Learn who made it, if that fits with what the cluster says; what is not `certain` gives way to what is."""
        if self.program not in (OURS, THROUGH_SCALE) or author.before == self.after:
            return
        if certain or self.author is None:
            self.program, self.author = OURS, author


class Cut(Struct, frozen=True, gc=False):
    """From when on the changes of a Deployment are complete, in seconds since the epoch."""

    namespace: str
    deployment: str
    at: float


class Record:
    """Changes in the order in which they were seen, those of one Deployment by its UID."""

    def __init__(self, of_one: int = OF_ONE, in_all: int = IN_ALL) -> None:
        self._of_one = of_one
        self._in_all = in_all
        self._numbers = count()
        self._all: OrderedDict[int, CountChange] = OrderedDict()
        self._by_uid: dict[str, list[tuple[int, CountChange]]] = {}
        self._cuts: OrderedDict[str, Cut] = OrderedDict()
        self._complete_since = _NEVER

    def __len__(self) -> int:
        """How many there are."""
        return len(self._all)

    def __iter__(self) -> Iterator[CountChange]:
        """All of them, oldest first."""
        return iter(self._all.values())

    def add(self, change: CountChange) -> None:
        """Remember one more, and forget what there is no room for."""
        kept = self._by_uid.setdefault(change.uid, [])
        number = next(self._numbers)
        kept.append((number, change))
        self._all[number] = change
        if len(kept) > self._of_one:
            oldest, dropped = kept.pop(0)
            del self._all[oldest]
            self.cut(change.uid, Cut(change.namespace, change.deployment, dropped.at))
        if len(self._all) > self._in_all:
            _, dropped = self._all.popitem(last=False)
            self._complete_since = max(self._complete_since, dropped.at)
            others = self._by_uid[dropped.uid]
            others.pop(0)
            if not others:
                del self._by_uid[dropped.uid]

    def cut(self, uid: str, cut: Cut) -> None:
        """Remember that changes of a Deployment before a time are missing."""
        known = self._cuts.pop(uid, cut)
        self._cuts[uid] = cut if cut.at > known.at else known
        if len(self._cuts) > self._in_all:
            _, forgotten = self._cuts.popitem(last=False)
            self._complete_since = max(self._complete_since, forgotten.at)

    def of(self, uid: str) -> list[CountChange]:
        """Those of one Deployment, oldest first."""
        return [change for _, change in self._by_uid.get(uid, ())]

    def find(self, uid: str, version: str) -> CountChange | None:
        """The change that a write was which left a Deployment at a resourceVersion."""
        return next((change for change in reversed(self.of(uid)) if change.is_by(version)), None)

    def complete_since(self, uid: str | None = None) -> float:
        """From when on none is missing, apart from the cuts: of this Deployment, or in all; -inf if none ever was."""
        cut = self._cuts.get(uid or "")
        return max(self._complete_since, cut.at if cut else _NEVER)

    def cut_short(self, since: float) -> list[Cut]:
        """The Deployments of which some after `since` are missing."""
        return [cut for cut in self._cuts.values() if cut.at >= since]
