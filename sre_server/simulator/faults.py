"""What goes wrong on purpose, when it is switched on, and how often the API was asked for what.

Kinds that meet a request as it arrives:

- `refuse`: the connection is closed without an answer.
- `hang`: there is never an answer.
- `status`: the answer is a Status of `code`, with `message` and `retryAfter` where given; it is about no object, as
  that of a webhook, unless `details` say so.
- `slow`: the answer comes `seconds` late; then the next fault may strike.

Kinds that meet streamed lists (`sendInitialEvents`):

- `no-streams`: 422, as where the feature is switched off.
- `no-end`: the objects come, and then changes, but never the bookmark that ends the list.

Kinds that are admission's, of a write of a Scale:

- `mutate`: the count becomes `replicas`.
- `warn`: the answer has a Warning field with `message`.

Kinds that let the request take effect first:

- `drop-after-apply`: the connection is closed without an answer.
- `hang-after-apply`: there is never an answer.

Kinds that strike watch streams, each stream at most once, open ones at once and others when they open:

- `close`: the stream ends properly.
- `cut`: the connection is closed in the middle of a line (`reset`: by RST).
- `oversized`: an event of more than `size` bytes comes, then the stream goes on.
- `error-event`: an ERROR event with a Status of `code`, then the stream ends.
- `silent`: nothing comes any more, not even bookmarks; the connection stays open.

And a kind that concerns changes:

- `delay-events`: while it is on, events are held for `seconds`.
"""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Literal, NamedTuple

import msgspec

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete", "discover"]
FaultKind = Literal[
    "refuse",
    "hang",
    "status",
    "slow",
    "no-streams",
    "no-end",
    "mutate",
    "warn",
    "drop-after-apply",
    "hang-after-apply",
    "close",
    "cut",
    "oversized",
    "error-event",
    "silent",
    "delay-events",
]
STRIKES: frozenset[FaultKind] = frozenset({"close", "cut", "oversized", "error-event", "silent"})


class Call(NamedTuple):
    """One request, as far as faults and tests care: what is done to what."""

    verb: Verb
    resource: str = ""


class Fault(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True, eq=False):
    """One thing that goes wrong, whom it meets and how often.

    Without `verb` and `resource` it meets everything. `skip` matches are still let through; after `times` more it is
    over. Both count down.
    """

    kind: FaultKind
    verb: Verb | None = None
    resource: (
        Literal[
            "namespaces",
            "deployments",
            "scale",
            "events",
            "configmaps",
            "horizontalpodautoscalers",
            "leases",
            "poddisruptionbudgets",
            "pods",
            "resourcequotas",
            "subjectaccessreviews",
            "selfsubjectaccessreviews",
        ]
        | None
    ) = None
    skip: int = 0
    times: int | None = None
    code: int = 500
    message: str = "the simulator was told to fail"
    details: dict[str, str] = {}
    retry_after: int | None = None
    replicas: int = 0
    seconds: float = 1.0
    size: int = 4 * 1024 * 1024
    reset: bool = False

    def meets(self, call: Call) -> bool:
        """Tell whether this fault is meant for a request."""
        return self.verb in (None, call.verb) and self.resource in (None, call.resource)


class Faults:
    """The faults that are on, which the HTTP layer consults for each request, and the count of each sort of request."""

    def __init__(self) -> None:
        self.active: list[Fault] = []
        self.counts: Counter[Call] = Counter()
        self._listeners: list[Callable[[], object]] = []

    def replace(self, *faults: Fault) -> None:
        """Switch off what is on, and these on; those that strike streams strike the open ones before this returns."""
        self.active = list(faults)
        for listener in self._listeners:
            listener()

    def subscribe(self, listener: Callable[[], object]) -> None:
        """Call a listener whenever faults are switched."""
        self._listeners.append(listener)

    def take(self, kinds: Collection[FaultKind], call: Call, *, spared: Collection[Fault] = ()) -> Fault | None:
        """Return the first fault of these kinds that meets a request, and count that it did."""
        for fault in self.active:
            if fault.kind not in kinds or not fault.meets(call) or fault in spared:
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if not fault.times:
                    self.active.remove(fault)
            return fault
        return None

    def delay(self, call: Call) -> float:
        """Return for how many seconds events are held on a watch."""
        delays = (fault.seconds for fault in self.active if fault.kind == "delay-events" and fault.meets(call))
        return max(delays, default=0.0)
