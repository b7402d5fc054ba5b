"""One watch: a stream of newline-terminated JSON events.

A stream keeps no events of its own. It remembers up to which version it has sent them, and reads on from the history
whenever the connection takes more; a client that falls behind the history is cut off, as the API server does it.
"""

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Literal, cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.web.iweb import IRequest
from twisted.web.server import Request
from zope.interface import implementer

from sre_server.simulator import selecting
from sre_server.simulator.collection import Collection, Stored
from sre_server.simulator.faults import STRIKES, Call, Fault, Faults
from sre_server.simulator.kinds import Object
from sre_server.simulator.queries import Options
from sre_server.simulator.statuses import Refusal, too_large
from sre_server.simulator.store import SimulatedCluster

BOOKMARK_SECONDS = 60.0
LAST_BOOKMARK_BEFORE = 2.0
LONGEST_SECONDS = 1800

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]


@implementer(IPushProducer)
class WatchStream:
    """The answer to one watch request; `done` fires when it is over, cancelling it ends it."""

    def __init__(
        self,
        request: IRequest,
        collection: Collection,
        namespace: str,
        options: Options,
        *,
        cluster: SimulatedCluster,
        clock: IReactorTime,
        faults: Faults,
    ) -> None:
        self.done: Deferred[None] = Deferred(lambda _: self._close(lost=True))
        self._request = request
        self._collection = collection
        self._namespace = namespace
        self._options = options
        self._select = selecting.selector(options.field_selector, options.label_selector)
        self._cluster = cluster
        self._clock = clock
        self._faults = faults
        self._call = Call("watch", collection.kind.plural)
        self._position = options.resource_version or cluster.version
        self._initial: Iterator[bytes] = iter(())
        self._timers: dict[str, IDelayedCall] = {}
        self._struck: list[Fault] = []
        self._paused = self._closed = self._silent = False

    def open(self) -> None:
        """Send the headers and whatever is to be sent at once."""
        timeout = self._options.timeout_seconds or LONGEST_SECONDS
        self._later("end", timeout, self.end)
        if self._options.allow_watch_bookmarks:
            self._later("bookmark", BOOKMARK_SECONDS, self._bookmark_regularly)
            self._later("last bookmark", max(0, timeout - LAST_BOOKMARK_BEFORE), self._bookmark)
        IConsumer(self._request).registerProducer(self, True)
        self._request.write(b"")
        try:
            self._find_start()
        except Refusal as refusal:
            self._fail(refusal)
        self.strike()
        self.pump()

    def strike(self) -> None:
        """Let the faults strike that are meant for streams like this one."""
        while not self._closed:
            fault = self._faults.take(STRIKES, self._call, spared=self._struck)
            if fault is None:
                return
            self._struck.append(fault)
            self._apply(fault)

    def pump(self) -> None:
        """Send what happened since the last time, as far as the connection takes it."""
        try:
            lines = chain(self._initial, self._news())
            while self._writable and (line := next(lines, None)) is not None:
                self._request.write(line)
        except Refusal:
            self.end()

    def end(self) -> None:
        """End the answer properly."""
        if not self._closed:
            self._close()
            self.done.callback(None)

    def pauseProducing(self) -> None:
        """Write no more; the connection is full."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Write again."""
        self._paused = False
        self.pump()

    def stopProducing(self) -> None:
        """Write never again; the connection is gone."""
        self._close(lost=True)

    @property
    def _writable(self) -> bool:
        return not (self._closed or self._paused or self._silent)

    def _find_start(self) -> None:
        asked, current = self._options.resource_version, self._cluster.version
        if asked and not self._options.send_initial_events:
            # A version from the future is accepted, and nothing is sent until the counter has passed it.
            self._collection.require(asked)
            return
        if asked > current:
            raise too_large(asked, current)
        self._position = current
        present = list(self._collection.items(current, self._namespace))
        self._initial = (self._event("ADDED", stored.body) for stored in present if self._selects(stored))
        if self._options.send_initial_events and self._faults.take({"no-end"}, self._call) is None:
            end = {"resourceVersion": str(current), "annotations": {"k8s.io/initial-events-end": "true"}}
            self._initial = chain(self._initial, [self._event_of_metadata("BOOKMARK", end)])

    def _news(self) -> Iterator[bytes]:
        """Yield the changes that are due; the position is that of the last one that was yielded."""
        delay = self._faults.delay(self._call)
        for change in self._collection.since(self._position):
            wait = change.time + delay - self._clock.seconds()
            if wait > 0:
                self._later("delayed", wait, self.pump)
                return
            self._position = change.version
            if self._selects(change.current):
                yield self._event(change.type, change.current.body)
        self._position = max(self._position, self._cluster.version)

    def _selects(self, stored: Stored) -> bool:
        namespace, _ = stored.key
        return self._namespace in ("", namespace) and self._select(stored)

    def _bookmark_regularly(self) -> None:
        self._later("bookmark", BOOKMARK_SECONDS, self._bookmark_regularly)
        self._bookmark()

    def _bookmark(self) -> None:
        self.pump()
        if self._writable and self._position <= self._cluster.version:
            self._request.write(self._event_of_metadata("BOOKMARK", {"resourceVersion": str(self._position)}))

    def _apply(self, fault: Fault) -> None:
        match fault.kind:
            case "close":
                self.end()
            case "silent":
                self._silent = True
            case "error-event":
                self._fail(Refusal(fault.code, fault.message))
            case "oversized":
                metadata: Object = {
                    "name": "oversized",
                    "namespace": "default",
                    "uid": "00000000-0000-4000-8000-000000000000",
                    "resourceVersion": str(self._position),
                    "annotations": {"padding": "x" * fault.size},
                }
                self._request.write(self._event_of_metadata("MODIFIED", metadata))
            case "cut":
                self._request.write(b'{"type":"MODIFIED","object":{"kind":')
                self._close()
                hang_up(self._request, reset=fault.reset)

    def _fail(self, refusal: Refusal) -> None:
        self._request.write(b'{"type":"ERROR","object":%b}\n' % msgspec.json.encode(refusal.status))
        self.end()

    def _event(self, event: EventType, body: bytes) -> bytes:
        return b'{"type":"%b","object":%b}\n' % (event.encode(), self._collection.kind.single(body))

    def _event_of_metadata(self, event: EventType, metadata: Object) -> bytes:
        return self._event(event, msgspec.json.encode({"metadata": metadata}))

    def _later(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        timer = self._timers.get(name)
        if timer is not None and timer.active():
            timer.cancel()
        self._timers[name] = self._clock.callLater(seconds, act)

    def _close(self, *, lost: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        if not lost:
            IConsumer(self._request).unregisterProducer()


def hang_up(request: IRequest, *, reset: bool) -> None:
    """Close a request's connection without another byte of an answer."""
    transport = cast("ITCPTransport", cast("Request", request).transport)
    if reset:
        transport.abortConnection()
    else:
        transport.loseConnection()
