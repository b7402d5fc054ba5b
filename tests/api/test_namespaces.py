"""Family B, from the bytes of a request to the bytes of the answer, over a cache that the test fills."""

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
from sre_server.security.guardrails import Guardrails
from tests.fakes import deployment, namespace
from tests.memory_server import MemoryServer

COUNT = "/namespaces/personal/deployments/nginx/replica_count"


def personal(guardrails: Guardrails = Guardrails()) -> MemoryServer:  # noqa: B008  # frozen
    """Make a server that knows RFD 1's examples, in no particular order."""
    return MemoryServer(guardrails=guardrails).sync(
        namespace("personal"),
        namespace("kube-system"),
        namespace("empty"),
        deployment("server", "personal", replicas=3),
        deployment("nginx", "personal", replicas=12),
        deployment("jane", "kube-system", replicas=1),
        deployment("fred", "kube-system", replicas=0),
    )


class ReadTests(SynchronousTestCase):
    """GET and HEAD."""

    def setUp(self) -> None:
        """Fill a cache."""
        self.server = personal()

    def test_every_row_of_the_table(self) -> None:
        """Each read has exactly RFD 1's shape, sorted by name."""
        rows = {
            "/namespaces": b'{"namespaces":["empty","kube-system","personal"]}',
            "/namespaces/personal/deployments": b'{"namespace":"personal","deployments":["nginx","server"]}',
            "/namespaces/empty/deployments": b'{"namespace":"empty","deployments":[]}',
            "/namespaces/ANY/deployments": b'[{"namespace":"kube-system","deployments":["fred","jane"]},'
            b'{"namespace":"personal","deployments":["nginx","server"]}]',
            COUNT: b'{"namespace":"personal","deployment":"nginx","replica_count":12}',
            "/namespaces/kube-system/deployments/fred/replica_count": b'{"namespace":"kube-system",'
            b'"deployment":"fred","replica_count":0}',
            "/namespaces/personal/deployments/ANY/replica_count": b'{"namespace":"personal","deployments":['
            b'{"deployment":"nginx","replica_count":12},{"deployment":"server","replica_count":3}]}',
            "/namespaces/empty/deployments/ANY/replica_count": b'{"namespace":"empty","deployments":[]}',
            "/namespaces/ANY/deployments/ANY/replica_count": b'[{"namespace":"kube-system","deployments":['
            b'{"deployment":"fred","replica_count":0},{"deployment":"jane","replica_count":1}]},'
            b'{"namespace":"personal","deployments":['
            b'{"deployment":"nginx","replica_count":12},{"deployment":"server","replica_count":3}]}]',
        }
        for path, body in rows.items():
            answer, head = self.server.get(path), self.server.call("HEAD", path)
            self.assertEqual((answer.status, answer.body), (200, body + b"\n"), path)
            self.assertEqual((head.status, head.header("Content-Length")), (200, str(len(answer.body))), path)

    def test_what_does_not_exist_is_410(self) -> None:
        """RFD 1 calls a namespace or Deployment that does not exist Gone, and nothing keeps that answer."""
        for path, what in (
            ("/namespaces/nowhere/deployments", "The namespace 'nowhere' does not exist."),
            ("/namespaces/nowhere/deployments/ANY/replica_count", "The namespace 'nowhere' does not exist."),
            ("/namespaces/nowhere/deployments/nginx/replica_count", "The namespace 'nowhere' does not exist."),
            (
                "/namespaces/personal/deployments/gone/replica_count",
                "The Deployment 'gone' does not exist in the namespace 'personal'.",
            ),
        ):
            answer = self.server.get(path)
            self.assertEqual((answer.status, answer.json()), (410, {"message": what}), path)
            self.assertEqual(answer.header("Cache-Control"), "no-store", path)

    def test_unknown_urls_are_404(self) -> None:
        """404 is kept for URLs that RFD 1 does not have."""
        for path in (
            "/namespaces/",
            "/namespaces/personal",
            "/namespaces/ANY",
            "/namespaces/personal/deployments/nginx",
            "/namespaces/personal/deployments/",
            "/namespaces/personal/pods",
            f"{COUNT}/",
            "/namespace",
            "/livez/x",
        ):
            self.assertEqual(self.server.get(path).status, 404, path)

    def test_any_stands_only_where_the_table_has_it(self) -> None:
        """One Deployment of every namespace is not a row; 'any' in lower case is a name like others."""
        answer = self.server.get("/namespaces/ANY/deployments/nginx/replica_count")
        self.assertEqual(answer.status, 400)
        self.assertIn("'ANY'", answer.json()["message"])
        self.assertEqual(self.server.get("/namespaces/any/deployments").status, 410)
        self.assertEqual(self.server.get("/namespaces/Any/deployments").status, 400)

    def test_malformed_names_are_400(self) -> None:
        """What Kubernetes would refuse as a name is refused before anything is looked up."""
        unsynced = MemoryServer()
        for path in (
            "/namespaces/Personal/deployments",
            "/namespaces/per.sonal/deployments",
            "/namespaces/" + "a" * 64 + "/deployments",
            "/namespaces/personal/deployments/Nginx/replica_count",
            "/namespaces/personal/deployments/" + "a" * 254 + "/replica_count",
            "/namespaces/personal%2Fdeployments",
            "/namespaces/%80/deployments",
            "/namespaces//deployments",
        ):
            self.assertEqual(unsynced.get(path).status, 400, path)

    def test_methods(self) -> None:
        """405 tells which methods the URL has: counts are read at one URL and written at another."""
        for path, allowed in (
            ("/namespaces", "GET, HEAD"),
            ("/namespaces/ANY/deployments", "GET, HEAD"),
            (COUNT, "GET, HEAD"),
            (f"{COUNT}/3", "PUT"),
        ):
            answer = self.server.call("DELETE", path)
            self.assertEqual((answer.status, answer.header("Allow")), (405, allowed), path)
        self.assertEqual(self.server.call("PUT", COUNT).status, 405)
        self.assertEqual(self.server.get(f"{COUNT}/3").status, 405)


class WriteTests(SynchronousTestCase):
    """PUT."""

    def setUp(self) -> None:
        """Fill a cache."""
        self.server = personal()

    def test_sets_the_count_and_answers_it(self) -> None:
        """PUT answers the Deployment as it then is, and the next read sees it."""
        answer = self.server.call("PUT", f"{COUNT}/38")
        expected = b'{"namespace":"personal","deployment":"nginx","replica_count":38}\n'
        self.assertEqual((answer.status, answer.body), (200, expected))
        self.assertEqual(self.server.writes, [("personal", "nginx", 38)])
        self.assertEqual(self.server.get(COUNT).body, expected)

    def test_no_body_is_read(self) -> None:
        """Whatever body comes along, of whatever type, the URL alone counts."""
        for body, media_type in ((b'{"replicas": 99}', "text/plain"), (b"\xff\xfe", "image/png"), (b"", "")):
            answer = self.server.call("PUT", f"{COUNT}/5", body, {"Content-Type": media_type})
            self.assertEqual((answer.status, answer.json()["replica_count"]), (200, 5), media_type)

    def test_counts_are_plain_decimal_digits_in_range(self) -> None:
        """Only what is written as a whole number is one: no signs, separators, leading zeros or other digits."""
        self.server = personal(guardrails=Guardrails(maximum=MAX_REPLICAS))
        for count in ("0", "1", "2147483647"):
            self.assertEqual(self.server.call("PUT", f"{COUNT}/{count}").status, 200, count)
        self.server.writes.clear()
        for count in (
            "007",
            "00",
            "+5",
            "-1",
            "-0",
            "1_0",
            "1e2",
            "1.0",
            "0x10",
            "five",
            "ANY",
            "%D9%A3",
            "%EF%BC%95",
            "%31%0A",
            "1%20",
            "2147483648",
            "9999999999",
            "1" * 5000,
        ):
            answer = self.server.call("PUT", f"{COUNT}/{count}")
            self.assertEqual(answer.status, 400, count)
        self.assertEqual(self.server.writes, [])
        for count, shown in (("03", "03"), ("1" * 5000, "1" * 80)):
            message = self.server.call("PUT", f"{COUNT}/{count}").json()["message"]
            expected = "a whole number in 0..2147483647, with no zeros before it, not"
            self.assertEqual(message, f"The replica count must be {expected} '{shown}'.")

    def test_a_wildcard_never_writes(self) -> None:
        """ANY anywhere in a PUT is 400."""
        for path in (
            "/namespaces/ANY/deployments/nginx/replica_count/3",
            "/namespaces/personal/deployments/ANY/replica_count/3",
            "/namespaces/ANY/deployments/ANY/replica_count/3",
            f"{COUNT}/ANY",
            "/namespaces/%41NY/deployments/nginx/replica_count/3",
        ):
            self.assertEqual(self.server.call("PUT", path).status, 400, path)
        self.assertEqual(self.server.writes, [])

    def test_every_cluster_error_has_its_status(self) -> None:
        """RFD 1's table, with 401 and 403 the other way round than in RFC 9110."""
        outcomes = {
            NotFound("The Deployment 'nginx' does not exist in the namespace 'personal'."): 410,
            Conflict("changed"): 409,
            ClusterTimedOut("unknown"): 504,
            ClusterBroke("unknown"): 502,
            ClusterUnreachable("no route"): 502,
            ClusterRefused("quota", 403): 502,
            Unavailable("busy", 1): 503,
            NotPermitted("viewer"): 401,
            NotIdentified("no name"): 403,
        }
        for error, status in outcomes.items():
            self.server.outcome = error
            answer = self.server.call("PUT", f"{COUNT}/3")
            self.assertEqual((answer.status, answer.json()["message"]), (status, str(error)), repr(error))

    def test_a_namespace_that_does_not_exist_is_410(self) -> None:
        """The message names the namespace where that is what is missing."""
        self.server.outcome = NotFound("The Deployment 'x' does not exist in the namespace 'nowhere'.")
        answer = self.server.call("PUT", "/namespaces/nowhere/deployments/x/replica_count/3")
        self.assertEqual((answer.status, answer.json()["message"]), (410, "The namespace 'nowhere' does not exist."))

    def test_nothing_is_written_before_the_first_list(self) -> None:
        """A server that does not know the cluster yet answers 503 to writes, too."""
        server = MemoryServer()
        self.assertEqual((server.call("PUT", f"{COUNT}/3").status, server.writes), (503, []))
