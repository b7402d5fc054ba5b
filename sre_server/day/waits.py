"""Who waits for news of which Deployment: no thread each, bounded, and let go at once when the server stops.

A wait ends when its waiter has seen what it waits for, when its time is up, or when its client leaves.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sre_server.model import Autoscaler, Deployment, Notes, ScaledEvent
from sre_server.news import Change, Event, Listed, Resource

PER_CLIENT: Final = 64
TOTAL: Final = 1024
"""Each holds a connection, too, of which there are four times as many by default."""
STOPPING: Final = "the server is shutting down"
Key = tuple[str, str]
"""The namespace and the name of a Deployment."""


class Waiter(Protocol):
    """Whoever waits: what it returns is what its wait comes to."""

    def look(self, change: Change | None, shared: dict[object, Any]) -> object | None:
        """Learn of a change of the Deployment, or (None) that something beside it changed; None to wait on.

        `shared` is for what all who look at this moment may use.
        """

    def late(self, why: str) -> object:
        """Conclude, as the time is up, or for the reason given."""


class _Wait(Struct, eq=False):
    client: str
    key: Key
    waiter: Waiter
    outcome: Deferred[Any]
    timer: IDelayedCall | None = None


class Waits:
    """All waits of this process; a listener of the cache, to be told after all that waiters look at."""

    log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._of_key: dict[Key, dict[_Wait, None]] = {}
        self._in_namespace: dict[str, dict[_Wait, None]] = {}
        self._of_client: Counter[str] = Counter()
        self._stopped = False

    @property
    def count(self) -> int:
        """How many wait."""
        return self._of_client.total()

    def wait(self, client: str, key: Key, seconds: float, waiter: Waiter) -> Deferred[Any] | None:
        """Wait for what `waiter` sees; None if this client, or all together, wait for too much already.

        Cancelling the Deferred ends the wait.
        """
        if self._stopped or self._of_client[client] >= PER_CLIENT or self.count >= TOTAL:
            return None
        if (seen := waiter.look(None, {})) is not None:
            return succeed(seen)
        outcome: Deferred[Any] = Deferred(lambda _: self._left(wait))
        wait = _Wait(client, key, waiter, outcome)
        wait.timer = self._reactor.callLater(seconds, self._end, wait, waiter.late, "")
        self._of_key.setdefault(key, {})[wait] = None
        self._in_namespace.setdefault(key[0], {})[wait] = None
        self._of_client[client] += 1
        return outcome

    def applied(self, event: Event) -> None:
        """See `Listener.applied`: have those look whom it concerns."""
        if not self._of_key:
            return
        shared: dict[object, Any] = {}
        if isinstance(event, Listed):
            self._look_in(None if event.source.resource is Resource.TEMPORARY else event.source.namespace, shared)
            return
        for change in event.changes:
            match change.object:
                case Deployment(namespace=namespace, name=name):
                    self._look(self._of_key.get((namespace, name), ()), change, shared)
                case Autoscaler(namespace=namespace) | ScaledEvent(namespace=namespace):
                    self._look_in(namespace, shared)
                case Notes():
                    self._look_in(None, shared)

    def touch(self, key: Key) -> None:
        """Have all look who wait for this Deployment: something beside it changed, or a write of ours is answered."""
        self._look(self._of_key.get(key, ()), None, {})

    def stop(self) -> None:
        """Let everybody go at once, and nobody wait any more."""
        self._stopped = True
        for wait in [wait for waits in self._of_key.values() for wait in waits]:
            self._end(wait, wait.waiter.late, STOPPING)

    def _look_in(self, namespace: str | None, shared: dict[object, Any]) -> None:
        """Have all look who wait in a namespace, or in all of them."""
        for name in list(self._in_namespace) if namespace is None else [namespace]:
            self._look(self._in_namespace.get(name, ()), None, shared)

    def _look(self, waits: Iterable[_Wait], change: Change | None, shared: dict[object, Any]) -> None:
        for wait in list(waits):
            self._end(wait, wait.waiter.look, change, shared)

    def _end(self, wait: _Wait, conclude: Callable[..., object | None], *of: object) -> None:
        """End a wait with what it comes to, if that is anything; a mistake of one waiter is not the others'."""
        try:
            seen = conclude(*of)
        except Exception:  # noqa: BLE001  # it is that waiter's answer, and is logged with it
            if self._forget(wait):
                wait.outcome.errback()
            return
        if seen is not None and self._forget(wait):
            wait.outcome.callback(seen)

    def _left(self, wait: _Wait) -> None:
        self._forget(wait)

    def _forget(self, wait: _Wait) -> bool:
        """Forget a wait; tell whether it was one still."""
        waits = self._of_key.get(wait.key, {})
        if wait not in waits:
            return False
        if wait.timer is not None and wait.timer.active():
            wait.timer.cancel()
        del waits[wait], self._in_namespace[wait.key[0]][wait]
        if not waits:
            del self._of_key[wait.key]
        if not self._in_namespace[wait.key[0]]:
            del self._in_namespace[wait.key[0]]
        self._of_client[wait.client] -= 1
        if not self._of_client[wait.client]:
            del self._of_client[wait.client]
        return True
