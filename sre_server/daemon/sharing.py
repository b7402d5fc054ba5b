"""The options of a cache that several processes share: which of them belong together."""

from collections.abc import Mapping
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from msgspec import Struct
from twisted.python.usage import UsageError

from sre_server.daemon.values import absolute, parse_place
from sre_server.errors import StoreRefused
from sre_server.store.options import DEFAULT_NAME, Address, StoreOptions, parse_url
from sre_server.store.records import Seal
from sre_server.texts import is_deployment_name

MEMORY: Final = "memory"
SENTINELS: Final = "redis+sentinel://HOST:PORT,HOST:PORT/MASTER-NAME"
PARAMETERS: Final = (
    ("role", None, "all", "all, or watcher (feeds a shared cache) or api (serves from it)"),
    (
        "cache",
        None,
        MEMORY,
        "memory, or that of watcher and api: redis://HOST:PORT, rediss:// for TLS, or " + SENTINELS,
    ),
    ("cache-user", None, None, "user at Redis [default: its default user]"),
    ("cache-password-file", None, None, "file with the password at Redis [default: none]"),
    ("cache-sentinel-user", None, None, "user at the sentinels [default: their default user]"),
    ("cache-sentinel-password-file", None, None, "file with the password at the sentinels [default: none]"),
    ("cache-ca", None, None, "PEM file with the CAs that vouch for rediss:// [default: the system's]"),
    ("cache-certificate", None, None, "PEM file with our certificate for rediss:// [default: none]"),
    ("cache-private-key", None, None, "PEM file with its private key"),
    ("cache-seal", None, None, "file with the keys, one a line, that seal what is shared; the first one seals"),
    ("cache-name", None, DEFAULT_NAME, "tells several shared caches of one cluster apart"),
    ("lease", None, None, "NAMESPACE/NAME of the Lease that lets one watcher of several publish"),
)
_TLS: Final = ("cache-ca", "cache-certificate", "cache-private-key")
_SENTINEL: Final = ("cache-sentinel-user", "cache-sentinel-password-file")
_FILES: Final = ("cache-password-file", "cache-sentinel-password-file", "cache-seal", *_TLS)


class Role(Enum):
    """What this process does of what there is to do."""

    ALL = "all"
    WATCHER = "watcher"
    API = "api"


class Lease(Struct, frozen=True):
    """Where the Lease of the watchers is."""

    namespace: str
    name: str


class Sharing(Struct, frozen=True):
    """A process's part in a shared cache; `lease` is None where no other watcher is expected."""

    store: StoreOptions
    lease: Lease | None = None


def parse_role(given: str) -> Role:
    """Read `--role`; raises UsageError."""
    try:
        return Role(given)
    except ValueError:
        raise UsageError(f"--role is all, watcher or api, not '{given}'") from None


def parse_sharing(role: Role, given: Mapping[str, str | None]) -> Sharing | None:
    """Read the options of a shared cache; raises UsageError unless they go with the role and with each other."""
    cache, named = given["cache"] or MEMORY, [name for name, *_ in PARAMETERS[2:] if given[name]]
    if role is Role.ALL:
        extra = [f"--{name}" for name in named if name != "cache-name" or given[name] != DEFAULT_NAME]
        if cache != MEMORY or extra:
            what = ", ".join(extra if cache == MEMORY else ["--cache", *extra])
            raise UsageError(f"{what}: only with --role watcher or --role api, which share a cache")
        return None
    if cache == MEMORY or not given["cache-seal"]:
        needed = {"--cache redis://HOST:PORT": cache == MEMORY, "--cache-seal FILE": not given["cache-seal"]}
        missing = " and ".join(option for option, is_missing in needed.items() if is_missing)
        raise UsageError(f"--role {role.value} needs {missing}")
    if given["lease"] and role is Role.API:
        raise UsageError("--lease is for --role watcher: an api process leads nothing")
    address = _address(cache, given)
    name = given["cache-name"] or DEFAULT_NAME
    if not is_deployment_name(name):
        raise UsageError(f"--cache-name is of lower-case letters, digits, dots and hyphens, not '{name}'")
    if find_spec("redis") is None:
        raise UsageError("--cache redis:// needs redis-py: install sre-server with its extra 'redis'")
    paths = {option: absolute(given[option]) for option in _FILES}
    for option, file in paths.items():
        if file is not None and not file.is_file():
            raise UsageError(f"--{option}: {file} is not a file, or not there")
    seal = Path(given["cache-seal"]).absolute()
    try:
        Seal.read(seal)
    except StoreRefused as error:
        raise UsageError(str(error)) from error
    store = StoreOptions(
        address=address,
        seal=seal,
        name=name,
        user=given["cache-user"],
        password_file=paths["cache-password-file"],
        sentinel_user=given["cache-sentinel-user"],
        sentinel_password_file=paths["cache-sentinel-password-file"],
        ca=paths["cache-ca"],
        certificate=paths["cache-certificate"],
        private_key=paths["cache-private-key"],
    )
    lease = given["lease"]
    return Sharing(store, Lease(*parse_place("lease", lease)) if lease else None)


def _address(cache: str, given: Mapping[str, str | None]) -> Address:
    """Read where Redis is, and check what is said of the way there."""
    try:
        address = parse_url(cache)
    except ValueError as error:
        raise UsageError(f"--cache: {error}") from None
    if not address.encrypted and (tls := [f"--{name}" for name in _TLS if given[name]]):
        raise UsageError(f"{', '.join(tls)}: only with --cache rediss://HOST:PORT")
    if bool(given["cache-certificate"]) != bool(given["cache-private-key"]):
        raise UsageError("--cache-certificate and --cache-private-key belong together")
    if not address.master and (extra := [f"--{name}" for name in _SENTINEL if given[name]]):
        raise UsageError(f"{', '.join(extra)}: only with --cache {SENTINELS}")
    for who in ("cache", "cache-sentinel"):
        if given[f"{who}-user"] and not given[f"{who}-password-file"]:
            raise UsageError(f"--{who}-user needs --{who}-password-file")
    return address
