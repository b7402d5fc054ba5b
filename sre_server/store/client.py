"""What is used of redis-py: connections that never try twice, and that can be ended from another thread."""

import socket
from pathlib import Path
from typing import Any

from redis import Connection, SSLConnection
from redis.backoff import NoBackoff
from redis.retry import Retry

from sre_server.store.interruptible import Interruptible
from sre_server.store.options import StoreOptions


class Plain(Connection):
    """A connection whose socket `interruptible` holds as soon as there is one."""

    def __init__(self, *, interruptible: Interruptible, **settings: Any) -> None:
        """Connect later, as `settings` say."""
        super().__init__(**settings)
        self._interruptible = interruptible

    def _connect(self) -> socket.socket:
        self._interruptible.hold(None)
        connected: socket.socket = super()._connect()
        self._interruptible.hold(connected)
        return connected


class Encrypted(Plain, SSLConnection):
    """The same with TLS."""


def kind(options: StoreOptions) -> type[Plain]:
    """The kind of connection that is used."""
    return Encrypted if options.address.encrypted else Plain


def settings(options: StoreOptions, user: str | None, password_file: Path | None, seconds: float) -> dict[str, Any]:
    """Say how to connect, from files as they are now; each step may take so many seconds."""
    password = None if password_file is None else password_file.read_text(encoding="utf-8").strip()
    found: dict[str, Any] = {
        "username": user,
        "password": password,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
        "protocol": 2,
        "driver_info": None,
    }
    if options.address.encrypted:
        files = {"ssl_ca_certs": options.ca, "ssl_certfile": options.certificate, "ssl_keyfile": options.private_key}
        found |= {name: str(path) for name, path in files.items() if path is not None}
    return found
