"""The urllib3 pool of a connection: the `kubernetes` client's own, with TLS, sockets and errors as we want them.

No text of a library goes into an error of ours: one of them once quoted the header with the token.
"""

import errno
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Final

from sre_server.cluster.access import Access
from sre_server.cluster.chunked import BulkResponse
from sre_server.errors import ClusterUnreachable

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool, PoolManager

_NO_TUNNEL: Final = re.compile(r"Tunnel connection failed: (\d{3})\b")


def make_pool(access: Access, connected: Callable[[socket.socket], None]) -> "PoolManager":
    """Make the client's own pool, with TLS as strict as ours is, tell us of each socket that it connects."""
    from kubernetes.client.rest import RESTClientObject  # noqa: PLC0415

    configuration = copy(access.configuration)
    context = access.tls.context() if access.tls else None
    configuration.proxy_ssl_context = context
    pool: PoolManager = RESTClientObject(configuration).pool_manager
    pool.connection_pool_kw["ssl_context"] = context

    class Tracked:
        response_class = BulkResponse
        sock: socket.socket

        def connect(self) -> None:
            with _connecting():
                super().connect()  # type: ignore[misc]  # of the connection that this is mixed into
            connected(getattr(self.sock, "socket", self.sock))

    def tracked(kind: "type[HTTPConnectionPool]") -> "type[HTTPConnectionPool]":
        connection = type("TrackedConnection", (Tracked, kind.ConnectionCls), {})
        return type("TrackedPool", (kind,), {"ConnectionCls": connection})

    pool.pool_classes_by_scheme = {scheme: tracked(kind) for scheme, kind in pool.pool_classes_by_scheme.items()}
    return pool


@contextmanager
def _connecting() -> Iterator[None]:
    """Turn whatever is raised before there is a connection into the one thing that it means: nothing was sent."""
    try:
        yield
    except Exception as error:
        if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
            raise ClusterUnreachable(f"The cluster's certificate is not trusted: {reason(error)}.") from error
        raise ClusterUnreachable(f"The cluster cannot be reached: {reason(error)}.") from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came of, which libraries put into one place or another."""
    pending: list[object] = [error]
    seen: set[int] = set()
    while pending:
        cause = pending.pop(0)
        if isinstance(cause, BaseException) and id(cause) not in seen:
            seen.add(id(cause))
            yield cause
            pending += [*cause.args, cause.__cause__, cause.__context__]


def is_dead(error: BaseException) -> bool:
    """Tell whether the system gave a connection up, as nobody answers there, which Python calls a timeout, too."""
    return any(isinstance(cause, OSError) and cause.errno == errno.ETIMEDOUT for cause in _causes(error))


def reason(error: BaseException) -> str:
    """Say what went wrong in words that hold nothing secret: the system's, OpenSSL's, or the mere kind of the error."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return cause.verify_message.rstrip(".")
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return f"TLS: {cause.reason.lower().replace('_', ' ')}"
        if isinstance(cause, TimeoutError):
            return "timed out"
        if isinstance(cause, OSError) and isinstance(cause.errno, int) and cause.strerror:
            return cause.strerror
        if refused := _NO_TUNNEL.match(str(cause)):
            return f"the proxy answered {refused[1]}"
    *_, last = _causes(error)
    return type(last).__name__
