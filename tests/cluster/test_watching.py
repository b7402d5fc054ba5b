"""One watch after another: what is asked for, what ends it, and where the next one goes on."""

from collections.abc import Callable
from itertools import pairwise, repeat

from sre_server.cluster.gathering import Gathered
from sre_server.cluster.watching import Reflector
from sre_server.errors import (
    BadAnswer,
    ClusterBroke,
    ClusterError,
    ClusterRefused,
    ClusterTimedOut,
    ClusterUnreachable,
    Expired,
    Silent,
    TooShort,
)
from sre_server.news import Changed, Deleted, Listed, Occasion, Put, Resource, Source
from tests.fakes import FakeReply, deployment, namespace
from tests.reflecting import SOURCE, ReflectorTestCase, changes_of, lists_of
from tests.wire import bookmark_line, error_line, event_line, refusal


class WatchTests(ReflectorTestCase):
    """A watch that goes well."""

    def test_first_cycle_lists_then_watches(self) -> None:
        """The first cycle emits a whole list, then the changes, in their order, and when each was heard."""
        one, two = deployment(version="101", replicas=4), deployment("api", version="102")
        lines = event_line("MODIFIED", one) + event_line("DELETED", two)
        events = self.cycle(self.listed(deployment(), two, version="100"), self.watched(lines))
        by_name = {"shop": {"web": deployment(), "api": two}}
        self.assertEqual(events[0], Listed(SOURCE, "100", 0, deployments=by_name))
        self.assertEqual(events[1:], [Changed(SOURCE, 20, [Put(one), Deleted(two)])])
        paths = [(method, path) for method, path, _ in self.cluster.requests]
        self.assertEqual(paths, [("GET", "/apis/apps/v1/deployments")] * 2)

    def test_what_the_server_may_do(self) -> None:
        """Whoever keeps account of permissions is told of those that a list and a watch have shown."""
        told: list[str] = []
        self.reflector = Reflector(SOURCE, self.cluster, self.clock.seconds, told=lambda what, _: told.append(what))
        self.cycle(self.listed(), self.watched())
        self.assertEqual(told, ["list deployments", "watch deployments"])

    def test_the_former_list(self) -> None:
        """Its objects are freed once, here, with the news after the next list, while no reader waits."""
        freed: list[int] = []
        self.patch(Gathered, "release", lambda gathered: freed.append(len(gathered)))
        self.cycle(self.listed(deployment()), self.watched(bookmark_line("100"), seconds=1000))
        self.cycle(self.listed(), self.watched(bookmark_line("100")))
        self.cycle(self.watched(bookmark_line("100")))
        self.assertEqual(freed, [0, 1])

    def test_watch_query(self) -> None:
        """A watch asks for bookmarks, from the list's version on, for a time that is not the same for everybody."""
        self.cycle(self.listed(version="100"), self.watched())
        query = self.asked()
        seconds = [query.pop("timeoutSeconds")]
        self.assertEqual(query, {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": "100"})
        for _ in range(30):
            self.cycle(self.watched(bookmark_line("100"), seconds=11))
            seconds.append(self.asked()["timeoutSeconds"])
        self.assertTrue(all(isinstance(one, int) and 150 <= one <= 450 for one in seconds), seconds)
        self.assertGreater(len(set(seconds)), 10)
        self.assertEqual(self.cluster.read_timeouts[1], 90)

    def test_watch_is_not_compressed(self) -> None:
        """Compression is asked for lists only: in a watch it would hold events back."""
        self.cycle(self.listed(), self.watched())
        self.assertEqual([dict(headers) for headers in self.cluster.headers], [{"Accept-Encoding": "gzip"}, {}])

    def test_paths(self) -> None:
        """Each source has its own collection."""
        for source, path in (
            (Source(Resource.NAMESPACES), "/api/v1/namespaces"),
            (Source(Resource.DEPLOYMENTS, "shop"), "/apis/apps/v1/namespaces/shop/deployments"),
        ):
            self.reflector = self.make_reflector(source)
            self.cycle(self.listed(), self.watched())
            self.assertEqual([requested for _, requested, _ in self.cluster.requests[-2:]], [path, path])

    def test_namespaces(self) -> None:
        """Namespaces are listed and watched like Deployments."""
        self.reflector = self.make_reflector(Source(Resource.NAMESPACES))
        added = namespace("new", version="101")
        events = self.cycle(self.listed(namespace()), self.watched(event_line("ADDED", added)))
        self.assertEqual(lists_of(events)[0].namespaces, {"shop": namespace()})
        self.assertEqual(changes_of(events), [Put(added)])

    def test_resumes_from_the_last_event(self) -> None:
        """The next watch goes on from the last event's version, without a list."""
        self.cycle(self.listed(version="100"), self.watched(event_line("ADDED", deployment(version="105"))))
        self.cycle(self.watched())
        self.assertEqual(self.asked()["resourceVersion"], "105")

    def test_resumes_from_the_last_bookmark(self) -> None:
        """A bookmark brings the version on, and is emitted as a sign of life without changes."""
        events = self.cycle(self.listed(version="100"), self.watched(bookmark_line("150")))
        self.assertEqual(events[1:], [Changed(SOURCE, 20, [], "150")])
        self.cycle(self.watched())
        self.assertEqual(self.asked()["resourceVersion"], "150")

    def test_a_bookmark_after_a_change(self) -> None:
        """All is known by its version, which is that of something else that happened in the cluster."""
        lines = event_line("MODIFIED", deployment(version="105")) + bookmark_line("107")
        events = self.cycle(self.listed(version="100"), self.watched(lines))
        self.assertEqual(events[1:], [Changed(SOURCE, 20, [Put(deployment(version="105"))], "107")])

    def test_batches(self) -> None:
        """What arrives together is emitted together: one call into the reactor, not one for each event."""
        lines = b"".join(
            event_line("ADDED", deployment(f"d{number}", version=str(number))) for number in range(101, 151)
        )
        events = self.cycle(self.listed(), self.watched(lines, bookmark_line("151")))
        self.assertEqual(len(events), 3)
        self.assertEqual(len(changes_of(events)), 50)

    def test_interrupt_reaches_the_connection(self) -> None:
        """Interrupting a reflector interrupts its connection."""
        self.reflector.interrupt()
        self.assertTrue(self.cluster.interrupted)

    def test_replies_are_closed(self) -> None:
        """Every reply is closed, also when its watch ended in an error."""
        page, watch = self.listed(), self.watched(ClusterBroke("cut"))()
        self.cycle_fails(ClusterBroke, page, watch)
        self.assertTrue(page.closed)
        self.assertTrue(watch.closed)


class EndedTests(ReflectorTestCase):
    """What may end a watch, once a first list and event 105 have been taken in."""

    def setUp(self) -> None:
        """List, and watch one event."""
        super().setUp()
        self.cycle(self.listed(version="100"), self.watched(event_line("ADDED", deployment(version="105"))))

    def check_resumes(self, version: str = "105") -> None:
        """Check that the next cycle watches from that version, and does not list."""
        self.assertEqual(lists_of(self.cycle(self.watched())), [])
        self.assertEqual(self.asked()["resourceVersion"], version)

    def check_lists(self) -> None:
        """Check that the next cycle begins with a list, and watches from its version."""
        self.assertEqual(len(lists_of(self.cycle(self.listed(version="900"), self.watched()))), 1)
        self.assertEqual(self.asked()["resourceVersion"], "900")

    def test_expired_as_status(self) -> None:
        """A watch refused with 410 is followed by a list."""
        self.cycle_fails(Expired, refusal(410, "Expired"))
        self.check_lists()

    def test_expired_as_event(self) -> None:
        """A watch ended by an ERROR of 410 is followed by a list; what came before it is kept."""
        lines = event_line("DELETED", deployment(version="106")) + error_line(410, "Expired")
        self.cycle_fails(Expired, self.watched(lines))
        self.assertEqual(changes_of(self.emitted)[-1], Deleted(deployment(version="106")))
        self.check_lists()

    def test_other_error_event(self) -> None:
        """A watch ended by any other ERROR is followed by a list."""
        self.cycle_fails(BadAnswer, self.watched(error_line(500, "InternalError")))
        self.check_lists()

    def test_refused_for_now(self) -> None:
        """Refusals that say nothing of the version keep it, and carry how long to wait: no list for each of them."""
        for status in (401, 403, 429, 503):
            with self.subTest(status):
                error = self.cycle_fails(ClusterRefused, refusal(status, "Busy", "come back", retry_after=7))
                self.assertEqual(error.retry_after, 7)
                self.assertIn("come back", str(error))
                self.check_resumes()

    def test_version_too_large(self) -> None:
        """A cluster that was restored, and knows no such version yet, is listed."""
        self.cycle_fails(ClusterRefused, refusal(504, "Timeout", "Too large resource version"))
        self.check_lists()

    def test_other_refusals(self) -> None:
        """Refusals that nobody expects may be about the version, so that a list follows."""
        for status in (400, 404, 500):
            with self.subTest(status):
                self.cycle_fails(ClusterRefused, refusal(status))
                self.check_lists()

    def test_refusal_without_a_status_object(self) -> None:
        """A proxy's HTML page is a refusal like any other."""
        reply = refusal(503)
        self.cycle_fails(ClusterRefused, type(reply)(503, [b"<html>no</html>"]))
        self.check_resumes()

    def test_half_line_at_the_end(self) -> None:
        """A watch that is cut within a line loses nothing: the half line is dropped, and asked for again."""
        whole, half = (
            event_line("MODIFIED", deployment(version="106")),
            event_line("MODIFIED", deployment(version="107")),
        )
        events = self.cycle(self.watched(whole + half[:-10]))
        self.assertEqual(changes_of(events), [Put(deployment(version="106"))])
        self.check_resumes("106")

    def test_whole_line_without_its_newline(self) -> None:
        """A last line that lacks only its newline counts as cut."""
        events = self.cycle(self.watched(event_line("MODIFIED", deployment(version="106")).rstrip()))
        self.assertEqual(changes_of(events), [])
        self.check_resumes()

    def test_broken_mid_stream(self) -> None:
        """A connection that breaks is an error, what had arrived is kept, and the next watch goes on from there."""
        line = event_line("MODIFIED", deployment(version="106"))
        self.cycle_fails(ClusterBroke, self.watched(line, ClusterBroke("reset")))
        self.assertEqual(changes_of(self.emitted)[-1], Put(deployment(version="106")))
        self.check_resumes("106")

    def test_no_answer(self) -> None:
        """A cluster that cannot be reached, or breaks off, is an error, and no reason to list."""
        for error in (ClusterUnreachable("refused"), ClusterBroke("reset")):
            with self.subTest(error=error):
                self.cycle_fails(type(error), error)
                self.check_resumes()

    def test_short_watch(self) -> None:
        """A watch that ends at once is an error, or it would be asked for again in a busy loop; the version stays."""
        self.cycle_fails(TooShort, self.watched(seconds=9.9))
        self.check_resumes()
        self.cycle(self.watched(seconds=10))

    def test_garbage_line(self) -> None:
        """A line that is not an event is followed by a list; the good lines before it count, those after it do not."""
        good = event_line("MODIFIED", deployment(version="106", replicas=6))
        lines = good + b"garbage\n" + event_line("MODIFIED", deployment(version="107"))
        self.cycle_fails(BadAnswer, self.watched(lines))
        before = Changed(self.reflector.source, self.clock.seconds(), [Put(deployment(version="106", replicas=6))])
        self.assertEqual(self.emitted[-1], before)
        self.check_lists()

    def test_deeply_nested_line(self) -> None:
        """A line that is nested too deeply to be decoded is a bad one like any other."""
        good = event_line("MODIFIED", deployment(version="106", replicas=6))
        self.cycle_fails(BadAnswer, self.watched(good + b'{"type":"ADDED","object":' + b"[" * 100_000 + b"\n"))
        self.assertEqual(changes_of(self.emitted)[-1], Put(deployment(version="106", replicas=6)))
        self.check_lists()


class SilenceTests(ReflectorTestCase):
    """A watch that brings nothing, not even a bookmark, is followed by a list, whatever else may come."""

    def setUp(self) -> None:
        """List."""
        super().setUp()
        self.cycle(self.listed(version="100"), self.watched(bookmark_line("100")))

    def check_lists(self) -> None:
        """Check that pages are read next, for this reason, even if the cluster streams lists."""
        self.reflector._streamed = True
        (listed,) = lists_of(self.cycle(self.listed(version="7"), self.watched(bookmark_line("8"))))
        self.assertEqual(listed.occasion, Occasion.SILENCE)
        self.assertEqual(self.asked()["resourceVersion"], "7")

    def test_nothing_for_a_read_timeout(self) -> None:
        """After 90 s without an event or a bookmark only a list is of use; what came before was taken in."""
        line = event_line("ADDED", deployment(version="106"))
        self.cycle_fails(Silent, self.watched(line, ClusterTimedOut("silence")))
        self.assertEqual(len(changes_of(self.emitted)), 1)
        self.check_lists()

    def test_headers_are_no_news(self) -> None:
        """That a watch is accepted is no sign of life: nothing is emitted for it."""
        self.assertEqual(self.cycle(self.watched()), [])

    def test_not_even_headers(self) -> None:
        """A watch that is not answered at all is as silent as one that is."""
        self.cycle_fails(Silent, ClusterTimedOut("hung"))
        self.check_lists()

    def test_watches_that_end_early(self) -> None:
        """What is silent are not single watches: a proxy that ends each after a minute hides nothing by that."""
        self.assertEqual(self.cycle(self.watched(seconds=60)), [])
        reply = self.silent()()
        self.cycle_fails(Silent, lambda: reply)
        self.assertEqual(reply.waits_at_most, 30)
        self.check_lists()

    def test_watches_that_break(self) -> None:
        """Nor by breaking each."""
        for seconds in (60, 60):
            self.cycle_fails(ClusterBroke, self.watched(ClusterBroke("cut"), seconds=seconds))
        self.check_lists()

    def test_after_an_outage(self) -> None:
        """A cluster that was away for long is listed as soon as it takes a watch, not 90 s later, and not before."""
        self.clock.advance(600)
        for answer in (ClusterUnreachable("refused"), refusal(503), refusal(403)):
            self.cycle_fails(type(answer) if isinstance(answer, ClusterError) else ClusterRefused, answer)
        self.cycle_fails(Silent, self.watched(event_line("ADDED", deployment(version="106"))))
        self.check_lists()

    def test_no_event_is_no_news(self) -> None:
        """Bytes that never make an event are silence, however steadily they come, and no more of them is kept."""
        for piece in (b"\n", b" ", b"x" * 2**20):
            with self.subTest(piece=piece[:1]):
                self.setUp()
                self.cycle_fails(Silent, self.paced(1, repeat(piece)))
                self.assertEqual(self.clock.seconds(), 20 + 90)
                self.check_lists()

    def test_any_event_is_news(self) -> None:
        """An event or a bookmark every 80 s is enough, for as long as one likes; each tells when it was heard."""
        lines = [event_line("MODIFIED", deployment(version="106")), bookmark_line("107")] * 5
        events = self.cycle(self.paced(80, lines))
        self.assertEqual([event.heard_at for event in events], [20 + 80 * number for number in range(1, 11)])

    def test_once_in_a_read_timeout(self) -> None:
        """A cluster that never sends a bookmark is listed every 90 s, counted from the end of the list before."""
        self.cycle_fails(Silent, self.silent())
        for _ in range(5):
            self.cycle_fails(Silent, self.listed_after(20), self.silent())
        listed_at = [listed.started_at for listed in lists_of(self.emitted)[1:]]
        self.assertEqual([later - earlier for earlier, later in pairwise(listed_at)], [110] * 4)

    def listed_after(self, seconds: float) -> Callable[[], FakeReply]:
        """Answer a list that takes some time."""

        def answer() -> FakeReply:
            self.clock.advance(seconds)
            return self.listed(version="7")

        return answer

    def test_list_that_fails(self) -> None:
        """Where the list fails, it is what follows the wait, too: only it can tell whether all is well."""
        self.cycle_fails(Silent, self.silent())
        self.cycle_fails(ClusterRefused, refusal(500))
        self.check_lists()
