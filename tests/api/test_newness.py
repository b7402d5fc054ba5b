"""`X-Min-Resource-Version`: what one replica wrote, any other shows to who asks for it, or says that it cannot."""

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotIdentified
from sre_server.model import Deployment
from sre_server.news import Changed, Deleted, Put, Resource, Source
from tests.api.test_openapi import Nobody
from tests.fakes import deployment, namespace
from tests.memory_client import Answer, Wire
from tests.memory_server import ALICE, MemoryServer

DEPLOYMENTS = Source(Resource.DEPLOYMENTS)
COUNT = "/deployments/shop/web/replicas"
READS = (
    COUNT,
    "/deployments",
    "/deployments/shop",
    "/namespaces",
    "/namespaces/ANY/deployments",
    "/namespaces/shop/deployments",
    "/namespaces/shop/deployments/web/replica_count",
    "/namespaces/ANY/deployments/ANY/replica_count",
    "/namespaces/shop/deployments/ANY/replica_count",
)


class NewnessTestCase(SynchronousTestCase):
    """A server whose cache is that of a list at version 100, with `web` at version 10."""

    def setUp(self) -> None:
        """Sync the server."""
        self.server = MemoryServer().sync(namespace(), deployment())

    def ask(self, path: str, version: str, server: MemoryServer | None = None) -> Wire:
        """Ask on a connection of its own, which may have to wait."""
        wire = (server or self.server).connect()
        wire.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Min-Resource-Version: {version}\r\n\r\n".encode())
        return wire

    def tell(self, *objects: Deployment, source: Source = DEPLOYMENTS) -> None:
        """Deliver an event of the watch."""
        self.server.cache.apply(Changed(source, self.server.clock.seconds(), [Put(item) for item in objects]))

    def late(self, wire: Wire) -> Answer:
        """Return the answer that comes once 3 s are over, and not before."""
        self.server.clock.advance(2.9)
        self.assertEqual(wire.answers(), [])
        self.server.clock.advance(0.1)
        (answer,) = wire.answers()
        return answer.check()

    def statuses(self, wires: Sequence[Wire]) -> list[list[int]]:
        """Return what each has been answered so far."""
        return [[answer.status for answer in wire.answers()] for wire in wires]


class NewnessTests(NewnessTestCase):
    """A server of the whole cluster."""

    def test_as_new_already(self) -> None:
        """A version that the list included is waited for by no read."""
        for version in ("0", "99", "100"):
            self.assertEqual(self.statuses([self.ask(path, version) for path in READS]), [[200]] * len(READS))

    def test_news_are_waited_for(self) -> None:
        """Every read waits for a version past the list's, and shows what came with it."""
        wires = [self.ask(path, "150") for path in READS]
        self.tell(deployment(replicas=5, version="149"))
        self.assertEqual(self.statuses(wires), [[]] * len(READS))
        self.tell(deployment(replicas=7, version="150"))
        self.assertEqual(self.statuses(wires), [[200]] * len(READS))
        self.assertEqual(wires[0].answers()[0].json()["replicas"], 7)

    def test_news_of_another_deployment(self) -> None:
        """Versions are of all Deployments together: what happened before is known when any later one is."""
        wires = [self.ask(path, "150") for path in READS]
        self.tell(deployment("other", version="151"))
        self.assertEqual(self.statuses(wires), [[200]] * len(READS))

    def test_news_of_a_deletion(self) -> None:
        """The version of a deletion counts, and what is gone is 404."""
        wire = self.ask(COUNT, "150")
        self.server.cache.apply(Changed(DEPLOYMENTS, 0, [Deleted(deployment(version="150"))]))
        self.assertEqual(self.statuses([wire]), [[404]])

    def test_news_of_something_new(self) -> None:
        """A Deployment that another replica knows already is waited for, not 404."""
        wires = [self.ask("/deployments/new/one/replicas", "150"), self.ask("/deployments/new", "150")]
        self.assertEqual(self.statuses(wires), [[], []])
        self.tell(deployment("one", "new", version="150"))
        self.assertEqual(self.statuses(wires), [[200], [200]])
        self.assertEqual(wires[1].answers()[0].json(), [{"namespace": "new", "deployments": ["one"]}])

    def test_news_in_a_list(self) -> None:
        """A complete list of its version, or a later one, ends the wait as well as an event."""
        wire = self.ask(COUNT, "90")
        unsynced = MemoryServer()
        waiting = self.ask(COUNT, "90", unsynced)
        self.assertEqual(self.statuses([wire, waiting]), [[200], []])
        unsynced.sync(namespace(), deployment())
        self.assertEqual(self.statuses([waiting]), [[200]])

    def test_no_news(self) -> None:
        """After 3 s without them the read is 503, to be repeated in 1 s; what comes later is no second answer."""
        for path in READS:
            wire = self.ask(path, "150")
            answer = self.late(wire)
            self.assertEqual((answer.status, answer.header("Retry-After")), (503, "1"), path)
            self.assertEqual(answer.header("Cache-Control"), "no-store")
            self.assertIn("as of resourceVersion 150 has not been heard of", answer.json()["message"])
            self.assertEqual(self.server.get(path).status, 200)
        self.tell(deployment(version="150"))
        self.assertEqual(len(wire.answers()), 1)

    def test_a_bookmark_is_news_of_time_alone(self) -> None:
        """An event without changes ends no wait."""
        wire = self.ask(COUNT, "150")
        self.tell()
        self.assertEqual(self.late(wire).status, 503)

    def test_a_version_that_is_said(self) -> None:
        """Where changes come in another order, as from a shared cache, what counts is the version that is said."""
        wire = self.ask("/deployments", "150")
        changes = [Put(deployment(version="150")), Put(deployment("other", version="149"))]
        self.server.cache.apply(Changed(DEPLOYMENTS, 0, changes, version="148"))
        self.assertEqual(self.statuses([wire]), [[]])
        self.server.cache.apply(Changed(DEPLOYMENTS, 0, version="150"))
        self.assertEqual(self.statuses([wire]), [[200]])

    def test_own_write(self) -> None:
        """What was written here is known here, whatever the watch has yet to tell; a list waits for the watch."""
        version = self.server.call("PUT", COUNT, b'{"replicas": 5}').header("X-Resource-Version")
        assert version is not None
        wire = self.ask(COUNT, version)
        self.assertEqual([answer.json()["replicas"] for answer in wire.answers()], [5])
        self.assertEqual(self.late(self.ask("/deployments", version)).status, 503)

    def test_what_is_too_old(self) -> None:
        """The staleness bound says more than the version does, and is said at the end of the wait."""
        self.server.clock.advance(200)
        answer = self.late(self.ask(COUNT, "150"))
        self.assertEqual((answer.status, answer.header("Retry-After")), (503, "5"))

    def test_what_is_no_version(self) -> None:
        """All but one whole number is 400, and nobody waits for it."""
        for version in ("", "abc", "-1", "+1", "01", "1.0", "1, 2", "0x10", '"1"', "1" * 20, "\u0661"):
            for path in READS:
                wire = self.ask(path, version)
                (answer,) = wire.answers()
                self.assertEqual(answer.check().status, 400, (path, version))

    def test_repeated_field(self) -> None:
        """Two field lines are a list of two, and that is no version."""
        self.assertEqual(self.statuses([self.ask(COUNT, "1\r\nX-Min-Resource-Version: 1")]), [[400]])

    def test_who_hangs_up(self) -> None:
        """A client that is gone is waited for no longer, and nothing is logged of it."""
        gone, waiting = self.ask(COUNT, "150"), self.ask(COUNT, "150")
        gone.hang_up()
        self.tell(deployment(version="150"))
        self.assertEqual(self.statuses([gone, waiting]), [[], [200]])
        self.server.clock.advance(10)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_who_may_not(self) -> None:
        """A client that may not read a Deployment is told so at once."""
        server = MemoryServer(authorizer=Nobody()).sync(namespace(), deployment())
        self.assertEqual(self.statuses([self.ask(COUNT, "150", server)]), [[403]])

    def test_who_is_nobody_by_then(self) -> None:
        """A client whose certificate is revoked while it waits is told so, and nothing else."""
        for version, path in enumerate(READS, start=150):
            self.server.tell(namespace(version=str(version)))
            wire = self.ask(path, str(version))
            self.server.clients.who = NotIdentified("The client certificate has been revoked.")
            self.assertEqual(self.statuses([wire]), [[]], path)
            self.tell(deployment(version=str(version)))
            status = 401 if path.startswith("/deployments") else 403
            self.assertEqual((self.statuses([wire]), wire.closing), ([[status]], True), path)
            self.assertEqual(self.server.audit.records[-1].outcome, "not identified")
            self.server.clients.who = ALICE

    def test_nothing_is_left(self) -> None:
        """No timer outlives the waits: ended by news, in vain, or by the client."""
        self.ask(COUNT, "0").hang_up()
        idle = len(self.server.clock.getDelayedCalls())
        first, second = self.ask(COUNT, "150"), self.ask(COUNT, "160")
        self.ask(COUNT, "160").hang_up()
        self.tell(deployment(version="150"))
        self.server.clock.advance(3)
        self.assertEqual(self.statuses([first, second]), [[200], [503]])
        for wire in (first, second):
            wire.hang_up()
        self.assertEqual(len(self.server.clock.getDelayedCalls()), idle)


class ScopeTests(NewnessTestCase):
    """Servers of more than one namespace: each has news of its own."""

    def test_which_namespace_is_waited_for(self) -> None:
        """A read of one namespace waits for that one, a list across them for both."""
        self.server = MemoryServer(namespaces=["shop", "new"]).sync(namespace(), namespace("new"), deployment())
        wires = [self.ask(COUNT, "150"), self.ask("/deployments/new", "150"), self.ask("/deployments", "150")]
        self.tell(deployment(version="150"), source=Source(Resource.DEPLOYMENTS, "shop"))
        self.assertEqual(self.statuses(wires), [[200], [], []])
        self.tell(deployment("one", "new", version="151"), source=Source(Resource.DEPLOYMENTS, "new"))
        self.assertEqual(self.statuses(wires), [[200], [200], [200]])
        self.assertEqual(self.statuses([self.ask("/deployments/other", "999")]), [[404]])
