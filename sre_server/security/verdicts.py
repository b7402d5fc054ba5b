"""What the cluster has said of clients' rights, for as many clients as there are, and no more."""

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heapify, heappop, heapreplace
from typing import Final

from msgspec import Struct

REMEMBERED: Final = 65_536


class Verdict(Struct, frozen=True, gc=False):
    """One answer, and the monotonic time, in seconds, at which it was asked for."""

    allowed: bool
    asked_at: float


class Verdicts:
    """The last answers to each client, by what was asked.

    Where there are too many, the oldest go of the client that has the most: no client takes another one's place.
    """

    def __init__(self, at_most: int = REMEMBERED) -> None:
        self._at_most = at_most
        self._of: dict[Hashable, OrderedDict[Hashable, Verdict]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def find(self, client: Hashable, asked: Hashable) -> Verdict | None:
        """Return the last answer, or None."""
        mine = self._of.get(client)
        return mine.get(asked) if mine is not None else None

    def keep(self, client: Hashable, asked: Hashable, verdict: Verdict) -> None:
        """Keep an answer, in place of an older one."""
        mine = self._of.setdefault(client, OrderedDict())
        self._count += asked not in mine
        mine[asked] = verdict
        mine.move_to_end(asked)
        if self._count > self._at_most:
            self._forget()

    def _forget(self) -> None:
        """Make room, for more than one so that not each new client has all of them looked through."""
        ranked = [(-len(mine), number, client) for number, (client, mine) in enumerate(self._of.items())]
        heapify(ranked)
        while self._count > self._at_most - self._at_most // 64:
            _, number, client = ranked[0]
            most = self._of[client]
            for _ in range(len(most) // 8 + 1):
                most.popitem(last=False)
                self._count -= 1
            if most:
                heapreplace(ranked, (-len(most), number, client))
            else:
                heappop(ranked)
                del self._of[client]
