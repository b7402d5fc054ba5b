"""The clocks of one connection: each gives one thing, such as the rest of a request, so long to come about."""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall


class CallLater(Protocol):
    """Calls something after so many seconds, unless that is cancelled."""

    def __call__(self, seconds: float, call: Callable[..., object], *arguments: object) -> IDelayedCall:
        """See `IReactorTime.callLater`."""


class Clocks:
    """Those that run, by their names; false when none does."""

    def __init__(self, call_later: CallLater) -> None:
        self._call_later = call_later
        self._running: dict[str, IDelayedCall] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._running

    def __len__(self) -> int:
        return len(self._running)

    def start(self, name: str, seconds: float, rings: Callable[[], object]) -> None:
        """Call `rings` after so many seconds, unless the clock is stopped; one that runs is left alone."""
        if name not in self._running:
            self._running[name] = self._call_later(seconds, self._ring, name, rings)

    def _ring(self, name: str, rings: Callable[[], object]) -> None:
        del self._running[name]
        rings()

    def stop(self, name: str) -> None:
        """Stop a clock, if it runs."""
        if (clock := self._running.pop(name, None)) is not None:
            clock.cancel()

    def stop_all(self) -> None:
        """Stop all of them."""
        for name in list(self._running):
            self.stop(name)
