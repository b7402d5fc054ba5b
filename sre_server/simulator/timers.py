"""What is to be done soon about some objects, each of them once at a time, on the caller's clock."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sre_server.simulator.kinds import Key


class Timers:
    """Calls `act` with an object's key some seconds after it was named; whoever changes the object names it again."""

    def __init__(self, clock: IReactorTime, seconds: float, act: Callable[[Key], object]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._act = act
        self._pending: dict[Key, IDelayedCall] = {}
        self._stopped = False

    def start(self, key: Key) -> None:
        """Act on an object soon, unless that is coming already."""
        if key not in self._pending and not self._stopped:
            self._pending[key] = self._clock.callLater(self._seconds, self._strike, key)

    def forget(self, key: Key) -> None:
        """Do nothing about an object after all."""
        pending = self._pending.pop(key, None)
        if pending is not None:
            pending.cancel()

    def clear(self) -> None:
        """Forget all objects."""
        for key in list(self._pending):
            self.forget(key)

    def stop(self) -> None:
        """Do nothing any more, for good; no timer stays behind."""
        self._stopped = True
        self.clear()

    def _strike(self, key: Key) -> None:
        del self._pending[key]
        self._act(key)
