"""A site at an endpoint, as a service: it listens before privileges are shed, and drains when it is stopped."""

from typing import Final, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTime, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from sre_server.texts import server_text
from sre_server.web.site import APISite

DRAIN_SECONDS: Final = 5.0
BACKLOG: Final = 4096
"""Connections that may wait to be accepted; with Twisted's 50, a burst is lost in the kernel before our own limits."""


def endpoint_of(reactor: IReactorTime, description: str, option: str) -> IStreamServerEndpoint:
    """Make the endpoint of a string such as `tcp:8443`; raises SystemExit with one line that names the option."""
    backlog = f":backlog={BACKLOG}" if description.startswith("tcp:") and ":backlog=" not in description else ""
    try:
        return cast("IStreamServerEndpoint", serverFromString(reactor, description + backlog))
    except (ValueError, TypeError, LookupError, OSError) as error:
        hint = r"; in an IPv6 address each colon is written \:" if "::" in description else ""
        problem = f"'{description}' is not an endpoint such as tcp:8443 ({error}){hint}"
        raise SystemExit(f"sre-server: {option}: {problem}") from error


class SiteService(Service):
    """Serves a site at an endpoint; a port that cannot be bound ends the process with one line."""

    log = Logger()

    def __init__(self, reactor: IReactorTime, endpoint: IStreamServerEndpoint, site: APISite, name: str) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._site = site
        self._what = name
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Bind, or raise SystemExit: StreamServerEndpointService would log, and live on without a port."""
        super().privilegedStartService()
        problems: list[Failure] = []
        self._endpoint.listen(self._site).addCallbacks(self._listening, problems.append)
        if problems:
            problems[0].trap(CannotListenError, OverflowError)  # the latter for ports beyond 65535
            raise SystemExit(f"sre-server: {self._what}: {_reason(problems[0].value)}")

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        host = port.getHost()
        where = server_text(getattr(host, "host", ""), getattr(host, "port", host))
        self.log.info("{what}: listening on {where}", what=self._what, where=where)

    def stopService(self) -> Deferred[None]:
        """Stop accepting, let requests finish for 5 s, then close what is left by force."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        drained = self._site.drain()
        cut = self._reactor.callLater(DRAIN_SECONDS, self._site.abort)
        await drained
        if cut.active():
            cut.cancel()
        self._site.access.flush()


def _reason(error: BaseException | None) -> str:
    if isinstance(error, CannotListenError):
        where = server_text(error.interface or "*", error.port)
        return f"cannot listen on {where}: {getattr(error.socketError, 'strerror', error.socketError)}"
    return str(error)
