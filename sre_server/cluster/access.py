"""What it takes to make a request to the cluster, and who says so."""

import socket
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from sre_server.cluster.exec_plugin import Credential
from sre_server.cluster.loading import load_sparingly
from sre_server.cluster.tls import TLSMaterial

if TYPE_CHECKING:
    from kubernetes.client import Configuration

DEAD_SECONDS: Final = 22
"""After so long without a sign of life from the other end's TCP, a connection is given up."""
_IDLE, _INTERVAL, _PROBES = 10, 3, 4


class Access(NamedTuple):
    """What it takes to make a request now; where `configuration` or `tls` is another one, over a new connection."""

    configuration: "Configuration"
    tls: TLSMaterial | None = None
    headers: tuple[tuple[str, str], ...] = ()
    credential: Credential | None = None


class Credentials(Protocol):
    """Says what a connection needs to know of the cluster; threads may share it."""

    def access(self) -> Access:
        """Return what a request needs now; may wait for a plugin. Raises CredentialsError."""

    def renewed(self, refused: Access) -> bool:
        """Read anew what a 401 was the answer to; tell whether there is something else to try. See `access`."""

    def interrupt(self) -> None:
        """End whatever `access` waits for, now and from now on; may be called from any thread."""


def direct_to(url: str) -> "Configuration":
    """Make a Configuration of our own for a URL: the client's retries are off, and no proxy is used."""
    load_sparingly()
    from kubernetes.client import Configuration  # noqa: PLC0415  # half of the start-up time: only when needed
    from kubernetes.utils.keepalive import tcp_keepalive_socket_options  # noqa: PLC0415

    configuration = Configuration(host=url, no_proxy="*")
    configuration.proxy = None
    configuration.retries = False
    configuration.socket_options = tcp_keepalive_socket_options(_IDLE, _INTERVAL, _PROBES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # Nothing is probed while there is something to send again, which would go on for a quarter of an hour.
        configuration.socket_options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * DEAD_SECONDS))
    return configuration
