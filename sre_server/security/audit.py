"""The audit log as those see it who have something to tell: one JSON line for each write, and for refusals.

A write must not happen unnoticed: its line is begun before the cluster is asked, and a write without one is refused.
"""

from datetime import UTC, datetime
from typing import Final, Protocol

from msgspec import Struct
from msgspec.structs import replace

SCHEMA: Final = "sre-server/audit/v1"
_OF_EACH: Final = frozenset({"time", "request_id", "count"})


class Record(Struct, frozen=True, kw_only=True):
    """One line. Counts are replicas; what was not known when the line was written is null.

    A line of several refusals has their `count`, the time and the request id of the last one, and null for what they do
    not have in common.
    """

    schema: str = SCHEMA
    time: str
    request_id: str
    identity: str | None
    groups: tuple[str, ...] | None = ()
    certificate_sha256: str | None
    address: str | None
    action: str
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    old_replicas: int | None = None
    new_replicas: int | None = None
    requested_replicas: int | None = None
    reason: str | None = None
    outcome: str = "unknown"
    rule: str | None = None
    status: int | None = None
    count: int = 1


def timestamp() -> str:
    """The time now as RFC 3339, UTC, in microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def sum_of(earlier: Record, later: Record) -> Record:
    """Return the line that tells of what two lines tell."""
    differing = {
        field: None
        for field in Record.__struct_fields__
        if field not in _OF_EACH and getattr(earlier, field) != getattr(later, field)
    }
    return replace(later, **differing, count=earlier.count + later.count)


class Entry(Protocol):
    """A line that was begun."""

    def finish(self, record: Record) -> None:
        """Complete the line with what came of it; never raises."""


class AuditLog(Protocol):
    """What is told of."""

    def begin(self, record: Record) -> Entry:
        """Begin the line of a write; raises Unavailable if it cannot be written, before anything was changed."""

    def write(self, record: Record) -> None:
        """Tell of a refusal, at once or summed up with others; never raises."""
