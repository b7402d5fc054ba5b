"""What both families do to write: read the count strictly, pass the guardrails, leave a trace, ask the cluster once."""

import json
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, Protocol

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sre_server.api.conditional import expected_by, is_known, replicas_tag
from sre_server.api.gate import Asked
from sre_server.api.statuses import StatusTable, status_of
from sre_server.cache import ClusterCache
from sre_server.errors import GuardrailRefused, Malformed, NotFound, PreconditionFailed, UnsupportedMediaType
from sre_server.model import MAX_REPLICAS, Deployment, Expected, Guards
from sre_server.security.audit import AuditLog, Entry, Record
from sre_server.security.authorization import Verb
from sre_server.security.guardrails import Guardrails, Write
from sre_server.security.identity import Identity
from sre_server.telemetry.metrics import Metrics
from sre_server.web.request import APIRequest

_RANGE: Final = f"0..{MAX_REPLICAS}"
_SHAPE: Final = f'The body must be a JSON object with exactly one integer "replicas" in {_RANGE}'
_WHOLE_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_JSON_TYPE: Final = re.compile(rb'application/json\s*(?:;\s*charset\s*=\s*"?utf-?8"?\s*)?', re.IGNORECASE)
_NO_TAG: Final = b"-"

Done = Callable[[Deployment | Failure], object]


class Scaler(Protocol):
    """Asks the cluster; see `sre_server.cluster.scaling.ScalingService.scale`."""

    def __call__(
        self, namespace: str, name: str, replicas: int, done: Done, expected: Expected
    ) -> Deferred[Deployment]:
        """Set the count if the Deployment is as expected.

        `done` is told of the outcome even if nobody waits for the Deferred any more.
        """


class TellScaled(Protocol):
    """Tells others of a write that succeeded; see `sre_server.cluster.events.EventService`."""

    def __call__(self, deployment: Deployment, before: int | None, identity: str, reason: str | None) -> None:
        """Tell them, without waiting."""


class Writer:
    """Writes counts for one family, whose statuses are what its audit lines name."""

    def __init__(
        self,
        cache: ClusterCache,
        scale: Scaler,
        guardrails: Callable[[], Guardrails],
        audit: AuditLog,
        metrics: Metrics,
        tell: TellScaled,
        statuses: StatusTable,
    ) -> None:
        self._cache = cache
        self._scale = scale
        self._guardrails = guardrails
        self._audit = audit
        self._metrics = metrics
        self._tell = tell
        self._statuses = statuses

    async def scale(
        self, request: APIRequest, identity: Identity, namespace: str, name: str, replicas: int
    ) -> Deployment:
        """Set the desired count and return the Deployment as it then is.

        The cluster decides what exists, as it may know of a Deployment that the watch has yet to tell of. Raises
        GuardrailRefused, Unavailable (nothing was asked), PreconditionFailed, NotFound, saying which of the two does
        not exist, and whatever the cluster's refusal is.
        """
        self._cache.check_served(namespace)
        self._cache.check_synced(namespace)
        known = self._cache.find(namespace, name)
        before = known.replicas if known else None
        record = Asked(request, identity, Verb.SCALE, namespace, name).record(
            uid=known.uid if known else None, old_replicas=before, new_replicas=replicas
        )
        self._check_guardrails(request, known, record)
        expected = self._expected(request, known, record)
        entry = self._audit.begin(record)

        def done(result: Deployment | Failure) -> None:
            self._conclude(entry, record, result)
            if isinstance(result, Deployment):
                self._tell(result, before, identity.name, record.reason)

        try:
            return await self._scale(namespace, name, replicas, done, expected)
        except NotFound:
            self._cache.check_namespace(namespace)
            raise

    def _check_guardrails(self, request: APIRequest, known: Deployment | None, record: Record) -> None:
        write = Write(
            namespace=record.namespace or "",
            name=record.name or "",
            replicas=record.new_replicas or 0,
            current=known.replicas if known else None,
            guards=(known.guards if known else None) or Guards(),
            confirmed=frozenset(value.decode("latin-1") for value in request.args.get(b"confirm", ())),
        )
        try:
            self._guardrails().check(write)
        except GuardrailRefused as error:
            self._metrics.guardrail_denials.labels(error.rule).inc()
            self._metrics.by_identity.refused(record.identity, "guardrail")
            status = int(status_of(error, self._statuses))
            self._audit.write(replace(record, outcome="refused by a guardrail", rule=error.rule, status=status))
            raise

    def _expected(self, request: APIRequest, known: Deployment | None, record: Record) -> Expected:
        """Return what its fields make the write conditional on; raises PreconditionFailed if nothing can fulfil them.

        A write that is to overwrite nothing (`If-None-Match: *`) never can: there is always a count already.
        """
        current = replicas_tag(known.replicas, known.uid) if known else None
        if_match = request.getHeader(b"if-match")
        expected = Expected() if if_match is None else expected_by(if_match, current)
        excluded = is_known(current or _NO_TAG, request.getHeader(b"if-none-match"))
        if known is not None and (expected is None or excluded):
            status = int(HTTPStatus.PRECONDITION_FAILED)
            self._count(replace(record, outcome=PreconditionFailed.__name__))
            self._audit.write(replace(record, outcome=PreconditionFailed.__name__, status=status))
            why = "If-None-Match excludes what is there" if excluded else "If-Match has no entity tag of a count"
            raise PreconditionFailed(f"{why}; the count is {known.replicas}.", known.replicas, known.uid)
        if excluded:
            return Expected(uid="")
        return expected or Expected(uid="")

    def _conclude(self, entry: Entry, record: Record, result: Deployment | Failure) -> None:
        """Complete the audit line with what came of the write, and count it."""
        if isinstance(result, Deployment):
            concluded = replace(record, outcome="changed", status=200, uid=result.uid)
        else:
            error = result.value or Exception()
            concluded = replace(record, outcome=type(error).__name__, status=int(status_of(error, self._statuses)))
        self._count(concluded)
        entry.finish(concluded)

    def _count(self, record: Record) -> None:
        self._metrics.scale_writes.labels(record.outcome).inc()
        self._metrics.by_identity.wrote(record.identity, record.outcome)


def replicas_in_path(text: str) -> int:
    """Read the count that ends a URL of family B; raises Malformed for all but plain decimal digits in range."""
    if not _WHOLE_NUMBER.fullmatch(text) or int(text) > MAX_REPLICAS:
        raise Malformed(f"The replica count must be a whole number in {_RANGE}.")
    return int(text)


def replicas_in_body(request: APIRequest) -> int:
    """Read the count from a body of family A; raises Malformed, or UnsupportedMediaType if it is not sent as JSON."""
    media_type = request.getHeader(b"content-type")
    if (media_type is not None and not _JSON_TYPE.fullmatch(media_type)) or request.getHeader(b"content-encoding"):
        raise UnsupportedMediaType("The body must be plain UTF-8 JSON, sent with 'Content-Type: application/json'.")
    try:
        pairs = json.loads(request.content.read().decode("utf-8"), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{_SHAPE}; this is not JSON.") from error
    if not isinstance(pairs, _Pairs) or [key for key, _ in pairs] != ["replicas"]:
        raise Malformed(f"{_SHAPE}, and nothing else.")
    replicas = pairs[0][1]
    if type(replicas) is not int or not 0 <= replicas <= MAX_REPLICAS:
        raise Malformed(f"{_SHAPE}.")
    return replicas


class _Pairs(list[tuple[str, object]]):
    """A JSON object with its repeated keys."""
