"""What the parts of the server ask of one another: neither knows more of the others than this."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from twisted.internet.interfaces import ITCPTransport
from twisted.web.resource import IResource

from sre_server.security.clients import Clients
from sre_server.security.identity import Identity
from sre_server.telemetry.access import AccessLog
from sre_server.telemetry.metrics import Metrics
from sre_server.web.turns import Turns
from sre_server.web.unsent import Unsent


class Connection(Protocol):
    """One client's connection, as requests, fast lanes and the site see it."""

    site: "Host"
    transport: ITCPTransport
    address: str
    """The address of the other end, for logs; `-` where it has none."""
    persistent: int
    """Falsy once the connection is to be closed after the answer under way."""
    requests: list[object]

    @property
    def is_silent(self) -> bool:
        """Whether it may be closed to make room for another."""

    def fairness_key(self) -> str:
        """Name whose turn its bytes and requests take."""

    def identify(self) -> Identity:
        """Return who is at the other end; raises NotIdentified, or TooManyRequests for one connection too many."""

    def write_whole(self, head: bytes, body: bytes) -> None:
        """Write an answer at once."""

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer an error and close; nothing more of this connection is read."""

    def hold_back(self) -> None:
        """Read nothing more for a second from a client that asks more often than it may."""

    def drain(self) -> None:
        """Close now if nothing is under way, else after the answer."""


class Lane(Protocol):
    """A shorter way for plain requests, tried before they are parsed."""

    def serve(self, connection: "Connection", data: bytes) -> bool:
        """Answer if `data` is a whole request that may be answered now; otherwise do nothing and return False.

        The connection is idle: nothing that it asked before is unanswered.
        """


class Exchange(Protocol):
    """One request and its answer, as the site counts and logs them."""

    method: bytes
    path: bytes
    route: str
    code: int
    identity: Identity | None
    started_at: float
    waited: float
    sentLength: int

    @property
    def address(self) -> str:
        """The address that the request came from."""

    @property
    def request_id(self) -> str:
        """The id that this request is logged and answered under."""


class Host(Protocol):
    """The site, as channels and requests see it."""

    clients: Clients | None
    lane: Lane | None
    turns: Turns
    unsent: Unsent
    access: AccessLog
    metrics: Metrics
    now: Callable[[], float]
    draining: bool

    def opened(self, connection: Connection) -> None:
        """Note a new connection."""

    def identified(self, connection: Connection, identity: Identity) -> None:
        """Note whose a connection is; raises TooManyRequests if that is one too many."""

    def heard(self, connection: Connection) -> None:
        """Note that a connection is not silent."""

    def closed(self, connection: Connection, identity: Identity | None) -> None:
        """Forget a connection, and whose it was if that was noted."""

    def began(self, exchange: Exchange) -> None:
        """Count a request that was received whole."""

    def left(self, exchange: Exchange) -> None:
        """Count a request whose client has gone before the answer."""

    def log_refused(self, address: str, status: HTTPStatus, known_as: str) -> None:
        """Count what never became a request, and write its access line."""

    def getResourceFor(self, request: object) -> IResource:
        """Return what serves a request; Twisted's name."""
