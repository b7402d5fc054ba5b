"""livez and readyz, on a clock that the test moves."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Changed
from tests.fakes import namespace
from tests.memory_server import MemoryServer


class HealthTests(SynchronousTestCase):
    """What kubelet and load balancers read."""

    def test_a_synced_server_is_live_and_ready(self) -> None:
        """Both are 200 with an empty object, to GET and to HEAD."""
        server = MemoryServer().sync()
        for path in ("/livez", "/readyz"):
            answer = server.get(path)
            self.assertEqual((answer.status, answer.body), (200, b"{}\n"), path)
            self.assertEqual(server.call("HEAD", path).status, 200, path)

    def test_not_ready_before_every_source_is_listed(self) -> None:
        """One missing list is enough to be unready, and the message names it; live it is all the same."""
        server = MemoryServer(namespaces=["shop", "staff"])
        answer = server.get("/readyz")
        self.assertEqual((answer.status, answer.header("Retry-After")), (503, "2"))
        self.assertIn("deployments in shop", answer.json()["message"])
        self.assertEqual(server.get("/livez").status, 200)
        server.sync(namespace("shop"))
        self.assertEqual(server.get("/readyz").status, 200)

    def test_an_empty_cluster_is_ready(self) -> None:
        """Readiness is a complete list, not a cache with something in it."""
        self.assertEqual(MemoryServer().sync().get("/readyz").status, 200)

    def test_not_ready_past_the_staleness_bound(self) -> None:
        """At the bound ready, past it not, and ready again with the next sign of life; `max-stale` changes nothing."""
        server = MemoryServer(max_staleness=120).sync()
        server.clock.advance(120)
        self.assertEqual(server.get("/readyz").status, 200)
        server.clock.advance(1)
        answer = server.get("/readyz", {"Cache-Control": "max-stale"})
        self.assertEqual((answer.status, answer.header("Retry-After")), (503, "5"))
        self.assertEqual(server.get("/livez").status, 200)
        for source in server.sources:
            server.cache.apply(Changed(source, server.clock.seconds()))
        self.assertEqual(server.get("/readyz").status, 200)

    def test_the_most_silent_source_decides(self) -> None:
        """One watch that is heard does not hide another that is not."""
        server = MemoryServer(max_staleness=120).sync()
        server.clock.advance(121)
        server.cache.apply(Changed(server.sources[0], server.clock.seconds()))
        self.assertEqual(server.get("/readyz").status, 503)

    def test_a_dead_watch_loop_is_not_live(self) -> None:
        """What only a restart can heal is what livez tells."""
        server = MemoryServer().sync()
        server.watching = False
        answer = server.get("/livez")
        self.assertEqual((answer.status, answer.header("Retry-After")), (503, "5"))

    def test_a_stopping_server_is_live_but_not_ready(self) -> None:
        """Load balancers are told first; requests are still served."""
        server = MemoryServer().sync()
        server.health.stop()
        self.assertEqual(server.get("/readyz").json(), {"message": "The server is shutting down."})
        self.assertEqual([server.get(path).status for path in ("/readyz", "/livez", "/namespaces")], [503, 200, 200])

    def test_other_methods_are_405(self) -> None:
        """Health is read, never written."""
        for method in ("PUT", "POST", "DELETE"):
            answer = MemoryServer().call(method, "/readyz")
            self.assertEqual((answer.status, answer.header("Allow")), (405, "GET, HEAD"), method)
