"""The fast lane: a plain GET of the cache on an idle connection, answered from its bytes to bytes in one go.

It is not another way to be right: routes, bodies, authorization and limits are those of the ordinary way, and whatever
is not exactly one complete, plain request that may simply be answered is left to that way, untouched. The two give the
same answers: `tests/api/test_lane.py` holds them against each other, `tests/api/test_ordinary_again.py` to the same
tests.
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from time import time
from typing import Final

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.web.http import datetimeToString

from sre_server.api.bodies import Body
from sre_server.api.conditional import accepts_gzip
from sre_server.api.routes import Family, Read, max_stale
from sre_server.model import Deployment
from sre_server.security.authorization import View
from sre_server.telemetry.metrics import Metrics
from sre_server.telemetry.tallies import Tally
from sre_server.web.answers import request_id
from sre_server.web.interfaces import Connection
from sre_server.web.request import is_host
from sre_server.web.unsent import LONG_BYTES, WHOLE_BYTES

MAX_HEAD: Final = 1024
MAX_LINE: Final = 512
KEPT_HEADS: Final = 256
KEPT_LINES: Final = 16_384
"""So many lines are kept, with the answers of the single reads among them: some 15 MB."""
_FIELD: Final = re.compile(rb"([A-Za-z0-9-]+): ?([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)")
_END: Final = b"\r\n\r\n"
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
    """One route of a family, and what counts its answers."""

    family: Family
    read: Read
    tally: Tally


class _Known(Struct):
    """A request line that was met before; where a Deployment alone is read, that one, and its answer from the ETag on.

    The answer holds for as long as the cache has that very object, as whatever says anything else is another one.
    """

    lane: _Lane
    path: str
    names: Sequence[str]
    deployment: Deployment | None = None
    body: Body | None = None
    end: bytes = b""

    def look(self, view: View) -> Body | Deferred[Body]:
        """Return the body of the answer, as things are now."""
        family, read = self.lane.family, self.lane.read
        if read.alone is None:
            return read.look(family, view, *self.names)
        deployment = family.cache.deployment(*self.names)
        if self.body is None or self.deployment is not deployment:
            self.deployment, self.body = deployment, read.alone(deployment)
            self.end = _end_of(self.body, self.body, self.body.etag)
        return self.body


def _end_of(body: Body, shown: Body | None, tag: bytes) -> bytes:
    """Return the fields of an answer that are of its body: which is `shown` in one form, or known to the client."""
    more = b"Vary: Accept-Encoding\r\n" if body.negotiable else b""
    if body.warning:
        more += b"Warning: %s\r\n" % body.warning
    if shown is not body and shown is not None:
        more += b"Content-Encoding: gzip\r\n"
    if shown is not None:
        more += b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(shown.data)
    return b"ETag: %s\r\n%s\r\n" % (tag, more)


def _may_be_sent_whole(connection: Connection, size: int) -> bool:
    """Tell whether a long body may be, which is asked before it is charged for, as the ordinary way charges, too."""
    return size <= WHOLE_BYTES and connection.site.unsent.has_room(connection.fairness_key(), size)


class FastLane:
    """Serves the reads of the families."""

    def __init__(self, families: Sequence[Family], metrics: Metrics) -> None:
        lanes = [
            _Lane(family, read, metrics.answers.of(read.template, "GET", 200, 304))
            for family in families
            for read in family.reads
        ]
        self._line = re.compile(
            rb"GET (?:%s) HTTP/1\.1\r\n" % b"|".join(b"(%s)" % lane.read.pattern.encode("ascii") for lane in lanes)
        )
        starts = accumulate((1 + lane.read.names for lane in lanes), initial=1)
        self._by_group = dict(zip(starts, lanes, strict=False))
        self._known = lru_cache(KEPT_LINES)(self._read_line)
        self._heads: dict[bytes, PlainHead] = {}
        self._date = (0, "")

    def serve(self, connection: Connection, data: bytes) -> bool:
        """See `Lane.serve`: what is answered is a plain read that nothing speaks against."""
        end = data.find(b"\r\n", 0, MAX_LINE) + 2
        known = self._known(data[:end])
        head = self._head(data[end:]) if known is not None else None
        if known is None or head is None:
            return False
        site = connection.site
        began = site.now()
        lane = known.lane
        try:
            identity = connection.identify()
            gate = lane.family.gate
            view = gate.known_view(identity, *known.names)
            if view is None:
                return False
            knowledge = lane.family.cache.check_fresh(known.names[0] if known.names else None, head.max_stale)
            if knowledge.missing:
                return False
            body = known.look(view)
            if isinstance(body, Deferred):
                return False
            is_new = head.if_none_match is None or not body.is_known(head.if_none_match, gzip=head.gzip)
            shown = body.form(gzip=head.gzip) if is_new else None
            if isinstance(shown, Deferred):
                return False
            sent = b"" if shown is None else shown.data
            if len(sent) > LONG_BYTES and not _may_be_sent_whole(connection, len(sent)):
                return False
            limits = gate.pass_read(identity, body.extra_tokens() if is_new else 0)
            if limits is None:
                return False
            known_as = request_id(head.request_id)
            start = (
                f"HTTP/1.1 {'200 OK' if is_new else '304 Not Modified'}\r\nX-Request-Id: {known_as}\r\n"
                f"Date: {self._date_now()}\r\nCache-Control: no-cache\r\n{limits}Age: {math.ceil(knowledge.age)}\r\n"
            )
            kept = shown is not None and shown is known.body
            rest = known.end if kept else _end_of(body, shown, body.tag(gzip=head.gzip))
        except Exception:  # noqa: BLE001  # the ordinary way runs into the same, and answers and logs it
            return False
        connection.write_whole(start.encode("ascii") + rest, sent)
        status = 200 if is_new else 304
        seconds = site.now() - began
        lane.tally.served(status, seconds)
        site.access.note(connection.address, status, known_as, identity.name, "GET", known.path, len(sent), seconds)
        return True

    def _read_line(self, line: bytes) -> _Known | None:
        """Return what a request line asks for, with the end of the line; None for what is not a plain read."""
        found = self._line.fullmatch(line)
        if found is None:
            return None
        group = found.lastindex or 0
        lane = self._by_group[group]
        path, *names = (text.decode("ascii") for text in found.groups()[group - 1 : group + lane.read.names])
        return _Known(lane, path, names)

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

    def _date_now(self) -> str:
        now = int(time())
        if self._date[0] != now:
            self._date = now, datetimeToString(now).decode("ascii")
        return self._date[1]
