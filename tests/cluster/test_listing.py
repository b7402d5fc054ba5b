"""The list that begins a cycle: its pages, what may go wrong with them, and the periodic one."""

from itertools import pairwise

from twisted.logger import LogLevel, capturedLogs

from sre_server.cluster.transport import PAGE_SECONDS
from sre_server.errors import BadAnswer, ClusterBroke, ClusterRefused, ClusterTimedOut, ClusterUnreachable, Expired
from sre_server.news import Occasion, Put
from tests.fakes import FakeReply, deployment
from tests.reflecting import ReflectorTestCase, changes_of, lists_of
from tests.wire import bookmark_line, event_line, refusal


class PagingTests(ReflectorTestCase):
    """Lists come in pages of one snapshot."""

    def test_pages(self) -> None:
        """Every page is read with the token of the one before it, and the list is emitted once, whole."""
        events = self.cycle(
            self.listed(deployment("a"), version="100", next_token="one"),
            self.listed(deployment("b"), deployment("c", "other"), version="100", next_token="two"),
            self.listed(deployment("d"), version="100"),
            self.watched(),
        )
        queries = [query for _, _, query in self.cluster.requests[:3]]
        self.assertEqual(
            queries, [{"limit": 500}, {"limit": 500, "continue": "one"}, {"limit": 500, "continue": "two"}]
        )
        (listed,) = lists_of(events)
        self.assertEqual(
            {name: sorted(there) for name, there in listed.deployments.items()},
            {"shop": ["a", "b", "d"], "other": ["c"]},
        )
        self.assertEqual(self.asked()["resourceVersion"], "100")

    def test_list_is_consistent(self) -> None:
        """No resourceVersion is sent with a list: the cluster answers from a quorum, not from what it has at hand."""
        self.cycle(self.listed(), self.watched())
        self.assertNotIn("resourceVersion", self.cluster.requests[0][2])

    def test_expired_on_a_later_page(self) -> None:
        """Pages of two snapshots are never mixed: a 410 on the way is followed by one full list."""
        events = self.cycle(
            self.listed(deployment("old"), version="100", next_token="one"),
            refusal(410, "Expired"),
            self.listed(deployment("new"), version="200"),
            self.watched(),
        )
        self.assertEqual([query for _, _, query in self.cluster.requests[:3]][2], {})
        (listed,) = lists_of(events)
        self.assertEqual(list(listed.deployments["shop"]), ["new"])
        self.assertEqual(listed.resource_version, "200")
        self.assertEqual(self.asked()["resourceVersion"], "200")

    def test_expired_on_the_first_page(self) -> None:
        """A 410 on the first page is an error; nothing is emitted, and the next cycle lists again."""
        self.cycle_fails(Expired, refusal(410, "Expired"))
        self.assertEqual(self.emitted, [])
        self.cycle(self.listed(), self.watched())

    def test_failing_list_emits_nothing(self) -> None:
        """A list that fails on any page is not emitted in part, and the next cycle begins it anew."""
        for answer, kind in (
            (refusal(500), ClusterRefused),
            (FakeReply(200, [b"{"]), BadAnswer),
            (FakeReply(200, [b'{"metadata"', ClusterBroke("cut")]), ClusterBroke),
            (FakeReply(200, [ClusterTimedOut("slow")]), ClusterTimedOut),
        ):
            with self.subTest(kind=kind):
                self.cycle_fails(kind, self.listed(deployment("a"), next_token="one"), answer)
                self.assertEqual(self.emitted, [])
        self.cycle(self.listed(), self.watched())

    def test_a_page_that_does_not_end(self) -> None:
        """One that comes drop by drop is given up, and the error says so."""
        error = self.cycle_fails(ClusterTimedOut, self.paced(PAGE_SECONDS / 2, [b"{", b" ", b" "]))
        self.assertEqual(str(error), "The cluster's answer did not end in time.")

    def test_started_before_the_first_page(self) -> None:
        """A list tells when it was asked for, not when it was complete, so that writes meanwhile are not lost."""
        self.clock.advance(50)
        first = self.listed(deployment("a"), next_token="one")

        def slowly() -> FakeReply:
            self.clock.advance(20)
            return first

        events = self.cycle(slowly, self.listed(deployment("b")), self.watched())
        self.assertEqual(lists_of(events)[0].started_at, 50)


class PeriodicListTests(ReflectorTestCase):
    """A list although the watch is well, every 10 to 15 minutes."""

    def setUp(self) -> None:
        """Sync."""
        super().setUp()
        self.cycle(self.listed(version="100"), self.watched(bookmark_line("100"), seconds=300))

    def later(self) -> None:
        """Watch until it is time for the periodic list."""
        self.cycle(self.watched(bookmark_line("100"), seconds=1000))

    def test_relists_periodically(self) -> None:
        """An event that the cluster lost is made up for by a list after 10 to 15 minutes, and then every so often."""
        listed_at = [0.0]
        while len(listed_at) < 20:
            self.cluster.script.extend([self.either] * 2)
            self.emitted.clear()
            self.reflector.cycle(self.emitted.append)
            self.cluster.script.clear()
            for listed in lists_of(self.emitted):
                listed_at.append(listed.started_at)
                self.assertEqual(listed.occasion, Occasion.CHECK)
        gaps = [later - earlier for earlier, later in pairwise(listed_at)]
        self.assertTrue(all(600 <= gap <= 920 for gap in gaps), gaps)
        self.assertGreater(len(set(gaps)), 3)

    def either(self) -> FakeReply:
        """Answer a list, or a watch that takes 20 s, whichever is asked for."""
        return self.watched(bookmark_line("100"))() if "watch" in self.asked() else self.listed()

    def test_failing_periodic_list_keeps_watching(self) -> None:
        """A periodic list that is refused or makes no sense is logged, and the watch goes on from where it was."""
        for answer in (refusal(500), refusal(429), FakeReply(200, [b"{"]), ClusterTimedOut("slow")):
            self.later()
            with capturedLogs() as logged:
                events = self.cycle(answer, self.watched(event_line("ADDED", deployment(version="101"))))
            self.assertEqual(changes_of(events), [Put(deployment(version="101"))])
            self.assertEqual(lists_of(events), [])
            warnings = [event for event in logged if event["log_level"] is LogLevel.warn]
            self.assertEqual(len(warnings), 1)

    def test_failed_periodic_list_is_not_repeated_at_once(self) -> None:
        """After a periodic list that failed, the next one is as far away as after a good one."""
        self.later()
        self.cycle(refusal(500), self.watched(bookmark_line("100"), seconds=300))
        self.assertEqual(lists_of(self.cycle(self.watched(bookmark_line("100"), seconds=299))), [])

    def test_unreachable_at_the_periodic_list(self) -> None:
        """Where the cluster cannot be reached for the list, it is not asked for a watch either."""
        self.later()
        self.cycle_fails(ClusterUnreachable, ClusterUnreachable("refused"))

    def test_versions_gone_back_are_logged(self) -> None:
        """A cluster whose versions went back was restored: its list is taken in, and a warning tells of it."""
        self.later()
        with capturedLogs() as logged:
            events = self.cycle(self.listed(deployment(version="6"), version="7"), self.watched())
        self.assertEqual(lists_of(events)[0].resource_version, "7")
        self.assertEqual(self.asked()["resourceVersion"], "7")
        (warning,) = [event for event in logged if event["log_level"] is LogLevel.warn]
        self.assertEqual((warning["before"], warning["version"]), ("100", "7"))

    def test_versions_going_on_are_not(self) -> None:
        """A later list, also one whose version is as text before the last one, is nothing to warn of."""
        self.later()
        with capturedLogs() as logged:
            self.cycle(self.listed(version="1000"), self.watched())
        self.assertEqual([event for event in logged if event["log_level"] is LogLevel.warn], [])
