"""A connection to the cluster as its users see it: one request out, one reply in, and what a refusal comes to.

`sre_server.cluster.connection` is the one that uses the network.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol, Self

from sre_server.cluster.decoding import decode_status
from sre_server.errors import ClusterRefused, Expired

STATUS_BYTES: Final = 2**20
PAGE_SECONDS: Final = 60.0


class Reply(Protocol):
    """The cluster's answer: status and headers are here, the body is still to be read."""

    status: int

    def retry_after(self) -> int | None:
        """Seconds that the cluster asks us to wait, or None."""

    def warnings(self) -> list[str]:
        """The values of the Warning fields (RFC 9111, 5.5), clean and few enough to be passed on."""

    def wait_at_most(self, seconds: float) -> None:
        """Bound each further wait for a part of the body."""

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives; each wait is bounded by the read timeout of the request."""

    def read(self, limit: int, seconds: float) -> bytes:
        """Read the whole body, at most `limit` bytes (else BadAnswer) in at most `seconds` (else ClusterTimedOut)."""

    def __enter__(self) -> Self:
        """Leave the reply open for reading."""

    def __exit__(self, *_: object) -> None:
        """Release the connection if the body was read to its end, else close it."""


class Transport(Protocol):
    """One thread's connection to the cluster; only `interrupt` may be called from another thread."""

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
        """Send one request, once; return the reply whatever its status. `read_timeout` is seconds between two reads.

        Raises ClusterUnreachable (never sent), ClusterTimedOut or ClusterBroke (outcome unknown).
        """

    def interrupt(self) -> None:
        """End whatever the thread waits for, now and from now on; may be called from any thread."""


def read_answer(reply: Reply, seconds: float, *, expected: int = 200) -> bytes:
    """Read the whole body of a reply that has the `expected` status; raises ClusterRefused for any other."""
    body = reply.read(STATUS_BYTES, seconds)
    if reply.status != expected:
        raise refusal(reply, decode_status(body).message)
    return body


def check(reply: Reply) -> None:
    """Raise Expired for a 410, ClusterRefused for any other answer that is not a 200."""
    if reply.status == 200:
        return
    message = decode_status(reply.read(STATUS_BYTES, PAGE_SECONDS)).message
    if reply.status == 410:
        raise Expired(f"The resourceVersion is too old: {message}")
    raise refusal(reply, message)


def refusal(reply: Reply, message: str) -> ClusterRefused:
    """Make the error for a reply that refused the request; `message` is what the cluster said, or empty."""
    said = message or "it gave no reason"
    return ClusterRefused(f"The cluster refused ({reply.status}): {said}", reply.status, reply.retry_after())
