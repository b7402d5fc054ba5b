"""One thread's connection to the cluster: requests out, raw bytes in, every fault an error of ours.

The `kubernetes` client supplies the configuration and the urllib3 pool, and nothing else: no models, no retries, and no
`Watch`, which for long could not be stopped from outside (kubernetes-client/python#422). A connection belongs to one
thread; only `interrupt` may be called from another.
"""

import socket
import ssl
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlencode

from sre_server import __version__
from sre_server.cluster.chunked import BulkResponse
from sre_server.cluster.credentials import Credentials, CredentialsError
from sre_server.cluster.decoding import clean
from sre_server.cluster.transport import Reply, Transport
from sre_server.errors import BadAnswer, ClusterBroke, ClusterTimedOut, ClusterUnreachable

if TYPE_CHECKING:
    from kubernetes.client import Configuration
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
    """Turn what urllib3 raises into the error that says what is known of the outcome."""
    from urllib3 import exceptions  # noqa: PLC0415

    try:
        yield
    except (exceptions.NewConnectionError, exceptions.ConnectTimeoutError, exceptions.ProxyError) as error:
        raise ClusterUnreachable(f"The cluster cannot be reached: {_first_line(error)}.") from error
    except exceptions.TimeoutError as error:
        raise ClusterTimedOut("The cluster did not answer in time.") from error
    except exceptions.SSLError as error:
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
            raise ClusterUnreachable(f"The cluster's certificate is not trusted: {_first_line(error)}.") from error
        raise ClusterBroke(f"The TLS connection to the cluster broke: {_first_line(error)}.") from error
    except (exceptions.HTTPError, OSError, ValueError) as error:
        raise ClusterBroke(f"The connection to the cluster broke: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")


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
        self._configuration: Configuration | None = None
        self._pool: PoolManager | None = None
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
        """See `Transport.request`; a 401 makes the next request read the credentials anew, as client-go does."""
        pool, configuration, authorization = self._prepared()
        all_headers = {"Accept": "application/json", "User-Agent": f"sre-server/{__version__}", **(headers or {})}
        if authorization:
            all_headers["Authorization"] = authorization
        url = f"{configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        started_at, status = time.monotonic(), 0
        try:
            response = self._send(pool, method, url, all_headers, body, read_timeout)
            status = response.status
        finally:
            self._observe(method, status, time.monotonic() - started_at)
        if status == 401:
            self._credentials.refused()
            self._configuration = None
        return HTTPReply(response, self._open_sockets())

    @staticmethod
    def _send(
        pool: "PoolManager", method: str, url: str, headers: Mapping[str, str], body: bytes | None, read_timeout: float
    ) -> "BaseHTTPResponse":
        from urllib3 import Timeout  # noqa: PLC0415

        with _translated():
            return pool.request(
                method,
                url,
                body=body,
                headers=headers,
                timeout=Timeout(connect=CONNECT_TIMEOUT, read=read_timeout),
                preload_content=False,
                redirect=False,
                retries=False,
            )

    def _prepared(self) -> tuple["PoolManager", "Configuration", str | None]:
        if self._interrupted:
            raise ClusterUnreachable("The server is shutting down.")
        try:
            if self._configuration is None or self._pool is None:
                if self._pool is not None:
                    self._pool.clear()
                self._configuration = self._credentials.configuration()
                self._pool = _tracking_pool(self._configuration, self._connected)
            return self._pool, self._configuration, self._credentials.authorization(self._configuration)
        except CredentialsError as error:
            raise ClusterUnreachable(str(error)) from error

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
        for connected in self._sockets:
            with suppress(OSError):
                socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _tracking_pool(configuration: "Configuration", connected: Callable[[socket.socket], None]) -> "PoolManager":
    """Make the client's own pool, which calls `connected` with each socket that it connects."""
    from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415
    from urllib3.connection import HTTPConnection, HTTPSConnection  # noqa: PLC0415
    from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool  # noqa: PLC0415

    class TrackedHTTPConnection(HTTPConnection):
        response_class = BulkResponse

        def connect(self) -> None:
            super().connect()
            connected(self.sock)

    class TrackedHTTPSConnection(HTTPSConnection):
        response_class = BulkResponse

        def connect(self) -> None:
            super().connect()
            connected(self.sock)

    class HTTPPool(HTTPConnectionPool):
        ConnectionCls = TrackedHTTPConnection

    class HTTPSPool(HTTPSConnectionPool):
        ConnectionCls = TrackedHTTPSConnection

    pool: PoolManager = RESTClientObject(configuration).pool_manager
    pool.pool_classes_by_scheme = {"http": HTTPPool, "https": HTTPSPool}
    return pool
