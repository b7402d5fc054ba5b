"""`/openapi.json`: what this server speaks, for people and for tools; the document itself is `openapi.yaml`."""

from functools import cached_property
from importlib.resources import files
from typing import Any, Final

import yaml
from klein import Klein
from twisted.web.resource import IResource

from sre_server import __version__
from sre_server.api.gate import Gate
from sre_server.api.routing import json_app
from sre_server.api.statuses import FAMILY_A
from sre_server.web.answers import JSON, encode
from sre_server.web.request import APIRequest

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def document() -> dict[str, Any]:
    """Read the OpenAPI document, under the version of this package."""
    text = files("sre_server.api").joinpath("openapi.yaml").read_text(encoding="utf-8")
    read: dict[str, Any] = yaml.load(text, _LOADER)  # noqa: S506  # both are safe ones
    return {**read, "info": {**read["info"], "version": __version__}}


class OpenAPI:
    """Answers everybody who can connect with the document, read when it is first asked for."""

    _app: Klein = json_app(FAMILY_A)

    def __init__(self, gate: Gate | None = None) -> None:
        self.gate = gate

    @cached_property
    def _body(self) -> bytes:
        return encode(document())

    def resource(self) -> IResource:
        """The resource of the one URL."""
        return self._app.resource()

    @_app.route("/openapi.json", methods=["GET"], strict_slashes=True)
    def openapi(self, request: APIRequest) -> bytes:
        """`GET /openapi.json`: the document, for clients to check anew each time, as an upgrade changes it."""
        request.route = "/openapi.json"
        if self.gate is not None:
            self.gate.limits.charge_read(request)
        request.setHeader(b"Content-Type", JSON)
        request.setHeader(b"Content-Length", b"%d" % len(self._body))
        request.setHeader(b"Cache-Control", b"no-cache")
        return self._body
