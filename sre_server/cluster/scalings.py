"""The Events that this server records of its writes, as they are read again: who set a count is in their annotations.

Whoever may create Events may forge one. What is read here is told as it is, and proves nothing.
"""

from sys import intern
from typing import Final

from msgspec import Struct, field

from sre_server.cluster.decoding import NamespacedMetadata, clean
from sre_server.model import MAX_REPLICAS, Author, ScaledEvent
from sre_server.texts import is_clean

COMPONENT: Final = "sre-server"
SCALED: Final = "ScaledOnRequest"
"""The reason of an Event of a write that succeeded."""
SCALINGS_ONLY: Final = f"reason={SCALED},source={COMPONENT}"
"""The field selector of Events like these."""
IDENTITY_LENGTH: Final = 2048  # a SPIFFE ID may be so long
REASON_LENGTH: Final = 256
REQUEST_ID_LENGTH: Final = 128
_BY: Final = "sre-server/by"
_REASON: Final = "sre-server/reason"
_REQUEST_ID: Final = "sre-server/request-id"
_BEFORE: Final = "sre-server/replicas-before"


def annotations_of(author: Author) -> dict[str, str]:
    """Write down who set a count, without what is not known."""
    before = None if author.before is None else str(author.before)
    said = {_BY: author.identity, _REASON: author.reason, _REQUEST_ID: author.request_id, _BEFORE: before}
    return {name: value for name, value in said.items() if value}


class _Annotations(Struct, frozen=True, gc=False):
    by: str = field(name=_BY, default="")
    reason: str = field(name=_REASON, default="")
    request_id: str = field(name=_REQUEST_ID, default="")
    before: str = field(name=_BEFORE, default="")

    def author(self) -> Author:
        """Read who it was, made fit to be shown."""
        return Author(
            clean(self.by, IDENTITY_LENGTH),
            clean(self.reason, REASON_LENGTH) or None,
            clean(self.request_id, REQUEST_ID_LENGTH) or None,
            _count(self.before),
        )


def _count(text: str) -> int | None:
    is_count = text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_REPLICAS))
    return int(text) if is_count else None


class _Metadata(NamespacedMetadata, frozen=True, kw_only=True, gc=False):
    annotations: _Annotations | None = None


class _Involved(Struct, frozen=True, gc=False):
    uid: str = ""
    resourceVersion: str = ""


class EventObject(Struct, frozen=True, gc=False):
    """`v1` Event."""

    metadata: _Metadata
    involvedObject: _Involved = _Involved()
    kind: str = ""

    def model(self) -> ScaledEvent:
        """The Event as it is kept; what names nobody, as those of earlier releases, is about nothing."""
        metadata, involved = self.metadata, self.involvedObject
        metadata.check()
        where = (intern(metadata.namespace), metadata.name, metadata.uid, metadata.resourceVersion)
        author = metadata.annotations.author() if metadata.annotations else Author("")
        if not author.identity or not (is_clean(involved.uid) and is_clean(involved.resourceVersion)):
            return ScaledEvent(*where)
        return ScaledEvent(*where, involved.uid, involved.resourceVersion, author)


def unreadable_scaling(namespace: str, name: str, uid: str, version: str) -> ScaledEvent:
    """Make the best of one that cannot be read: it is there, and about nothing."""
    return ScaledEvent(intern(namespace), name, uid, version)
