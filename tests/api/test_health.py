"""livez and readyz, on a clock that the test moves."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.news import Changed, Resource, Source, sources_of
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
        server = MemoryServer()
        server.sync(namespace("shop"), sources=sources_of([])[:1])
        answer = server.get("/readyz")
        self.assertEqual((answer.status, answer.header("Retry-After")), (503, "2"))
        self.assertIn("(deployments)", answer.json()["message"])
        self.assertEqual(server.get("/livez").status, 200)
        server.sync(namespace("shop"))
        self.assertEqual(server.get("/readyz").status, 200)

    def test_why_it_is_not_ready(self) -> None:
        """What keeps the watches from hearing of the cluster is told where it is not ready, else it is a warning."""
        server = MemoryServer()
        server.troubles = ["deployments: The plugin failed."]
        self.assertTrue(server.get("/readyz").json()["message"].endswith(" deployments: The plugin failed."))
        server.sync()
        self.assertEqual(server.get("/readyz").json(), {})
        self.assertEqual(server.get("/readyz?verbose").json(), {"warnings": ["deployments: The plugin failed."]})

    def test_ready_while_one_namespace_can_be_read(self) -> None:
        """What is wrong with one namespace is a warning, and no reason to send nobody here."""
        server = MemoryServer(namespaces=["shop", "staff"])
        server.sync(namespace("shop"), sources=sources_of(["shop"]))
        self.assertEqual(server.get("/readyz").status, 200)
        self.assertEqual(
            server.get("/readyz?verbose").json(), {"warnings": ["the namespace 'staff' has not been read yet"]}
        )
        server.clock.advance(121)
        answer = server.get("/readyz")
        self.assertEqual((answer.status, "deployments in staff" in answer.json()["message"]), (503, True))

    def test_not_ready_before_everything_was_tried(self) -> None:
        """A server that takes the place of another one first has all that it serves, or knows that it cannot."""
        server = MemoryServer(namespaces=["shop", "staff"])
        server.awaited = sources_of(["staff"])
        server.sync(namespace("shop"), sources=sources_of(["shop"]))
        answer = server.get("/readyz")
        self.assertEqual((answer.status, "deployments in staff" in answer.json()["message"]), (503, True))
        self.assertEqual(server.get("/deployments/shop").status, 200)
        server.sync(namespace("staff"), sources=sources_of(["staff"]))
        server.awaited = [Source(Resource.AUTOSCALERS, "shop")]
        self.assertIn("(horizontalpodautoscalers in shop)", server.get("/readyz").json()["message"])
        server.awaited = ()
        self.assertEqual(server.get("/readyz").status, 200)

    def test_missing_permissions_are_warnings(self) -> None:
        """What the cluster refuses is told, although it serves."""
        server = MemoryServer().sync()
        server.permissions.said = ["the server lacks the permission to patch deployments/scale: no"]
        server.warnings = ["a file cannot be read"]
        self.assertEqual(server.get("/readyz?verbose").json()["warnings"], server.permissions.said + server.warnings)
        self.assertEqual(server.get("/readyz").json(), {})

    def test_the_cause_of_not_being_ready(self) -> None:
        """What the cluster refuses is why nothing was read, so that it is told in the same breath."""
        server = MemoryServer()
        server.permissions.said = ["the server lacks the permission to watch deployments: no way"]
        message = server.get("/readyz").json()["message"]
        self.assertIn("not complete yet (namespaces, deployments).", message)
        self.assertIn("watch deployments: no way.", message)
        server.troubles = ["namespaces: The plugin failed."]
        self.assertTrue(server.get("/readyz").json()["message"].endswith("no way. namespaces: The plugin failed."))

    def test_not_ready_where_nobody_can_be_served(self) -> None:
        """However fresh the cache is, a server that may not ask who may read is of no use; live it is."""
        server = MemoryServer().sync()
        server.permissions.said = ["the server lacks the permission to create subjectaccessreviews: no"]
        server.permissions.needed = True
        answer = server.get("/readyz")
        self.assertEqual((answer.status, answer.json()["message"]), (503, server.permissions.said[0]))
        server.troubles = ["Lease sre/watcher: The cluster did not answer in time."]
        self.assertTrue(server.get("/readyz").json()["message"].endswith(f": no {server.troubles[0]}"))
        server.troubles.clear()
        self.assertEqual(server.get("/livez").status, 200)
        server.permissions.needed = False
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
