"""One blocking list+watch cycle of one source: the thread side of the cache, without Twisted.

The rules are client-go's reflector's (field-notes.md section 1), made stricter where a Python client on HTTP/1.1 cannot
ping: a read timeout of 90 s is one missed bookmark and a half. A list is emitted whole or not at all. Whatever ends a
cycle, the next one goes on from the last resourceVersion, unless the cluster said that this one is of no more use.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol

from twisted.logger import Logger

from sre_server.cluster.connection import Reply, refusal
from sre_server.cluster.decoding import Page, decode_line, decode_page, decode_status
from sre_server.errors import (
    BadAnswer,
    ClusterError,
    ClusterRefused,
    ClusterTimedOut,
    ClusterUnreachable,
    Expired,
    TooShort,
)
from sre_server.model import (
    Change,
    Changed,
    Deployment,
    Event,
    Listed,
    Namespace,
    Resource,
    Source,
    at_least_as_new,
)

PAGE_OBJECTS: Final = 500
PAGE_BYTES: Final = 256 * 2**20
PAGE_SECONDS: Final = 60.0
STATUS_BYTES: Final = 2**20
LINE_BYTES: Final = 4 * 2**20
READ_TIMEOUT: Final = 90.0
WATCH_SECONDS: Final = (150, 450)
SHORT_WATCH_SECONDS: Final = 10.0
RELIST_SECONDS: Final = (600, 900)
# Refusals that say nothing of the resourceVersion: asking again for the same one spares the cluster a list.
_SAME_VERSION: Final = frozenset({401, 403, 429, 503})
_COLLECTION: Final = {
    Resource.NAMESPACES: ("/api/v1", "namespaces"),
    Resource.DEPLOYMENTS: ("/apis/apps/v1", "deployments"),
}

Emit = Callable[[Event], object]


class Transport(Protocol):
    """What a cycle needs of a connection; see `sre_server.cluster.connection.Connection`."""

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        *,
        read_timeout: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        """Send one request, once."""

    def interrupt(self) -> None:
        """End whatever the thread waits for; may be called from any thread."""


def collection_path(source: Source) -> str:
    """The URL path of the collection that a source lists and watches."""
    group, plural = _COLLECTION[source.resource]
    return f"{group}/namespaces/{source.namespace}/{plural}" if source.namespace else f"{group}/{plural}"


def check(reply: Reply) -> None:
    """Raise Expired for a 410, ClusterRefused for any other answer that is not a 200."""
    if reply.status == 200:
        return
    message = decode_status(reply.read(STATUS_BYTES, PAGE_SECONDS)).message
    if reply.status == 410:
        raise Expired(f"The resourceVersion is too old: {message}")
    raise refusal(reply, message)


class Reflector:
    """Keeps up with one source, a cycle at a time; all but `interrupt` belongs to one thread."""

    log = Logger()

    def __init__(
        self,
        source: Source,
        connection: Transport,
        now: Callable[[], float] = time.monotonic,
        chance: random.Random | None = None,
    ) -> None:
        self.source = source
        self._connection = connection
        self._now = now
        self._chance = chance or random.SystemRandom()
        self._version: str | None = None
        self._must_list = True
        self._relist_at = 0.0

    def interrupt(self) -> None:
        """Make a running cycle raise soon, and every later one at once."""
        self._connection.interrupt()

    def cycle(self, emit: Emit) -> None:
        """List if need be, then watch until the server, a silence or an error ends it.

        Raises ClusterError when something was wrong: the caller waits before the next cycle. Returns when a watch
        ended in good order: the next cycle may begin at once.
        """
        if self._must_list:
            self._list(emit)
        elif self._now() >= self._relist_at:
            self._check_by_listing(emit)
        try:
            self._watch(emit)
        except (Expired, BadAnswer):
            self._must_list = True
            raise
        except ClusterRefused as error:
            self._must_list = error.status not in _SAME_VERSION
            raise

    def _check_by_listing(self, emit: Emit) -> None:
        """List although the watch is well, as an event that the server lost would otherwise be missed for ever."""
        try:
            self._list(emit)
        except ClusterUnreachable:
            raise
        except ClusterError as error:
            self._schedule_relist()
            self.log.warn(
                "{source}: the periodic list failed, the watch goes on: {error}", source=self.source, error=error
            )

    def _list(self, emit: Emit) -> None:
        started_at = self._now()
        pages = self._pages()
        version, objects = pages[0].resource_version, [item for page in pages for item in page.objects]
        namespaces: dict[str, Namespace] = {}
        deployments: dict[str, dict[str, Deployment]] = {}
        for item in objects:
            if isinstance(item, Namespace):
                namespaces[item.name] = item
            else:
                deployments.setdefault(item.namespace, {})[item.name] = item
        if self._version is not None and not at_least_as_new(version, self._version):
            self.log.warn(
                "{source}: the cluster's resourceVersion went back from {before} to {version}: was it restored?",
                source=self.source,
                before=self._version,
                version=version,
            )
        self._version, self._must_list = version, False
        self._schedule_relist()
        emit(Listed(self.source, version, started_at, namespaces, deployments))
        self.log.info("{source}: listed {count}", source=self.source, count=len(objects), version=version)

    def _schedule_relist(self) -> None:
        self._relist_at = self._now() + self._chance.uniform(*RELIST_SECONDS)

    def _pages(self) -> list[Page]:
        """Read every page of one snapshot; if it expires on the way, read a fresh one in a single page."""
        pages = [self._page({"limit": PAGE_OBJECTS})]
        try:
            while token := pages[-1].next_token:
                pages.append(self._page({"limit": PAGE_OBJECTS, "continue": token}))
        except Expired:
            return [self._page({})]
        return pages

    def _page(self, query: Mapping[str, str | int]) -> Page:
        headers = {"Accept-Encoding": "gzip"}
        path = collection_path(self.source)
        with self._connection.request("GET", path, query, headers=headers, read_timeout=PAGE_SECONDS) as reply:
            check(reply)
            return decode_page(self.source.resource, reply.read(PAGE_BYTES, PAGE_SECONDS))

    def _watch(self, emit: Emit) -> None:
        query: dict[str, str | int] = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version or "",
            "timeoutSeconds": self._chance.randint(*WATCH_SECONDS),
        }
        started_at = self._now()
        with self._connection.request("GET", collection_path(self.source), query, read_timeout=READ_TIMEOUT) as reply:
            check(reply)
            emit(Changed(self.source))
            try:
                for lines in complete_lines(reply.chunks(), LINE_BYTES):
                    self._take_in(lines, emit)
            except ClusterTimedOut:
                self.log.debug("{source}: silent for {seconds} s", source=self.source, seconds=READ_TIMEOUT)
        if self._now() - started_at < SHORT_WATCH_SECONDS:
            raise TooShort("The cluster ended the watch at once.")

    def _take_in(self, lines: list[bytes], emit: Emit) -> None:
        """Emit the changes of these lines as one batch, those before a bad line included."""
        changes: list[Change] = []
        try:
            for line in lines:
                event = decode_line(self.source.resource, line)
                self._version = event.resource_version
                if event.change is not None:
                    changes.append(event.change)
        except Exception:
            if changes:
                emit(Changed(self.source, changes))
            raise
        emit(Changed(self.source, changes))


def complete_lines(chunks: Iterator[bytes], limit: int) -> Iterator[list[bytes]]:
    """Cut a stream into lines, a list for each chunk that completes any; blank lines and a last half line are dropped.

    Raises BadAnswer as soon as an unfinished line is longer than `limit` bytes.
    """
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        head, *rest = chunk.split(b"\n")
        pending.append(head)
        size += len(head)
        if size > limit:
            raise BadAnswer(f"The cluster sent a line of more than {limit} bytes.")
        if rest:
            lines = [b"".join(pending), *rest[:-1]]
            pending, size = [rest[-1]], len(rest[-1])
            if whole := [line for line in lines if line.strip()]:
                yield whole
