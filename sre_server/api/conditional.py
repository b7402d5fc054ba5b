"""What a client says of the answers that it has, or can read: conditional requests and content codings (RFC 9110)."""

import re
from typing import Final

from werkzeug.http import parse_accept_header

from sre_server.errors import Malformed
from sre_server.model import MAX_REPLICAS, Expected

_TAG: Final = re.compile(rb'[ \t]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|\Z)')
_EMPTY: Final = re.compile(rb"[ \t]*(?=,|\Z)")
_COUNT: Final = re.compile(rb'"(0|[1-9][0-9]{0,9})-([\x21\x23-\x7e]{1,128})"')
ANY_STATE: Final = b"*"


def replicas_tag(replicas: int, uid: str) -> bytes:
    """Return the entity tag of a count: the count itself, and whose it is."""
    return b'"%d-%s"' % (replicas, uid.encode("ascii", "replace"))


def tags_in(field: bytes, *, strong: bool = False) -> list[bytes]:
    """Return the entity tags of an If-Match or If-None-Match field, `*` as itself; with `strong`, no weak ones.

    Raises Malformed for what is not a list of tags (sections 8.8.3 and 5.6.1, by which empty elements are nothing).
    """
    if field.strip() == ANY_STATE:
        return [ANY_STATE]
    tags, at = [], 0
    while at <= len(field):
        found = _TAG.match(field, at) or _EMPTY.match(field, at)
        if found is None:
            raise Malformed("If-Match and If-None-Match take '*', or entity tags as in an ETag, separated by commas.")
        if found.re is _TAG and not (strong and found[1]):
            tags.append(found[2])
        at = found.end() + 1
    return tags


def is_known(etag: bytes, if_none_match: bytes | None) -> bool:
    """Tell whether a client has this content already (section 13.1.2); False if that cannot be read."""
    try:
        return excludes(if_none_match, etag)
    except Malformed:
        return False


def excludes(if_none_match: bytes | None, etag: bytes) -> bool:
    """Tell whether an If-None-Match field has this tag, by weak comparison, or `*`; raises Malformed."""
    if if_none_match is None:
        return False
    return if_none_match == etag or any(tag in (etag, ANY_STATE) for tag in tags_in(if_none_match))


def expected_by(if_match: bytes, current: bytes | None) -> Expected | None:
    """Return what an If-Match field makes a write conditional on, or None if nothing can fulfil it (section 13.1.1).

    Of several tags it is the `current` one, if that is among them, else the first that could be one of ours: what is
    known here may be older than what the client has seen, and it is the cluster that compares. Raises Malformed.
    """
    tags = tags_in(if_match, strong=True)
    if tags == [ANY_STATE]:
        return Expected()
    for tag in [current, *tags] if current in tags else tags:
        found = _COUNT.fullmatch(tag) if tag is not None else None
        if found is not None and int(found[1]) <= MAX_REPLICAS:
            return Expected(int(found[1]), found[2].decode("ascii"))
    return None


def accepts_gzip(accept_encoding: bytes | None) -> bool:
    """Tell whether a client wants gzip: it is named, or `*` is, and not at weight 0 (section 12.5.3)."""
    if not accept_encoding:
        return False
    accepted = parse_accept_header(accept_encoding.decode("latin-1"))
    return accepted.quality("gzip") > 0 or any(name.lower() == "x-gzip" and weight > 0 for name, weight in accepted)
