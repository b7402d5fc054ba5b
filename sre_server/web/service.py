"""A site at an endpoint, as a service: it listens before privileges are shed, and drains when it is stopped."""

import os
from typing import Final, cast

from twisted.application.service import Service
from twisted.internet.address import UNIXAddress
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
_TCP: Final = ":PORT, and perhaps :interface=ADDRESS or :backlog=NUMBER"
_FORMS: Final = {
    "tcp": _TCP,
    "tcp6": _TCP,
    "unix": ":PATH, and perhaps :mode=660, :backlog=NUMBER or :lockfile=0",
    "systemd": ":domain=INET:index=0, where the unit has a socket of that index",
}
"""What stands in an endpoint's string after its kind; Twisted's other kinds are not for a server of ours.

Not `haproxy`, as the limits are asked before the header is there that names the client's address.
"""


def endpoint_of(reactor: IReactorTime, description: str, option: str) -> IStreamServerEndpoint:
    """Make the endpoint of a string such as `tcp:8443`; raises SystemExit with one line that names the option."""
    kind = description.partition(":")[0]
    backlog = f":backlog={BACKLOG}" if kind in ("tcp", "tcp6") and ":backlog=" not in description else ""
    problem = f"its kind is one of {', '.join(_FORMS)}"
    if kind in _FORMS:
        try:
            return cast("IStreamServerEndpoint", serverFromString(reactor, description + backlog))
        except (ValueError, TypeError, LookupError, OSError):  # whose texts are about the insides of Twisted
            problem = f"after {kind} comes {_FORMS[kind]}"
    hint = r"; in an IPv6 address each colon is written \:" if "::" in description else ""
    raise SystemExit(f"sre-server: {option}: '{description}' is not an endpoint such as tcp:8443: {problem}{hint}")


class _CannotListen(SystemExit, Exception):
    """The end of the process; an Exception, too, as else a twistd that went into the background waits for ever."""


class SiteService(Service):
    """Serves a site at an endpoint; one that cannot be bound ends the process with a line on what was `asked` for."""

    log = Logger()

    def __init__(
        self, reactor: IReactorTime, endpoint: IStreamServerEndpoint, site: APISite, name: str, asked: str
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._site = site
        self._what = name
        self._asked = asked
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Bind, or raise SystemExit: StreamServerEndpointService would log, and live on without a port."""
        super().privilegedStartService()
        problems: list[Failure] = []
        self._endpoint.listen(self._site).addCallbacks(self._listening, problems.append)
        if problems:
            problems[0].trap(CannotListenError, OSError, OverflowError, UnicodeError)  # what it comes to in Python
            raise _CannotListen(f"sre-server: {self._asked} cannot be listened at: {_reason(problems[0].value)}")

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        host = port.getHost()
        where = server_text(getattr(host, "host", ""), getattr(host, "port", host))
        if isinstance(host, UNIXAddress) and host.name:
            where = os.fsdecode(host.name)
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
    cause = error.socketError if isinstance(error, CannotListenError) else error
    return str(getattr(cause, "strerror", None) or cause)
