"""Refusals that repeat are summed up, so that nobody without a permission can fill the disk of the audit log.

Refusals are of one kind if a client wanted the same of the same thing, and the same was said. The first of a kind is
told at once, the others once a minute, by their number. Each client has few kinds, and all clients a bounded number of
them; the rest of a client, or of all of them, is summed up together.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final

from sre_server.security.audit import Record, sum_of

MAX_KINDS: Final = 1000
MAX_KINDS_OF_CLIENT: Final = 16

_Kind = tuple[str | None, ...]


class Refusals:
    """Refusals on their way to `tell`, which says whether it has taken a line: one that it has not is told later."""

    def __init__(self, tell: Callable[[Record], bool]) -> None:
        self._tell = tell
        self._untold: dict[_Kind, Record | None] = {}
        self._kinds_of_client: Counter[str | None] = Counter()

    def add(self, record: Record) -> None:
        """Tell of a refusal now if it is the first of its kind for a while, else with the next sums."""
        kind = self._kind(record)
        if kind not in self._untold:
            self._kinds_of_client[kind[0]] += 1
            self._untold[kind] = None if self._tell(record) else record
            return
        untold = self._untold[kind]
        self._untold[kind] = record if untold is None else sum_of(untold, record)

    def tell_sums(self) -> None:
        """Tell what came since the last time, and forget the kinds of which nothing came."""
        for kind, untold in list(self._untold.items()):
            if untold is None:
                del self._untold[kind]
                self._kinds_of_client[kind[0]] -= 1
            elif self._tell(untold):
                self._untold[kind] = None
        self._kinds_of_client = +self._kinds_of_client

    def _kind(self, record: Record) -> _Kind:
        client = record.identity or record.certificate_sha256
        of_client = (client, record.action, record.outcome)
        exact = (*of_client, record.rule, record.namespace, record.name)
        room = len(self._untold) < MAX_KINDS
        if exact in self._untold or (room and self._kinds_of_client[client] < MAX_KINDS_OF_CLIENT):
            return exact
        return of_client if of_client in self._untold or room else (None, record.action, record.outcome)
