"""What a write is judged on, and then bound to: what the cache knows, or the cluster, where the cache will not do."""

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotFound, Unavailable
from sre_server.model import Deployment, Expected, Guards, State, Written
from sre_server.security.guardrails import Guardrails
from tests.fakes import deployment, namespace
from tests.memory_client import Answer
from tests.memory_server import MemoryServer

PATH = "/deployments/shop/web/replicas"
UID = "uid-shop-web"
STEP_OF_FIVE = Guardrails(largest_step=5)


class ComparingCluster:
    """A cluster that has one Deployment, and compares what writes expect of it."""

    def __init__(self, server: MemoryServer, replicas: int, uid: str = UID, guards: Guards = Guards()) -> None:  # noqa: B008
        self.server = server
        self.version = 1000
        self.unanswered: list[tuple[Deferred[Written | State], Written]] = []
        self.answers = True
        self.meanwhile: list[int] = []
        """What somebody else sets before each of our writes."""
        server.scaler = self.scale
        self.put(replicas, uid, guards)

    def put(self, replicas: int, uid: str = UID, guards: Guards = Guards()) -> None:  # noqa: B008
        """Have this."""
        self.state = State(uid, replicas, guards)
        self.server.present["shop", "web"] = self.state

    def scale(
        self, client: str, namespace: str, name: str, replicas: int, expected: Expected
    ) -> Deferred[Written | State]:
        """Write, or say what there is instead."""
        self.server.writes.append((namespace, name, replicas))
        if self.meanwhile:
            self.put(self.meanwhile.pop(0))
        if not expected.fits(self.state):
            return succeed(self.state)
        self.version += 1
        self.put(replicas, self.state.uid, self.state.guards)
        written = Written(Deployment(namespace, name, self.state.uid, str(self.version), replicas))
        if self.answers:
            return succeed(written)
        self.unanswered.append((Deferred(), written))
        return self.unanswered[-1][0]


class JudgingTestCase(SynchronousTestCase):
    """A server whose cache has ten replicas; what the cluster has is each test's business. It has no tests itself."""

    def serve(self, replicas: int, guardrails: Guardrails = STEP_OF_FIVE) -> ComparingCluster:
        """Serve in front of a cluster that has so many."""
        self.server = MemoryServer(guardrails=guardrails).sync(namespace("shop"), deployment(replicas=10))
        return ComparingCluster(self.server, replicas)

    def put(self, count: int, query: str = "", **fields: str) -> Answer:
        """Write."""
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        return self.server.call("PUT", PATH + query, b'{"replicas":%d}' % count, headers)

    def line(self) -> tuple[str, int | None, int | None, int | None]:
        """The one audit line, in short."""
        (record,) = self.server.audit.records
        return record.outcome, record.status, record.old_replicas, record.new_replicas


class StaleCacheTests(JudgingTestCase):
    """A cache that is behind the cluster."""

    def test_the_step_is_that_of_the_cluster(self) -> None:
        """Twelve are two more than the ten that are known, and far fewer than the 500 that there are."""
        cluster = self.serve(500)
        answer = self.put(12)
        self.assertEqual((answer.status, cluster.state.replicas), (422, 500))
        self.assertIn("a step of 488 from 500", answer.json()["message"])
        self.assertEqual(self.line(), ("refused by a guardrail", 422, 500, 12))
        metric = self.server.metrics.registry.get_sample_value
        self.assertEqual(metric("sre_server_guardrail_denials_total", {"rule": "step"}), 1)
        self.assertIsNone(metric("sre_server_scale_writes_total", {"result": "refused by a guardrail"}))

    def test_a_step_that_is_too_large_for_the_cache_alone(self) -> None:
        """What the cache would refuse for its count, the cluster is asked about; what for anything else, it is not."""
        cluster = self.serve(20)
        self.assertEqual((self.put(24).status, cluster.state.replicas), (200, 24))
        self.assertEqual((self.line(), self.server.looked), (("changed", 200, 20, 24), [("shop", "web", True)]))
        cluster = self.serve(20, Guardrails(largest_step=5, maximum=15))
        self.assertEqual((self.put(24).status, self.server.looked), (422, []))

    def test_a_step_that_is_small_enough_all_the_same(self) -> None:
        """It is judged once more, on what there is, and done; one line in the audit log says from where to where."""
        cluster = self.serve(14)
        self.assertEqual((self.put(12).status, cluster.state.replicas), (200, 12))
        self.assertEqual(self.line(), ("changed", 200, 14, 12))
        self.assertEqual(self.server.writes, [("shop", "web", 12)] * 2)
        self.assertEqual(self.server.told[0][2].before, 14)

    def test_a_count_that_is_never_still(self) -> None:
        """A write that is judged twice, and each time for another state than it meets, is given up: 409."""
        cluster = self.serve(10)
        cluster.meanwhile = [11, 12, 13]
        answer = self.put(14)
        self.assertEqual((answer.status, cluster.state.replicas), (409, 12))
        said = "Others keep changing the Deployment at the same time; nothing was changed."
        self.assertEqual(answer.json()["message"], said)
        self.assertEqual(self.line(), ("Conflict", 409, 12, 14))
        self.assertEqual(len(self.server.writes), 2)

    def test_two_at_once(self) -> None:
        """Each is a small step from the ten that are known; the second is judged on what the first has left."""
        cluster = self.serve(10)
        cluster.answers = False
        first = self.server.connect()
        first.write(b"PUT /namespaces/shop/deployments/web/replica_count/5 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual((self.put(15).status, cluster.state.replicas), (422, 5))
        ((answer, written),) = cluster.unanswered
        answer.callback(written)
        self.assertEqual([answer.status for answer in first.answers()], [200])

    def test_a_plain_write_overwrites(self) -> None:
        """Where no rule needs the count, or its step is confirmed, whatever count there is is overwritten at once."""
        for guardrails, query in ((Guardrails(), ""), (STEP_OF_FIVE, "?confirm=step")):
            cluster = self.serve(500, guardrails)
            self.assertEqual((self.put(12, query).status, cluster.state.replicas), (200, 12))
            self.assertEqual((self.server.writes, self.server.looked), ([("shop", "web", 12)], []))

    def test_one_that_was_made_anew(self) -> None:
        """Annotations, or their absence, are those of one Deployment: another one of its name is judged on its own."""
        cluster = self.serve(10, Guardrails())
        cluster.put(10, "another", Guards(protected="true"))
        self.assertEqual((self.put(12).status, cluster.state.replicas), (422, 10))
        cluster.put(10, "yet another")
        self.assertEqual((self.put(12).status, cluster.state.replicas), (200, 12))


class ConditionTests(JudgingTestCase):
    """If-Match and If-None-Match, where the client knows more than the cache, or less."""

    def test_the_step_is_that_of_the_tag(self) -> None:
        """A client that has seen 500 may write, by a small step from there, and not by one of 489."""
        cluster = self.serve(500)
        answer = self.put(11, If_Match=f'"500-{UID}"')
        self.assertEqual((answer.status, cluster.state.replicas), (422, 500))
        self.assertIn("from 500", answer.json()["message"])
        self.assertEqual(self.put(499, If_Match=f'"500-{UID}"').status, 200)

    def test_a_tag_that_is_behind_as_the_cache_is(self) -> None:
        """The cluster compares, and the answer has the count and the tag of what there is."""
        self.serve(12)
        answer = self.put(11, If_Match=f'"10-{UID}"')
        self.assertEqual((answer.status, answer.header("ETag")), (412, f'"12-{UID}"'))
        self.assertIn("its count is 12 now", answer.json()["message"])
        self.assertEqual(self.line(), ("PreconditionFailed", 412, 12, 11))

    def test_one_of_several_tags(self) -> None:
        """It may be the one of what there is, although the cache knows another one of them."""
        cluster = self.serve(12)
        self.assertEqual(self.put(11, If_Match=f'"10-{UID}", "12-{UID}"').status, 200)
        self.assertEqual(cluster.state.replicas, 11)

    def test_a_tag_of_another_state_than_the_cache_has(self) -> None:
        """The cluster is asked before anything is written: it may be the cache that is behind."""
        cluster = self.serve(12)
        self.assertEqual(self.put(11, If_Match=f'"12-{UID}"').status, 200)
        self.assertEqual(self.server.looked, [("shop", "web", True)])
        cluster.put(4)
        self.assertEqual(self.put(5, If_Match='"12-other"').status, 412)

    def test_what_must_not_be_there(self) -> None:
        """If-None-Match is held against what there is, which is then what is overwritten, and no other count."""
        cluster = self.serve(12)
        self.assertEqual((self.put(11, If_None_Match=f'"12-{UID}"').status, cluster.state.replicas), (412, 12))
        self.assertEqual(self.put(11, If_None_Match=f'"10-{UID}"').status, 200)


class UnknownTests(JudgingTestCase):
    """A Deployment that the cache does not know, or not well enough."""

    def serve_unknown(self, guards: Guards = Guards(), guardrails: Guardrails = Guardrails()) -> ComparingCluster:  # noqa: B008
        """Serve in front of a cluster whose Deployment is news to the cache."""
        self.server = MemoryServer(guardrails=guardrails).sync(namespace("shop"))
        return ComparingCluster(self.server, 10, guards=guards)

    def test_annotations_count(self) -> None:
        """One that is protected is not written, as if it were known."""
        cluster = self.serve_unknown(Guards(protected="true"))
        self.assertEqual((self.put(12).status, cluster.state.replicas), (422, 10))
        self.assertEqual(self.server.looked, [("shop", "web", False)])

    def test_annotations_go_on_to_count(self) -> None:
        """Once it was written it is known, with the annotations that it was judged on."""
        cluster = self.serve_unknown(Guards(maximum="12"))
        self.assertEqual((self.put(12).status, self.put(13).status, cluster.state.replicas), (200, 422, 12))
        self.assertEqual(len(self.server.looked), 1)

    def test_the_count_is_asked_for_where_it_matters(self) -> None:
        """For the step limit, and for conditions; not for anything else."""
        self.serve_unknown(guardrails=STEP_OF_FIVE)
        self.assertEqual((self.put(16).status, self.put(15).status), (422, 200))
        self.assertEqual([count for *_, count in self.server.looked], [True, True])
        self.serve_unknown()
        self.assertEqual([self.put(15).status, self.put(16, If_Match="*").status], [200, 200])
        self.assertEqual(self.server.looked, [("shop", "web", False)])

    def test_what_is_not_there(self) -> None:
        """404, or 410, which says which of the two does not exist; nothing is written."""
        self.serve_unknown()
        self.server.present = {
            (there, "web"): NotFound("The Deployment 'web' does not exist.") for there in ("shop", "no")
        }
        answer = self.put(12)
        self.assertEqual((answer.status, answer.json()["message"]), (404, "The Deployment 'web' does not exist."))
        answer = self.server.call("PUT", "/namespaces/no/deployments/web/replica_count/12")
        self.assertEqual(answer.status, 410)
        self.assertIn("namespace 'no'", answer.json()["message"])
        self.assertEqual(self.server.writes, [])

    def test_what_cannot_be_asked(self) -> None:
        """503 with Retry-After, and one line in the audit log; nothing is written."""
        self.serve_unknown()
        self.server.present["shop", "web"] = Unavailable("It cannot be told.", 2)
        answer = self.put(12)
        self.assertEqual((answer.status, answer.header("Retry-After")), (503, "2"))
        self.assertEqual((self.line(), self.server.writes), (("Unavailable", 503, None, 12), []))

    def test_a_cache_that_is_too_old(self) -> None:
        """What may not be read any more does not judge writes either: the cluster is asked."""
        cluster = self.serve(10, Guardrails())
        self.server.clock.advance(121)
        self.assertEqual(self.server.get(PATH).status, 503)
        cluster.put(10, UID, Guards(maximum="11"))
        self.assertEqual((self.put(12).status, self.put(11).status), (422, 200))
        self.assertEqual(self.server.looked, [("shop", "web", False)] * 2)

    def test_a_cache_that_is_not_complete(self) -> None:
        """Before the first list nothing is asked, as ever."""
        self.server = MemoryServer()
        self.assertEqual((self.put(12).status, self.server.looked), (503, []))

    def test_a_client_that_leaves(self) -> None:
        """What is only looked up for it is not gone on with: nothing is written."""
        self.serve_unknown()
        looking: Deferred[State] = Deferred()
        self.server.present["shop", "web"] = looking
        wire = self.server.connect()
        wire.write(b"PUT /namespaces/shop/deployments/web/replica_count/12 HTTP/1.1\r\nHost: a\r\n\r\n")
        wire.hang_up()
        self.assertTrue(looking.called)
        self.assertEqual((self.server.writes, self.server.audit.begun), ([], []))


class AnswerTests(JudgingTestCase):
    """What the answer to a write has besides."""

    def test_the_version(self) -> None:
        """Every write answers the resourceVersion that it led to, in both families; one that failed does not."""
        self.serve(10)
        self.assertEqual(self.put(11).header("X-Resource-Version"), "1001")
        answer = self.server.call("PUT", "/namespaces/shop/deployments/web/replica_count/12")
        self.assertEqual(answer.header("X-Resource-Version"), "1002")
        self.assertIsNone(self.put(500).header("X-Resource-Version"))

    def test_warnings(self) -> None:
        """What the cluster warns of is passed on as it came, each in a field line of its own."""
        self.server = MemoryServer().sync(namespace("shop"), deployment(replicas=10))
        warnings = ['299 - "deprecated"', '299 - "für dich"']
        self.server.outcome = Written(deployment(replicas=12, version="1000"), warnings)
        for answer in (self.put(12), self.server.call("PUT", "/namespaces/shop/deployments/web/replica_count/12")):
            raw = answer.headers.getRawHeaders("Warning") or []
            self.assertEqual([value.encode("latin-1").decode() for value in raw], warnings)
