"""Changes of counts as JSON, oldest first: of one Deployment, or of all that a client may read."""

import re
from collections.abc import Generator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred

from sre_server.api.bodies import Body, Packing, digest_of, digest_tag
from sre_server.api.conditional import replicas_tag
from sre_server.api.slices import Slices
from sre_server.cache import ClusterCache
from sre_server.day.changes import Changes
from sre_server.day.record import CountChange, Cut
from sre_server.errors import Malformed
from sre_server.security.authorization import EVERYTHING, View
from sre_server.web.request import APIRequest

AT_ONCE: Final = 100
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_BEFORE_ALL: Final = float("-inf")


def since_in(request: APIRequest) -> float:
    """Read `?since=`, in seconds since the epoch, before everything without it; raises Malformed."""
    query = request.uri.partition(b"?")[2].decode("ascii")
    given = [value for name, value in parse_qsl(query, keep_blank_values=True) if name == "since"]
    if not given:
        return _BEFORE_ALL
    text = given[-1].replace(" ", "+")  # a plus in a query is a blank, unless it was written %2B
    try:
        if _TIME.fullmatch(text):
            return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        pass
    raise Malformed("'since' takes a time as in RFC 3339, such as 2026-11-25T20:00:00Z.")


class ShownChange(Struct):
    """One change, as it is sent."""

    at: str
    namespace: str
    deployment: str
    before: int
    after: int
    by: str | None
    program: str
    reason: str | None
    request_id: str | None
    etag: str
    gap: bool


def shown(change: CountChange) -> ShownChange:
    """Show a change; the tag is that with which a PUT of `before` undoes it, and nothing that came after."""
    author = change.author
    return ShownChange(
        _in_rfc3339(change.at),
        change.namespace,
        change.deployment,
        change.before,
        change.after,
        change.by,
        change.program,
        author.reason if author else None,
        author.request_id if author else None,
        replicas_tag(change.after, change.uid).decode("ascii"),
        change.gap,
    )


class ChangeBodies:
    """The bodies of what is asked about changes."""

    def __init__(self, cache: ClusterCache, changes: Changes, slices: Slices) -> None:
        self._cache = cache
        self._changes = changes
        self._slices = slices

    def of_one(self, namespace: str, name: str) -> Body:
        """Tell of one Deployment; raises NotFound, or Unavailable for one that cannot be read."""
        deployment = self._cache.deployment(namespace, name)
        texts = [msgspec.json.encode(shown(change)) for change in self._changes.of(deployment)]
        data = _joined(texts, {"complete_since": _known(self._changes.complete_since(deployment))})
        return Body(data, digest_tag(digest_of(data)))

    def of_all(self, view: View, since: float) -> Body | Deferred[Body]:
        """Tell of all that a client may read, from a time on."""
        return self._slices.run((id(self), view, since), partial(self._make, view, since))

    def _make(self, view: View, since: float) -> Generator[None, None, Body]:
        """Make the body, some changes at a time."""
        changes, texts = self._changes.since(since), []
        more = {
            "complete_since": _known(self._changes.complete_since()),
            "cut_short": [
                {"namespace": cut.namespace, "deployment": cut.deployment, "complete_since": _in_rfc3339(cut.at)}
                for cut in self._changes.cut_short(since)
                if _is_seen(view, cut)
            ],
        }
        for first in range(0, len(changes), AT_ONCE):
            some = changes[first : first + AT_ONCE]
            texts += [msgspec.json.encode(shown(change)) for change in some if _is_seen(view, change)]
            yield
        data = _joined(texts, more)
        digest = digest_of(data)
        return Body(data, digest_tag(digest), Packing(self._slices, [(digest, len(data))], {}))


def _joined(texts: Sequence[bytes], more: Mapping[str, Any]) -> bytes:
    return b'{"changes":[%s],%s\n' % (b",".join(texts), msgspec.json.encode(more)[1:])


def _is_seen(view: View, what: CountChange | Cut) -> bool:
    if view is EVERYTHING:
        return True
    extent = view.extent(what.namespace)
    return extent is not None and bool(extent.of({what.deployment: what}))


def _in_rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _known(at: float | None) -> str | None:
    return None if at is None else _in_rfc3339(at)
