"""Where the master is, as the sentinels say that watch over it: asked anew for each connection."""

from typing import Any, Final

from redis import ConnectionPool, Redis, exceptions
from redis.sentinel import MasterNotFoundError, Sentinel

from sre_server.errors import StoreError, StoreRefused, StoreUnreachable
from sre_server.store.client import kind, settings
from sre_server.store.interruptible import Interruptible
from sre_server.store.options import Server, StoreOptions
from sre_server.texts import server_text

SECONDS: Final = 1.0
"""For each step of asking one sentinel: one that does not answer must not keep us from the next."""

_REFUSALS: Final = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.ResponseError)


class _Asked(Redis):
    """One sentinel, and what it said."""

    def __init__(self, server: Server, pool: ConnectionPool) -> None:
        super().__init__(connection_pool=pool)
        self.name = server_text(*server)
        self.trouble: exceptions.RedisError | None = None
        self.masters: list[str] = []

    def sentinel_masters(self) -> Any:  # noqa: ANN401  # redis-py's
        """Ask for the masters that it watches; whatever goes wrong, the next sentinel is asked."""
        try:
            masters: Any = super().sentinel_masters()
        except exceptions.RedisError as error:
            self.trouble = error
            raise exceptions.ConnectionError(str(error)) from error
        self.masters = list(masters)
        return masters


def discover(options: StoreOptions, interruptible: Interruptible) -> Server:
    """Ask one sentinel after the other; raises StoreUnreachable if none knows, StoreRefused if somebody has to mend."""
    how = settings(options, options.sentinel_user, options.sentinel_password_file, SECONDS)
    asked = [
        _Asked(
            (host, port),
            ConnectionPool(connection_class=kind(options), host=host, port=port, interruptible=interruptible, **how),
        )
        for host, port in options.address.servers
    ]
    with Sentinel([]) as sentinels:
        sentinels.sentinels = asked[:]
        try:
            host, port = sentinels.discover_master(options.address.master)
        except MasterNotFoundError:
            raise _explained(options.address.master, asked) from None
    return str(host), int(port)


def _explained(master: str, asked: list[_Asked]) -> StoreError:
    """Say why there is none, in a line that names what to mend."""
    answers = [sentinel for sentinel in asked if sentinel.trouble is None]
    if any(master in sentinel.masters for sentinel in answers):
        return StoreUnreachable(f"The sentinels say that the master '{master}' is down.")
    if answers:
        known = ", ".join(answers[0].masters) or "none"
        return StoreRefused(f"The sentinel {answers[0].name} watches no '{master}', but {known}: see --cache.")
    for sentinel in asked:
        if str(sentinel.trouble).startswith("unknown command"):
            return StoreRefused(f"{sentinel.name} is no sentinel, but a Redis: name the sentinels with --cache.")
        if isinstance(sentinel.trouble, _REFUSALS):
            return StoreRefused(
                f"The sentinel {sentinel.name} does not let us in: {str(sentinel.trouble).rstrip('.')}; "
                "see --cache-sentinel-user, --cache-sentinel-password-file."
            )
    names, troubles = (", ".join(str(getattr(each, what)) for each in asked) for what in ("name", "trouble"))
    return StoreUnreachable(f"No sentinel of {names} can be reached: {troubles.rstrip('.')}.")
