"""Which requests leave an audit line, what it says, and that no write happens without one."""

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sre_server import errors
from sre_server.api.deployments import UPDATED
from sre_server.cluster.scaling import BOUNDS, Scaling
from sre_server.cluster.workers import ConnectedWorkers
from sre_server.day.ending import End
from sre_server.errors import (
    AdmissionRefused,
    ClusterRefused,
    ClusterThrottled,
    ClusterTimedOut,
    Conflict,
    NotFound,
    NotIdentified,
    Unavailable,
)
from sre_server.model import Author, Guards, Written
from sre_server.security.audit import Record
from sre_server.security.guardrails import Guardrails
from sre_server.security.policy import Rule
from sre_server.web.connections import ConnectionLimits
from tests.api.test_gate import policy
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool, deployment, namespace
from tests.memory_client import Answer
from tests.memory_server import ALICE, MemoryServer
from tests.wire import refusal, scale_body

PUT_A, PUT_B = "/deployments/shop/web/replicas", "/namespaces/shop/deployments/web/replica_count/20"


def kinds(of: type[Exception] = errors.SreServerError) -> Iterator[type[Exception]]:
    """Name all kinds of errors that there are."""
    for kind in of.__subclasses__():
        yield kind
        yield from kinds(kind)


class OutcomeTests(SynchronousTestCase):
    """The names of outcomes, which scripts compare."""

    def test_all_are_documented(self) -> None:
        """docs/security.md has each: of refusals, of ends of temporary counts, and of errors that a write comes to."""
        page = (Path(__file__).parents[2] / "docs/security.md").read_text("utf-8")
        table = page.split("| `outcome` | what happened |\n")[1].split("\n\n")[0]
        documented = {name for row in table.splitlines() for name in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
        refused = {"not identified", "not permitted", "too many requests", "refused by a guardrail"}
        before: set[type[Exception]] = {errors.Malformed, errors.UnsupportedMediaType, errors.NotIdentified}
        of_watches: set[type[Exception]] = {errors.Expired, errors.BadAnswer, errors.Silent, errors.TooShort}
        # That there is none to end is found out before a line is begun.
        others = (
            before
            | of_watches
            | {errors.NotTemporary, errors.NotPermitted, errors.GuardrailRefused, errors.ClusterError}
        )
        failed = {kind.__name__ for kind in kinds() if kind.__module__ == errors.__name__ and kind not in others}
        self.assertEqual(documented, {"unknown", *refused, *(end.value for end in End), *failed})


class AuditedTests(SynchronousTestCase):
    """A server with one Deployment."""

    def setUp(self) -> None:
        """Serve."""
        self.server = self.serve()

    def serve(self, **how: object) -> MemoryServer:
        """Make a server."""
        return MemoryServer(**how).sync(namespace("shop"), deployment("web", "shop", replicas=3))  # type: ignore[arg-type]

    def put(self, headers: dict[str, str | bytes] | None = None, query: str = "", count: int = 20) -> Answer:
        """Write, as family A does."""
        return self.server.call("PUT", PUT_A + query, b'{"replicas":%d}' % count, headers)

    def record(self) -> Record:
        """The one line that there is."""
        (record,) = self.server.audit.records
        return record


class WriteTests(AuditedTests):
    """Lines of writes."""

    def test_a_write(self) -> None:
        """Every field of a write that succeeded: who, from where, by which certificate, what, why, and the outcome."""
        answer = self.put({"X-Reason": "a sale begins", "X-Request-Id": "r-1"})
        self.assertEqual(answer.status, 200)
        record = self.record()
        expected = Record(
            time=record.time,
            request_id="r-1",
            identity="alice",
            groups=("sre",),
            certificate_sha256=ALICE.certificate_sha256,
            address="192.0.2.7",
            action="scale",
            namespace="shop",
            name="web",
            uid="uid-shop-web",
            old_replicas=3,
            new_replicas=20,
            requested_replicas=20,
            reason="a sale begins",
            outcome="changed",
            status=200,
        )
        self.assertEqual(record, expected)
        (begun,) = self.server.audit.begun
        self.assertEqual((begun.outcome, begun.status, begun.new_replicas), ("unknown", None, 20))

    def test_others_are_told(self) -> None:
        """The Kubernetes Event is told the old count, who, and why; of a write that failed nobody is told."""
        self.put({"X-Reason": "why not"})
        ((told, asked, author),) = self.server.told
        self.assertEqual((told.replicas, asked), (20, 20))
        self.assertEqual(author, Author("alice", "why not", self.record().request_id, before=3))
        self.server.outcome = NotFound("No.")
        self.put()
        self.assertEqual(len(self.server.told), 1)

    def test_a_deployment_that_is_not_known_yet(self) -> None:
        """It is looked up before, for what is needed: its UID, and its count where a rule stands on that."""
        self.server.call("PUT", "/namespaces/shop/deployments/new/replica_count/5")
        self.assertEqual((self.record().old_replicas, self.record().uid), (None, "uid-shop-new"))
        self.assertEqual(self.server.audit.begun[0].uid, "uid-shop-new")
        self.assertIsNone(self.server.told[0][2].before)

    def test_a_deployment_that_does_not_exist(self) -> None:
        """What was looked up in vain leaves its one line, too."""
        self.server.present["shop", "new"] = NotFound("No.")
        self.assertEqual(self.server.call("PUT", "/namespaces/shop/deployments/new/replica_count/5").status, 410)
        self.assertEqual((self.record().outcome, self.record().status), ("NotFound", 410))
        self.assertEqual(self.server.writes, [])

    def test_what_admission_made_of_it(self) -> None:
        """The line has what was asked for and what the cluster has; so have both families, the Event and a metric."""
        self.server.outcome = Written(deployment("web", "shop", replicas=5, version="1000"))
        for answer in (self.put(count=9), self.server.call("PUT", PUT_B[:-2] + "9")):
            self.assertEqual(answer.status, 200)
        self.assertEqual(self.put(count=9).json(), {"message": f"{UPDATED}, admission made it 5"})
        answer = self.server.call("PUT", PUT_B[:-2] + "9")
        self.assertEqual(answer.json(), {"namespace": "shop", "deployment": "web", "replica_count": 5})
        lines = [(line.outcome, line.requested_replicas, line.new_replicas) for line in self.server.audit.records]
        self.assertEqual(lines, [("changed", 9, 5)] * 4)
        self.assertEqual([(told[0].replicas, told[1]) for told in self.server.told], [(5, 9)] * 4)
        metric = self.server.metrics.registry.get_sample_value
        self.assertEqual(metric("sre_server_admission_changes_total"), 4)
        self.assertEqual(metric("sre_server_scale_writes_total", {"result": "changed"}), 4)
        self.server.outcome = None
        self.assertEqual(self.put(count=9).json(), {"message": UPDATED})
        self.assertEqual(metric("sre_server_admission_changes_total"), 4)

    def test_what_admission_refused(self) -> None:
        """422 in both families, with the cluster's message and warnings; the line has what fits of the message."""
        said = "The cluster refused the write (403): no more than seven, says ü" + "x" * 200
        self.server.outcome = AdmissionRefused(said, 403, warnings=['299 - "mind"'])
        for answer in (self.put(), self.server.call("PUT", PUT_B)):
            self.assertEqual((answer.status, answer.json()["message"]), (422, said))
            self.assertEqual(answer.header("Warning"), '299 - "mind"')
        for line in self.server.audit.records:
            self.assertEqual((line.outcome, line.status, line.rule), ("AdmissionRefused", 422, said[:159]))
        self.server.outcome = AdmissionRefused("-" + "ü" * 100, 403)
        self.put()
        self.assertEqual(self.server.audit.records[-1].rule, "-" + "ü" * 79)

    def test_what_the_cluster_refused(self) -> None:
        """The line says what came of it, and the status that the client got, in its family's words."""
        for error, status_a, status_b in (
            (NotFound("Gone."), 404, 410),
            (Conflict("Somebody else."), 409, 409),
            (ClusterRefused("Not you.", 403), 502, 502),
            (AdmissionRefused("A webhook.", 403), 422, 422),
            (ClusterThrottled("Slower.", 429, 7), 503, 503),
            (ClusterTimedOut("Unknown."), 504, 504),
            (Unavailable("Busy.", 1), 503, 503),
        ):
            self.server = self.serve()
            self.server.outcome = error
            self.assertEqual((self.put().status, self.server.call("PUT", PUT_B).status), (status_a, status_b))
            lines = [(record.outcome, record.status, record.rule) for record in self.server.audit.records]
            rule = "A webhook." if isinstance(error, AdmissionRefused) else None
            name = type(error).__name__
            self.assertEqual(lines, [(name, status_a, rule), (name, status_b, rule)])
            metric = self.server.metrics.registry.get_sample_value
            self.assertEqual(metric("sre_server_scale_writes_total", {"result": type(error).__name__}), 2)

    def test_a_bug(self) -> None:
        """A fault that nobody thought of completes the line too, as 500."""
        self.server.outcome = ZeroDivisionError("a bug")
        self.assertEqual(self.put().status, 500)
        self.assertEqual((self.record().outcome, self.record().status), ("ZeroDivisionError", 500))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_the_reason(self) -> None:
        """Made printable and cut to 256 characters; nothing of it is lost to an encoding."""
        for given, kept in (
            (b"", None),
            (b"   ", None),
            ("für den Verkauf 😀".encode(), "für den Verkauf 😀"),
            (b"caf\xe9", "caf\ufffd"),
            (b"a\tb\x1b[2Jc\x7fd", "ab[2Jcd"),
            (b"r" * 300, "r" * 256),
            ("ü".encode() * 300, "ü" * 256),
            (b"r" * 255 + b"   x", "r" * 255),
            (b'{"outcome":"refused"}', '{"outcome":"refused"}'),
        ):
            self.server = self.serve()
            self.assertEqual(self.put({"X-Reason": given}).status, 200, given)
            self.assertEqual(self.record().reason, kept)
            self.assertEqual(self.server.told[0][2].reason, kept)

    def test_what_never_became_a_write(self) -> None:
        """Malformed bodies, and names that none could have, leave no line: nobody was refused anything."""
        self.server.call("PUT", PUT_A, b"{}")
        self.server.call("PUT", "/deployments/SHOP/web/replicas", b'{"replicas":1}')
        self.server.call("PUT", "/namespaces/shop/deployments/web/replica_count/-1")
        self.assertEqual((self.server.audit.begun, self.server.audit.records), ([], []))

    def test_reads_leave_no_line(self) -> None:
        """A read that is answered is the access log's business."""
        for path in ("/deployments", PUT_A, "/deployments/shop/nope/replicas", "/livez"):
            self.server.get(path)
        self.assertEqual(self.server.audit.records, [])


class RefusalTests(AuditedTests):
    """Lines of refusals."""

    def test_every_refusal(self) -> None:
        """Nobody, and who may not: reads, lists and writes, with each family's status and the rule that decided."""
        self.server = self.serve(authorizer=policy(Rule(identities=("alice",), effect="deny")))
        rule = "rule 1 of the policy (deny)"
        for method, path, line in (
            ("GET", PUT_A, ("read", "shop", "web", rule, 403)),
            ("PUT", PUT_A, ("scale", "shop", "web", rule, 403)),
            ("PUT", PUT_B, ("scale", "shop", "web", rule, 401)),
            ("GET", "/deployments/shop", ("read", "shop", None, None, 403)),
            ("GET", "/namespaces/shop/deployments", ("read", "shop", None, None, 401)),
        ):
            self.server.audit.records.clear()
            self.server.call(method, path, headers={"X-Reason": "please"})
            record = self.record()
            self.assertEqual((record.action, record.namespace, record.name, record.rule, record.status), line)
            self.assertEqual((record.outcome, record.identity, record.reason), ("not permitted", "alice", "please"))
            self.assertEqual(record.certificate_sha256, ALICE.certificate_sha256)

    def test_nobody(self) -> None:
        """Without an identity the line has the address, the certificate, and what was wanted."""
        self.server.clients.who = error = NotIdentified("Nobody.")
        error.certificate_sha256 = "cd" * 32
        self.put()
        record = self.record()
        self.assertEqual(record.certificate_sha256, "cd" * 32)
        self.assertEqual((record.outcome, record.status, record.identity), ("not identified", 401, None))
        self.assertEqual((record.address, record.namespace, record.name), ("192.0.2.7", "shop", "web"))

    def test_one_connection_too_many(self) -> None:
        """It is counted, and is no line: whatever it asks, that was not considered."""
        self.server = self.serve(connections=ConnectionLimits(per_identity=1))
        first = self.server.connect()
        first.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(self.server.get("/deployments").status, 429)
        self.assertEqual(self.server.audit.records, [])

    def test_guardrails(self) -> None:
        """422, the rule by its name in the line and in the metric, and nothing reaches the cluster."""
        self.server = self.serve(guardrails=Guardrails(maximum=10, zero_needs_confirmation=True, largest_step=2))
        for count, query, rule in ((11, "", "maximum"), (0, "?confirm=step", "zero"), (6, "", "step")):
            self.server.audit.records.clear()
            answer = self.put(query=query, count=count)
            self.assertEqual(answer.status, 422)
            record = self.record()
            self.assertEqual((record.outcome, record.rule, record.status), ("refused by a guardrail", rule, 422))
            self.assertEqual((record.old_replicas, record.new_replicas, record.uid), (3, count, "uid-shop-web"))
            metric = self.server.metrics.registry.get_sample_value
            self.assertEqual(metric("sre_server_guardrail_denials_total", {"rule": rule}), 1)
        self.assertEqual((self.server.writes, self.server.audit.begun), ([], []))
        self.assertEqual(self.put(query="?confirm=zero&confirm=step", count=0).status, 200)
        self.assertEqual(self.server.writes, [("shop", "web", 0)])

    def test_guardrails_are_for_those_who_may(self) -> None:
        """A client that may not write hears nothing of guardrails, nor of what the annotations say."""
        self.server = self.serve(authorizer=policy(), guardrails=Guardrails(maximum=10))
        self.assertEqual(self.put(count=11).status, 403)

    def test_annotations(self) -> None:
        """What the cache knows of the Deployment's own annotations counts, in both families."""
        guarded = deployment("web", "shop", replicas=3)
        guards = Guards(protected="true")
        own = type(guarded)(guarded.namespace, guarded.name, guarded.uid, guarded.resource_version, 3, guards)
        self.server = MemoryServer().sync(namespace("shop"), own)
        self.assertEqual((self.put().status, self.server.call("PUT", PUT_B).status), (422, 422))
        self.assertEqual(self.server.writes, [])


class BrokenAuditTests(AuditedTests):
    """An audit log that takes nothing, and clients that do not wait."""

    def test_no_line_no_write(self) -> None:
        """503 with Retry-After, and nothing reaches the cluster; reads are answered."""
        self.server.audit.broken = True
        for answer in (self.put(), self.server.call("PUT", PUT_B)):
            self.assertEqual((answer.status, answer.header("Retry-After")), (503, "5"))
            self.assertIn("nothing was changed", answer.json()["message"])
        self.assertEqual((self.server.writes, self.server.told), ([], []))
        self.assertEqual(self.server.get(PUT_A).json()["replicas"], 3)
        self.server.audit.broken = False
        self.assertEqual(self.put().status, 200)

    def test_the_client_leaves_during_its_write(self) -> None:
        """The line is completed with what came of the write, and the Event is left, although nobody waits."""
        reactor, pool, transport = FakeReactor(), InlinePool(inline=False), FakeTransport()
        workers = ConnectedWorkers(reactor, "writes", BOUNDS, lambda: transport, pool)
        workers.startService()
        self.server.scaler = Scaling(workers).scale
        for reply, outcome, status in (
            (FakeReply(200, [scale_body(deployment(replicas=20, version="1000"))]), "changed", 200),
            (refusal(409, "Conflict", about="deployments/web"), "Conflict", 409),
        ):
            self.server.audit.records.clear()
            wire = self.server.connect()
            wire.write(f"PUT {PUT_B} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            wire.hang_up()
            self.assertEqual(self.server.audit.records, [])
            transport.script.append(reply)
            pool.run_one()
            reactor.advance(0)
            self.assertEqual((self.record().outcome, self.record().status), (outcome, status))
        self.assertEqual(len(self.server.told), 1)
        self.assertEqual(self.flushLoggedErrors(), [])
