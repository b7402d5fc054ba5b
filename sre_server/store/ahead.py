"""How far another machine's monotonic clock is ahead of ours, at most: without it, an age would mean nothing.

An entry that a read did not find yet was appended after that read was sent, and the append was answered later still: so
what the other clock showed then, less what ours showed when the read was sent, is at least the difference between the
two. Only reads of one connection count, as another one may lead to another copy of the log. The least bound of the last
minute or two is taken, as clocks drift.
"""

from typing import Final

from sre_server.store.records import Position

WINDOW_SECONDS: Final = 60.0


class Ahead:
    """The bound for the clock of whoever writes in one epoch; for one thread."""

    def __init__(self) -> None:
        self._epoch = 0
        self._empty_at: float | None = None
        self._last: tuple[Position, float] | None = None
        self._bounds: list[tuple[float, float]] = []

    @property
    def seconds(self) -> float | None:
        """How far the other clock is ahead, at most; None until that is known."""
        return min((bound for _, bound in self._bounds), default=None)

    def reconnected(self) -> None:
        """Forget what was read: the next connection may lead to another copy of the log."""
        self._empty_at = self._last = None

    def read(self, sent_at: float) -> None:
        """Learn that a read, sent at this time by our clock, found nothing past what was already told."""
        self._empty_at = sent_at

    def entry(self, position: Position, answered: float | None) -> None:
        """Learn of an entry, and of when by the other clock the append of the one before it was answered."""
        if position.epoch != self._epoch:
            self._epoch, self._bounds, self._last = position.epoch, [], None
        if self._last is not None and answered is not None and self._last[0].seq == position.seq - 1:
            self._add(self._last[1], answered - self._last[1])
        self._last = None if self._empty_at is None else (position, self._empty_at)

    def _add(self, at: float, bound: float) -> None:
        """Keep the least bound of this window, and that of the one before it."""
        if not self._bounds or at - self._bounds[-1][0] >= WINDOW_SECONDS:
            self._bounds = [*self._bounds[-1:], (at, bound)]
        elif bound < self._bounds[-1][1]:
            self._bounds[-1] = (self._bounds[-1][0], bound)
