"""How often a cluster in trouble is asked: the feed and its cycles together, request by request."""

import random
from collections.abc import Mapping
from typing import Any

from sre_server.cluster.transport import Transport
from sre_server.cluster.version import streams_lists
from sre_server.cluster.watching import Reflector
from sre_server.errors import ClusterBroke, ClusterError, ClusterUnreachable
from tests.fakes import FakeReply, FakeTransport
from tests.feeding import SOURCE, Constant, FeedTestCase
from tests.wire import bookmark_line, error_line, list_page, refusal

Answer = ClusterError | tuple[int, bytes] | int


class Troubled(FakeTransport):
    """A cluster that answers every list in one way, and every watch in another, at once."""

    def __init__(self, listing: Answer, watching: Answer) -> None:
        super().__init__()
        self._listing = listing
        self._watching = watching

    def request(self, method: str, path: str, query: Mapping[str, str | int], **more: Any) -> Any:
        """Answer as told; a number is a refusal."""
        answer = self._watching if "watch" in query else self._listing
        if isinstance(answer, int):
            self.script.append(refusal(answer))
        elif isinstance(answer, tuple):
            self.script.append(FakeReply(answer[0], [answer[1]]))
        else:
            self.script.append(answer)
        return super().request(method, path, query, **more)


LIST = (200, list_page())


def _by_version(transport: Transport) -> bool | None:
    return streams_lists(transport)


def _always(transport: Transport) -> bool | None:
    return transport is not None


class RequestRateTests(FeedTestCase):
    """One source's requests in the first minute, with the most unlucky jitter, the most lucky one, and any other."""

    streams = staticmethod(_by_version)

    def requests_in_a_minute(self, listing: Answer, watching: Answer) -> list[bool]:
        """Run against such a cluster; return, for each request of the busiest run, whether it was a list."""
        runs = []
        for chance in (Constant(0.0), Constant(1.0), random.Random(5)):  # noqa: S311
            self.setUp()
            cluster = Troubled(listing, watching)
            jitter = random.Random(5)  # noqa: S311
            reflector = Reflector(SOURCE, cluster, self.reactor.seconds, jitter, streams=self.streams)
            self.start(reflector, chance=chance)
            self.run_for(60)
            runs.append(["watch" not in query and path != "/version" for _, path, query in cluster.requests])
        return max(runs, key=len)

    def test_cluster_that_is_away(self) -> None:
        """A cluster that refuses or breaks every list is asked at most ten times, and once for its version."""
        for listing in (ClusterBroke("reset"), 401, 403, 410, 429, 500, 503):
            with self.subTest(listing=listing):
                requests = self.requests_in_a_minute(listing, 500)
                self.assertTrue(5 <= len(requests) <= 12, len(requests))

    def test_cluster_that_cannot_be_reached(self) -> None:
        """A cluster that refuses connections is tried at most sixteen times: it has no work of that."""
        for listing in (ClusterUnreachable("refused"), LIST):
            requests = self.requests_in_a_minute(listing, ClusterUnreachable("refused"))
            self.assertTrue(12 <= len(requests) <= 17, len(requests))

    def test_cluster_that_ends_every_watch(self) -> None:
        """A cluster that lists, but ends, breaks or puts off every watch at once, is asked at most ten times."""
        for watching in (
            (200, b""),
            (200, bookmark_line("101")),
            ClusterBroke("reset"),
            403,
            429,
            503,
        ):
            with self.subTest(watching=watching):
                requests = self.requests_in_a_minute(LIST, watching)
                self.assertTrue(5 <= len(requests) <= 10, len(requests))
                self.assertEqual(sum(requests), 1, "listed more than once")

    def test_cluster_that_forgets_every_version(self) -> None:
        """A cluster whose every watch makes a new list necessary is asked twice a cycle, and once for its version.

        After the first 410 that is asked at once, as it is what a healthy cluster answers.
        """
        for watching in ((200, error_line(410)), (200, error_line(500)), (200, b"garbage\n"), 410, 500, 504):
            with self.subTest(watching=watching):
                requests = self.requests_in_a_minute(LIST, watching)
                at_once = 2 if watching in (410, (200, error_line(410))) else 0
                self.assertTrue(5 <= len(requests) <= 15 + at_once, len(requests))


class StreamedRequestRateTests(RequestRateTests):
    """The same where lists are asked for as streams, of a cluster that lists and watches, and does not stream."""

    streams = staticmethod(_always)

    def test_cluster_that_is_away(self) -> None:
        """A cluster that refuses or breaks everything is asked at most ten times."""
        for answer in (ClusterBroke("reset"), (200, b""), 401, 403, 410, 429, 500, 503):
            with self.subTest(answer=answer):
                requests = self.requests_in_a_minute(answer, answer)
                self.assertTrue(5 <= len(requests) <= 10, len(requests))

    def test_cluster_that_ends_every_watch(self) -> None:
        """A cluster that lists, but ends or breaks every watch at once, is asked once more, for the stream."""
        for watching in ((200, b""), (200, bookmark_line("101")), ClusterBroke("reset")):
            with self.subTest(watching=watching):
                requests = self.requests_in_a_minute(LIST, watching)
                self.assertTrue(5 <= len(requests) <= 11, len(requests))
                self.assertEqual(sum(requests), 1, "listed more than once")

    def test_cluster_that_streams_and_ends(self) -> None:
        """A cluster that streams every list, and then ends the stream, is asked at most ten times."""
        requests = self.requests_in_a_minute(LIST, (200, bookmark_line("101", initial_events_end=True)))
        self.assertTrue(5 <= len(requests) <= 10, len(requests))
        self.assertEqual(sum(requests), 0)
