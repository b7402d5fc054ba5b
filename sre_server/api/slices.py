"""Work that takes long, in slices between which the reactor does everything else; done once for all who wait for it."""

from collections.abc import Callable, Generator, Hashable, Iterator
from typing import Any, Final, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure

SLICE_SECONDS: Final = 0.002
"""So long the reactor is held up in one turn, by all such work together, and by the first slice of what is new."""
_T = TypeVar("_T")


class Slices:
    """Runs generators that yield where they may be interrupted, and return what they were to find out."""

    def __init__(self, reactor: IReactorTime) -> None:
        self._now = reactor.seconds
        self._cooperator = Cooperator(self._until_the_end, scheduler=lambda turn: reactor.callLater(0, turn))
        self._waiting: dict[Hashable, list[Deferred[Any]]] = {}

    def run(self, key: Hashable, work: Callable[[], Generator[None, None, _T]]) -> _T | Deferred[_T]:
        """Return what the work comes to, now if one slice is enough; work of the same key is done once at a time."""
        if key not in self._waiting:
            begun, over = work(), self._until_the_end()
            try:
                while not over():
                    next(begun)
            except StopIteration as done:
                return cast("_T", done.value)
            self._waiting[key] = []
            self._cooperator.coiterate(self._finish(key, begun))
        waiter: Deferred[_T] = Deferred()
        self._waiting[key].append(waiter)
        return waiter

    def _until_the_end(self) -> Callable[[], bool]:
        end = self._now() + SLICE_SECONDS
        return lambda: self._now() >= end

    def _finish(self, key: Hashable, begun: Generator[None, None, Any]) -> Iterator[None]:
        try:
            result = yield from begun
        except Exception:  # noqa: BLE001  # it is what all who wait are told
            result = Failure()
        for waiter in self._waiting.pop(key):
            if not waiter.called:
                waiter.callback(result)
