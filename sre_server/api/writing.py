"""What both families do to write: check, judge, ask the cluster once, and conclude; each write leaves a trace."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, NoReturn, Protocol, TypeVar

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from sre_server.api.asked import Permitted, outcome_of
from sre_server.api.conditional import Conditions
from sre_server.api.counts import confirmed_in
from sre_server.api.judging import Judge, Wanted
from sre_server.api.planning import Planner
from sre_server.api.statuses import StatusTable, status_of
from sre_server.cache import ClusterCache
from sre_server.errors import (
    AdmissionRefused,
    Conflict,
    GuardrailRefused,
    NotFound,
    NotIdentified,
    NotPermitted,
    SreServerError,
)
from sre_server.model import Author, Deployment, Expected, State, Written
from sre_server.security.audit import AuditLog, Entry, Record
from sre_server.telemetry.metrics import Metrics
from sre_server.web.request import APIRequest

CAUSE_BYTES: Final = 160
"""So much of what admission said goes into the audit line, which has room for no more."""
_T = TypeVar("_T")
_log: Final = Logger(namespace="sre_server.api")


class Scaler(Protocol):
    """Asks the cluster; see `sre_server.cluster.scaling.Scaling.scale`."""

    def __call__(
        self, client: str, namespace: str, name: str, replicas: int, expected: Expected
    ) -> Deferred[Written | State]:
        """Set the count for a client; fires with what came of it, or with what the Deployment is if not as expected."""


class TellScaled(Protocol):
    """Tells others of a write that succeeded; see `sre_server.cluster.events.EventRecorder`."""

    def __call__(self, deployment: Deployment, asked: int, author: Author) -> None:
        """Tell them, without waiting, what the Deployment is now, which count was asked for, and by whom."""


Overrule = Callable[[Deployment, str], Awaitable[Sequence[str]]]
"""Is told of a count that a client has set for good; returns the values of Warning fields about that."""


class PermitAgain(Protocol):
    """Asks once more; see `sre_server.api.gate.Gate.permit_again`."""

    async def __call__(self, write: Permitted, *, has_line: bool = False) -> None:
        """Raise NotPermitted or NotIdentified unless a client may still write."""


class Writer:
    """Writes counts for one family, whose statuses are what its audit lines name."""

    def __init__(
        self,
        cache: ClusterCache,
        judge: Judge,
        scale: Scaler,
        audit: AuditLog,
        metrics: Metrics,
        tell: TellScaled,
        statuses: StatusTable,
        overrule: Overrule,
        planner: Planner,
        permit_again: PermitAgain,
    ) -> None:
        self._cache = cache
        self._judge = judge
        self._scale = scale
        self._audit = audit
        self._metrics = metrics
        self._tell = tell
        self._overrule = overrule
        self._statuses = statuses
        self._planner = planner
        self.permit_again = permit_again

    async def scale(self, permitted: Permitted, replicas: int) -> Deployment:
        """Set the desired count and return the Deployment as it then is, with what the cluster warns of in the answer.

        Raises GuardrailRefused, PreconditionFailed or Unavailable (nothing was asked), NotFound, saying which of the
        two does not exist, and whatever the cluster's refusal is.
        """
        wanted = self.wanted(permitted, replicas)
        record = permitted.record(new_replicas=replicas, requested_replicas=replicas)
        try:
            wanted = await self._planner.settle(wanted)
            state = await self._judge.state(wanted)
            record = _seen(record, state)
            expected = self._judge.judge(wanted, state)
            await self.permit_again(permitted, has_line=True)
        except SreServerError as error:
            self.refused(record, error)
            raise
        entry = self._audit.begin(record)
        try:
            written = await shielded(self._scaled(permitted, wanted, state, expected, entry, record))
        except AdmissionRefused as error:
            _warn(permitted.request, error.warnings)
            raise
        except NotFound:
            self._cache.check_namespace(wanted.namespace)
            raise
        conclude(permitted.request, written)
        return written.deployment

    def wanted(self, permitted: Permitted, replicas: int) -> Wanted:
        """Read off a request on what a write of this count is conditional; raises Unavailable, or for what is wrong."""
        request, namespace = permitted.request, permitted.namespace
        self._cache.check_served(namespace)
        self._cache.check_synced(namespace)
        conditions = Conditions.of(request.getHeader(b"if-match"), request.getHeader(b"if-none-match"))
        client = permitted.identity.name
        return Wanted(client, namespace, permitted.name, replicas, confirmed_in(request), conditions)

    async def write(self, permitted: Permitted, wanted: Wanted, state: State, record: Record) -> Written:
        """Carry out a write that is to be judged on a state, with `record` as its line in the audit log.

        To be shielded. Raises as `scale` does.
        """
        try:
            await self.permit_again(permitted, has_line=True)
            expected = self._judge.judge(wanted, state)
        except SreServerError as error:
            self.refused(record, error)
            raise
        return await self._carried_out(permitted, wanted, state, expected, self._audit.begin(record), record)

    def refused(self, record: Record, error: Exception) -> None:
        """Tell of a write that came to nothing before the cluster was asked."""
        self._audit.write(self._failed(record, error))

    async def _scaled(
        self, permitted: Permitted, wanted: Wanted, state: State, expected: Expected, entry: Entry, record: Record
    ) -> Written:
        """Set a count for good: one that was there for a time only is forgotten."""
        written = await self._carried_out(permitted, wanted, state, expected, entry, record)
        warnings = await self._overrule(written.deployment, wanted.client)
        return replace(written, warnings=[*written.warnings, *warnings])

    async def _carried_out(
        self, permitted: Permitted, wanted: Wanted, state: State, expected: Expected, entry: Entry, record: Record
    ) -> Written:
        """Ask the cluster; leave the outcome in the audit log, the metrics, the cache and the cluster's Events."""

        def ask(expected: Expected) -> Deferred[Written | State]:
            return self._scale(wanted.client, wanted.namespace, wanted.name, wanted.replicas, expected)

        try:
            outcome = await ask(expected)
            if isinstance(outcome, State):  # nothing was changed: once more, on what it is now
                state, record = outcome, _seen(record, outcome)
                expected = self._judge.judge(wanted, state)
                await self.permit_again(permitted, has_line=True)
                outcome = await ask(expected)
            if isinstance(outcome, State):
                record = _seen(record, outcome)
                self._give_up(wanted, outcome)
        except Exception as error:
            entry.finish(self._failed(record, error))
            raise
        return self._changed(wanted, outcome, state, entry, record)

    def _give_up(self, wanted: Wanted, state: State) -> NoReturn:
        """Raise why a write is given up that was judged twice, and each time was for another state than it met."""
        self._judge.judge(wanted, state)
        raise Conflict("Others keep changing the Deployment at the same time; nothing was changed.")

    def _changed(self, wanted: Wanted, written: Written, state: State, entry: Entry, record: Record) -> Written:
        """Conclude a write that succeeded."""
        deployment, asked = written.deployment, record.requested_replicas or 0
        record = replace(record, outcome="changed", status=200, uid=deployment.uid, new_replicas=deployment.replicas)
        self._count(record)
        entry.finish(record)
        if deployment.replicas != asked:
            self._metrics.admission_changes.inc()
        warnings: list[str] = []
        try:
            # A Scale has no annotations: the next write must not find fewer than this one was judged on.
            self._cache.written(replace(deployment, guards=state.guards))
            self._tell(deployment, asked, author_of(record))
            warnings = self._judge.done(wanted, state, deployment.replicas)
        except Exception:  # noqa: BLE001  # a bug here must not tell the client that the write failed
            _log.failure("request {request_id}: its write succeeded, and was not noted", request_id=record.request_id)
        return replace(written, warnings=[*written.warnings, *warnings])

    def _failed(self, record: Record, error: Exception) -> Record:
        """Count a write that failed, and return its audit line."""
        status = int(status_of(error, self._statuses))
        if isinstance(error, NotPermitted | NotIdentified):  # counted by the gate
            rule = error.rule if isinstance(error, NotPermitted) else None
            return replace(record, outcome=outcome_of(error), rule=rule, status=status)
        if isinstance(error, GuardrailRefused):
            self._metrics.guardrail_denials.labels(error.rule).inc()
            self._metrics.by_identity.refused(record.identity, "guardrail")
            return replace(record, outcome="refused by a guardrail", rule=error.rule, status=status)
        rule = _cut(str(error)) if isinstance(error, AdmissionRefused) else None
        record = replace(record, outcome=outcome_of(error), rule=rule, status=status)
        self._count(record)
        return record

    def _count(self, record: Record) -> None:
        self._metrics.scale_writes.labels(record.outcome).inc()
        self._metrics.by_identity.wrote(record.identity, record.outcome)


def author_of(record: Record) -> Author:
    """Return who an audit line says set a count."""
    return Author(record.identity or "", record.reason, record.request_id, record.old_replicas)


def _seen(record: Record, state: State) -> Record:
    """Note what the Deployment was that a write was judged on."""
    return replace(record, uid=state.uid, old_replicas=state.replicas)


def _warn(request: APIRequest, warnings: Sequence[str]) -> None:
    """Pass on what the cluster warns of."""
    for warning in warnings:
        request.responseHeaders.addRawHeader(b"Warning", warning.encode())


def conclude(request: APIRequest, written: Written) -> None:
    """Say in the fields of an answer what a write came to."""
    _warn(request, written.warnings)
    request.setHeader(b"X-Resource-Version", written.deployment.resource_version.encode("ascii"))


def _cut(text: str) -> str:
    return text.encode()[:CAUSE_BYTES].decode(errors="ignore")


def shielded(work: Coroutine[Deferred[Any], Any, _T]) -> Deferred[_T]:
    """Run a coroutine to its end; cancelling the Deferred that is returned stops the waiting, and not the work.

    Klein cancels what a handler waits for when its client leaves.
    """
    waiter: Deferred[_T] = Deferred()

    def ended(result: _T | Failure) -> None:
        if not waiter.called:
            waiter.callback(result)
        elif isinstance(result, Failure) and not result.check(SreServerError):
            _log.failure("a write failed unexpectedly after its client had left", failure=result)

    Deferred.fromCoroutine(work).addBoth(ended)
    return waiter
