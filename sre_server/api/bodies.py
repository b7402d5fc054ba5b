"""The bodies of reads, as bytes, and their entity tags, which say what a body says, and nothing else.

Every replica of the server gives the same tag to the same content.
"""

import zlib
from collections.abc import Callable, Generator, Sequence
from functools import partial
from hashlib import blake2b
from typing import Final

from msgspec import Struct
from twisted.internet.defer import Deferred

from sre_server.api.conditional import is_known, replicas_tag
from sre_server.api.slices import Slices
from sre_server.model import Deployment

_GZIP_BYTES: Final = 1024
"""Shorter bodies fit into one packet anyway."""
TOKEN_BYTES: Final = 65_536
"""A body costs its client one token more for so many bytes."""
_GZIP_LEVEL: Final = 1
"""Level 6 takes 2.5 times as long for a list, on the reactor's time, and saves bytes that are few already."""
# RFC 1952: a member without a name or a time, then deflate blocks (RFC 1951), of which the last is empty.
_GZIP_HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\x04\xff"
_LAST_BLOCK: Final = b"\x03\0"
_NAMED: Final = 5


class Packing(Struct, gc=False):
    """How a body is compressed: in `slices`, and chunk by chunk, so that what did not change need not be again.

    `chunks` has for each a key that stands for its bytes, and where it ends; `kept` has what chunks came to, by key.
    `then` is called whenever that has changed; it must not lead back to the body: the garbage collector looks through
    neither.
    """

    slices: Slices
    chunks: Sequence[tuple[bytes, int]]
    kept: dict[bytes, bytes]
    then: Callable[[], object] = lambda: None

    def packed(self, data: bytes) -> Generator[None, None, bytes]:
        """Compress the body, a chunk at a time."""
        blocks: dict[bytes, bytes] = {}
        order, start, view = [], 0, memoryview(data)
        for key, end in self.chunks:
            order.append(key)
            blocks[key] = self.kept.get(key) or _deflated(view[start:end])
            start = end
            yield
        self.kept.clear()
        self.kept.update(blocks)
        check = zlib.crc32(data).to_bytes(4, "little") + (len(data) & 0xFFFFFFFF).to_bytes(4, "little")
        return b"".join([_GZIP_HEAD, *(blocks[key] for key in order), _LAST_BLOCK, check])


def _deflated(data: memoryview) -> bytes:
    """Return whole deflate blocks that end at a byte, so that others may follow."""
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)


class Body(Struct, gc=False):
    """One body, and its strong entity tag with the quotes (RFC 9110, section 8.8.3).

    With a `packing` it has a compressed form as well, where that is worth it.
    """

    data: bytes
    etag: bytes
    packing: Packing | None = None
    warning: bytes = b""
    """What is missing in it, as the value of a Warning field (RFC 7234, section 5.5); nothing, if nothing is."""
    _gzipped: "Body | None" = None

    @property
    def negotiable(self) -> bool:
        """Whether the answer varies with Accept-Encoding."""
        return self.packing is not None

    def tag(self, *, gzip: bool) -> bytes:
        """Return the tag of the form that a client gets, compressed or not, without making that form."""
        is_packed = gzip and self.packing is not None and len(self.data) >= _GZIP_BYTES
        return self.etag[:-1] + b'-gzip"' if is_packed else self.etag

    def is_known(self, if_none_match: bytes | None, *, gzip: bool) -> bool:
        """Tell whether the client has that form already."""
        return is_known(self.tag(gzip=gzip), if_none_match)

    def form(self, *, gzip: bool) -> "Body | Deferred[Body]":
        """Return the form that a client gets; it is compressed when first asked for."""
        if not gzip or self.packing is None or len(self.data) < _GZIP_BYTES:
            return self
        return self._gzipped or self.packing.slices.run(id(self), partial(self._pack, self.packing))

    def size(self) -> int:
        """Return how many bytes all of its forms are, and what is kept to make them."""
        kept = sum(map(len, self.packing.kept.values())) if self.packing is not None else 0
        return len(self.data) + kept + (len(self._gzipped.data) if self._gzipped is not None else 0)

    def extra_tokens(self) -> int:
        """How many tokens it costs a client to be sent this, beside the one that every read takes."""
        return len(self.data) // TOKEN_BYTES

    def _pack(self, packing: Packing) -> Generator[None, None, "Body"]:
        data = yield from packing.packed(self.data)
        self._gzipped = Body(data, self.tag(gzip=True))
        packing.then()
        return self._gzipped


def one(template: bytes, deployment: Deployment) -> Body:
    """Fill namespace, name and count into a JSON template; names that passed Kubernetes' rules need no escaping."""
    where, name = deployment.namespace.encode("ascii"), deployment.name.encode("ascii")
    return Body(template % (where, name, deployment.replicas), replicas_tag(deployment.replicas, deployment.uid))


def warning_of(what: str, names: Sequence[str]) -> bytes:
    """Return the value of a Warning field that says this of the things named, in words for people."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return warning(f"{what}: {', '.join(names[:_NAMED])}{more}")


def warning(text: str) -> bytes:
    """Return the value of a Warning field that says this."""
    return b'199 sre-server "%s"' % text.replace("\\", "/").replace('"', "'").encode()


def digest_of(data: bytes) -> bytes:
    """Return a digest that stands for these bytes in entity tags."""
    return blake2b(data, digest_size=16).digest()


def digest_tag(digest: bytes) -> bytes:
    """Return the entity tag of a body with this digest."""
    return b'"%s"' % digest.hex().encode("ascii")
