"""Whose request is served next: every client has its slice of each turn of the reactor, whatever others ask for."""

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

SLICE_SECONDS: Final = 0.001
MAX_CLIENTS: Final = 1000
"""So many are remembered for what they used before a new turn begins, though none of them has used up its slice."""


class Turns:
    """Serves at once, until a client has used up its slice of this turn; what more it asks waits for the next one.

    A slice is overdrawn by the request that uses it up: a client never waits for more than that of each other one.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._used: dict[str, float] = {}
        self._waiting: dict[str, deque[Callable[[], object]]] = {}
        self._next: IDelayedCall | None = None
        self.now = reactor.seconds

    def begin(self) -> None:
        """Begin a turn of the reactor, where it is known that one begins; who waits already is still served first."""
        self._used.clear()

    def has_time(self, client: str) -> bool:
        """Tell whether a request of this client would be served at once."""
        return client not in self._waiting and self._used.get(client, 0.0) < SLICE_SECONDS

    def spend(self, client: str, seconds: float) -> None:
        """Take off the client's slice what a request took that was served at once."""
        self._charge(client, self._used.get(client, 0.0) + seconds)

    def _charge(self, client: str, used: float) -> None:
        self._used[client] = used
        if (used >= SLICE_SECONDS or len(self._used) > MAX_CLIENTS) and self._next is None:
            self._next = self._reactor.callLater(0, self._turn)

    def take(self, client: str, serve: Callable[[], object]) -> None:
        """Call `serve` now, or when it is this client's turn."""
        if self.has_time(client):
            self.serve(client, serve)
        else:
            self._waiting.setdefault(client, deque()).append(serve)

    def serve(self, client: str, serve: Callable[..., object], *arguments: object) -> None:
        """Call `serve` now, and take off the client's slice what that took; what was taken off within is part of it."""
        began, used = self.now(), self._used.get(client, 0.0)
        serve(*arguments)
        self._charge(client, used + self.now() - began)

    def _serve_late(self, client: str, serve: Callable[[], object]) -> None:
        """Serve one that waited; should that fail, the others are still to have their turn."""
        try:
            self.serve(client, serve)
        except Exception:  # noqa: BLE001  # it is logged
            self.log.failure("a request that had waited was not served")

    def _turn(self) -> None:
        self._next = None
        self._used.clear()
        for client in list(self._waiting):
            queue = self._waiting[client]
            while queue and self._used.get(client, 0.0) < SLICE_SECONDS:
                self._serve_late(client, queue.popleft())
            if not queue:
                del self._waiting[client]
        if self._waiting and self._next is None:
            self._next = self._reactor.callLater(0, self._turn)
