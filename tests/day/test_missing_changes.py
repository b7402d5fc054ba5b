"""Changes of counts that nobody told of, and when those were seen that somebody did."""

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.changes import Changes
from sre_server.day.record import CountChange, Cut, Record
from sre_server.model import Author, Deployment, Progress, ScaledEvent, Unreadable
from sre_server.news import Changed, Deleted, Listed, Put, Resource, Source
from tests.fakes import deployment
from tests.wire import by_name

EVERYWHERE = Source(Resource.DEPLOYMENTS)
ALICE = Author("alice", before=3)


def web(replicas: int, version: int, generation: int, name: str = "web") -> Deployment:
    """Make a state of a Deployment, after so many changes of its spec."""
    made = deployment(name, replicas=replicas, version=str(version))
    return replace(made, progress=Progress(generation)) if generation else made


class MissingChangesTests(SynchronousTestCase):
    """A Deployment of generation 5, listed at 1000; then nobody hears for ten seconds."""

    def setUp(self) -> None:
        """List it."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.changes = Changes(self.clock.seconds, self.clock.seconds, record=Record(of_one=4, in_all=4))
        self.tell = self.changes.noting(lambda _, asked, author: None)
        self.told_list(web(3, 10, 5))
        self.clock.advance(10)

    def told_list(self, *items: Deployment) -> None:
        """Tell a list."""
        self.changes.applied(Listed(EVERYWHERE, "0", self.clock.seconds(), deployments=by_name(items)))

    def put(self, *items: Deployment, gap: bool = False) -> None:
        """Tell lines of the watch."""
        self.changes.applied(Changed(EVERYWHERE, self.clock.seconds(), [Put(item, gap=gap) for item in items]))

    def shown(self) -> list[tuple[int, int, float, bool]]:
        """The changes that are known: from, to, when, and whether with a gap."""
        return [(each.before, each.after, each.at, each.gap) for each in self.changes.since(0)]

    def test_there_and_back(self) -> None:
        """A count that is as before after two changes of the spec or more: they may have been of the count."""
        for generation, is_cut in ((5, False), (6, False), (7, True), (9, True), (4, True)):
            self.setUp()
            self.told_list(web(3, 20, generation))
            cuts = [Cut("shop", "web", 1010)] if is_cut else []
            self.assertEqual((self.changes.cut_short(0), self.changes.cut_short(1011)), (cuts, []), generation)
            of_one = self.changes.complete_since(web(3, 20, 0))
            self.assertEqual((of_one, self.changes.complete_since()), (1010 if is_cut else 1000, 1000), generation)
            self.assertEqual(self.shown(), [])

    def test_where_the_status_cannot_be_read(self) -> None:
        """Nothing is known of what came between, unless it could not be read before either."""
        self.told_list(web(3, 20, 0))
        self.assertEqual(len(self.changes.cut_short(0)), 1)
        self.setUp()
        self.told_list(web(3, 20, 0), web(3, 20, 0, "api"))
        self.told_list(web(3, 20, 0), web(3, 30, 0, "api"))
        self.assertEqual([cut.deployment for cut in self.changes.cut_short(0)], ["web"])

    def test_what_the_watch_tells(self) -> None:
        """It tells of each state, so that nothing is missing, however far the generation is; but in a gap."""
        self.put(web(3, 20, 9), web(3, 30, 10, "api"))
        self.assertEqual(self.changes.cut_short(0), [])
        self.put(web(3, 31, 11), web(3, 40, 12, "new"), gap=True)
        self.assertEqual([cut.deployment for cut in self.changes.cut_short(0)], ["web", "new"])

    def test_a_change_with_a_gap(self) -> None:
        """It says itself that there may be steps in between, and cuts nothing short."""
        self.told_list(web(4, 20, 9))
        self.assertEqual((self.shown(), self.changes.cut_short(0)), ([(3, 4, 1010, True)], []))

    def test_our_own_writes_in_between(self) -> None:
        """They are changes of the spec that are known; one more may have been of something else."""
        for generation, cuts in ((7, 0), (8, 0), (9, 1)):
            self.setUp()
            self.tell(web(6, 11, 0), 6, ALICE)
            self.tell(web(3, 12, 0), 3, replace(ALICE, before=6))
            self.told_list(web(3, 20, generation))
            self.assertEqual([each[:2] for each in self.shown()], [(3, 6), (6, 3)])
            self.assertEqual(len(self.changes.cut_short(0)), cuts, generation)

    def test_our_own_write_back(self) -> None:
        """A write of ours that took a count back to what we know of it tells that somebody had changed it unheard."""
        self.tell(web(3, 12, 0), 3, replace(ALICE, before=5))
        self.told_list(web(3, 20, 7))
        self.assertEqual((self.shown(), len(self.changes.cut_short(0))), ([], 1))

    def test_what_could_not_be_read(self) -> None:
        """From when on its changes are complete is when it could be read again, also where it never could before."""
        for is_first in (True, False):
            self.setUp()
            if is_first:
                self.changes = Changes(self.clock.seconds, self.clock.seconds)
            hidden = Unreadable("shop", "web", "uid-shop-web", "11")
            self.told_list(hidden)
            self.clock.advance(50)
            self.put(web(3, 20, 9))
            self.assertEqual(self.changes.cut_short(0), [Cut("shop", "web", 1060)], is_first)
            self.put(web(3, 21, 12))
            self.put(hidden)
            self.changes.applied(Changed(EVERYWHERE, 0, [Deleted(hidden)]))
            self.clock.advance(50)
            self.put(replace(web(3, 30, 3), uid="another"))
            self.assertEqual(len(self.changes.cut_short(0)), 1)

    def test_what_was_made_meanwhile(self) -> None:
        """A Deployment that a list brings may have had other counts, unless it is as it was made."""
        self.told_list(web(3, 10, 5), web(3, 20, 1, "new"), web(3, 21, 2, "scaled"))
        self.assertEqual(self.changes.cut_short(0), [Cut("shop", "scaled", 1010)])
        elsewhere = replace(web(3, 22, 2), namespace="bank")
        self.told_list(web(3, 10, 5), web(3, 20, 1, "new"), web(3, 21, 2, "scaled"), elsewhere)
        self.assertEqual([cut.namespace for cut in self.changes.cut_short(0)], ["shop", "bank"])
        again = replace(web(3, 30, 4), uid="another")
        self.told_list(again)
        self.assertEqual(self.changes.complete_since(again), 1010)

    def test_first_lists(self) -> None:
        """Of what was there at first nothing is missing since, in any namespace, and beside a write of ours."""
        changes = Changes(self.clock.seconds, self.clock.seconds)
        changes.noting(lambda _, asked, author: None)(web(6, 12, 0), 6, ALICE)
        changes.applied(Listed(EVERYWHERE, "11", 0, deployments=by_name([web(3, 10, 5), web(1, 11, 7, "api")])))
        self.assertEqual(changes.cut_short(0), [])

    def test_room(self) -> None:
        """So many cuts are kept as changes; then all changes are complete since the latest that was forgotten."""
        names = ["a", "b", "c", "d", "e"]
        for name in names:
            self.clock.advance(1)
            self.put(web(3, 20, 5, name), gap=True)
        self.assertEqual([cut.deployment for cut in self.changes.cut_short(0)], names[1:])
        self.assertEqual(self.changes.complete_since(), 1011)
        self.put(web(3, 21, 9, "b"), web(3, 21, 9, "a"), gap=True)
        self.assertEqual([cut.deployment for cut in self.changes.cut_short(0)], ["d", "e", "b", "a"])
        self.assertEqual(self.changes.complete_since(), 1013)

    def test_a_later_cut_stays(self) -> None:
        """Changes that are forgotten for want of room say nothing of a time after which others are missing."""
        for number in range(3):
            self.put(web(4 + number, 11 + number, 6 + number))
        self.clock.advance(90)
        self.put(web(6, 20, 11), gap=True)
        for number in range(3):
            self.put(web(7 + number, 21 + number, 12 + number))
        self.assertEqual(self.changes.cut_short(0), [Cut("shop", "web", 1100)])

    def test_whose_write_a_later_state_shows(self) -> None:
        """It is known from its Event, heard before or after, if nothing else was changed in the spec meanwhile."""
        event = ScaledEvent("shop", "web.12", "uid-event", "30", "uid-shop-web", "12", ALICE)
        hear = Changed(Source(Resource.SCALINGS), 1010, [Put(event)])
        for generation, version, by in ((6, 13, "alice"), (7, 13, None), (6, 11, None), (6, 12, "alice")):
            for is_before in (True, False):
                self.setUp()
                if is_before:
                    self.changes.applied(hear)
                self.put(web(5, version, generation))
                self.put(web(5, 14, generation))
                if not is_before:
                    self.changes.applied(hear)
                told = [(each.by, each.gap) for each in self.changes.since(0)]
                self.assertEqual(told, [(by, False)], (generation, version, is_before))

    def test_what_was_before_is_not_by_a_later_write(self) -> None:
        """A write that left an earlier version than the one that was known is none of what came then."""
        self.put(web(5, 13, 6))
        event = ScaledEvent("shop", "web.10", "uid-event", "30", "uid-shop-web", "10", ALICE)
        self.changes.applied(Changed(Source(Resource.SCALINGS), 1010, [Put(event)]))
        self.assertEqual([each.by for each in self.changes.since(0)], [None])

    def test_our_own_write_that_a_later_state_shows(self) -> None:
        """It is one step, and ours, whether the answer or the watch comes first; not so if there was another change."""
        for generation, gap in ((6, False), (7, True)):
            for is_first in (True, False):
                if gap and not is_first:
                    continue
                self.setUp()
                if is_first:
                    self.tell(web(5, 12, 0), 5, ALICE)
                self.put(web(5, 13, generation))
                if not is_first:
                    self.tell(web(5, 12, 0), 5, ALICE)
                told = [(each.before, each.after, each.by, each.gap) for each in self.changes.since(0)]
                self.assertEqual(told, [(3, 5, "alice", gap)], (generation, is_first))

    def test_when_our_own_writes_were_seen(self) -> None:
        """A write of ours was seen when it was answered, also when the cluster tells of it later, and in that order."""
        self.tell(web(6, 11, 0), 6, ALICE)
        self.clock.advance(5)
        self.put(web(2, 8, 1, "api"), web(5, 9, 2, "api"))
        self.assertEqual([each[2] for each in self.shown()], [1010, 1015])
        self.clock.advance(5)
        self.put(web(6, 11, 6))
        self.assertEqual([each[1:3] for each in self.shown()], [(6, 1010), (5, 1015)])
        self.assertEqual([change.after for change in self.changes.since(1011)], [5])

    def test_none_is_seen_before_the_one_before_it(self) -> None:
        """A write that came after a change which is told later still has its place behind that."""
        self.tell(web(6, 12, 0), 6, ALICE)
        self.clock.advance(5)
        self.put(web(4, 11, 6))
        self.assertEqual([each[:3] for each in self.shown()], [(3, 4, 1015), (4, 6, 1015)])
        self.clock.advance(5)
        self.put(web(6, 12, 7))
        self.assertEqual([each[:3] for each in self.shown()], [(3, 4, 1015), (4, 6, 1015)])
        self.changes.applied(Changed(EVERYWHERE, 0, [Deleted(web(6, 30, 7))]))
        self.assertEqual(len(self.shown()), 2)

    def test_the_latest_of_both_counts(self) -> None:
        """Whatever is forgotten for want of room, a change or a cut: none is missing since the latest."""
        record, seen = Record(in_all=1), []
        for at, forgets in enumerate(("cut", "cut", "change", "cut"), 5):
            if forgets == "cut":
                record.cut(f"uid-{at}", Cut("shop", "web", at))
            else:
                for earlier in (3, 4, 9, 10):
                    record.add(CountChange(earlier, "shop", "web", f"uid-{earlier}", str(earlier), 1, 2, "kubectl"))
                    seen.append(record.complete_since())
            seen.append(record.complete_since())
        self.assertEqual(seen, [float("-inf"), 5, 5, 5, 5, 9, 9, 9])
