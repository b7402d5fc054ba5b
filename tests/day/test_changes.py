"""Changes of counts, from the news of a cluster and from our own writes."""

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cache import ClusterCache
from sre_server.day import changes as counting
from sre_server.day import untold
from sre_server.day.changes import Changes
from sre_server.day.factory import make_changes
from sre_server.day.record import OURS, THROUGH_SCALE, CountChange, Cut, Record
from sre_server.model import Author, Deployment, Owners, ScaledEvent, Unreadable
from sre_server.news import Changed, Deleted, Listed, Put, Resource, Source
from tests.fakes import deployment
from tests.wire import by_name

EVERYWHERE = Source(Resource.DEPLOYMENTS)
EVENTS = Source(Resource.SCALINGS)
ALICE = Author("alice", "a sale begins", "a-request", before=3)


def web(replicas: int, version: int, manager: str = "", uid: str = "uid-web") -> Deployment:
    """Make a state of the one Deployment."""
    owners = Owners(manager, "Update", "scale") if manager else None
    return replace(deployment(replicas=replicas, version=str(version), uid=uid), owners=owners)


def scaled(version: int, author: Author = ALICE, uid: str = "uid-web") -> ScaledEvent:
    """Make the Event of a write."""
    return ScaledEvent("shop", f"web.{version}", f"uid-{version}", str(version + 1), uid, str(version), author)


class ChangesTests(SynchronousTestCase):
    """One Deployment, whose count is 3 to begin with."""

    def setUp(self) -> None:
        """List it."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.noted: list[CountChange] = []
        self.changes = Changes(self.clock.seconds, self.clock.seconds, self.noted.append, Record(of_one=4, in_all=6))
        self.tell = self.changes.noting(lambda _, asked, author: None)
        self.told_list(web(3, 10))

    def told_list(self, *items: Deployment) -> None:
        """Tell a list."""
        self.changes.applied(Listed(EVERYWHERE, "0", self.clock.seconds(), deployments=by_name(items)))

    def put(self, *items: Deployment) -> None:
        """Tell lines of the watch."""
        self.changes.applied(Changed(EVERYWHERE, self.clock.seconds(), [Put(item) for item in items]))

    def test_our_own_write_is_certain(self) -> None:
        """What an Event says of who made it, which anybody may create, does not change that."""
        self.put(web(5, 11))
        self.tell(web(5, 11), 5, ALICE)
        self.hear(scaled(11, Author("bob", None, "another", before=3)))
        self.tell(web(7, 12), 7, replace(ALICE, before=5))
        self.put(web(7, 12))
        self.hear(scaled(12, Author("bob", None, "another", before=5)))
        self.hear(scaled(13, Author("bob", None, "another", before=7)))
        self.tell(web(9, 13), 9, replace(ALICE, before=7))
        self.put(web(9, 13))
        self.assertEqual([change.by for change in self.noted], ["alice"] * 3)

    def test_a_cache_tells_of_them(self) -> None:
        """What is made for a cache learns of its news, and each change is noted."""
        cache = ClusterCache(self.clock.seconds, [EVERYWHERE], 1e9)
        changes = make_changes(cache, self.clock.seconds, self.noted.append)
        cache.apply(Listed(EVERYWHERE, "10", 1000, deployments=by_name([web(3, 10)])))
        cache.apply(Changed(EVERYWHERE, 1000, [Put(web(5, 11))]))
        (change,) = self.noted
        self.assertEqual((change.before, change.after, len(changes.of(web(5, 11)))), (3, 5, 1))

    def hear(self, *items: ScaledEvent) -> None:
        """Tell of Events."""
        self.changes.applied(Changed(EVENTS, self.clock.seconds(), [Put(item) for item in items]))

    def shown(self) -> list[tuple[int, int, str | None, str, bool]]:
        """What is told of the Deployment."""
        changes = self.changes.of(web(0, 0))
        return [(each.before, each.after, each.by, each.program, each.gap) for each in changes]

    def test_by_a_program(self) -> None:
        """Of what did not go through us the manager of the count is known; of a 0 through /scale not even that."""
        self.put(web(6, 11, "kubectl"), web(0, 12), web(4, 13, "kube-controller-manager"), web(0, 14, "helm"))
        self.assertEqual(
            self.shown(),
            [
                (3, 6, None, "kubectl", False),
                (6, 0, None, THROUGH_SCALE, False),
                (0, 4, None, "kube-controller-manager", False),
                (4, 0, None, "helm", False),
            ],
        )
        self.assertEqual(len(self.noted), 4)

    def test_what_is_no_change(self) -> None:
        """The first list, a new status, a new Deployment, one of the same name, and its deletion are none."""
        self.put(web(3, 11), web(3, 12, "kubectl"))
        self.put(web(7, 13, uid="another"))
        self.changes.applied(Changed(EVERYWHERE, 0, [Deleted(web(7, 14, uid="another"))]))
        self.put(web(9, 15, uid="a-third"))
        self.told_list()
        self.told_list(web(5, 16, uid="a-fourth"))
        self.assertEqual(self.noted, [])

    def test_lists_beside_a_write(self) -> None:
        """One that was begun before it says nothing of it; one begun later that does not have it ends it."""
        for later in (False, True):
            self.setUp()
            begun = self.clock.seconds()
            self.clock.advance(1)
            self.tell(web(7, 12), 7, ALICE)
            self.clock.advance(1)
            at = self.clock.seconds() if later else begun
            self.changes.applied(Listed(EVERYWHERE, "11", at, deployments=by_name([web(3, 10)])))
            self.assertEqual(len(self.shown()), 0 if later else 1)
            self.put(web(7, 12))
            self.assertEqual([change.by for change in self.noted], [None if later else "alice"])

    def test_a_first_list_beside_a_write(self) -> None:
        """One that has the write already is all that is known: nothing of it is missing before the next change."""
        self.changes = Changes(self.clock.seconds, self.clock.seconds, self.noted.append, Record(of_one=4, in_all=6))
        self.changes.noting(lambda _, asked, author: None)(web(7, 12), 7, ALICE)
        self.told_list(web(7, 12))
        self.assertEqual(self.shown(), [])
        self.put(web(5, 13, "kubectl"))
        self.assertEqual(self.shown(), [(7, 5, None, "kubectl", False)])

    def test_too_many_writes_that_no_watch_told_of(self) -> None:
        """The oldest is forgotten, and the others are ours when the watch tells of them."""
        self.patch(untold, "WRITES", 2)
        names = ("a", "b", "c")
        states = {
            name: [
                replace(deployment(name, replicas=count, version=str(at)), uid=f"uid-{name}")
                for count, at in ((3, 10), (6, 11))
            ]
            for name in names
        }
        self.told_list(*(before for before, _ in states.values()))
        for _, after in states.values():
            self.tell(after, 6, ALICE)
        self.put(*(after for _, after in states.values()))
        self.assertEqual(
            [(each.deployment, each.by) for each in self.noted], [("a", None), ("b", "alice"), ("c", "alice")]
        )

    def test_too_many_authors_of_whose_writes_no_watch_told(self) -> None:
        """The oldest is forgotten, of one and in all; the others are known when the watch tells of their writes."""
        self.patch(counting, "OF_ONE", 2)
        self.hear(scaled(11), scaled(12), scaled(13))
        self.put(web(4, 11), web(5, 12), web(6, 13))
        self.assertEqual([each.by for each in self.noted], [None, "alice", "alice"])
        self.noted.clear()
        self.patch(counting, "AUTHORS", 2)
        others = [replace(web(1, 20, uid=f"uid-{name}"), name=name) for name in "abc"]
        self.put(*others)
        self.hear(scaled(14), scaled(15, uid="uid-a"))  # once a write was told, its author takes no room
        self.put(web(7, 14), replace(others[0], replicas=2, resource_version="15"))
        self.hear(scaled(16), scaled(16, uid="uid-b"))
        self.put(web(8, 16), replace(others[1], replicas=2, resource_version="16"))
        self.assertEqual([each.by for each in self.noted], ["alice"] * 4)
        self.noted.clear()
        self.hear(*(scaled(21, uid=other.uid) for other in others))
        self.put(*(replace(other, replicas=5, resource_version="21") for other in others))
        self.assertEqual([each.by for each in self.noted], [None, "alice", "alice"])

    def test_our_own_write(self) -> None:
        """It is shown as soon as it is answered, and once, whether the watch tells of it before or after that."""
        ours = (3, 6, "alice", OURS, False)
        for first in ("answer", "watch"):
            self.setUp()
            if first == "answer":
                self.tell(web(6, 11), 6, ALICE)
                self.assertEqual(self.shown(), [ours])
                self.assertEqual(len(self.changes.since(0)), 1)
                self.put(web(6, 11, OURS))
            else:
                self.put(web(6, 11, OURS))
                self.assertEqual(self.shown(), [(3, 6, OURS, OURS, False)])
                self.tell(web(6, 11), 6, ALICE)
            self.assertEqual(self.shown(), [ours], first)
            (change,) = self.changes.since(0)
            self.assertEqual((change.author, len(self.noted)), (ALICE, 1))

    def test_a_write_upon_what_was_not_told_yet(self) -> None:
        """The watch tells of the step before ours after our answer: the chain has both, each by who made it."""
        self.tell(web(6, 12), 6, ALICE)
        self.put(web(5, 11, "kubectl"))
        self.assertEqual(self.shown(), [(3, 5, None, "kubectl", False), (5, 6, "alice", OURS, False)])
        self.put(web(6, 12))
        self.assertEqual(self.shown(), [(3, 5, None, "kubectl", False), (5, 6, "alice", OURS, False)])

    def test_a_write_that_changed_nothing(self) -> None:
        """A count that was the same already was set by whoever set it before."""
        self.put(web(0, 11))
        self.tell(web(0, 11), 0, Author("alice", before=0))
        self.hear(scaled(11, Author("bob", before=0)))
        self.put(web(6, 12, "kubectl"))
        self.tell(web(6, 12), 6, ALICE)  # judged on a count that was out of date
        self.assertEqual(self.shown(), [(3, 0, None, THROUGH_SCALE, False), (0, 6, None, "kubectl", False)])

    def test_a_write_that_changed_nothing_that_was_told(self) -> None:
        """While the watch has yet to tell what somebody else set, a write of the same count is not taken for that."""
        self.tell(web(6, 11), 6, Author("alice", before=6))
        self.tell(web(3, 12), 3, Author("alice"))
        self.assertEqual((self.shown(), self.changes.since(0)), ([], []))
        self.put(web(6, 11, "kubectl"))
        self.assertEqual(self.shown()[0], (3, 6, None, "kubectl", False))

    def test_a_list(self) -> None:
        """What a list found changed may have had more steps; a write of ours that it is past, or brings, is told."""
        self.told_list(web(5, 11, "kubectl"))
        self.tell(web(6, 12), 6, ALICE)
        self.tell(web(7, 14), 7, ALICE)
        self.told_list(web(7, 14, OURS))
        self.assertEqual(
            self.shown(),
            [(3, 5, None, "kubectl", True), (5, 6, "alice", OURS, True), (6, 7, "alice", OURS, True)],
        )
        self.told_list(web(7, 14, OURS))
        self.assertEqual(len(self.noted), 3)

    def test_a_restored_backup(self) -> None:
        """What went back is a change like any; a write of ours that was lost with it is shown no longer."""
        self.put(web(6, 20, "kubectl"))
        self.tell(web(7, 21), 7, ALICE)
        self.clock.advance(1)
        self.told_list(web(3, 10))
        self.assertEqual(self.shown(), [(3, 6, None, "kubectl", False), (6, 3, None, THROUGH_SCALE, True)])

    def test_a_write_that_was_lost(self) -> None:
        """What a restore undid before anybody heard of it is no change, neither its own nor of the next one."""
        self.tell(web(9, 100), 9, ALICE)
        self.tell(web(7, 120), 7, replace(ALICE, before=9))
        for told in (Changed(EVERYWHERE, 0.0, version=""), Changed(EVERYWHERE, 0.0, version="100")):
            self.changes.applied(told)
            self.assertEqual([change.after for change in self.changes.since(0)], [9, 7])
        self.changes.applied(Changed(Source(Resource.DEPLOYMENTS, "bank"), 0.0, version="200"))
        self.assertEqual([change.after for change in self.changes.since(0)], [9, 7])
        self.changes.applied(Changed(EVERYWHERE, 0.0, version="110"))
        self.assertEqual([change.after for change in self.changes.since(0)], [7])
        self.put(deployment("api", version="121"))
        self.assertEqual(self.changes.since(0), [])
        self.put(web(5, 130))
        self.assertEqual([(change.before, change.after, change.by) for change in self.noted], [(3, 5, None)])

    def test_a_write_that_cannot_be_read(self) -> None:
        """What the watch told of it, and could not be read, is not lost: who made it is known once it can be."""
        self.tell(web(9, 100), 9, ALICE)
        self.put(Unreadable("shop", "web", "uid-web", "100", why="a reason"))
        self.put(deployment("api", version="150"))
        self.put(web(9, 160))
        self.assertEqual([(change.after, change.by) for change in self.changes.since(0)], [(9, "alice")])

    def test_unreadable(self) -> None:
        """While it cannot be read it may have had any count: what follows is compared with the one before, as a gap."""
        self.put(Unreadable("shop", "web", "uid-web", "11"), web(3, 12))
        self.assertEqual(self.shown(), [])
        self.put(Unreadable("shop", "web", "", ""), web(5, 14, "kubectl"), web(6, 15, "kubectl"))
        self.assertEqual(self.shown(), [(3, 5, None, "kubectl", True), (5, 6, None, "kubectl", False)])

    def test_through_another_replica(self) -> None:
        """Its Event names the author, before the change is told or after it; without it, the program is known."""
        self.put(web(6, 11, OURS), web(0, 12))
        self.hear(scaled(11), scaled(12, Author("bob")), scaled(13, Author("carol")))
        self.put(web(4, 13, OURS), web(5, 14, OURS))
        self.assertEqual([each[2] for each in self.shown()], ["alice", "bob", "carol", OURS])

    def test_events_at_a_list(self) -> None:
        """Events count that are listed, as after an outage of their watch."""
        self.put(web(6, 11, OURS))
        self.changes.applied(Listed(EVENTS, "0", 0, others={"shop": {"web.11": scaled(11)}}))
        self.assertEqual(self.shown()[0][2], "alice")

    def test_forged_events(self) -> None:
        """An Event names no author of what another program set, and takes nothing from one who is known for certain."""
        self.put(web(6, 11, "kubectl"))
        self.hear(scaled(11))
        self.hear(scaled(12, Author("mallory")))
        self.put(web(7, 12, OURS))
        self.tell(web(7, 12), 7, ALICE)
        self.hear(scaled(12, Author("mallory")))
        self.assertEqual([each[2] for each in self.shown()], [None, "alice"])

    def test_room(self) -> None:
        """The last ones of each, and so many in all, are kept; it is said from when on none is missing."""
        others = [replace(web(1, 20 + number, uid=f"uid-{number}"), name=f"w{number}") for number in range(4)]
        self.put(*others)
        self.assertEqual(self.changes.complete_since(), 1000)
        for version in range(11, 16):
            self.clock.advance(1)
            self.put(web(version, version, "kubectl"))
        self.assertEqual([each[0] for each in self.shown()], [11, 12, 13, 14])
        self.assertEqual((self.changes.complete_since(web(0, 0)), self.changes.complete_since()), (1001, 1000))
        self.assertEqual(self.changes.cut_short(1001), [Cut("shop", "web", 1001)])
        self.assertEqual(self.changes.cut_short(1002), [])
        for other in others:
            self.clock.advance(1)
            self.put(replace(other, replicas=5, resource_version="40"))
        self.assertEqual(
            [(each.deployment, each.after) for each in self.changes.since(0)][:2], [("web", 14), ("web", 15)]
        )
        self.assertEqual(self.changes.complete_since(), 1003)
        self.assertEqual(len(self.changes.since(1008)), 2)

    def test_lists_of_several_namespaces(self) -> None:
        """A list of one says nothing of another one: what a later list of that has changed is a change."""
        for namespace, items in (("bank", [3]), ("shop", []), ("shop", [3]), ("bank", [5]), ("shop", [4])):
            listed = by_name([replace(web(count, 10 + count, uid=namespace), namespace=namespace) for count in items])
            source = Source(Resource.DEPLOYMENTS, namespace)
            self.changes.applied(Listed(source, "0", self.clock.seconds(), deployments=listed))
        seen = [(change.namespace, change.before, change.after) for change in self.noted]
        self.assertEqual(seen, [("bank", 3, 5), ("shop", 3, 4)])

    def test_since_when_in_several_namespaces(self) -> None:
        """In all of them since the last was listed for the first time; of a Deployment, since its own was."""
        self.changes = Changes(self.clock.seconds, self.clock.seconds, self.noted.append, Record(of_one=4, in_all=6))
        self.assertIsNone(self.changes.complete_since())
        for number in range(2):
            for namespace in ("bank", "shop"):
                listed = Listed(Source(Resource.DEPLOYMENTS, namespace), str(number), self.clock.seconds())
                self.changes.applied(listed)
                self.clock.advance(1)
        of_one = [self.changes.complete_since(replace(web(1, 1), namespace=name)) for name in ("bank", "shop", "other")]
        self.assertEqual((self.changes.complete_since(), of_one), (1001, [1000, 1001, None]))

    def test_writes_of_what_is_gone(self) -> None:
        """A write that is not told before its Deployment is deleted waits no longer."""
        self.tell(web(6, 11), 6, ALICE)
        self.changes.applied(Changed(EVERYWHERE, 0, [Deleted(web(3, 12))]))
        self.assertEqual((self.shown(), self.changes.since(0)), ([], []))
