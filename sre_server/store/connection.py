"""One thread's connection to Redis: commands out, answers in, every fault an error of ours.

Of redis-py only its connections are used. Its client repeats a command that it may have sent, so that a write may
happen twice; here nothing is repeated, and a connection that broke is not opened again behind anybody's back. Only
`interrupt` may be called from another thread.
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event as Flag
from typing import TYPE_CHECKING, Any, Final, Self

from sre_server.errors import StoreRefused, StoreUnreachable
from sre_server.store.options import StoreOptions

if TYPE_CHECKING:
    from redis import Connection

SECONDS: Final = 5.0


@contextmanager
def _translated(where: StoreOptions) -> Iterator[None]:
    """Turn what redis-py raises into errors that say what is known."""
    from redis import exceptions  # noqa: PLC0415  # an extra: only those who share a cache have it

    try:
        yield
    except (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError) as error:
        raise StoreRefused(f"{where} does not let us in: {error}; see --cache-user, --cache-password-file.") from error
    except exceptions.TimeoutError as error:
        raise StoreUnreachable(f"{where} did not answer in time.") from error
    except exceptions.ResponseError as error:
        raise StoreRefused(f"{where} refused: {error}.") from error
    except (exceptions.RedisError, OSError, ValueError) as error:
        raise StoreUnreachable(f"{where} cannot be reached: {str(error).rstrip('.')}.") from error


class Interruptible:
    """Holds the socket of one connection after the other, and shuts them down from another thread."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self.interrupted = Flag()

    def hold(self, connected: socket.socket | None) -> None:
        """Learn of the socket in use; raises StoreUnreachable if the end has come meanwhile."""
        self._socket = connected
        if self.interrupted.is_set():
            raise StoreUnreachable("The server is shutting down.")

    def release(self) -> None:
        """Learn that the socket is about to be closed."""
        self._socket = None

    def interrupt(self) -> None:
        """End what the connection waits for, and every later one at once.

        The raw socket is shut down; closing it here would take the descriptor from under the thread that reads.
        """
        self.interrupted.set()
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class Store:
    """A connection to the Redis server that `options` name, to be used in a `with`."""

    def __init__(self, options: StoreOptions, interruptible: Interruptible) -> None:
        """Connect at once; raises StoreUnreachable or StoreRefused, as for a server that is a replica."""
        self._options = options
        self._interruptible = interruptible
        interruptible.hold(None)
        with _translated(options):
            self._connection = _connection(options)
            self._connection.connect()
        try:
            interruptible.hold(self._connection._sock)  # noqa: SLF001  # there is no other way to it
            self._check_role()
        except BaseException:
            self._connection.disconnect()
            raise

    def _check_role(self) -> None:
        role = self.call("ROLE")[0]
        if role != b"master":
            raise StoreRefused(f"{self._options} is a {role.decode()}, not a master: name the master with --cache.")

    def call(self, *command: str | bytes | int | float, seconds: float = SECONDS) -> Any:  # noqa: ANN401  # Redis'
        """Send a command and return its answer; `seconds` bound the wait for each part of it."""
        if self._connection._sock is None:  # noqa: SLF001  # it would connect again
            raise StoreUnreachable(f"{self._options} closed the connection.")
        with _translated(self._options):
            self._connection.send_command(*command, check_health=False)
            return self._connection.read_response(timeout=seconds)

    def __enter__(self) -> Self:
        """Use the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._interruptible.release()
        self._connection.disconnect()


def _connection(options: StoreOptions) -> "Connection":
    """Make a connection that never tries twice, from files as they are now."""
    from redis import Connection, SSLConnection  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    password = None
    if options.password_file is not None:
        password = options.password_file.read_text(encoding="utf-8").strip()
    settings: dict[str, Any] = {
        "host": options.host,
        "port": options.port,
        "db": options.database,
        "username": options.user,
        "password": password,
        "socket_timeout": SECONDS,
        "socket_connect_timeout": SECONDS,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    if not options.encrypted:
        return Connection(**settings)
    files = {"ssl_ca_certs": options.ca, "ssl_certfile": options.certificate, "ssl_keyfile": options.private_key}
    settings |= {name: str(path) for name, path in files.items() if path is not None}
    return SSLConnection(**settings)
