"""What the bytes in Redis mean: msgpack arrays under a seal.

New columns go at the end of an array, where older readers pass them over, and kinds that a reader does not know are
none of its business; what cannot be said so is another format, under another prefix. Guardrails are enforced on what is
read here: hence the seal, an HMAC over the place of a record and its body. A first byte leaves room for compression.
"""

import hmac
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from sys import intern
from typing import Any, Final, NamedTuple, TypeVar, get_args
from zlib import crc32

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from sre_server.errors import StoreForged, StoreRefused
from sre_server.model import (
    Author,
    Autoscaler,
    Deployment,
    Guards,
    Namespace,
    Notes,
    Object,
    Owners,
    Progress,
    ScaledEvent,
    Unreadable,
)
from sre_server.news import Resource

FORMAT: Final = 1
CHUNKS: Final = 1024
KEY_BYTES: Final = 16
"""The least length of a key for the seal."""
_NOT_READABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)
"""What msgspec raises: it lets bad UTF-8 inside a string out as it is."""
_PLAIN: Final = b"\0"
_MAC_BYTES: Final = 32
_DEPLOYMENT: Final = 1
_NAMESPACE: Final = 2
_AUTOSCALER: Final = 3
_AutoscalerColumns = tuple[str, int, int, bool, str]
_SCALING: Final = 4
_ScalingColumns = tuple[str, str, str, str | None, str | None, int | None]
_NOTES: Final = 5

Place = tuple[str, str]
"""The namespace of an object, empty for a namespace itself, and its name; of what is beside, its kind comes first."""


class Position(NamedTuple):
    """A place in the log: who wrote there, and as its how-manieth entry; greater is later."""

    epoch: int
    seq: int

    @property
    def id(self) -> str:
        """The id of the entry in the stream."""
        return f"{self.epoch}-{self.seq}"


class Row(Struct, frozen=True, array_like=True, gc=False):
    """An object as it is now or, where `kind` is negative, was when it was deleted."""

    kind: int
    namespace: str
    name: str
    uid: str
    version: str
    replicas: int = 0
    guards: tuple[str, str, str] | None = None
    why: str = ""
    """Why it cannot be read, of a Deployment that cannot; its count is -1."""
    progress: Progress | None = None
    owners: Owners | None = None
    more: Sequence[Any] = ()
    """What other kinds have beside: of an autoscaler its target, minimum, maximum, whether it is active, its owner.

    Of the Event of a write, its target, at what version that was left, and what the model has of its author; of notes,
    pairs of key and text."""
    gap: bool = False
    """Whether there may have been steps in between that no entry tells of."""


class Entry(Struct, frozen=True, array_like=True):
    """One entry of the log: the entry before it, the watcher's monotonic clock, and what there was to tell.

    `answered` is when the append of the entry before was answered, where that is known. `heard`, `versions` and
    `counts` are those of the sources: when each was last heard, its resourceVersion, the number of its objects. One
    that nothing waits for may not have been heard yet: None. With `more`, what there was to tell goes on in the next
    entry: until the last one it is half of something.
    """

    before: tuple[int, int]
    now: float
    answered: float | None
    heard: Sequence[float | None]
    versions: Sequence[str]
    counts: Sequence[int]
    rows: Sequence[Row] = ()
    more: bool = False


class Head(Struct, frozen=True, array_like=True):
    """The top of the log; `restored` is the epoch in which the cluster was last found to have gone back, or 0.

    `heard` is when each source was last heard, in seconds since 1970 by the watcher's clock, None where nobody knows.
    """

    epoch: int
    seq: int
    scope: Sequence[str]
    versions: Sequence[str]
    counts: Sequence[int]
    restored: int = 0
    heard: Sequence[float | None] = ()


class Chunk(Struct, frozen=True, array_like=True):
    """The objects of a bucket as of a position in the log."""

    position: tuple[int, int]
    rows: Sequence[Row]


Record = TypeVar("Record", Entry, Head, Chunk)
_encoder = msgspec.msgpack.Encoder()


class Keys:
    """The names of everything in Redis that is about one cluster, under one name."""

    def __init__(self, cluster: str, name: str) -> None:
        prefix = f"sre:{FORMAT}:{{{cluster}:{name}}}:"
        self.head = f"{prefix}head"
        self.log = f"{prefix}log"
        self.chunks = [f"{prefix}c:{number}" for number in range(CHUNKS)]

    def entry(self, position: Position) -> str:
        """The place of an entry, for its seal."""
        return f"{self.log} {position.id}"


class Seal:
    """Closes and opens records: with the first of several keys, and with any of them."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    @classmethod
    def read(cls, path: Path) -> "Seal":
        """Read the keys from a file, one a line; raises StoreRefused if there is none that is long enough."""
        try:
            keys = [line.strip() for line in path.read_bytes().splitlines() if line.strip()]
        except OSError as error:
            raise StoreRefused(f"--cache-seal cannot be read: {error}.") from error
        if not keys or min(map(len, keys)) < KEY_BYTES:
            raise StoreRefused(f"--cache-seal: {path} needs a key of at least {KEY_BYTES} characters on each line.")
        return cls(keys)

    def close(self, place: str, record: Entry | Head | Chunk) -> bytes:
        """Encode a record for a place."""
        body = _PLAIN + _encoder.encode(record)
        return self._mac(self._keys[0], place, body) + body

    def open(self, place: str, sealed: bytes, kind: type[Record]) -> Record:
        """Decode the record of a place; raises StoreRefused unless it was sealed for there with one of our keys."""
        mac, body = sealed[:_MAC_BYTES], sealed[_MAC_BYTES:]
        if not any(hmac.compare_digest(mac, self._mac(key, place, body)) for key in self._keys):
            raise StoreForged(
                f"'{place}' in Redis is not sealed with a key of --cache-seal: give watchers and api pods the same."
            )
        if body[:1] != _PLAIN:
            raise StoreRefused(f"'{place}' in Redis is of a newer format: update this server.")
        try:
            return msgspec.msgpack.decode(body[1:], type=kind)
        except _NOT_READABLE as error:
            raise StoreRefused(f"'{place}' in Redis cannot be read: {error}.") from error

    @staticmethod
    def _mac(key: bytes, place: str, body: bytes) -> bytes:
        return hmac.digest(key, place.encode() + b"\n" + body, "sha256")


def place_of(item: Object) -> Place:
    """Where an object is."""
    match item:
        case Deployment():  # first, as nearly all of them are
            return item.namespace, item.name
        case Autoscaler():
            return f"{Resource.AUTOSCALERS.value}/{item.namespace}", item.name
        case Notes():
            return f"{Resource.TEMPORARY.value}/{item.namespace}", item.name
        case ScaledEvent():
            return f"{Resource.SCALINGS.value}/{item.namespace}", item.name
    return "", item.name


def bucket_of(place: Place) -> int:
    """The number of the chunk that has the object of a place."""
    return crc32(f"{place[0]}/{place[1]}".encode()) % CHUNKS


def row_of(item: Object, *, deleted: bool = False, gap: bool = False) -> Row:
    """Write an object down, as it is or was; the steps to a Deployment's state may have a `gap`."""
    sign = -1 if deleted else 1
    if isinstance(item, Namespace):
        return Row(sign * _NAMESPACE, "", item.name, item.uid, item.resource_version)
    if isinstance(item, Autoscaler):
        more = (item.target, item.minimum, item.maximum, item.active, item.owner)
        return Row(sign * _AUTOSCALER, item.namespace, item.name, item.uid, item.resource_version, more=more)
    if isinstance(item, Notes):
        pairs = tuple(item.data.items())
        return Row(sign * _NOTES, item.namespace, item.name, item.uid, item.resource_version, more=pairs)
    if isinstance(item, ScaledEvent):
        more = (item.target, item.left_at, *astuple(item.author))
        return Row(sign * _SCALING, item.namespace, item.name, item.uid, item.resource_version, more=more)
    guards = None if item.guards is None else (item.guards.minimum, item.guards.maximum, item.guards.protected)
    why = item.why if isinstance(item, Unreadable) else ""
    kind = sign * _DEPLOYMENT
    what = (kind, item.namespace, item.name, item.uid, item.resource_version)
    return Row(*what, item.replicas, guards, why, item.progress, item.owners, gap=gap)


def object_of(row: Row) -> Object | None:
    """Read an object, as it is or was; None if it is of a kind that a later release has."""
    if abs(row.kind) == _DEPLOYMENT:
        guards = None if row.guards is None else Guards(*row.guards)
        if row.replicas < 0:
            return Unreadable(row.namespace, row.name, row.uid, row.version, guards=guards, why=row.why)
        what = (intern(row.namespace), row.name, row.uid, row.version)
        return Deployment(*what, row.replicas, guards, row.progress, row.owners and _shared(row.owners))
    if abs(row.kind) == _AUTOSCALER:
        return Autoscaler(row.namespace, row.name, row.uid, row.version, *_columns(row, _AutoscalerColumns))
    if abs(row.kind) == _NOTES:
        pairs = _columns(row, tuple[tuple[str, str], ...], every=True)
        return Notes(row.namespace, row.name, row.uid, row.version, dict(pairs))
    if abs(row.kind) == _SCALING:
        target, left_at, *author = _columns(row, _ScalingColumns)
        return ScaledEvent(row.namespace, row.name, row.uid, row.version, target, left_at, Author(*author))
    return Namespace(row.name, row.uid, row.version) if abs(row.kind) == _NAMESPACE else None


@lru_cache(4096)
def _shared(owners: Owners) -> Owners:
    """Return one object for all that are equal: they are few, and would be most of what a Deployment takes."""
    return owners


def _columns(row: Row, shape: Any, *, every: bool = False) -> tuple[Any, ...]:  # noqa: ANN401  # a tuple type
    """Return what a row has more than others, as far as we know it, or `every` one; raises StoreRefused."""
    try:
        found: tuple[Any, ...] = msgspec.convert(row.more if every else row.more[: len(get_args(shape))], type=shape)
    except msgspec.ValidationError as error:
        raise StoreRefused(f"'{row.namespace}/{row.name}' in Redis cannot be read: {error}.") from error
    return found
