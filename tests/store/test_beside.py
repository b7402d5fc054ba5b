"""What is shared beside namespaces and Deployments: known where it is known, and never needed."""

from datetime import UTC, datetime

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.temporary import Note, Temporaries
from sre_server.model import Author, Autoscaler, Notes, ScaledEvent
from sre_server.news import Changed, Deleted, Listed, Put, Resource, Source
from sre_server.store import mirror
from tests.store.memory import ALL_SOURCES, SOURCES, Pod, Watcher, World

SCALER = Autoscaler("shop", "web", "uid-hpa", "41", "web", 3, 10)
WIDER = replace(SCALER, maximum=20, resource_version="42")


class BesideTests(SynchronousTestCase):
    """Watchers that may list autoscalers, or may not, or may not yet."""

    def setUp(self) -> None:
        """Have a watcher that leads and has listed Deployments, and a pod."""
        self.world = World()
        self.world.change("web", 3)
        self.watcher = self.lead()
        self.pod = Pod(self.world, zero=100)

    def lead(self) -> Watcher:
        """Have a new watcher list, and lead."""
        self.world.leader = watcher = Watcher(self.world, zero=self.world.time * 3 + 50)
        watcher.list()
        return watcher

    def rounds(self, count: int = 3) -> None:
        """Let heartbeats pass, and the pod read each."""
        assert self.world.leader is not None
        for _ in range(count):
            self.world.leader.step()
            self.pod.step()
            self.world.advance(1)

    def assert_served(self) -> None:
        """The pod has the Deployments, whatever is known beside."""
        self.assertTrue(self.pod.synced)
        self.assertEqual(self.pod.deployments(), self.world.deployments)

    def test_not_known(self) -> None:
        """A watcher that may not list them keeps no pod from being synced, where they are not known."""
        self.rounds()
        self.assert_served()
        self.assertFalse(self.pod.autoscalers.are_known("shop"))

    def test_known_later(self) -> None:
        """Once they are listed they are told, and so is every change."""
        self.rounds()
        self.watcher.list_autoscalers(SCALER)
        self.rounds(1)
        self.assertEqual(self.pod.autoscalers.of("shop", "web"), SCALER)
        self.watcher.hear_autoscalers(Put(WIDER))
        self.rounds(1)
        self.assertEqual(self.pod.autoscalers.of("shop", "web"), WIDER)
        self.watcher.hear_autoscalers(Deleted(WIDER))
        self.rounds(1)
        self.assertTrue(self.pod.autoscalers.are_known("shop"))
        self.assertIsNone(self.pod.autoscalers.of("shop", "web"))
        self.assert_served()

    def test_a_pod_that_starts_later(self) -> None:
        """It loads them with everything else."""
        self.watcher.list_autoscalers(SCALER)
        self.rounds()
        self.pod = Pod(self.world, zero=9)
        self.rounds()
        self.assert_served()
        self.assertEqual(self.pod.autoscalers.of("shop", "web"), SCALER)

    def test_a_watcher_that_does_not_know_them_yet(self) -> None:
        """One that takes over before it has listed them takes none away; when it has, what is gone is gone."""
        self.watcher.list_autoscalers(SCALER)
        self.rounds()
        standby = self.lead()
        self.rounds()
        self.assertEqual(self.pod.autoscalers.of("shop", "web"), SCALER)
        standby.list_autoscalers()
        self.rounds()
        self.assertTrue(self.pod.autoscalers.are_known("shop"))
        self.assertIsNone(self.pod.autoscalers.of("shop", "web"))
        self.assert_served()

    def test_a_pod_of_an_earlier_release(self) -> None:
        """It knows namespaces and Deployments only, and follows those."""
        self.watcher.list_autoscalers(SCALER)
        self.pod = Pod(self.world, zero=100, sources=SOURCES)
        self.rounds()
        self.watcher.hear_autoscalers(Put(WIDER))
        self.world.change("api", 2)
        self.watcher.list()
        self.rounds()
        self.assert_served()

    def test_a_watcher_of_an_earlier_release(self) -> None:
        """What it does not publish is not known, and what there was of it is not believed for ever."""
        self.watcher.list_autoscalers(SCALER)
        self.rounds()
        self.patch(mirror, "ROWS_AT_ONCE", 1)
        for name in ("api", "more"):
            self.world.change(name, 2)
        self.world.leader = earlier = Watcher(self.world, zero=7, sources=SOURCES)
        earlier.list()
        self.rounds()
        self.assert_served()
        self.world.advance(1e9)
        self.assertFalse(self.pod.autoscalers.are_known("shop"))

    def test_temporary_counts(self) -> None:
        """Their one ConfigMap travels, too; a pod that has no place for it follows all else."""
        store = Source(Resource.TEMPORARY, "sre", "temporary")
        self.world.leader = self.watcher = Watcher(self.world, zero=7, sources=[*ALL_SOURCES, store])
        self.watcher.list()
        text = Note("shop", "web", 3, 20, datetime(2026, 11, 26, tzinfo=UTC), "alice").text()
        notes = Notes("sre", "temporary", "u", "50", {"uid-web": text})
        now = self.watcher.now()
        self.watcher.publisher.applied(Listed(store, "50", now, others={"sre": {"temporary": notes}}))
        serving = Pod(self.world, zero=100, sources=[*ALL_SOURCES, store])
        temporaries = Temporaries(serving.now, store, 1e9)
        serving.cache.subscribe(temporaries)
        for _ in range(3):
            self.rounds(1)
            serving.step()
        self.assertEqual(temporaries.text("uid-web"), text)
        gone = replace(notes, resource_version="51", data={})
        self.watcher.publisher.applied(Changed(source=store, heard_at=now, changes=[Put(gone)]))
        self.rounds(1)
        serving.step()
        self.assertTrue(temporaries.are_known)
        self.assertIsNone(temporaries.text("uid-web"))
        self.assert_served()


class AuthorTests(SynchronousTestCase):
    """Who set a count through another pod, as it comes to a pod by way of the log."""

    def test_authors(self) -> None:
        """The Event of a write that the watcher hears of names the author, and a pod that starts has no record."""
        world = World()
        world.change("web", 3)
        world.leader = watcher = Watcher(world, zero=50)
        watcher.list()
        watcher.list_scalings()
        pod = Pod(world, zero=100)

        def rounds() -> None:
            for _ in range(3):
                watcher.step()
                pod.step()
                world.advance(1)

        rounds()
        changed = world.change("web", 0)
        assert isinstance(changed, Put)
        watcher.hear(changed)
        rounds()
        left = world.deployments["shop", "web"]
        self.assertEqual([each.by for each in pod.day.changes.of(left)], [None])
        author = Author("alice", "why not", "r-1", 3)
        watcher.hear_scalings(ScaledEvent("shop", "web.1", "e", "900", left.uid, left.resource_version, author))
        rounds()
        self.assertEqual([each.author for each in pod.day.changes.of(left)], [author])
        pod = Pod(world, zero=7)
        rounds()
        self.assertEqual(pod.day.changes.of(left), [], "a pod that starts knows of no change before that")
