"""One thread's connection to the cluster: requests out, raw bytes in, every fault an error of ours.

The `kubernetes` client supplies the configuration and the urllib3 pool, and nothing else: no models, no retries, and no
`Watch`, which for long could not be stopped from outside (kubernetes-client/python#422). A connection belongs to one
thread; only `interrupt` may be called from another.
"""

import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlencode

from sre_server import __version__
from sre_server.cluster.access import Access, Credentials
from sre_server.cluster.decoding import clean
from sre_server.cluster.pool import is_dead, make_pool, reason
from sre_server.cluster.transport import Reply, Transport
from sre_server.errors import BadAnswer, ClusterBroke, ClusterTimedOut, ClusterUnreachable

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse, PoolManager

CONNECT_TIMEOUT: Final = 5.0
MAX_RETRY_AFTER: Final = 60
MAX_WARNINGS: Final = 16
WARNING_LENGTH: Final = 512
Observe = Callable[[str, int, float], object]
"""Is told of a request: its method, its status (0 without an answer), and the seconds until the headers."""
_CHUNK: Final = 256 * 1024


def _ignore(method: str, status: int, seconds: float) -> None:
    """Observe nothing."""


@contextmanager
def _translated() -> Iterator[None]:
    """Turn what urllib3 raises, once it has sent something, into what is known of the outcome."""
    from urllib3 import exceptions  # noqa: PLC0415

    try:
        yield
    except exceptions.TimeoutError as error:
        if is_dead(error):
            raise ClusterBroke(f"The connection to the cluster broke: {reason(error)}.") from error
        raise ClusterTimedOut("The cluster did not answer in time.") from error
    except (exceptions.HTTPError, OSError, ValueError) as error:
        raise ClusterBroke(f"The connection to the cluster broke: {reason(error)}.") from error


class HTTPReply(Reply):
    """A reply as urllib3 receives it."""

    def __init__(self, response: "BaseHTTPResponse", sockets: Collection[socket.socket] = ()) -> None:
        self._response = response
        self._sockets = sockets
        self._encoded = "Content-Encoding" in response.headers
        self.status = response.status

    def retry_after(self) -> int | None:
        """See `Reply.retry_after`: at most 60 seconds; a date counts as none."""
        value = self._response.headers.get("Retry-After", "")
        if not value.isdecimal():
            return None
        return min(int(value), MAX_RETRY_AFTER) if len(value) < 10 else MAX_RETRY_AFTER

    def warnings(self) -> list[str]:
        """See `Reply.warnings`."""
        fields = self._response.headers.getlist("Warning")[:MAX_WARNINGS]
        texts = [field.encode("latin-1", "replace").decode("utf-8", "replace") for field in fields]
        return [clean(text, WARNING_LENGTH) for text in texts]

    def wait_at_most(self, seconds: float) -> None:
        """See `Reply.wait_at_most`."""
        for connected in self._sockets:
            connected.settimeout(seconds)

    def chunks(self) -> Iterator[bytes]:
        """See `Reply.chunks`."""
        while chunk := self._read_some():
            yield chunk

    def read(self, limit: int, seconds: float) -> bytes:
        """See `Reply.read`."""
        deadline = time.monotonic() + seconds
        parts = []
        for chunk in self.chunks():
            parts.append(chunk)
            limit -= len(chunk)
            if limit < 0:
                raise BadAnswer("The cluster's answer is larger than anything that was asked for.")
            if time.monotonic() > deadline:
                raise ClusterTimedOut("The cluster's answer did not end in time.")
        return b"".join(parts)

    def _read_some(self) -> bytes:
        with _translated():
            return self._response.read1(_CHUNK, decode_content=self._encoded)

    def __enter__(self) -> Self:
        """See `Reply.__enter__`."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `Reply.__exit__`."""
        with suppress(Exception):
            self._response.close() if self._response.length_remaining != 0 else self._response.release_conn()


class Connection(Transport):
    """A connection to the cluster that `credentials` name."""

    def __init__(self, credentials: Credentials, observe: Observe = _ignore) -> None:
        """Connect as `credentials` say; `observe` is told of each request, in the thread that made it."""
        self._credentials = credentials
        self._observe = observe
        self._pool: PoolManager | None = None
        self._leads_to: object = None
        self._sockets: set[socket.socket] = set()
        self._interrupted = False

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        *,
        read_timeout: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> HTTPReply:
        """See `Transport.request`.

        What was answered 401 was not performed: with credentials that have been renewed since, it is sent once more.
        """
        access = self._credentials.access()
        all_headers = {"Accept": "application/json", "User-Agent": f"sre-server/{__version__}", **(headers or {})}
        target = path + (f"?{urlencode(query)}" if query else "")
        reply = self._ask(access, method, target, all_headers, body, read_timeout)
        if reply.status == 401 and self._credentials.renewed(access):
            with reply:
                access = self._credentials.access()
            reply = self._ask(access, method, target, all_headers, body, read_timeout)
        return reply

    def _ask(
        self, access: Access, method: str, target: str, headers: Mapping[str, str], body: bytes | None, patience: float
    ) -> HTTPReply:
        from urllib3 import HTTPHeaderDict, Timeout  # noqa: PLC0415

        pool = self._pool_for(access)
        own = dict(access.headers)
        fields = HTTPHeaderDict({name: value for name, value in headers.items() if name not in own})
        for name, value in access.headers:
            fields.add(name, value)
        url = access.configuration.host + target
        host = pool.connection_from_url(url)
        started_at, status = time.monotonic(), 0
        try:
            with _translated():
                response = host.urlopen(
                    method,
                    url if host.proxy and url.startswith("http:") else f"/{url.split('/', 3)[3]}",
                    body=body,
                    headers=fields,
                    timeout=Timeout(connect=CONNECT_TIMEOUT, read=patience),
                    preload_content=False,
                    redirect=False,
                    retries=False,
                    assert_same_host=False,
                )
            status = response.status
        finally:
            self._observe(method, status, time.monotonic() - started_at)
        return HTTPReply(response, self._open_sockets())

    def _pool_for(self, access: Access) -> "PoolManager":
        if self._interrupted:
            raise ClusterUnreachable("The server is shutting down.")
        leads_to = (access.configuration, access.tls)
        if self._pool is None or self._leads_to != leads_to:
            if self._pool is not None:
                self._pool.clear()
            self._pool, self._leads_to = make_pool(access, self._connected), leads_to
        return self._pool

    def _open_sockets(self) -> set[socket.socket]:
        return {known for known in self._sockets if known.fileno() != -1}

    def _connected(self, connected: socket.socket) -> None:
        self._sockets = self._open_sockets() | {connected}
        if self._interrupted:
            self.interrupt()

    def interrupt(self) -> None:
        """See `Transport.interrupt`.

        The raw socket is shut down, as closing it blocks behind a pending TLS read (kubernetes-client/python#422).
        """
        self._interrupted = True
        self._credentials.interrupt()
        for connected in self._sockets:
            with suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)
