"""What a client says of the answers that it has, or can read: conditional requests and content codings (RFC 9110)."""

import re
from typing import Final

from msgspec import Struct
from werkzeug.http import parse_accept_header

from sre_server.errors import Malformed, PreconditionFailed

_TAG: Final = re.compile(rb'[ \t]*(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?=,|\Z)')
_EMPTY: Final = re.compile(rb"[ \t]*(?=,|\Z)")
_COUNT: Final = re.compile(rb'"(0|[1-9][0-9]{0,9})-([\x21\x23-\x7e]{1,128})"')
_PLAN: Final = re.compile(
    rb'"plan-(0|[1-9][0-9]{0,9})-(0|[1-9][0-9]{0,9})-([\x21\x23-\x7e]{1,128})-([0-9a-f]{8}(?:\.[0-9a-f]{8}){0,15})"'
)
ANY_STATE: Final = b"*"


def replicas_tag(replicas: int, uid: str) -> bytes:
    """Return the entity tag of a count: the count itself, and whose it is."""
    return b'"%d-%s"' % (replicas, uid.encode("ascii", "replace"))


class PlanTag(Struct, frozen=True):
    """What the entity tag of a plan says: from and to which count it is, whose, and digests of what it stands on."""

    before: int
    after: int
    uid: str
    digests: tuple[str, ...]

    @classmethod
    def of(cls, tag: bytes) -> "PlanTag | None":
        """Read a tag; None if it is none of a plan."""
        found = _PLAN.fullmatch(tag)
        if found is None:
            return None
        return cls(int(found[1]), int(found[2]), found[3].decode("ascii"), tuple(found[4].decode("ascii").split(".")))

    def __bytes__(self) -> bytes:
        """The tag."""
        return f'"plan-{self.before}-{self.after}-{self.uid}-{".".join(self.digests)}"'.encode("ascii", "replace")


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
            raise Malformed(
                "If-Match and If-None-Match take '*', or entity tags as in an ETag, quoted, separated by commas."
            )
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


class Conditions(Struct, frozen=True):
    """What the fields of a PUT make it conditional on: strong tags of If-Match (None without it), those to exclude."""

    if_match: list[bytes] | None = None
    if_none_match: list[bytes] = []

    @classmethod
    def of(cls, if_match: bytes | None, if_none_match: bytes | None) -> "Conditions":
        """Read both fields; raises Malformed."""
        wanted = None if if_match is None else tags_in(if_match, strong=True)
        return cls(wanted, [] if if_none_match is None else tags_in(if_none_match))

    @property
    def need_count(self) -> bool:
        """Whether they are about a count, and not only about there being one."""
        return bool(self.if_none_match) or self.if_match not in (None, [ANY_STATE])

    @property
    def hopeless(self) -> bool:
        """Whether no Deployment can fulfil them, whatever its count is."""
        tags = [ANY_STATE] if self.if_match is None else self.if_match
        return ANY_STATE in self.if_none_match or not any(tag == ANY_STATE or _COUNT.fullmatch(tag) for tag in tags)

    def check(self, replicas: int | None, uid: str) -> None:
        """Raise PreconditionFailed unless a Deployment with this count, and of this identity, fulfils them.

        Of several tags one will do (section 13.1.1), or one is one too many (13.1.2, by weak comparison).
        """
        if not self.need_count:
            return
        tag, count = replicas_tag(replicas or 0, uid), f"the count is {replicas}. Nothing was changed."
        if ANY_STATE in self.if_none_match or tag in self.if_none_match:
            raise PreconditionFailed(f"If-None-Match excludes what is there; {count}", replicas, uid)
        if self.if_match is None or self.if_match == [ANY_STATE] or tag in self.if_match:
            return
        if self.hopeless:
            wanted = "no strong entity tag of a count, as the ETag of a GET of .../replicas or .../replica_count is one"
            raise PreconditionFailed(f"If-Match has {wanted}; {count}", replicas, uid)
        message = f"The Deployment is not as If-Match has it: its count is {replicas} now. Nothing was changed."
        raise PreconditionFailed(message, replicas, uid)


def accepts_gzip(accept_encoding: bytes | None) -> bool:
    """Tell whether a client wants gzip: it is named, or `*` is, and not at weight 0 (section 12.5.3)."""
    if not accept_encoding:
        return False
    accepted = parse_accept_header(accept_encoding.decode("latin-1"))
    return accepted.quality("gzip") > 0 or any(name.lower() == "x-gzip" and weight > 0 for name, weight in accepted)
