"""Family A, from the bytes of a request to the bytes of the answer, over a cache that the test fills."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import (
    ClusterBroke,
    ClusterRefused,
    ClusterTimedOut,
    ClusterUnreachable,
    Conflict,
    NotFound,
    NotIdentified,
    NotPermitted,
    Unavailable,
)
from sre_server.model import MAX_REPLICAS
from sre_server.news import Changed, Deleted, Put
from sre_server.security.guardrails import Guardrails
from tests.fakes import deployment, namespace
from tests.memory_server import MemoryServer

REPLICAS = "/deployments/shop/web/replicas"


class ReadTests(SynchronousTestCase):
    """GET and HEAD."""

    def setUp(self) -> None:
        """Fill a cache, in no particular order."""
        self.server = MemoryServer().sync(
            namespace("shop"),
            namespace("empty"),
            namespace("default"),
            deployment("web", "shop", replicas=7),
            deployment("api", "shop", replicas=0),
            deployment("yeet", "default"),
            deployment("foo", "default"),
        )

    def test_lists_every_namespace_that_has_deployments(self) -> None:
        """`GET /deployments` names namespaces and Deployments in order, and leaves empty namespaces out."""
        answer = self.server.get("/deployments")
        expected = (
            b'[{"namespace":"default","deployments":["foo","yeet"]},{"namespace":"shop","deployments":["api","web"]}]\n'
        )
        self.assertEqual((answer.status, answer.body), (200, expected))

    def test_lists_one_namespace(self) -> None:
        """`GET /deployments/{ns}` has the same shape, with exactly one element."""
        answer = self.server.get("/deployments/shop")
        self.assertEqual((answer.status, answer.body), (200, b'[{"namespace":"shop","deployments":["api","web"]}]\n'))

    def test_an_empty_namespace_has_an_empty_list(self) -> None:
        """A namespace without Deployments is not an error."""
        answer = self.server.get("/deployments/empty")
        self.assertEqual((answer.status, answer.body), (200, b'[{"namespace":"empty","deployments":[]}]\n'))

    def test_an_empty_cluster_is_an_empty_list(self) -> None:
        """A complete list of nothing is an answer."""
        self.assertEqual(MemoryServer().sync().get("/deployments").body, b"[]\n")

    def test_reads_the_desired_count(self) -> None:
        """`GET .../replicas` is the desired count, in the RFD's order of keys."""
        answer = self.server.get(REPLICAS)
        self.assertEqual((answer.status, answer.body), (200, b'{"namespace":"shop","deployment":"web","replicas":7}\n'))
        self.assertEqual(self.server.get("/deployments/shop/api/replicas").json()["replicas"], 0)

    def test_a_query_changes_nothing(self) -> None:
        """Parameters that nobody asked for are ignored."""
        self.assertEqual(self.server.get(f"{REPLICAS}?pretty=1&x").json()["replicas"], 7)

    def test_head_is_get_without_the_body(self) -> None:
        """HEAD works wherever GET does, with the same status and length."""
        for path in ("/deployments", "/deployments/shop", REPLICAS, "/deployments/nowhere"):
            got, head = self.server.get(path), self.server.call("HEAD", path)
            self.assertEqual((head.status, head.body), (got.status, b""), path)
            self.assertEqual(head.header("Content-Length"), str(len(got.body)), path)

    def test_what_does_not_exist_is_404_and_named(self) -> None:
        """404 says which of the two does not exist."""
        for path, what in (
            ("/deployments/nowhere", "The namespace 'nowhere' does not exist."),
            ("/deployments/nowhere/web/replicas", "The namespace 'nowhere' does not exist."),
            ("/deployments/shop/no.such/replicas", "The Deployment 'no.such' does not exist in the namespace 'shop'."),
            ("/deployments/empty/web/replicas", "The Deployment 'web' does not exist in the namespace 'empty'."),
        ):
            answer = self.server.get(path)
            self.assertEqual((answer.status, answer.json()), (404, {"message": what}), path)

    def test_the_watch_shows_through(self) -> None:
        """What anybody creates, scales or deletes shows in the next read."""
        source = self.server.sources[1]
        self.server.cache.apply(Changed(source, 0, [Put(deployment("web", replicas=9, version="101"))]))
        self.assertEqual(self.server.get(REPLICAS).json()["replicas"], 9)
        self.server.cache.apply(Changed(source, 0, [Deleted(deployment("web", replicas=9, version="102"))]))
        self.assertEqual(self.server.get(REPLICAS).status, 404)

    def test_other_namespaces_than_the_servers_are_404(self) -> None:
        """A server that was limited to some namespaces says so of all others."""
        server = MemoryServer(namespaces=["shop"]).sync(namespace("shop"), deployment())
        answer = server.get("/deployments/default")
        self.assertEqual(answer.status, 404)
        self.assertIn("not one that this server was started for", answer.json()["message"])
        self.assertEqual(server.call("PUT", "/deployments/default/web/replicas", b'{"replicas":1}').status, 404)
        self.assertEqual(server.writes, [])


class WriteTests(SynchronousTestCase):
    """PUT."""

    def setUp(self) -> None:
        """Fill a cache."""
        server = MemoryServer(guardrails=Guardrails(maximum=MAX_REPLICAS))
        self.server = server.sync(namespace("shop"), deployment("web", "shop", replicas=7))

    def test_sets_the_count(self) -> None:
        """PUT writes once, and answers the RFD's message."""
        answer = self.server.call("PUT", REPLICAS, b'{"replicas": 20}')
        message = b'{"message":"Successfully updated the replica count for the deployment"}\n'
        self.assertEqual((answer.status, answer.body), (200, message))
        self.assertEqual(self.server.writes, [("shop", "web", 20)])

    def test_the_next_read_sees_the_write(self) -> None:
        """A write that answered 200 is read back at once, though no event has come."""
        self.server.call("PUT", REPLICAS, b'{"replicas": 20}')
        self.assertEqual(self.server.get(REPLICAS).json()["replicas"], 20)

    def test_an_older_event_does_not_undo_a_write(self) -> None:
        """An event from before the write that arrives after it is ignored."""
        self.server.call("PUT", REPLICAS, b'{"replicas": 20}')
        self.server.cache.apply(Changed(self.server.sources[1], 0, [Put(deployment("web", replicas=8, version="999"))]))
        self.assertEqual(self.server.get(REPLICAS).json()["replicas"], 20)

    def test_the_bounds_of_the_count(self) -> None:
        """0 and 2147483647 are counts, and so is what JSON calls minus zero; what is beyond is refused unwritten."""
        for count in (b"0", b"2147483647", b"-0"):
            self.assertEqual(self.server.call("PUT", REPLICAS, b'{"replicas": %s}' % count).status, 200, count)
        for count in (b"-1", b"2147483648", b"1" + b"0" * 3000):
            self.assertEqual(self.server.call("PUT", REPLICAS, b'{"replicas": %s}' % count).status, 400, count)
        self.assertEqual([count for *_, count in self.server.writes], [0, 2147483647, 0])

    def test_every_cluster_error_has_its_status(self) -> None:
        """The outcome of a write, as RFC 9110's statuses tell it; the message is the error's own."""
        outcomes = {
            Conflict("changed"): 409,
            ClusterTimedOut("unknown"): 504,
            ClusterBroke("unknown"): 502,
            ClusterUnreachable("no route"): 502,
            ClusterRefused("quota", 403): 502,
            Unavailable("busy", 1): 503,
            NotPermitted("viewer"): 403,
            NotIdentified("no name"): 401,
        }
        for error, status in outcomes.items():
            self.server.outcome = error
            answer = self.server.call("PUT", REPLICAS, b'{"replicas": 1}')
            self.assertEqual((answer.status, answer.json()["message"]), (status, str(error)), repr(error))

    def test_when_to_retry_is_passed_on(self) -> None:
        """`Retry-After` is there when the error knows it, and only then."""
        for error, header in (
            (Unavailable("busy", 1), "1"),
            (ClusterRefused("slow down", 429, 17), "17"),
            (ClusterRefused("no", 403), None),
        ):
            self.server.outcome = error
            answer = self.server.call("PUT", REPLICAS, b'{"replicas": 1}')
            self.assertEqual(answer.header("Retry-After"), header, repr(error))

    def test_404_says_which_of_the_two_does_not_exist(self) -> None:
        """The cluster decides what exists; the message names the namespace where that is what is missing."""
        self.server.outcome = NotFound("The Deployment 'gone' does not exist in the namespace 'shop'.")
        answer = self.server.call("PUT", "/deployments/shop/gone/replicas", b'{"replicas": 1}')
        self.assertEqual((answer.status, answer.json()["message"]), (404, str(self.server.outcome)))
        answer = self.server.call("PUT", "/deployments/nowhere/gone/replicas", b'{"replicas": 1}')
        self.assertEqual((answer.status, answer.json()["message"]), (404, "The namespace 'nowhere' does not exist."))

    def test_nothing_is_written_before_the_first_list(self) -> None:
        """A server that does not know the cluster yet answers 503 to writes, too."""
        server = MemoryServer()
        answer = server.call("PUT", REPLICAS, b'{"replicas": 1}')
        self.assertEqual((answer.status, answer.header("Retry-After"), server.writes), (503, "2", []))

    def test_a_stale_cache_does_not_stop_writes(self) -> None:
        """When the cluster is silent, a write is tried all the same: its own outcome tells."""
        self.server.clock.advance(10_000)
        self.assertEqual(self.server.call("PUT", REPLICAS, b'{"replicas": 1}').status, 200)


class RefusalTests(SynchronousTestCase):
    """URLs and methods that family A does not have."""

    def setUp(self) -> None:
        """Fill a cache."""
        self.server = MemoryServer().sync(namespace("shop"), deployment("web", "shop"))

    def test_unknown_urls_are_404(self) -> None:
        """A URL that no row of the table has is 404, whatever the method."""
        for path in (
            "/",
            "/deployment",
            "/deployments/",
            "/deployments/shop/",
            "/deployments/shop/web/",
            f"{REPLICAS}/",
        ):
            for method in ("GET", "PUT", "DELETE"):
                self.assertEqual(self.server.call(method, path).status, 404, f"{method} {path}")

    def test_other_methods_are_405_with_allow(self) -> None:
        """405 tells which methods the URL has."""
        for path, allowed in (
            ("/deployments", "GET, HEAD"),
            ("/deployments/shop", "GET, HEAD"),
            (REPLICAS, "GET, HEAD, PUT"),
        ):
            for method in ("POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"):
                answer = self.server.call(method, path)
                self.assertEqual((answer.status, answer.header("Allow")), (405, allowed), f"{method} {path}")

    def test_malformed_names_are_400_before_anything_is_looked_up(self) -> None:
        """What Kubernetes would refuse as a name is refused by name, even before the first list, and never written."""
        unsynced = MemoryServer()
        for path in (
            "/deployments/Shop",
            "/deployments/" + "a" * 64,
            "/deployments/kube.system",
            "/deployments/-a",
            "/deployments/a-",
            "/deployments/a_b",
            "/deployments/ANY",
            "/deployments/ANY/web/replicas",
            "/deployments/shop/ANY/replicas",
            "/deployments/shop/Web/replicas",
            "/deployments/shop/a..b/replicas",
            "/deployments/shop/.a/replicas",
            "/deployments/shop/" + "a" * 254 + "/replicas",
            "/deployments/shop%2Fweb",
            "/deployments/shop/a%2fb/replicas",
            "/deployments/%ff/web/replicas",
            "/deployments/%C3%A9",
            "/deployments/a%00b",
            "/deployments/a%0Ab",
            "/deployments/a%20b",
            "/deployments/shop%2541",
            "//deployments",
            "/deployments//web/replicas",
            "/deployments/../deployments",
            "/deployments/shop/%2e%2e/replicas",
        ):
            self.assertEqual(unsynced.get(path).status, 400, path)
            if path.endswith("/replicas"):
                self.assertEqual(self.server.call("PUT", path, b'{"replicas":1}').status, 400, path)
        self.assertEqual(self.server.writes, [])

    def test_the_longest_names_are_names(self) -> None:
        """63 characters make a namespace, 253 with dots a Deployment."""
        space, name = "a" * 63, ".".join(["b" * 63] * 3 + ["c" * 61])
        server = MemoryServer().sync(namespace(space), deployment(name, space, replicas=4))
        self.assertEqual(server.get(f"/deployments/{space}/{name}/replicas").json()["replicas"], 4)

    def test_a_malformed_name_is_shown_in_part(self) -> None:
        """An error message does not echo kilobytes."""
        self.assertLess(len(self.server.get("/deployments/" + "a" * 4000).body), 300)
