"""Which Redis, and how to prove who we are there: paths only, as every connection reads the files anew."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from sre_server.texts import server_text

DEFAULT_NAME: Final = "default"
_SENTINEL: Final = "+sentinel"
_DEFAULT_PORTS: Final = {"redis": 6379, "rediss": 6379, "redis+sentinel": 26379, "rediss+sentinel": 26379}
_FORMS: Final = "redis://HOST:PORT or redis+sentinel://HOST:PORT,HOST:PORT/MASTER-NAME, nor with rediss, for TLS"

Server = tuple[str, int]
"""A host and its port."""


class Address(Struct, frozen=True):
    """What a URL says: a server or, where there is a `master`, the sentinels that know where that one is."""

    servers: tuple[Server, ...]
    database: int
    encrypted: bool
    master: str = ""

    def __str__(self) -> str:
        """Write it as `parse_url` reads it."""
        scheme = ("rediss" if self.encrypted else "redis") + (_SENTINEL if self.master else "")
        servers = ",".join(server_text(*server) for server in self.servers)
        return f"{scheme}://{servers}/" + (f"{self.master}/" if self.master else "") + str(self.database)


class StoreOptions(Struct, frozen=True, kw_only=True):
    """Where the shared cache is; `name` tells several of one cluster apart, `seal` has the keys of its records."""

    address: Address
    seal: Path
    name: str = DEFAULT_NAME
    user: str | None = None
    password_file: Path | None = None
    sentinel_user: str | None = None
    sentinel_password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    private_key: Path | None = None

    def __str__(self) -> str:
        """Name the server as log lines show it."""
        return str(self.address)


def parse_url(url: str) -> Address:
    """Read the URL of a Redis server, or of its sentinels; raises ValueError, which quotes nothing of it."""
    scheme, _, rest = url.partition("://")
    if any(sign in rest for sign in "@?#"):
        raise ValueError("the URL has only hosts, ports, names and a database: passwords come from files")
    hosts, *path = rest.removesuffix("/").split("/")
    sentinel = scheme.endswith(_SENTINEL)
    master = path.pop(0) if sentinel and path else ""
    database = path.pop(0) if path else "0"
    several = "," in hosts and not sentinel
    if scheme not in _DEFAULT_PORTS or path or several or sentinel > bool(master) or not database.isdecimal():
        raise ValueError(f"this is not {_FORMS}")
    servers = tuple(_server(host, _DEFAULT_PORTS[scheme]) for host in hosts.split(","))
    return Address(servers, int(database), scheme.startswith("rediss"), master)


def _server(text: str, default_port: int) -> Server:
    try:
        parts = urlsplit(f"//{text}")
        port = default_port if parts.port is None else parts.port
    except ValueError:  # which quotes what is no port
        port = 0
    if not port or not parts.hostname or text != text.strip():
        raise ValueError("a server is HOST:PORT, where an IPv6 address stands in brackets") from None
    return parts.hostname, port
