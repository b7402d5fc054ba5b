"""Lists of one source, read in pages, of which none takes more memory than a page may."""

import time
from collections.abc import Callable
from typing import Final

from sre_server.cluster.kinds import collection_path, selection
from sre_server.cluster.permissions import Told, check_permitted, permission, untold
from sre_server.cluster.transport import PAGE_SECONDS, Transport
from sre_server.cluster.unpacking import Page, decode_cut_page, decode_page
from sre_server.errors import ClusterTimedOut, Expired
from sre_server.news import Source

PAGE_OBJECTS: Final = 500
PAGE_BYTES: Final = 16 * 2**20
"""As much as client-go takes of one watch event; the largest object that etcd stores by default is half of that."""


class Pages:
    """Reads lists; how many objects fit into a page is learned, and kept from list to list."""

    def __init__(
        self, source: Source, connection: Transport, now: Callable[[], float] = time.monotonic, *, told: Told = untold
    ) -> None:
        self._source = source
        self._connection = connection
        self._now = now
        self._told = told
        self._objects = PAGE_OBJECTS

    def read(self) -> list[Page]:
        """Read every page of one snapshot; if it expires on the way, all of a fresh one, in a single page if that fits.

        Raises ClusterError.
        """
        first = self._page()
        try:
            return self._read_on(first)
        except Expired:
            body, whole = self._fetch(selection(self._source))
        return [decode_page(self._source.resource, body)] if whole else self._read_on(self._page())

    def _read_on(self, first: Page) -> list[Page]:
        pages = [first]
        while token := pages[-1].next_token:
            pages.append(self._page(token))
        return pages

    def _page(self, token: str = "") -> Page:
        """Read one page, of as many objects as fit into it; one that does not fit is told as unreadable."""
        while True:
            query = {"limit": self._objects, **selection(self._source)}
            body, whole = self._fetch(query | ({"continue": token} if token else {}))
            if not whole and self._objects == 1:
                return decode_cut_page(self._source.resource, body)
            if not whole:
                self._shrink()
                continue
            if len(body) < PAGE_BYTES // 4:
                self._objects = min(PAGE_OBJECTS, self._objects * 2)
            return decode_page(self._source.resource, body)

    def _shrink(self) -> None:
        self._objects = max(1, self._objects // 8)

    def _fetch(self, query: dict[str, str | int]) -> tuple[bytearray, bool]:
        """Return a page's bytes, and whether these are all: what is larger than a page may be is cut off there."""
        headers = {"Accept-Encoding": "gzip"}
        path = collection_path(self._source)
        with self._connection.request("GET", path, query, headers=headers, read_timeout=PAGE_SECONDS) as reply:
            check_permitted(reply, permission("list", self._source), self._told)
            deadline = self._now() + PAGE_SECONDS
            body = bytearray()
            for chunk in reply.chunks():
                body += chunk
                if len(body) > PAGE_BYTES:
                    return body, False
                if self._now() > deadline:
                    self._shrink()
                    raise ClusterTimedOut("The cluster's answer did not end in time.")
            return body, True
