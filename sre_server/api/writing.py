"""What both families do to write: read the count strictly, pass the guardrails, leave a trace, ask the cluster once."""

import json
import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import parse_qsl

from msgspec.structs import replace
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.http import parse_options_header

from sre_server.api.conditional import excludes, expected_by, replicas_tag
from sre_server.api.gate import Asked
from sre_server.api.statuses import StatusTable, status_of
from sre_server.cache import ClusterCache
from sre_server.errors import (
    GuardrailRefused,
    Malformed,
    NotFound,
    PreconditionFailed,
    SreServerError,
    UnsupportedMediaType,
)
from sre_server.model import MAX_REPLICAS, Deployment, Expected, Guards
from sre_server.security.audit import AuditLog, Entry, Record
from sre_server.security.authorization import Verb
from sre_server.security.guardrails import CONFIRMATIONS, Guardrails, Write
from sre_server.security.identity import Identity
from sre_server.telemetry.metrics import Metrics
from sre_server.web.request import APIRequest

_RANGE: Final = f"0..{MAX_REPLICAS}"
_SHAPE: Final = f'The body must be a JSON object with exactly one integer "replicas" in {_RANGE}'
_WHOLE_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_UTF_8: Final = frozenset({"utf-8", "utf8"})
_NO_TAG: Final = b"-"
_T = TypeVar("_T")
_log: Final = Logger(namespace="sre_server.api")


class Scaler(Protocol):
    """Asks the cluster; see `sre_server.cluster.scaling.Scaling.scale`."""

    def __call__(
        self, client: str, namespace: str, name: str, replicas: int, expected: Expected
    ) -> Deferred[Deployment]:
        """Set the count for a client if the Deployment is as expected; fires with what it then is."""


class TellScaled(Protocol):
    """Tells others of a write that succeeded; see `sre_server.cluster.events.EventRecorder`."""

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
        self._cache.check_synced()
        self._cache.check_served(namespace)
        known = self._cache.find(namespace, name)
        before = known.replicas if known else None
        record = Asked(request, identity, Verb.SCALE, namespace, name).record(
            uid=known.uid if known else None, old_replicas=before, new_replicas=replicas
        )
        self._check_guardrails(request, known, record)
        expected = self._expected(request, known, record)
        entry = self._audit.begin(record)
        written = maybeDeferred(self._scale, identity.name, namespace, name, replicas, expected)
        try:
            return await shielded(self._concluded(written, entry, record))
        except NotFound:
            self._cache.check_namespace(namespace)
            raise

    async def _concluded(self, written: Deferred[Deployment], entry: Entry, record: Record) -> Deployment:
        """Wait for the cluster; leave the outcome in the audit log, the metrics, the cache and the cluster's Events."""
        try:
            deployment = await written
        except Exception as error:
            status = int(status_of(error, self._statuses))
            self._conclude(entry, replace(record, outcome=type(error).__name__, status=status))
            raise
        self._conclude(entry, replace(record, outcome="changed", status=200, uid=deployment.uid))
        try:
            self._cache.written(deployment)
            self._tell(deployment, record.old_replicas, record.identity or "", record.reason)
        except Exception:  # noqa: BLE001  # a bug here must not tell the client that the write failed
            _log.failure("request {request_id}: its write succeeded, and was not noted", request_id=record.request_id)
        return deployment

    def _check_guardrails(self, request: APIRequest, known: Deployment | None, record: Record) -> None:
        write = Write(
            namespace=record.namespace or "",
            name=record.name or "",
            replicas=record.new_replicas or 0,
            current=known.replicas if known else None,
            guards=(known.guards if known else None) or Guards(),
            confirmed=confirmed_in(request),
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
        excluded = excludes(request.getHeader(b"if-none-match"), current or _NO_TAG)
        if known is not None and (expected is None or excluded):
            status = int(HTTPStatus.PRECONDITION_FAILED)
            self._count(replace(record, outcome=PreconditionFailed.__name__))
            self._audit.write(replace(record, outcome=PreconditionFailed.__name__, status=status))
            why = "If-None-Match excludes what is there" if excluded else "If-Match has no entity tag of a count"
            raise PreconditionFailed(f"{why}; the count is {known.replicas}.", known.replicas, known.uid)
        if excluded:
            return Expected(uid="")
        return expected or Expected(uid="")

    def _conclude(self, entry: Entry, record: Record) -> None:
        """Count what came of the write, and complete its audit line."""
        self._count(record)
        entry.finish(record)

    def _count(self, record: Record) -> None:
        self._metrics.scale_writes.labels(record.outcome).inc()
        self._metrics.by_identity.wrote(record.identity, record.outcome)


def confirmed_in(request: APIRequest) -> frozenset[str]:
    """Read what `?confirm=` confirms; raises Malformed for any other parameter, as that may be a mistyped one."""
    query = request.uri.partition(b"?")[2].decode("ascii")
    given = parse_qsl(query, keep_blank_values=True)
    if unknown := sorted({name for name, _ in given} - {"confirm"}):
        raise Malformed(
            f"A write knows the query parameter 'confirm', and not '{unknown[0][:80]}'; nothing was changed."
        )
    confirmed = frozenset(value for _, value in given)
    if unknown := sorted(confirmed - CONFIRMATIONS):
        known = " and ".join(f"'{value}'" for value in sorted(CONFIRMATIONS))
        raise Malformed(f"'confirm' knows {known}, and not '{unknown[0][:80]}'; nothing was changed.")
    return confirmed


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


def replicas_in_path(text: str) -> int:
    """Read the count that ends a URL of family B; raises Malformed for all but plain decimal digits in range."""
    if not _WHOLE_NUMBER.fullmatch(text) or int(text) > MAX_REPLICAS:
        raise Malformed(f"The replica count must be a whole number in {_RANGE}.")
    return int(text)


def replicas_in_body(request: APIRequest) -> int:
    """Read the count from a body of family A; raises Malformed, or UnsupportedMediaType if it is not sent as JSON."""
    if not _is_json(request.getHeader(b"content-type")) or request.getHeader(b"content-encoding"):
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


def _is_json(content_type: bytes | None) -> bool:
    """Tell whether a body is sent as JSON, which is what it is taken for where nothing is said."""
    if content_type is None:
        return True
    media_type, parameters = parse_options_header(content_type.decode("latin-1"))
    charset = parameters.pop("charset", "utf-8").lower()
    return content_type.isascii() and media_type.lower() == "application/json" and not parameters and charset in _UTF_8


class _Pairs(list[tuple[str, object]]):
    """A JSON object with its repeated keys."""
