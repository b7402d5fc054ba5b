"""The Klein base of both families: plain values go out as JSON, errors in a status of the family's own table.

A handler takes checked names, returns plain data, and raises the errors of `sre_server.errors`. What a family's clients
were promised for each of them is that family's table; nothing else here knows which family it serves.
"""

import re
from collections.abc import Callable, Coroutine, Mapping
from functools import partial, wraps
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeVar, cast

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import BaseConverter

from sre_server.api.bodies import Body
from sre_server.api.conditional import accepts_gzip, replicas_tag
from sre_server.api.gate import Gate, map_now_or_later
from sre_server.api.preferences import APPLIED
from sre_server.api.statuses import StatusTable, status_of
from sre_server.errors import Malformed, PreconditionFailed, SreServerError, TooManyRequests
from sre_server.texts import DEPLOYMENT_RULE, NAMESPACE_RULE, is_deployment_name, is_namespace_name
from sre_server.web.answers import JSON, encode
from sre_server.web.request import APIRequest

WILDCARD: Final = "ANY"
SEGMENT: Final = re.compile(r"<(?:\w+:)?(\w+)>")
_log: Final = Logger(namespace="sre_server.api")

Handler = TypeVar("Handler", bound=Callable[..., object])


class Served(Protocol):
    """What a Klein app's routes are methods of; without a gate, as on the ops port, nobody is limited."""

    gate: Gate | None


class NamespaceConverter(BaseConverter):
    """A URL segment that names a namespace; raises Malformed for what never could."""

    def to_python(self, value: str) -> str:
        """Return the name as it is."""
        if not is_namespace_name(value):
            raise Malformed(_malformed("namespace", value, NAMESPACE_RULE))
        return value


class DeploymentConverter(BaseConverter):
    """A URL segment that names a Deployment; raises Malformed for what never could."""

    def to_python(self, value: str) -> str:
        """Return the name as it is."""
        if not is_deployment_name(value):
            raise Malformed(_malformed("Deployment", value, DEPLOYMENT_RULE))
        return value


def _malformed(what: str, value: str, rule: str) -> str:
    if value == WILDCARD:
        return f"'{WILDCARD}' stands for every {what} in some reads of /namespaces, and nowhere else: give a name here."
    shown = value if len(value) <= 80 else value[:80] + "..."
    return f"'{shown}' cannot be the name of a {what}; names have {rule}."


def json_app(statuses: StatusTable) -> Klein:
    """Make the Klein app of a family: its segment converters, and its errors as JSON in the statuses of its table."""
    app = Klein()
    app.url_map.merge_slashes = False
    app.url_map.converters.update(namespace=NamespaceConverter, deployment=DeploymentConverter)

    def refuse(request: APIRequest, error: SreServerError) -> bytes | Deferred[Any]:
        status = status_of(error, statuses)
        if isinstance(error, PreconditionFailed) and error.replicas is not None:
            request.setHeader(b"ETag", replicas_tag(error.replicas, error.uid or ""))
        if error.retry_after is not None:
            request.setHeader(b"Retry-After", b"%d" % error.retry_after)
        return _error(request, status, str(error))

    @app.handle_errors(SreServerError)  # type: ignore[arg-type]  # the site makes APIRequests only
    def domain_error(api: Served, request: APIRequest, failure: Failure) -> bytes | Deferred[Any]:
        return refuse(request, _too_many(api, request) or cast("SreServerError", failure.value))

    @app.handle_errors(HTTPException)  # type: ignore[arg-type]  # the site makes APIRequests only
    def routing_error(api: Served, request: APIRequest, failure: Failure) -> bytes | Deferred[Any]:
        if error := _too_many(api, request):
            return refuse(request, error)
        if isinstance(failure.value, MethodNotAllowed):
            allowed = ", ".join(sorted(failure.value.valid_methods or ()))
            request.setHeader(b"Allow", allowed.encode("ascii"))
            return _error(request, HTTPStatus.METHOD_NOT_ALLOWED, f"This URL knows the methods {allowed}.")
        others = (
            "the ops port has /livez, /readyz and /metrics"
            if api.gate is None
            else "/openapi.json lists those that there are"
        )
        return _error(request, HTTPStatus.NOT_FOUND, f"There is no such URL here; {others}.")

    @app.handle_errors(Exception)  # type: ignore[arg-type]  # the site makes APIRequests only
    def bug(_: object, request: APIRequest, failure: Failure) -> bytes | Deferred[Any]:
        _log.failure("request {request_id} failed", failure=failure, request_id=request.request_id)
        message = "Something went wrong here; the log has it under this answer's X-Request-Id."
        return _error(request, HTTPStatus.INTERNAL_SERVER_ERROR, message)

    return app


def _too_many(api: Served, request: APIRequest) -> TooManyRequests | None:
    """Charge a read for a refusal, such as a 404, unless one was charged; return the error if that is one too many."""
    try:
        if api.gate is not None:
            api.gate.limits.charge_read(request)
    except TooManyRequests as error:
        return error
    return None


def _error(request: APIRequest, status: HTTPStatus, message: str) -> bytes | Deferred[Any]:
    request.setResponseCode(status)
    request.setHeader(b"Cache-Control", b"no-store")
    request.responseHeaders.removeHeader(APPLIED)
    return _json(request, {"message": message})


def _json(request: APIRequest, value: object) -> bytes | Deferred[Any]:
    return _sent(request, encode(value))


def _sent(request: APIRequest, data: bytes) -> bytes | Deferred[Any]:
    request.setHeader(b"Content-Type", JSON)
    request.setHeader(b"Content-Length", b"%d" % len(data))
    return request.send(data)


def _wants_gzip(request: APIRequest) -> bool:
    return accepts_gzip(request.getHeader(b"accept-encoding"))


def is_known_to(request: APIRequest, body: Body) -> bool:
    """Tell whether the client has what it would be sent."""
    return body.is_known(request.getHeader(b"if-none-match"), gzip=_wants_gzip(request))


def _body(request: APIRequest, body: Body) -> bytes | Deferred[Any]:
    """Send what the cache shows: compressed if the client wants that, and only if it is news to it."""
    gzip = _wants_gzip(request)

    def describe() -> None:
        request.setHeader(b"ETag", body.tag(gzip=gzip))
        if body.negotiable:
            request.setHeader(b"Vary", b"Accept-Encoding")
        if body.warning:
            request.responseHeaders.addRawHeader(b"Warning", body.warning)

    def send(shown: Body) -> bytes | Deferred[Any]:
        request.check_unsent(len(shown.data))
        describe()
        if shown is not body:
            request.setHeader(b"Content-Encoding", b"gzip")
        return _sent(request, shown.data)

    if is_known_to(request, body):
        describe()
        request.setResponseCode(HTTPStatus.NOT_MODIFIED)
        return b""
    return cast("bytes | Deferred[Any]", map_now_or_later(body.form(gzip=gzip), send))


def _answer(request: APIRequest, value: object) -> bytes | Deferred[Any]:
    return _body(request, value) if isinstance(value, Body) else _json(request, value)


def template_of(rule: str) -> str:
    """Return a werkzeug rule as metrics and people write it: `{name}` for what is in angle brackets."""
    return SEGMENT.sub(r"{\1}", rule)


def json_route(app: Klein, rule: str, method: str = "GET") -> Callable[[Handler], Handler]:
    """Serve one method of `rule` (GET serves HEAD too) by a handler that takes the request and the rule's segments.

    The handler returns plain data, or a `Body`, or a Deferred or a coroutine of one of them, that is sent as JSON.
    Nobody is asked whether the client may: what this serves directly is for everybody who can connect.
    """
    template = template_of(rule)

    def decorate(handler: Handler) -> Handler:
        @app.route(rule, methods=[method], strict_slashes=True)
        @wraps(handler)
        def answer(family: object, request: APIRequest, **segments: str) -> bytes | Deferred[Any]:
            request.route = template
            request.setHeader(b"Cache-Control", b"no-store")  # what comes from the cache says something else
            value = handler(family, request, **segments)
            if isinstance(value, Coroutine):
                value = Deferred.fromCoroutine(value)
            return map_now_or_later(value, partial(_answer, request))

        return handler

    return decorate


class Root(Resource):
    """The one resource of a site: hands each request, path whole, to the family that its first segment names."""

    isLeaf = True

    def __init__(self, families: Mapping[bytes, IResource], otherwise: IResource) -> None:
        super().__init__()
        self._families = families
        self._otherwise = otherwise

    def render(self, request: APIRequest) -> int:
        """Let the family answer; one that nobody knows is for `otherwise` to refuse."""
        first, *_ = request.postpath or [b""]
        family = self._families.get(first, self._otherwise)
        rendered: int = family.render(request)
        return rendered
