"""One watch: a stream of newline-terminated JSON events.

A stream keeps no events of its own. It remembers up to which version it has told, and reads on from the history
whenever the connection takes more; a client that falls behind the history is cut off, as the API server does it.
"""

from collections import deque
from collections.abc import Callable
from collections.abc import Collection as AnyOf
from typing import Literal, cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall, IPushProducer, IReactorTime, ITCPTransport
from twisted.web.iweb import IRequest
from twisted.web.server import Request
from zope.interface import implementer

from sre_server.simulator import events, tables
from sre_server.simulator.calls import ListOptions
from sre_server.simulator.collection import Change, Collection, FellBehindError, Stored
from sre_server.simulator.faults import STRIKES, Fault, Faults
from sre_server.simulator.journal import Call
from sre_server.simulator.kinds import Kind, Object
from sre_server.simulator.selection import Filter, selection
from sre_server.simulator.statuses import Refusal, status, too_large
from sre_server.simulator.store import SimulatedCluster

BOOKMARK_EVERY = 60.0
LAST_BOOKMARK_BEFORE = 2.0
LONGEST = 1800.0

# A bookmark is an object of its kind without a name; the Go types leave this of the rest.
_EMPTY: dict[str, Object] = {
    "namespaces": {"spec": {}, "status": {}},
    "events": events.EMPTY,
    "deployments": {
        "spec": {
            "replicas": 0,
            "selector": None,
            "template": {"metadata": {}, "spec": {"containers": None}},
            "strategy": {},
        },
        "status": {},
    },
}

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]


class Encoder:
    """How a stream writes its events: as plain objects, or as Tables for kubectl."""

    def __init__(self, kind: Kind, clock: IReactorTime, form: str, include: str) -> None:
        self._kind = kind
        self._clock = clock
        self._include = include
        self._table = form == "Table"
        self._definitions: list[Object] | None = tables.columns(kind) if self._table else None

    def event(self, event: EventType, stored: Stored) -> bytes:
        """Return one line that tells of an object."""
        if not self._table:
            return _line(event, self._kind.heading + stored.body[1:])
        row = tables.row(self._kind, stored, self._clock.seconds(), self._include)
        return self._tabled(event, [row], stored.version)

    def bookmark(self, version: int, *, initial_events_end: bool = False) -> bytes:
        """Return one line that tells how far the stream is."""
        metadata: Object = {"resourceVersion": str(version)}
        if initial_events_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        if self._table:
            return self._tabled("BOOKMARK", [tables.empty_row(self._kind, metadata)], version)
        mark = {"metadata": metadata, **_EMPTY[self._kind.plural]}
        return _line("BOOKMARK", self._kind.heading + msgspec.json.encode(mark)[1:])

    def _tabled(self, event: EventType, rows: list[Object], version: int) -> bytes:
        definitions, self._definitions = self._definitions, []
        table = tables.table(rows, definitions, {"resourceVersion": str(version)})
        return _line(event, table)


@implementer(IPushProducer)
class WatchStream:
    """The answer to one watch request; `done` fires when it is over, cancelling it ends it."""

    def __init__(
        self,
        request: IRequest,
        call: Call,
        options: ListOptions,
        *,
        kind: Kind,
        cluster: SimulatedCluster,
        clock: IReactorTime,
        faults: Faults,
        lost: AnyOf[int],
        encoder: Encoder,
    ) -> None:
        self.kind = kind
        self.done: Deferred[None] = Deferred(lambda _: self._close(lost=True))
        self._request = request
        self._consumer = IConsumer(request)
        self._call = call
        self._options = options
        self._cluster = cluster
        self._collection: Collection = cluster.collection(kind)
        self._clock = clock
        self._faults = faults
        self._lost = lost
        self._encoder = encoder
        self._selected: Filter | None = selection(kind, options.label_selector, options.field_selector)
        self._prefix = f"{call.namespace}/" if call.namespace else ""
        self._position = 0
        self._backlog: deque[bytes | Stored] = deque()
        self._timers: dict[str, IDelayedCall] = {}
        self._struck: list[Fault] = []
        self._paused = self._closed = self._silent = self._over = False

    def open(self) -> None:
        """Send the headers and whatever is to be told at once."""
        try:
            self._find_start()
        except Refusal as refusal:
            self._backlog.append(_line("ERROR", msgspec.json.encode(refusal.status)))
            self._over = True
        timeout = self._options.timeout or LONGEST
        self._later("end", timeout, self.end)
        if self._options.bookmarks:
            self._later("bookmark", BOOKMARK_EVERY, self._mark_regularly)
            if timeout > LAST_BOOKMARK_BEFORE:
                self._later("last bookmark", timeout - LAST_BOOKMARK_BEFORE, self._mark)
        self._consumer.registerProducer(self, True)
        self._request.write(b"")
        self.strike()
        self.pump()

    def strike(self) -> None:
        """Let the faults strike that are meant for streams like this one."""
        while not self._closed:
            fault = self._faults.take(STRIKES, self._call, spared=self._struck)
            if fault is None:
                return
            self._struck.append(fault)
            self._suffer(fault)

    def pump(self) -> None:
        """Tell what happened since the last time, as far as the connection takes it."""
        while self._writable and self._backlog:
            told = self._backlog.popleft()
            self._write(told if isinstance(told, bytes) else self._encoder.event("ADDED", told))
        if self._writable and self._over:
            self.end()
        if self._writable:
            self._tell_changes()

    def end(self) -> None:
        """End the answer cleanly."""
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
        options, current = self._options, self._cluster.version
        asked = options.version
        from_now = options.initial_events is None and not asked
        if options.initial_events or from_now:
            if asked and asked > current:
                raise too_large(asked, current)
            present = self._collection.slice(None, self._prefix, "").all()
            self._backlog.extend(stored for stored in present if self._shows(stored))
            if options.initial_events and self._faults.take({"no-end"}, self._call) is None:
                self._backlog.append(self._encoder.bookmark(current, initial_events_end=True))
        elif asked:
            self._collection.require(asked)
        # A version from the future is accepted, and nothing is told until the counter has passed it.
        self._position = asked if asked and not options.initial_events else current

    def _tell_changes(self) -> None:
        try:
            changes = self._collection.since(self._position)
        except FellBehindError:
            self.end()
            return
        held = self._faults.hold(self._call)
        for change in changes:
            due = change.time + held
            if due > self._clock.seconds():
                self._later("held", due - self._clock.seconds(), self.pump)
                return
            self._position = change.version
            told = self._told(change) if change.version not in self._lost else None
            if told is not None:
                self._write(self._encoder.event(*told))
            if not self._writable:
                return
        self._position = max(self._position, self._cluster.version)

    def _told(self, change: Change) -> tuple[EventType, Stored] | None:
        current, previous = change.current, change.previous
        if not current.key.startswith(self._prefix):
            return None
        if self._selected is None or change.type == "DELETED":
            shown = self._selected is None or self._selected(current)
            return (change.type, current) if shown else None
        now, before = self._selected(current), previous is not None and self._selected(previous)
        if now:
            return ("MODIFIED" if before else "ADDED"), current
        return ("DELETED", current) if before else None

    def _shows(self, stored: Stored) -> bool:
        return self._selected is None or self._selected(stored)

    def _mark_regularly(self) -> None:
        self._later("bookmark", BOOKMARK_EVERY, self._mark_regularly)
        self._mark()

    def _mark(self) -> None:
        self.pump()
        if self._writable and not self._backlog and self._position <= self._cluster.version:
            self._write(self._encoder.bookmark(self._position))

    def _suffer(self, fault: Fault) -> None:
        match fault.kind:
            case "close":
                self.end()
            case "silent":
                self._silent = True
            case "cut":
                self._cut(fault)
            case "garbage":
                self._write(fault.line.encode() + b"\n")
            case "oversized":
                self._write(self._odd_event(self.kind, "x" * fault.size))
            case "wrong-kind":
                pod = msgspec.structs.replace(self.kind, name="Pod", group="")
                self._write(self._odd_event(pod, "wrong kind"))
            case "error-event":
                told = status(fault.code, fault.message, reason=fault.reason)
                self._write(_line("ERROR", msgspec.json.encode(told)))
                self.end()

    def _cut(self, fault: Fault) -> None:
        line = self._odd_event(self.kind, "never told whole")
        self._write(line[: len(line) // 2])
        if fault.clean:
            self.end()
            return
        self._close()
        hang_up(self._request, reset=fault.reset)

    def _odd_event(self, kind: Kind, note: str) -> bytes:
        metadata: Object = {
            "name": "odd",
            "uid": "00000000-0000-4000-8000-000000000000",
            "resourceVersion": str(self._position),
            "annotations": {"note": note},
        }
        if self.kind.namespaced:
            metadata["namespace"] = "default"
        odd = {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}
        return _line("MODIFIED", msgspec.json.encode(odd))

    def _write(self, data: bytes) -> None:
        self._request.write(data)

    def _later(self, name: str, seconds: float, act: Callable[[], None]) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None and timer.active():
            timer.cancel()
        self._timers[name] = self._clock.callLater(seconds, act)

    def _close(self, *, lost: bool = False) -> None:
        if self._closed:
            return
        self._closed = True
        self._backlog.clear()
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers.clear()
        if not lost:
            self._consumer.unregisterProducer()


def hang_up(request: IRequest, *, reset: bool) -> None:
    """Close a request's connection without another byte of an answer."""
    transport = cast("ITCPTransport", cast("Request", request).transport)
    if reset:
        transport.abortConnection()
    else:
        transport.loseConnection()


def _line(event: EventType, encoded: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (event.encode(), encoded)
