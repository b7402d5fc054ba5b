"""What goes wrong on purpose, when it is switched on.

Kinds that meet a request as it arrives:

- `refuse`: the connection is closed without an answer (`reset`: by RST).
- `hang`: there is never an answer.
- `status`: the answer is a Status of `code`, with `message`, `reason` and `retryAfter` where given.
- `slow`: the answer comes `seconds` late; then the next fault may strike.
- `too-large`: the answer is 504, "Too large resource version".

Kinds that meet streamed lists (`sendInitialEvents`):

- `no-streams`: 422, as where the feature is switched off.
- `no-end`: the objects are told, and then changes, but never the bookmark that ends the list.

Kinds that let the request take effect first:

- `drop-after-apply`: the connection is closed without an answer (`reset`: by RST).
- `hang-after-apply`: there is never an answer.

Kinds that strike watch streams, each stream at most once, open ones at once and others when they open:

- `close`: the stream ends, cleanly.
- `cut`: half a line, then the connection is closed (`reset`: by RST; `clean`: the chunked body ends properly).
- `garbage`: a line that is no JSON (`line`), then the stream goes on.
- `oversized`: an event of `size` bytes, then the stream goes on.
- `wrong-kind`: an event with an object of another kind, then the stream goes on.
- `error-event`: an ERROR event with a Status of `code`, then the stream ends.
- `silent`: nothing any more, not even bookmarks; the connection stays open.

Kinds that concern changes:

- `drop-event`: a change of the resource reaches no watcher, ever.
- `delay-events`: while it is on, events are held for `seconds`.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Literal

import msgspec

from sre_server.simulator.journal import Call, Journal, Recorded

FaultKind = Literal[
    "refuse",
    "hang",
    "status",
    "slow",
    "too-large",
    "no-streams",
    "no-end",
    "drop-after-apply",
    "hang-after-apply",
    "close",
    "cut",
    "garbage",
    "oversized",
    "wrong-kind",
    "error-event",
    "silent",
    "drop-event",
    "delay-events",
]
VerbClass = Literal["get", "list", "watch", "create", "update", "patch", "delete", "discover", "read", "write"]

STRIKES: frozenset[FaultKind] = frozenset(
    {"close", "cut", "garbage", "oversized", "wrong-kind", "error-event", "silent"}
)
_CLASSES = {
    "read": ("get", "list", "watch"),
    "write": ("create", "update", "patch", "delete"),
}


class Fault(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """One thing that goes wrong, whom it meets and how often.

    Without `verb` and `resource` it meets everything; `continued` limits it to list pages after the first (or, when
    false, to first pages); the first `skip` matches are let through; after `times` matches it is over.
    """

    kind: FaultKind
    verb: VerbClass | None = None
    resource: Literal["namespaces", "deployments", "scale", "events", "subjectaccessreviews"] | None = None
    continued: bool | None = None
    skip: int = 0
    times: int | None = None
    code: int = 500
    message: str = ""
    reason: str = ""
    retry_after: int | None = None
    seconds: float = 1.0
    size: int = 4 * 1024 * 1024
    line: str = '{"type":"MODIFIED","object":{]'
    reset: bool = False
    clean: bool = False

    def meets(self, call: Call) -> bool:
        """Tell whether this fault is meant for a request."""
        verb = self.verb
        return (
            (verb is None or call.verb == verb or call.verb in _CLASSES.get(verb, ()))
            and self.resource in (None, call.resource)
            and self.continued in (None, call.continued)
        )


class Faults:
    """The faults that are on, and the journal of what was asked; the HTTP layer consults it for each request."""

    def __init__(self) -> None:
        self.journal = Journal()
        self._active: list[Fault] = []
        self._met: dict[int, int] = {}
        self._listeners: list[Callable[[], None]] = []

    @property
    def requests(self) -> list[Recorded]:
        """Return the journal of requests, oldest first."""
        return self.journal.entries

    @property
    def active(self) -> list[Fault]:
        """Return the faults that are on, in the order in which they are tried."""
        return list(self._active)

    def add(self, *faults: Fault) -> None:
        """Switch faults on; those that strike streams strike the open ones before this returns."""
        self._active.extend(faults)
        for listener in list(self._listeners):
            listener()

    def replace(self, faults: Iterable[Fault]) -> None:
        """Switch off what is on, and switch these on."""
        self.clear()
        self.add(*faults)

    def remove(self, fault: Fault) -> None:
        """Switch one fault off; it is fine if it is over."""
        self._active = [other for other in self._active if other is not fault]
        self._met.pop(id(fault), None)

    def clear(self) -> None:
        """Switch everything off."""
        self._active = []
        self._met = {}
        for listener in list(self._listeners):
            listener()

    def count(self, *, verb: str | None = None, resource: str | None = None) -> int:
        """Return how many requests came of one verb, of one resource, or of both."""
        return self.journal.count(verb=verb, resource=resource)

    def when_changed(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a listener whenever faults are switched; calling the result ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def take(self, kinds: Collection[FaultKind], call: Call, *, spared: Collection[Fault] = ()) -> Fault | None:
        """Return the first fault of these kinds that meets a request, and count that it did."""
        for fault in self._active:
            if fault.kind not in kinds or not fault.meets(call):
                continue
            if any(fault is other for other in spared):
                continue
            met = self._met[id(fault)] = self._met.get(id(fault), 0) + 1
            if met <= fault.skip:
                continue
            if fault.times is not None and met >= fault.skip + fault.times:
                self.remove(fault)
            return fault
        return None

    def hold(self, call: Call) -> float:
        """Return for how many seconds events are held on a watch."""
        held = (fault.seconds for fault in self._active if fault.kind == "delay-events" and fault.meets(call))
        return max(held, default=0.0)
