"""`/metrics`: for everybody who reaches the ops port, and on the API port for clients that may read everything."""

from collections.abc import Callable

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource

from sre_server.api.gate import Gate, map_now_or_later
from sre_server.api.routing import json_app
from sre_server.api.statuses import FAMILY_A
from sre_server.security.authorization import Verb
from sre_server.telemetry.metrics import Metrics
from sre_server.web.request import APIRequest


class MetricsAPI:
    """Answers with every metric; `refresh` brings those up to date that are read off something else."""

    _app: Klein = json_app(FAMILY_A)

    def __init__(self, metrics: Metrics, refresh: Callable[[], None], gate: Gate | None = None) -> None:
        self._metrics = metrics
        self._refresh = refresh
        self.gate = gate

    def resource(self) -> IResource:
        """The resource of the one URL."""
        return self._app.resource()

    @_app.route("/metrics", methods=["GET"], strict_slashes=True)
    def metrics(self, request: APIRequest) -> bytes | Deferred[bytes]:
        """`GET /metrics`: Prometheus' text format, or OpenMetrics for who asks for that."""
        request.route = "/metrics"
        if self.gate is None:
            return self._expose(request)
        identity = self.gate.admit(request, Verb.READ, None, None)
        permitted = self.gate.permit_everything(request, identity)
        return map_now_or_later(permitted, lambda _: self._expose(request))

    def _expose(self, request: APIRequest) -> bytes:
        self._refresh()
        accept = request.getHeader(b"accept") or b""
        body, media_type = self._metrics.expose(accept.decode("latin-1"))
        request.setHeader(b"Content-Type", media_type.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % len(body))
        request.setHeader(b"Cache-Control", b"no-store")
        return body
