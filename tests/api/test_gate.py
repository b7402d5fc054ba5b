"""What every request passes before its handler: who is it, how often, and may it."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotFound, NotIdentified, Unavailable
from sre_server.security.authorization import Decision, Verb, View
from sre_server.security.delegation import KubernetesAuthorizer
from sre_server.security.identity import Identity
from sre_server.security.policy import Policy, PolicyDocument, Rule
from sre_server.security.questions import Question
from tests.fakes import deployment, namespace
from tests.memory_server import ALICE, MemoryServer

READS_A = ("/deployments", "/deployments/shop", "/deployments/shop/web/replicas")
READS_B = (
    "/namespaces",
    "/namespaces/shop/deployments",
    "/namespaces/ANY/deployments",
    "/namespaces/shop/deployments/web/replica_count",
    "/namespaces/shop/deployments/ANY/replica_count",
    "/namespaces/ANY/deployments/ANY/replica_count",
)
PUT_A, PUT_B = "/deployments/shop/web/replicas", "/namespaces/shop/deployments/web/replica_count/20"
BODY = b'{"replicas":20}'


def policy(*rules: Rule) -> Policy:
    """Make a policy."""
    return Policy(PolicyDocument(rules))


def filled(server: MemoryServer) -> MemoryServer:
    """Fill a server's cache."""
    objects = [deployment("web", "shop"), deployment("api", "shop"), deployment("web", "pay")]
    return server.sync(namespace("shop"), namespace("pay"), namespace("empty"), *objects)


class LateAuthorizer:
    """Answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Verb, str, str]] = []
        self.decisions: list[Deferred[Decision]] = []
        self.views: list[Deferred[View]] = []

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Deferred[Decision]:
        """See `Authorizer.decide`."""
        self.asked.append((verb, namespace, name))
        self.decisions.append(Deferred())
        return self.decisions[-1]

    preview = decide

    def decide_on_everything(self, identity: Identity) -> Deferred[Decision]:
        """See `Authorizer.decide_on_everything`."""
        return self.decide(identity, Verb.READ, "everything", "")

    def view(self, identity: Identity, namespaces: Collection[str]) -> Deferred[View]:
        """See `Authorizer.view`."""
        self.views.append(Deferred())
        return self.views[-1]

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """See `Authorizer.known_to_read`."""
        return False

    def known_view(self, identity: Identity, namespaces: Collection[str]) -> None:
        """See `Authorizer.known_view`."""

    def answer(self, *, allowed: bool) -> None:
        """Answer the oldest question."""
        self.decisions.pop(0).callback(Decision(allowed, "so it is"))


class FailingAuthorizer(LateAuthorizer):
    """Never knows."""

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Deferred[Decision]:
        """See `Authorizer.decide`."""
        return fail(Unavailable("The cluster cannot say now whether you may do this.", 2))

    preview = decide

    def view(self, identity: Identity, namespaces: Collection[str]) -> Deferred[View]:
        """See `Authorizer.view`."""
        return fail(Unavailable("The cluster cannot say now whether you may do this.", 2))


class IdentifiedTests(SynchronousTestCase):
    """Who is it."""

    def setUp(self) -> None:
        """Serve."""
        self.server = filled(MemoryServer())

    def sample(self, name: str, **labels: str) -> float:
        """The value of a metric."""
        return self.server.metrics.registry.get_sample_value(f"sre_server_{name}", labels) or 0.0

    def test_nobody(self) -> None:
        """A client without an identity gets each family's own status, for every URL of it, and its connection ends."""
        self.server.clients.who = NotIdentified("The client certificate has expired.")
        for path in READS_A:
            self.assertEqual(self.server.get(path).status, 401, path)
        for path in READS_B:
            self.assertEqual(self.server.get(path).status, 403, path)
        answer = self.server.call("PUT", PUT_A, BODY)
        self.assertEqual((answer.status, self.server.call("PUT", PUT_B).status), (401, 403))
        self.assertEqual(answer.json(), {"message": "The client certificate has expired."})
        self.assertEqual(answer.header("Connection"), "close")
        self.assertEqual(self.server.writes, [])
        refused = len(READS_A) + len(READS_B) + 2
        self.assertEqual(self.sample("denied_total", reason="not identified"), refused)

    def test_nobodys_connection_is_closed(self) -> None:
        """What else it has sent is not looked at."""
        self.server.clients.who = NotIdentified("Nobody.")
        wire = self.server.connect()
        wire.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        self.assertEqual([answer.status for answer in wire.answers()], [401])
        self.assertTrue(wire.closing)

    def test_health_asks_nobody(self) -> None:
        """Probes are answered without an identity, and before the first sync as after it."""
        self.server.clients.who = NotIdentified("Nobody.")
        self.assertEqual([self.server.get(path).status for path in ("/livez", "/readyz")], [200, 200])
        self.assertEqual(self.server.audit.records, [])

    def test_a_certificate_that_ends_soon(self) -> None:
        """Its client is told when, in a header, and counted; others are not."""
        for left, told in ((timedelta(days=8), False), (timedelta(days=6), True), (timedelta(hours=1), True)):
            ends = datetime.now(UTC) + left
            self.server.clients.who = replace(ALICE, not_after=ends)
            header = self.server.get("/deployments").header("X-Client-Certificate-Expires")
            self.assertEqual(header, ends.strftime("%Y-%m-%dT%H:%M:%SZ") if told else None)
        self.assertEqual(self.sample("client_certificate_expiring_requests_total"), 2)

    def test_the_identity_is_asked_for_each_request(self) -> None:
        """A client that is known on its first request is refused on the second when that is no longer true."""
        wire = self.server.connect()
        get = b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n"
        self.assertEqual([answer.status for answer in wire.send(get)], [200])
        self.server.clients.who = NotIdentified("The client certificate has been revoked.")
        self.assertEqual([answer.status for answer in wire.send(get)], [200, 401])
        self.assertTrue(wire.closing)


class PermittedTests(SynchronousTestCase):
    """May it."""

    def test_a_client_that_may_nothing(self) -> None:
        """Lists of everything are empty for it; all else is refused in each family's own status."""
        server = filled(MemoryServer(authorizer=policy()))
        self.assertEqual(server.get("/deployments").json(), [])
        self.assertEqual(server.get("/namespaces").json(), {"namespaces": []})
        self.assertEqual(server.get("/namespaces/ANY/deployments").json(), [])
        self.assertEqual(server.get("/namespaces/ANY/deployments/ANY/replica_count").json(), [])
        for path in READS_A[1:]:
            self.assertEqual(server.get(path).status, 403, path)
        for path in (READS_B[1], READS_B[3], READS_B[4]):
            self.assertEqual(server.get(path).status, 401, path)
        self.assertEqual((server.call("PUT", PUT_A, BODY).status, server.call("PUT", PUT_B).status), (403, 401))
        self.assertEqual(server.writes, [])

    def test_it_cannot_learn_what_exists(self) -> None:
        """What exists and what does not get the same answer, but for the names that the client itself has sent."""
        server = filled(MemoryServer(authorizer=policy()))
        for template in (
            "GET /deployments/{}",
            "GET /deployments/{}/{}/replicas",
            "PUT /deployments/{}/{}/replicas",
            "GET /namespaces/{}/deployments",
            "GET /namespaces/{}/deployments/{}/replica_count",
            "GET /namespaces/{}/deployments/ANY/replica_count",
            "PUT /namespaces/{}/deployments/{}/replica_count/20",
        ):
            answers = set()
            for where, name in (("shop", "web"), ("shop", "nope"), ("nope", "nope"), ("empty", "web")):
                method, path = template.format(where, name).split(" ")
                answer = server.call(method, path, b"{}" if method == "PUT" else None)
                message = answer.json()["message"].replace(f"'{where}'", "'?'").replace(f"'{name}'", "'?'")
                headers = {key for key, _ in answer.headers.getAllRawHeaders()}
                answers.add((answer.status, message, frozenset(headers)))
            self.assertEqual(len(answers), 1, (template, answers))

    def test_the_message(self) -> None:
        """It says who may not do what, and which rule said so."""
        server = filled(MemoryServer(authorizer=policy(Rule(identities=("*",), verbs=("read",)))))
        message = server.call("PUT", PUT_A, BODY).json()["message"]
        self.assertEqual(message, "'alice' may not scale 'web' in 'shop': no rule of the policy allows it.")
        server = filled(MemoryServer(authorizer=policy(Rule(identities=("bob",), verbs=("read",)))))
        message = server.get("/deployments/shop").json()["message"]
        self.assertEqual(message, "'alice' may not read the Deployments in 'shop'.")

    def test_nor_can_one_who_may_read_a_name(self) -> None:
        """Who may read some names sees no difference between a namespace without them and one that is not there."""
        rules = (
            Rule(identities=("*",), names=("yes", "n*"), verbs=("read", "scale")),
            Rule(identities=("*",), namespaces=("none",)),
        )
        server = filled(MemoryServer(authorizer=policy(*rules)))
        server.outcome = NotFound("The Deployment 'yes' does not exist.")
        for template in (
            "GET /deployments/{}",
            "GET /deployments/{}/yes/replicas",
            "GET /deployments/{}/no/replicas",
            "PUT /deployments/{}/yes/replicas",
            "GET /namespaces/{}/deployments",
            "GET /namespaces/{}/deployments/yes/replica_count",
            "GET /namespaces/{}/deployments/ANY/replica_count",
            "PUT /namespaces/{}/deployments/yes/replica_count/20",
        ):
            answers = set()
            for where in ("shop", "nope", "empty"):
                method, path = template.format(where).split(" ")
                answer = server.call(method, path, BODY if method == "PUT" else None)
                message = answer.json()["message"].replace(f"'{where}'", "'?'")
                headers = {key for key, _ in answer.headers.getAllRawHeaders()}
                answers.add((answer.status, message, frozenset(headers)))
            self.assertEqual(len(answers), 1, (template, answers))
        self.assertEqual(server.get("/namespaces").json(), {"namespaces": []})
        server.sync(deployment("no", "shop"), namespace("empty"))
        self.assertEqual(server.get("/namespaces").json(), {"namespaces": ["shop"]})
        self.assertEqual(server.get("/deployments/shop").json()[0]["deployments"], ["no"])
        self.assertIn("The namespace 'none'", server.get("/deployments/none/web/replicas").json()["message"])

    def test_a_refusal_looks_at_nothing(self) -> None:
        """It costs the same whatever there is, and whatever has changed: nothing is read from the cache for it."""
        server = filled(MemoryServer(authorizer=policy()))
        looked: list[str] = []
        for method in ("tree", "find", "deployment", "check_namespace", "revision", "check_fresh"):
            self.patch(server.cache, method, lambda *_, method=method: looked.append(method))
        for path in (*READS_A[1:], *READS_B[1:2], *READS_B[3:5]):
            self.assertIn(server.get(path).status, (401, 403), path)
        self.assertEqual((server.call("PUT", PUT_A, BODY).status, server.call("PUT", PUT_B).status), (403, 401))
        self.assertEqual(looked, [])

    def test_names_of_the_clusters_own(self) -> None:
        """A certificate that claims one is refused whatever it asks for, lists of all included, and audited."""

        def review(question: Question, *, for_write: bool) -> Deferred[bool]:
            return succeed(result=True)

        server = filled(MemoryServer(authorizer=KubernetesAuthorizer(review, lambda: 0.0)))
        self.assertEqual([server.get(path).status for path in READS_A], [200, 200, 200])
        server.clients.who = replace(ALICE, groups=("system:masters",))
        self.assertEqual([server.get(path).status for path in (*READS_A, "/metrics")], [403] * 4)
        self.assertEqual([server.get(path).status for path in READS_B], [401] * len(READS_B))
        self.assertEqual((server.call("PUT", PUT_A, BODY).status, server.call("PUT", PUT_B).status), (403, 401))
        message = (
            "'alice' may not read everything: 'system:masters' is a name of the cluster's own, see --system-names."
        )
        self.assertEqual(server.get("/deployments").json()["message"], message)
        self.assertEqual({record.outcome for record in server.audit.records}, {"not permitted"})
        self.assertFalse(server.get("/deployments/shop/web/permissions").json()["scale"]["allowed"])

    def test_lists_show_what_may_be_read(self) -> None:
        """Namespaces, names and counts alike, in both families."""
        rules = (
            Rule(identities=("alice",), namespaces=("shop",), names=("w*",)),
            Rule(groups=("sre",), namespaces=("empty",)),
        )
        server = filled(MemoryServer(authorizer=policy(*rules)))
        self.assertEqual(server.get("/deployments").json(), [{"namespace": "shop", "deployments": ["web"]}])
        self.assertEqual(server.get("/deployments/shop").json(), [{"namespace": "shop", "deployments": ["web"]}])
        self.assertEqual(server.get("/namespaces").json(), {"namespaces": ["empty", "shop"]})
        self.assertEqual(server.get("/namespaces/shop/deployments").json()["deployments"], ["web"])
        counts = {"namespace": "shop", "deployments": [{"deployment": "web", "replica_count": 3}]}
        self.assertEqual(server.get("/namespaces/shop/deployments/ANY/replica_count").json(), counts)
        self.assertEqual(server.get("/namespaces/ANY/deployments/ANY/replica_count").json(), [counts])
        self.assertEqual(server.get("/namespaces/empty/deployments").json()["deployments"], [])
        self.assertEqual(server.get("/deployments/pay").status, 403)
        self.assertEqual(server.get("/deployments/shop/api/replicas").status, 403)

    def test_who_may_gets_the_truth(self) -> None:
        """For a client that may, what does not exist is 404, or 410 in the other family."""
        server = filled(MemoryServer(authorizer=policy(Rule(identities=("*",)))))
        self.assertEqual(server.get("/deployments/nope").status, 404)
        self.assertEqual(server.get("/deployments/shop/nope/replicas").status, 404)
        self.assertEqual(server.get("/namespaces/nope/deployments").status, 410)
