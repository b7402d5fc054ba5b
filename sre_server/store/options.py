"""Which Redis, and how to prove who we are there: paths only, as every connection reads the files anew."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

SCHEMES: Final = ("redis", "rediss")
DEFAULT_PORT: Final = 6379
DEFAULT_NAME: Final = "default"


class StoreOptions(Struct, frozen=True, kw_only=True):
    """Where the shared cache is; `name` tells several of one cluster apart, `seal` has the keys of its records."""

    host: str
    port: int
    database: int
    encrypted: bool
    seal: Path
    name: str = DEFAULT_NAME
    user: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None

    def __str__(self) -> str:
        """Name the server as log lines show it."""
        return f"{'rediss' if self.encrypted else 'redis'}://{self.host}:{self.port}/{self.database}"


class Address(Struct, frozen=True):
    """What a URL says: `redis://HOST:PORT/DATABASE`, or `rediss` for TLS."""

    host: str
    port: int
    database: int
    encrypted: bool


def parse_url(url: str) -> Address:
    """Read the URL of a Redis server; raises ValueError, as for one with a password, which belongs in a file."""
    parts = urlsplit(url)
    database = parts.path.strip("/") or "0"
    if parts.scheme not in SCHEMES or not parts.hostname or not database.isdecimal():
        raise ValueError(f"'{url}' is not redis://HOST:PORT or rediss://HOST:PORT")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("the URL has only host, port and database: the password comes from --cache-password-file")
    return Address(parts.hostname, parts.port or DEFAULT_PORT, int(database), parts.scheme == "rediss")
