"""Who waits for what, how many may, and how it ends."""

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.waits import PER_CLIENT, STOPPING, TOTAL, Key, Waits
from sre_server.model import Autoscaler, Notes, ScaledEvent
from sre_server.news import Change, Changed, Deleted, Event, Listed, Put, Resource, Source
from tests.fakes import deployment

WEB = ("shop", "web")
EVERYWHERE = Source(Resource.DEPLOYMENTS)


class Looker:
    """A waiter that keeps what it was told, and sees what it is set to."""

    def __init__(self) -> None:
        self.told: list[Change | None] = []
        self.shared: list[dict[object, Any]] = []
        self.sees: object | None = None

    def look(self, change: Change | None, shared: dict[object, Any]) -> object | None:
        """See `Waiter.look`."""
        self.told.append(change)
        self.shared.append(shared)
        if isinstance(self.sees, Exception):
            raise self.sees
        return self.sees

    def late(self, why: str) -> object:
        """See `Waiter.late`."""
        return f"late: {why}"


class WaitsTests(SynchronousTestCase):
    """Waits on a clock."""

    def setUp(self) -> None:
        """Have nobody wait."""
        self.clock = Clock()
        self.waits = Waits(self.clock)

    def wait(self, looker: Looker, client: str = "alice", key: Key = WEB, seconds: float = 60) -> Deferred[Any]:
        """Wait, which is possible."""
        waiting = self.waits.wait(client, key, seconds, looker)
        assert waiting is not None
        return waiting

    def assert_nothing_left(self) -> None:
        """Check that nobody waits, and no clock runs."""
        self.assertEqual((self.waits.count, self.clock.getDelayedCalls()), (0, []))

    def test_seen_at_once(self) -> None:
        """What can be seen already is not waited for."""
        looker = Looker()
        looker.sees = "it"
        self.assertEqual(self.successResultOf(self.wait(looker)), "it")
        self.assert_nothing_left()

    def test_seen_later(self) -> None:
        """A waiter looks at each change of its Deployment, and of no other one, until it has seen enough."""
        looker = Looker()
        waiting = self.wait(looker)
        change, gone = Put(deployment()), Deleted(deployment())
        others = [Put(deployment("api")), Put(deployment(namespace="bank"))]
        self.waits.applied(Changed(EVERYWHERE, 0, [*others, change]))
        self.assertNoResult(waiting)
        looker.sees = "it"
        self.waits.applied(Changed(EVERYWHERE, 0, [gone, change]))
        self.assertEqual(self.successResultOf(waiting), "it")
        self.assertEqual(looker.told, [None, change, gone])
        self.assert_nothing_left()

    def test_what_is_beside(self) -> None:
        """Lists, notes, and what is beside it in its namespace have a waiter look; other news has not."""
        looker = Looker()
        self.wait(looker)
        scaler = Autoscaler("shop", "web-scaler", "u", "1", "web", 3, 10)
        beside: tuple[tuple[Event, int], ...] = (
            (Listed(EVERYWHERE, "1", 0), 1),
            (Listed(Source(Resource.DEPLOYMENTS, "shop"), "1", 0), 1),
            (Listed(Source(Resource.DEPLOYMENTS, "bank"), "1", 0), 0),
            (Listed(Source(Resource.TEMPORARY, "sre"), "1", 0), 1),
            (Changed(Source(Resource.AUTOSCALERS), 0, [Put(scaler)]), 1),
            (Changed(Source(Resource.AUTOSCALERS), 0, [Put(Autoscaler("bank", "a", "u", "1", "web", 3, 10))]), 0),
            (Changed(Source(Resource.SCALINGS), 0, [Put(ScaledEvent("shop", "e", "u", "1"))]), 1),
            (Changed(Source(Resource.SCALINGS), 0, [Put(ScaledEvent("bank", "e", "u", "1"))]), 0),
            (Changed(Source(Resource.TEMPORARY), 0, [Put(Notes("sre", "temporary", "u", "1"))]), 1),
            (Changed(EVERYWHERE, 0), 0),
        )
        for event, looks in beside:
            with self.subTest(event):
                looker.told.clear()
                self.waits.applied(event)
                self.assertEqual(looker.told, looks * [None])
                self.assertEqual(looker.shared[-1], {})
        looker.told.clear()
        self.waits.touch(WEB)
        self.waits.touch(("shop", "api"))
        self.assertEqual(looker.told, [None])

    def test_shared(self) -> None:
        """Those who look at one moment share what they found out."""
        first, second = Looker(), Looker()
        self.wait(first)
        self.wait(second)
        self.waits.applied(Changed(EVERYWHERE, 0, [Put(deployment())]))
        self.assertIs(first.shared[-1], second.shared[-1])
        self.waits.touch(WEB)
        self.assertIsNot(first.shared[-1], first.shared[-2])

    def test_time_is_up(self) -> None:
        """After its time a wait ends, and not before."""
        waiting = self.wait(Looker(), seconds=5)
        self.clock.advance(4.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(waiting), "late: ")
        self.assert_nothing_left()

    def test_client_leaves(self) -> None:
        """A wait that is cancelled leaves nothing behind, and frees its place."""
        waiting = self.wait(Looker())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assert_nothing_left()
        self.waits.applied(Changed(EVERYWHERE, 0, [Put(deployment())]))

    def test_bounds(self) -> None:
        """One client has so many waits, and all clients together; what ends makes room."""
        waits = [self.wait(Looker()) for _ in range(PER_CLIENT)]
        self.assertIsNone(self.waits.wait("alice", ("shop", "api"), 60, Looker()))
        others = [
            self.wait(Looker(), f"client-{n // PER_CLIENT}", ("shop", f"d{n}")) for n in range(TOTAL - PER_CLIENT)
        ]
        self.assertIsNone(self.waits.wait("bob", WEB, 60, Looker()))
        self.assertEqual(self.waits.count, TOTAL)
        waits[0].cancel()
        self.failureResultOf(waits[0], CancelledError)
        self.assertIsNotNone(self.waits.wait("bob", WEB, 60, Looker()))
        self.clock.advance(60)
        for waiting in (*waits[1:], *others):
            self.successResultOf(waiting)
        self.assert_nothing_left()

    def test_stop(self) -> None:
        """At the end everybody is let go at once, with the reason, and nobody waits any more."""
        waits = [self.wait(Looker(), key=key) for key in (WEB, WEB, ("bank", "web"))]
        self.waits.stop()
        self.assertEqual([self.successResultOf(waiting) for waiting in waits], 3 * [f"late: {STOPPING}"])
        self.assert_nothing_left()
        self.assertIsNone(self.waits.wait("alice", WEB, 60, Looker()))

    def test_a_mistake_is_its_own(self) -> None:
        """A waiter that fails ends its own wait with that, and no other one."""
        broken, whole = Looker(), Looker()
        failing, waiting = self.wait(broken), self.wait(whole)
        broken.sees, whole.sees = ZeroDivisionError(), "it"
        self.waits.applied(Changed(EVERYWHERE, 0, [Put(deployment())]))
        self.failureResultOf(failing, ZeroDivisionError)
        self.assertEqual(self.successResultOf(waiting), "it")
        self.assert_nothing_left()
