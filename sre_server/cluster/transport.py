"""What the cluster room asks of a connection, and what an answer that refuses comes to."""

from collections.abc import Mapping
from typing import Final, Protocol

from sre_server.cluster.connection import Reply, refusal
from sre_server.cluster.decoding import decode_status
from sre_server.errors import Expired

STATUS_BYTES: Final = 2**20
PAGE_SECONDS: Final = 60.0


class Transport(Protocol):
    """What a cycle needs of a connection; see `sre_server.cluster.connection.Connection`."""

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        *,
        read_timeout: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Send one request, once."""

    def interrupt(self) -> None:
        """End whatever the thread waits for; may be called from any thread."""


def check(reply: Reply) -> None:
    """Raise Expired for a 410, ClusterRefused for any other answer that is not a 200."""
    if reply.status == 200:
        return
    message = decode_status(reply.read(STATUS_BYTES, PAGE_SECONDS)).message
    if reply.status == 410:
        raise Expired(f"The resourceVersion is too old: {message}")
    raise refusal(reply, message)
