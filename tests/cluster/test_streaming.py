"""Lists that are streamed as the beginning of a watch (KEP-3157), and what becomes of those that are not."""

import json
from collections import deque
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.version import streams_lists
from sre_server.cluster.watching import Reflector
from sre_server.errors import (
    BadAnswer,
    ClusterBroke,
    ClusterError,
    ClusterRefused,
    ClusterTimedOut,
    ClusterUnreachable,
    Expired,
)
from sre_server.news import Changed, Deleted, Listed, Put, Resource, Source
from tests.fakes import FakeReply, FakeTransport, deployment, namespace
from tests.reflecting import SOURCE, Answer, ReflectorTestCase, changes_of, lists_of
from tests.wire import bookmark_line, error_line, event_line, refusal

END = bookmark_line("100", initial_events_end=True)


class StreamingTestCase(ReflectorTestCase):
    """A reflector that asks for streamed lists."""

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.reflector = self.make_reflector(SOURCE, streamed=True)

    def taking(self, seconds: float, reply: FakeReply) -> Callable[[], FakeReply]:
        """Answer with a reply that takes some time."""

        def answer() -> FakeReply:
            self.clock.advance(seconds)
            return reply

        return answer

    def queries(self) -> list[str]:
        """Say of each request what it was: a stream, a list or a watch."""
        kinds = []
        for _, _, query in self.cluster.requests:
            watch = "stream" if "sendInitialEvents" in query else "watch"
            kinds.append(watch if "watch" in query else "list")
        return kinds


class StreamedListTests(StreamingTestCase):
    """A cluster that streams."""

    def test_query(self) -> None:
        """A consistent list is asked for: no resourceVersion, bookmarks on, the rest as KEP-3157 wants it."""
        self.cycle(self.watched(END))
        query = self.asked()
        self.assertIn(query.pop("timeoutSeconds"), range(150, 451))
        expected = {"watch": "true", "allowWatchBookmarks": "true"}
        expected |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        self.assertEqual(query, expected)

    def test_one_request_lists_and_watches(self) -> None:
        """All that was told up to the bookmark is one list; what follows is a change, in the same batch or later."""
        one, two = deployment(), deployment("api", version="7")
        first = event_line("ADDED", one) + event_line("ADDED", two)
        later = deployment(version="101", replicas=4)
        stream = self.watched(first, END + event_line("MODIFIED", later), event_line("DELETED", two))
        events = self.cycle(stream)
        listed = Listed(SOURCE, "100", 0, deployments={"shop": {"web": one, "api": two}})
        self.assertEqual(events, [listed, Changed(SOURCE, 20, [Put(later)]), Changed(SOURCE, 20, [Deleted(two)])])
        self.assertEqual(self.queries(), ["stream"])

    def test_changes_among_the_first_events(self) -> None:
        """What changes while the list is told counts; what is deleted is not in it."""
        one, two = deployment(version="5"), deployment("api", version="7")
        lines = event_line("ADDED", one) + event_line("ADDED", two)
        lines += event_line("MODIFIED", deployment(version="90", replicas=9)) + event_line("DELETED", two)
        (listed,) = lists_of(self.cycle(self.watched(lines, END)))
        self.assertEqual(listed.deployments, {"shop": {"web": deployment(version="90", replicas=9)}})

    def test_empty(self) -> None:
        """An empty cluster is an empty list, and so is a namespace that lost all it had while it was told."""
        events = self.cycle(self.watched(END))
        self.assertEqual(events[0], Listed(SOURCE, "100", 0))
        self.reflector = self.make_reflector(SOURCE, streamed=True)
        lines = event_line("ADDED", deployment()) + event_line("DELETED", deployment())
        self.assertEqual(lists_of(self.cycle(self.watched(lines + END)))[0].deployments, {})

    def test_namespaces(self) -> None:
        """Namespaces are streamed like Deployments."""
        source = Source(Resource.NAMESPACES)
        self.reflector = self.make_reflector(source, streamed=True)
        events = self.cycle(self.watched(event_line("ADDED", namespace()) + END))
        self.assertEqual(events[0], Listed(source, "100", 0, namespaces={"shop": namespace()}))

    def test_nothing_before_the_end(self) -> None:
        """Until the last bookmark nothing is emitted, and an ordinary one is no end."""
        seen: list[int] = []

        def chunk(data: bytes) -> bytes:
            seen.append(len(self.emitted))
            return data

        class Stream(FakeReply):
            def chunks(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
                yield chunk(event_line("ADDED", deployment()))
                yield chunk(bookmark_line("90"))
                yield chunk(END)
                yield chunk(b"")

        self.cycle(self.taking(20, Stream()))
        self.assertEqual(seen, [0, 0, 0, 1])

    def test_watch_goes_on_from_the_stream(self) -> None:
        """The next cycle watches from the last version, without a list."""
        self.cycle(self.watched(END, event_line("ADDED", deployment(version="105"))))
        self.cycle(self.watched())
        self.assertEqual(self.queries(), ["stream", "watch"])
        self.assertEqual(self.asked()["resourceVersion"], "105")

    def test_patience(self) -> None:
        """Until the list is there a silence of 30 s is too long; then it is a watch, and may be silent for 90 s."""
        reply = FakeReply(200, [END])
        self.cycle(self.taking(20, reply))
        self.assertEqual((self.cluster.read_timeouts, reply.waits_at_most), ([30], 90))

    def test_expired_watch_streams_again(self) -> None:
        """A version that has become too old is followed by another streamed list."""
        self.cycle(self.watched(END))
        self.cycle_fails(Expired, self.watched(error_line(410, "Expired")))
        self.assertEqual(len(lists_of(self.cycle(self.watched(END)))), 1)
        self.assertEqual(self.queries(), ["stream", "watch", "stream"])


class NotStreamedTests(StreamingTestCase):
    """A cluster that does not stream, or not to the end: the list is read in pages."""

    def check_paged(self, *answers: Answer, again: str) -> None:
        """Check that a page and a watch follow these answers, and what the list after an expiry begins with."""
        events = self.cycle(*answers, self.listed(deployment("paged"), version="200"), self.watched())
        (listed,) = lists_of(events)
        self.assertEqual(list(listed.deployments["shop"]), ["paged"])
        self.assertEqual(changes_of(events), [])
        self.assertEqual(self.queries(), ["stream", "list", "watch"])
        self.cycle_fails(Expired, refusal(410, "Expired"))
        following: list[Answer] = [self.watched(END)] if again == "stream" else [self.listed(), self.watched()]
        self.cycle(*following)
        self.assertEqual(self.queries()[4], again)

    def check_paged_later(self, kind: type[ClusterError], answer: Answer) -> None:
        """Check that this answer is an error, told of nothing, and that the next cycle reads pages."""
        self.cycle_fails(kind, answer)
        self.assertEqual(self.emitted, [])
        self.check_paged(again="stream")

    def stream(self, *chunks: bytes | Exception) -> Callable[[], FakeReply]:
        """Answer a stream that takes no time."""
        return self.watched(*chunks, seconds=0)

    def test_refused_for_good(self) -> None:
        """Where the request is invalid pages are read in the same cycle, and it is never made again."""
        for status in (400, 422):
            with self.subTest(status):
                self.setUp()
                self.check_paged(refusal(status, "Invalid", "sendInitialEvents is forbidden"), again="list")

    def test_refused_otherwise(self) -> None:
        """Any other refusal may be about streaming: pages are read next, after the wait that errors are followed by."""
        for status in (404, 500, 504):
            with self.subTest(status):
                self.setUp()
                self.check_paged_later(ClusterRefused, refusal(status))

    def test_ended_early(self) -> None:
        """So it is with a stream that ends, breaks, falls silent or turns to garbage before the last bookmark."""
        first = event_line("ADDED", deployment("partial"))
        for kind, chunks in (
            (ClusterBroke, [first]),
            (ClusterBroke, [first, ClusterBroke("cut")]),
            (ClusterTimedOut, [first, ClusterTimedOut("silent")]),
            (BadAnswer, [first + b"garbage\n"]),
            (BadAnswer, [first, error_line(500, "InternalError")]),
        ):
            with self.subTest(chunks):
                self.setUp()
                self.check_paged_later(kind, self.stream(*chunks))

    def test_no_answer(self) -> None:
        """A cluster that does not answer the stream at all may yet answer a list."""
        self.check_paged_later(ClusterTimedOut, ClusterTimedOut("hung"))

    def test_pages_fail_as_well(self) -> None:
        """Where neither gets through, each is tried in turn, one in a cycle."""
        for _ in range(2):
            self.cycle_fails(ClusterBroke, ClusterBroke("reset"))
            self.cycle_fails(ClusterBroke, ClusterBroke("reset"))
        self.assertEqual(self.queries(), ["stream", "list"] * 2)

    def test_bookmark_never_comes(self) -> None:
        """A cluster that ignores what was asked, and only ever watches, is given up after a minute."""

        class Ignorant(FakeReply):
            def chunks(stream):  # type: ignore[no-untyped-def]  # noqa: ANN202, N805
                for _ in range(10):
                    self.clock.advance(25)
                    yield event_line("ADDED", deployment("partial"))

        self.check_paged(Ignorant(), again="stream")
        self.assertEqual(self.clock.seconds(), 75 + 2 * 20)

    def test_busy_or_away(self) -> None:
        """What a list would meet as well is an error with its own wait, and no list is tried in the same breath."""
        answers: list[Answer] = [refusal(status, retry_after=7) for status in (401, 403, 429, 503)]
        for answer in answers:
            self.assertEqual(self.cycle_fails(ClusterRefused, answer).retry_after, 7)
        self.cycle_fails(ClusterUnreachable, ClusterUnreachable("refused"))
        self.cycle_fails(Expired, refusal(410, "Expired"))
        self.cycle_fails(Expired, self.stream(error_line(410, "Expired")))
        self.assertEqual(self.emitted, [])
        self.cycle(self.watched(END))
        self.assertEqual(set(self.queries()), {"stream"})

    def test_garbage_after_the_list(self) -> None:
        """What goes wrong after the last bookmark is a watch's fault, as ever: the list stands, and another follows."""
        good = deployment(version="101")
        error = self.cycle_fails(BadAnswer, self.stream(END + event_line("ADDED", good) + b"garbage\n"))
        self.assertIn("not an event", str(error))
        self.assertEqual([type(event) for event in self.emitted], [Listed, Changed])
        self.cycle(self.watched(END))


class VersionTests(SynchronousTestCase):
    """Which clusters are asked for streamed lists."""

    def streams(self, answer: FakeReply | ClusterError) -> bool | None:
        """Ask a cluster that answers so for its version."""
        self.cluster = FakeTransport([answer])
        return streams_lists(self.cluster)

    def test_versions(self) -> None:
        """Kubernetes streams from 1.34 on, whatever stands behind the number."""
        for major, minor, expected in (
            ("1", "34", True),
            ("1", "36+", True),
            ("2", "0", True),
            ("1", "33", False),
            ("1", "9", False),
            ("1", "", False),
            ("", "", False),
            ("one", "ninety", False),
        ):
            version = FakeReply(200, [json.dumps({"major": major, "minor": minor, "platform": "a/b"}).encode()])
            self.assertEqual(self.streams(version), expected, (major, minor))
        self.assertEqual(self.cluster.requests, [("GET", "/version", {})])

    def test_no_version(self) -> None:
        """Of a cluster that does not tell, or makes no sense, it is not known: it is not asked to stream for now."""
        for answer in (
            refusal(403, "Forbidden"),
            refusal(404, "NotFound"),
            FakeReply(200, [b"<html>"]),
            FakeReply(200, [b'{"major": 1}']),
            FakeReply(200, [b"\xff"]),
            ClusterBroke("reset"),
            ClusterTimedOut("hung"),
        ):
            self.assertIsNone(self.streams(answer), answer)

    def test_refusal_is_told(self) -> None:
        """That the version is refused is told, and so is that it no longer is."""
        told: list[tuple[str, Exception | None]] = []
        version = FakeReply(200, [b'{"major": "1", "minor": "34"}'])
        for answer in (refusal(403, "Forbidden"), version):
            streams_lists(FakeTransport([answer]), lambda *each: told.append(each))
        (first, refused), (second, granted) = told
        self.assertEqual((first, second, granted), ("get /version", "get /version", None))
        self.assertIsInstance(refused, ClusterRefused)

    def test_busy_or_away(self) -> None:
        """What a list would meet as well is an error at once, so that a cluster that is down is asked once a cycle."""
        for status in (429, 503):
            with self.assertRaises(ClusterRefused) as raised:
                self.streams(refusal(status, retry_after=7))
            self.assertEqual(raised.exception.retry_after, 7)
        with self.assertRaises(ClusterUnreachable):
            self.streams(ClusterUnreachable("refused"))

    def test_asked_once(self) -> None:
        """A reflector asks before its first list, again if there was no answer, and never once there was."""
        cluster = FakeTransport([ClusterUnreachable("refused")])
        reflector = Reflector(SOURCE, cluster, streams=streams_lists)
        old = FakeReply(200, [b'{"major": "1", "minor": "20"}'])
        for answers in ([ClusterUnreachable("refused")], [old, refusal(403)], [refusal(403)]):
            cluster.script = deque(answers)
            with self.assertRaises(ClusterError):
                reflector.cycle(lambda _: None)
            self.assertEqual(len(cluster.script), 0)
        asked = [path.rpartition("/")[2] for _, path, _ in cluster.requests]
        self.assertEqual(asked, ["version", "version", "deployments", "deployments"])

    def test_asked_again_later(self) -> None:
        """A version that is refused is asked for again by a list ten minutes later, not by each that fails."""
        cluster, clock = FakeTransport(), Clock()
        reflector = Reflector(SOURCE, cluster, clock.seconds, streams=streams_lists)
        new = FakeReply(200, [b'{"major": "1", "minor": "34"}'])
        for seconds, answers in ((0, [refusal(403), refusal(500)]), (300, [refusal(500)]), (300, [new, refusal(500)])):
            clock.advance(seconds)
            cluster.script = deque(answers)
            self.assertRaises(ClusterRefused, reflector.cycle, lambda _: None)
        asked = ["stream" if "watch" in query else path.rpartition("/")[2] for _, path, query in cluster.requests]
        self.assertEqual(asked, ["version", "deployments", "deployments", "version", "stream"])


class SameObjectsTests(ReflectorTestCase):
    """A list that tells what was known gives the same objects, so that what was made of them stays good."""

    def check_kept(self, known: Listed | Changed, *answers: Answer) -> None:
        """Check that the list which follows holds the very object that is known, and a new one for what differs."""
        self.cycle_fails(Expired, refusal(410, "Expired"))
        (listed,) = lists_of(self.cycle(*answers))
        kept = known.deployments["shop"]["web"] if isinstance(known, Listed) else known.changes[0].object
        self.assertIs(listed.deployments["shop"]["web"], kept)
        self.assertEqual(listed.deployments["shop"]["api"].replicas, 8)

    def test_listed_again(self) -> None:
        """Read in pages or streamed, an object that was listed before stays."""
        web, api = deployment(), deployment("api", replicas=8, version="11")
        lines = event_line("ADDED", web) + event_line("ADDED", api) + END
        for streamed in (False, True):
            with self.subTest(streamed=streamed):
                self.setUp()
                first = self.listed(web, deployment("api"))
                known = self.cycle(first, self.watched())[0]
                assert isinstance(known, Listed)
                self.reflector._streamed = streamed
                again: list[Answer] = [self.watched(lines)] if streamed else [self.listed(web, api), self.watched()]
                self.check_kept(known, *again)

    def test_changed_since(self) -> None:
        """So does one that a watch told of in between."""
        web, api = deployment(version="105"), deployment("api", replicas=8)
        events = self.cycle(self.listed(deployment(), api), self.watched(event_line("MODIFIED", web)))
        known = events[-1]
        assert isinstance(known, Changed)
        self.check_kept(known, self.listed(web, api), self.watched())

    def test_lists_do_not_change(self) -> None:
        """A list that was emitted stays as it is, whatever the watch tells afterwards."""
        events = self.cycle(self.listed(deployment()), self.watched(event_line("DELETED", deployment())))
        self.assertEqual(lists_of(events)[0].deployments, {"shop": {"web": deployment()}})
