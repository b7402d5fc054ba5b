"""The fast lane: a plain GET of the cache on an idle connection, answered from its bytes to bytes in one go.

It is not another way to be right: routes, bodies, authorization and limits are those of the ordinary way, and whatever
is not exactly one complete, plain request that may simply be answered is left to that way, untouched. The two give the
same answers: `tests/api/test_lane.py` holds them against each other, `tests/api/test_ordinary_again.py` to the same
tests.
"""

import re
from collections.abc import Sequence
from itertools import accumulate
from time import time
from typing import Final

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.web.http import datetimeToString

from sre_server.api.conditional import accepts_gzip
from sre_server.api.routes import Family, Read, max_stale, shown_age
from sre_server.telemetry.metrics import Count, Metrics
from sre_server.web.answers import request_id
from sre_server.web.interfaces import Connection
from sre_server.web.request import is_host
from sre_server.web.unsent import WHOLE_BYTES

MAX_HEAD: Final = 1024
KEPT_HEADS: Final = 256
_FIELD: Final = re.compile(rb"([A-Za-z0-9-]+): ?([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)")
_END: Final = b"\r\n\r\n"
_NO_NAMES: Final = (None, None)
_COMMON: Final = b"X-Request-Id: %s\r\nDate: %s\r\nCache-Control: no-cache\r\n%sAge: %s\r\nETag: %s\r\n%s"
_OK: Final = b"HTTP/1.1 200 OK\r\n" + _COMMON + b"%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_NOT_MODIFIED: Final = b"HTTP/1.1 304 Not Modified\r\n" + _COMMON + b"\r\n"
IGNORED_FIELDS: Final = frozenset(
    {
        b"user-agent",
        b"accept",
        b"accept-language",
        b"traceparent",
        b"tracestate",
        b"baggage",
        b"b3",
        b"pragma",
        b"x-reason",
    }
)
"""Fields that mean nothing to a GET of ours."""
UNDERSTOOD_FIELDS: Final = frozenset({b"host", b"x-request-id", b"cache-control", b"if-none-match", b"accept-encoding"})


class PlainHead(Struct, frozen=True):
    """The header section of a plain request, as far as an answer depends on it."""

    request_id: bytes | None
    if_none_match: bytes | None
    gzip: bool
    max_stale: float


def plain_head(section: bytes) -> PlainHead | None:
    """Read a header section, with its empty line; None if anything in it is more than a plain GET has.

    Each field at most once, of those that are known, in visible ASCII; and Host, which names a host.
    """
    fields: dict[bytes, bytes] = {}
    for line in section[: -len(_END)].split(b"\r\n"):
        found = _FIELD.fullmatch(line)
        if found is None:
            return None
        name = found[1].lower()
        if name in fields or not (name in UNDERSTOOD_FIELDS or name in IGNORED_FIELDS or _keeps_alive(name, found[2])):
            return None
        fields[name] = found[2]
    if b"host" not in fields or not is_host(fields[b"host"]):
        return None
    return PlainHead(
        fields.get(b"x-request-id"),
        fields.get(b"if-none-match"),
        accepts_gzip(fields.get(b"accept-encoding")),
        max_stale(fields.get(b"cache-control")),
    )


def _keeps_alive(name: bytes, value: bytes) -> bool:
    return name == b"connection" and value.lower() == b"keep-alive"


class _Lane(Struct, frozen=True):
    """One route of a family, and what counts its answers, by status and seconds."""

    family: Family
    read: Read
    count: Count


class FastLane:
    """Serves the reads of the families."""

    def __init__(self, families: Sequence[Family], metrics: Metrics) -> None:
        lanes = [
            _Lane(family, read, metrics.counter(read.template, "GET", 200, 304))
            for family in families
            for read in family.reads
        ]
        self._line = re.compile(
            rb"GET (?:%s) HTTP/1\.1\r\n" % b"|".join(b"(%s)" % lane.read.pattern.encode("ascii") for lane in lanes)
        )
        starts = accumulate((1 + lane.read.names for lane in lanes), initial=1)
        self._by_group = dict(zip(starts, lanes, strict=False))
        self._heads: dict[bytes, PlainHead] = {}
        self._date = (0, b"")

    def serve(self, connection: Connection, data: bytes) -> bool:
        """See `Lane.serve`: what is answered is a plain read that nothing speaks against."""
        line = self._line.match(data)
        head = self._head(data[line.end() :]) if line is not None else None
        if line is None or head is None:
            return False
        site = connection.site
        began = site.now()
        group = line.lastindex or 0
        lane = self._by_group[group]
        names = [name.decode("ascii") for name in line.groups()[group : group + lane.read.names]]
        known_as = request_id(head.request_id)
        try:
            identity = connection.identify()
            gate = lane.family.gate
            view = gate.known_view(identity, *names, *_NO_NAMES[lane.read.names :])
            if view is None:
                return False
            knowledge = lane.family.cache.check_fresh(names[0] if names else None, head.max_stale)
            if knowledge.missing:
                return False
            body = lane.read.look(lane.family, view, *names)
            if isinstance(body, Deferred):
                return False
            known = body.is_known(head.if_none_match, gzip=head.gzip)
            shown = body if known else body.form(gzip=head.gzip)
            if isinstance(shown, Deferred):
                return False
            limits = gate.pass_read(identity, 0 if known else body.extra_tokens())
            if limits is None:
                return False
            more = b"Vary: Accept-Encoding\r\n" if body.negotiable else b""
            if body.warning:
                more += b"Warning: %s\r\n" % body.warning
            common = (known_as, self._date_now(), limits, shown_age(knowledge.age), body.tag(gzip=head.gzip), more)
            coding = b"Content-Encoding: gzip\r\n" if shown is not body else b""
            sent = b"" if known else shown.data
            answer = _NOT_MODIFIED % common if known else _OK % (*common, coding, len(sent))
        except Exception:  # noqa: BLE001  # the ordinary way runs into the same, and answers and logs it
            return False
        if len(sent) > WHOLE_BYTES or not connection.write_whole(answer, sent):
            return False
        status = 304 if known else 200
        seconds = site.now() - began
        lane.count(status, seconds)
        path = line[group].decode("ascii")
        site.access.note(
            connection.address, status, known_as.decode("ascii"), identity.name, "GET", path, len(sent), seconds
        )
        return True

    def _head(self, section: bytes) -> PlainHead | None:
        """Return what a header section says; those that repeat, as most clients' do, are read once."""
        head = self._heads.get(section)
        if head is None and len(section) <= MAX_HEAD and section.find(_END) == len(section) - len(_END):
            head = plain_head(section)
            if head is not None and head.request_id is None:
                if len(self._heads) >= KEPT_HEADS:
                    self._heads.clear()
                self._heads[section] = head
        return head

    def _date_now(self) -> bytes:
        now = int(time())
        if self._date[0] != now:
            self._date = now, datetimeToString(now)
        return self._date[1]
