"""How it is told that temporary counts end: in the audit log, metrics, the cache, the log, and the cluster's Events.

An end on time is on behalf of whoever set the count; one that somebody asks for is that client's own.
"""

from datetime import timedelta
from typing import Final

from msgspec import Struct
from msgspec.structs import replace
from twisted.logger import Logger

from sre_server.api.asked import Permitted
from sre_server.api.statuses import FAMILY_A, status_of
from sre_server.api.writing import TellScaled, author_of
from sre_server.cache import ClusterCache
from sre_server.day.autoscalers import Autoscalers
from sre_server.day.ending import Account, Begin, End, Ended
from sre_server.day.owners import setter_of
from sre_server.day.temporary import Note, shown_time
from sre_server.model import Guards
from sre_server.security.audit import AuditLog, Entry, Record, timestamp
from sre_server.telemetry.metrics import Metrics

REVERT: Final = "revert"
LATE: Final = timedelta(seconds=5)
"""What is no later than this is not called late."""
_STATUSES: Final = {End.RETURNED: 200, End.ALREADY: 200, End.SUPERSEDED: 409, End.RECREATED: 404, End.DELETED: 404}
_log: Final = Logger(namespace="sre_server.api")


class Ends:
    """Tells of ends."""

    def __init__(
        self, cache: ClusterCache, autoscalers: Autoscalers, audit: AuditLog, metrics: Metrics, tell: TellScaled
    ) -> None:
        self._cache = cache
        self._autoscalers = autoscalers
        self._audit = audit
        self._metrics = metrics
        self._tell = tell
        for end in End:
            metrics.temporary_returns.labels(end.value)  # from 0 on, so that the first one is seen to be one more

    def on_time(self, uid: str, note: Note, late: timedelta) -> Account:
        """Begin to tell of an end that is due; raises Unavailable if the audit log takes nothing."""
        record = Record(
            time=timestamp(),
            request_id=note.request_id,
            identity=note.author,
            certificate_sha256=None,
            address=None,
            action=REVERT,
            namespace=note.namespace,
            name=note.name,
            reason=note.reason,
        )
        return self._begun(uid, note, late, record)

    def asked_for(self, permitted: Permitted) -> Begin:
        """Return what begins to tell of an end that a client asks for."""

        def begin(uid: str, note: Note, late: timedelta) -> Account:
            return self._begun(uid, note, late, replace(permitted.record(), action=REVERT))

        return begin

    def _begun(self, uid: str, note: Note, late: timedelta, record: Record) -> Account:
        back = note.original
        record = replace(record, uid=uid, old_replicas=note.count, new_replicas=back, requested_replicas=back)
        how_late = f"{late.total_seconds():.0f} s late" if late > LATE else ""
        return _Account(self, note, record, self._audit.begin(record), how_late)

    def setter(self, note: Note, replicas: int | None) -> str:
        """Name who has set the count of a Deployment, as far as that is known."""
        known = self._cache.find(note.namespace, note.name)
        if known is None or known.replicas != replicas:
            return "somebody else"
        return setter_of(known, self._autoscalers.of(note.namespace, note.name))

    def conclude(self, note: Note, record: Record, ended: Ended, how_late: str) -> Record:
        """Count an end and tell of it; return its audit line."""
        self._metrics.temporary_returns.labels(ended.end.value).inc()
        rule = how_late
        if ended.end is End.SUPERSEDED:
            self._metrics.temporary_superseded.inc()
            rule = ", ".join(filter(None, [f"by {self.setter(note, ended.replicas)}", how_late]))
        _log.info(
            "temporary count of {note.namespace}/{note.name}: {note.count} until {until}, then {note.original}: "
            "{end}, the count is {replicas}{rule}",
            note=note,
            until=shown_time(note.until),
            end=ended.end.value,
            replicas=ended.replicas,
            rule=f" ({rule})" if rule else "",
        )
        if ended.deployment is not None:
            guards = (self._cache.find(note.namespace, note.name) or ended.deployment).guards
            self._cache.written(replace(ended.deployment, guards=guards or Guards()))
            told = ", ".join(filter(None, ["the end of a temporary count", how_late]))
            reason = f"{told}: {record.reason}" if record.reason else told
            self._tell(ended.deployment, note.original, author_of(replace(record, reason=reason)))
        return replace(record, outcome=ended.end.value, new_replicas=ended.replicas, rule=rule or None)


class _Account(Struct, frozen=True):
    ends: Ends
    note: Note
    record: Record
    entry: Entry
    how_late: str

    def ended(self, ended: Ended) -> None:
        """See `Account.ended`."""
        record = replace(self.record, outcome=ended.end.value, new_replicas=ended.replicas)
        try:
            record = self.ends.conclude(self.note, record, ended, self.how_late)
        except Exception:  # noqa: BLE001  # a bug here must not keep the end from being told
            _log.failure("the end of a temporary count was not noted everywhere")
        self.entry.finish(replace(record, status=_STATUSES[ended.end]))

    def failed(self, error: Exception) -> None:
        """See `Account.failed`."""
        status = int(status_of(error, FAMILY_A))
        self.entry.finish(replace(self.record, outcome=type(error).__name__, status=status, rule=self.how_late or None))
