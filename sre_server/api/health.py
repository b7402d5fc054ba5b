"""livez and readyz: is this process worth keeping, and is it worth sending requests to."""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from klein import Klein
from twisted.web.resource import IResource

from sre_server.api.gate import Gate
from sre_server.api.routing import json_app, json_route
from sre_server.api.statuses import FAMILY_B
from sre_server.cache import ClusterCache
from sre_server.errors import Unavailable
from sre_server.texts import sentence
from sre_server.web.request import APIRequest

RETRY_SECONDS = 5
TOLD = 3
"""Causes that readyz tells of not being ready; `?verbose` tells them all, once it is."""


class Permissions(Protocol):
    """What this server may do in the cluster; see `sre_server.cluster.permissions.Permissions`."""

    def warnings(self) -> list[str]:
        """Say which permissions are missing, and what the cluster said."""

    def check_needed(self) -> None:
        """Raise Unavailable if one is missing, or not known yet, without which nobody can be served."""


class Health:
    """What is known of this instance.

    `permissions` are the server's own in the cluster; `watching` tells whether the watch loops still run, `troubles`
    what else keeps them from hearing of the cluster, `awaited` which sources may be heard for the first time any
    moment, and `warnings` what else should be mended although it is ready.
    """

    def __init__(
        self,
        cache: ClusterCache,
        permissions: Permissions,
        watching: Callable[[], bool],
        warnings: Callable[[], list[str]] = list,
        troubles: Callable[[], list[str]] = list,
        awaited: Callable[[], Collection[object]] = tuple,
    ) -> None:
        self._cache = cache
        self._permissions = permissions
        self._watching = watching
        self._warnings = warnings
        self._troubles = troubles
        self._awaited = awaited
        self._stopping = False

    def warnings(self) -> list[str]:
        """Say what should be mended although the server is ready."""
        return [*self._cache.warnings(), *self._permissions.warnings(), *self._warnings(), *self._troubles()]

    def stop(self) -> None:
        """Be unready from now on."""
        self._stopping = True

    def check_live(self) -> None:
        """Raise Unavailable if only a restart of the process can help."""
        if not self._watching():
            raise Unavailable("A watch loop has died; only a restart helps.", RETRY_SECONDS)

    @property
    def ready(self) -> bool:
        """Whether `check_ready` would raise nothing."""
        try:
            self.check_ready()
        except Unavailable:
            return False
        return True

    def check_ready(self) -> None:
        """Raise Unavailable unless somebody can be served: of one scope at least all is known, and fresh.

        A server that begins has tried to read everything before: it may take the place of one that has it all.
        """
        if self._stopping:
            raise Unavailable("The server is shutting down.", RETRY_SECONDS)
        try:
            self._permissions.check_needed()
        except Unavailable as error:
            raise self._because(error, self._troubles()) from error
        try:
            self._cache.check_ready()
            self._check_tried()
        except Unavailable as error:
            raise self._because(error, [*self._permissions.warnings(), *self._troubles()]) from error

    def _because(self, error: Unavailable, causes: Sequence[str]) -> Unavailable:
        told = " ".join([str(error), *map(sentence, causes[:TOLD])])
        return Unavailable(told, error.retry_after or RETRY_SECONDS)

    def _check_tried(self) -> None:
        if awaited := sorted(map(str, self._awaited())):
            lists = ", ".join(awaited[:TOLD])
            raise Unavailable(f"The first list from the cluster is not complete yet ({lists}).", RETRY_SECONDS)


class HealthAPI:
    """Answers `/livez` and `/readyz` with 200 `{}` or 503 and a message."""

    _app: Klein = json_app(FAMILY_B)

    def __init__(self, health: Health, gate: Gate | None = None) -> None:
        self._health = health
        self.gate = gate

    def resource(self) -> IResource:
        """The resource of the two URLs; it also refuses every other."""
        return self._app.resource()

    @json_route(_app, "/livez")
    def livez(self, request: APIRequest) -> object:
        """`GET /livez`: 200 as long as this process can do its work."""
        request.charged = True  # probes are for everybody, as often as they like
        self._health.check_live()
        return {}

    @json_route(_app, "/readyz")
    def readyz(self, request: APIRequest) -> object:
        """`GET /readyz`: 200 as long as reads are answered from fresh knowledge; with `?verbose`, and what to mend."""
        request.charged = True
        self._health.check_ready()
        return {"warnings": self._health.warnings()} if _asks_for_more(request) else {}


def _asks_for_more(request: APIRequest) -> bool:
    """Tell whether the query has `verbose`, which Twisted's own parser passes over where no `=` follows it."""
    return b"verbose" in (part.partition(b"=")[0] for part in request.uri.partition(b"?")[2].split(b"&"))
