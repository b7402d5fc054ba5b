"""One thread's connection to Redis: commands out, answers in, every fault an error of ours.

Of redis-py only its connections are used. Its client repeats a command that it may have sent, so that a write may
happen twice; here nothing is repeated, and a connection that broke is not opened again behind anybody's back. Only
`interrupt` may be called from another thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from msgspec.structs import replace
from redis import exceptions

from sre_server.errors import StoreIncomplete, StoreRefused, StoreUnreachable
from sre_server.store.client import kind, settings
from sre_server.store.interruptible import Interruptible
from sre_server.store.options import Address, StoreOptions
from sre_server.store.sentinels import discover

SECONDS: Final = 5.0


@contextmanager
def _translated(where: Address) -> Iterator[None]:
    """Turn what redis-py raises into errors that say what is known."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError) as error:
        raise StoreRefused(
            f"{where} does not let us in: {str(error).rstrip('.')}; see --cache-user, --cache-password-file."
        ) from error
    except exceptions.TimeoutError as error:
        raise StoreUnreachable(f"{where} did not answer in time.") from error
    except exceptions.ResponseError as error:
        if str(error).startswith("WRONGTYPE"):
            raise StoreIncomplete(f"{where} has something of another kind there: {error}.") from error
        raise StoreRefused(f"{where} refused: {error}.") from error
    except (exceptions.RedisError, OSError, ValueError) as error:
        raise StoreUnreachable(f"{where} cannot be reached: {str(error).rstrip('.')}.") from error


class Store:
    """A connection to the Redis server that `options` name, or that their sentinels do, to be used in a `with`."""

    def __init__(self, options: StoreOptions, interruptible: Interruptible) -> None:
        """Connect at once; raises StoreUnreachable or StoreRefused, as for a server that is a replica."""
        self._interruptible = interruptible
        self._where = options.address
        with _translated(self._where):
            if options.address.master:
                self._where = replace(options.address, servers=(discover(options, interruptible),), master="")
        with _translated(self._where):
            ((host, port),) = self._where.servers
            how = settings(options, options.user, options.password_file, SECONDS)
            self._connection = kind(options)(
                interruptible=interruptible, host=host, port=port, db=self._where.database, **how
            )
            self._connection.connect()
        try:
            self._check_role(options)
        except BaseException:
            self._connection.disconnect()
            raise

    def _check_role(self, options: StoreOptions) -> None:
        role = self.call("ROLE")[0]
        if role == b"master":
            return
        if options.address.master:
            raise StoreUnreachable(f"{self._where} is the master, the sentinels say, and itself: a {role.decode()}.")
        raise StoreRefused(f"{self._where} is a {role.decode()}, not a master: name the master with --cache.")

    def call(self, *command: str | bytes | int | float, seconds: float = SECONDS) -> Any:  # noqa: ANN401  # Redis'
        """Send a command and return its answer; `seconds` bound the wait for each part of it."""
        if not self._connection.is_connected:  # it would connect again
            raise StoreUnreachable(f"{self._where} closed the connection.")
        with _translated(self._where):
            self._connection.send_command(*command, check_health=False)
            return self._connection.read_response(timeout=seconds)

    def __enter__(self) -> Self:
        """Use the connection."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self._interruptible.release()
        self._connection.disconnect()
