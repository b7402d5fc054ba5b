"""`/metrics`: what is counted, under which names, and that no client can make it grow."""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_plain
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server import __version__
from sre_server.api.metrics import MetricsAPI
from sre_server.api.routing import Root
from sre_server.errors import NotIdentified
from sre_server.security.authorization import Verb
from sre_server.security.limits import Rate
from sre_server.security.policy import Rule
from sre_server.telemetry.metrics import Metrics
from sre_server.web.site import APISite
from tests.api.test_gate import policy
from tests.fakes import deployment, namespace
from tests.memory_client import Answer, Wire
from tests.memory_server import ALICE, MemoryServer

WANTED = {
    "http_requests_total": "counter",
    "http_request_duration_seconds": "histogram",
    "http_requests_in_flight": "gauge",
    "cache_objects": "gauge",
    "cache_last_event_timestamp_seconds": "gauge",
    "cache_synced": "gauge",
    "watch_restarts_total": "counter",
    "relists_total": "counter",
    "kube_requests_total": "counter",
    "kube_request_duration_seconds": "histogram",
    "scale_writes_total": "counter",
    "guardrail_denials_total": "counter",
    "reverts_detected_total": "counter",
    "tls_certificate_expiry_timestamp_seconds": "gauge",
    "starts_total": "counter",
    "stops_total": "counter",
    "http_requests_received_total": "counter",
    "log_messages_total": "counter",
    "ready": "gauge",
    "max_staleness_seconds": "gauge",
    "clients_connected": "gauge",
    "tls_crl_next_update_timestamp_seconds": "gauge",
    "audit_failures_total": "counter",
}
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class MetricsTests(SynchronousTestCase):
    """A server that has served a little."""

    def setUp(self) -> None:
        """Serve."""
        self.server = MemoryServer().sync(namespace("shop"), deployment("web", "shop"))

    def ask(self, accept: str = "", path: str = "/metrics", method: str = "GET") -> Answer:
        """Ask for the metrics, or for something else, without a look at the content type."""
        wire = self.server.connect()
        header = f"Accept: {accept}\r\n" if accept else ""
        wire.write(f"{method} {path} HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode())
        (answer,) = wire.answers(head=method == "HEAD")
        wire.hang_up()
        return answer

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """The samples of a metric, by the values of its labels in the order of their names."""
        found = {}
        for family in self.server.metrics.registry.collect():
            for sample in family.samples:
                if sample.name == f"sre_server_{name}":
                    found[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
        return found

    def counted(self, name: str) -> dict[tuple[str, ...], float]:
        """The same, without what has been counted never."""
        return {labels: value for labels, value in self.samples(name).items() if value}


class ExpositionTests(MetricsTests):
    """How it is told."""

    def test_names_and_types(self) -> None:
        """Every metric that was promised is there, of its type, with the prefix, and with a help text."""
        types = {family.name: family.type for family in parse_plain(self.ask().body.decode())}
        for name, kind in WANTED.items():
            known_as = f"sre_server_{name.removesuffix('_total')}"
            self.assertEqual(types.get(known_as, types.get(f"sre_server_{name}")), kind, name)
        ours = ("sre_server_", "process_", "python_")
        self.assertEqual({name for name in types if not name.startswith(ours)}, set())
        for family in parse_openmetrics(self.ask(OPENMETRICS).body.decode()):
            self.assertTrue(family.documentation, family.name)

    def test_the_build(self) -> None:
        """Version and role are labels of `build_info`, and the start is a time."""
        self.assertEqual(self.samples("build_info"), {("all", __version__): 1.0})
        self.assertGreater(self.samples("start_time_seconds")[()], 1_700_000_000)

    def test_the_format_that_was_asked_for(self) -> None:
        """OpenMetrics for who accepts it, else the plain text; each says which it is, and is not to be stored."""
        for accept, media_type in (
            ("", "text/plain; version=0.0.4; charset=utf-8"),
            ("text/plain", "text/plain; version=0.0.4; charset=utf-8"),
            ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
            (OPENMETRICS, "application/openmetrics-text"),
            (f"{OPENMETRICS};q=0.5,text/plain;q=0.2", "application/openmetrics-text"),
        ):
            answer = self.ask(accept)
            self.assertEqual(answer.status, 200)
            self.assertTrue((answer.header("Content-Type") or "").startswith(media_type), accept)
            self.assertEqual(answer.header("Cache-Control"), "no-store")
            self.assertEqual(answer.body.endswith(b"# EOF\n"), "openmetrics" in media_type)

    def test_head(self) -> None:
        """HEAD works too."""
        self.assertEqual((self.ask(method="HEAD").status, self.ask(method="HEAD").body), (200, b""))
        self.assertEqual(self.ask(method="PUT").status, 405)

    def test_who_may(self) -> None:
        """On the API port: clients that may read everything, and nobody else."""
        for rule, status in (
            (Rule(identities=("*",), verbs=("read",)), 200),
            (Rule(identities=("*",), namespaces=("shop",)), 403),
            (Rule(identities=("*",), verbs=("scale",)), 403),
        ):
            self.server = MemoryServer(authorizer=policy(rule)).sync()
            self.assertEqual(self.ask().status, status, rule)
        self.server.clients.who = NotIdentified("Nobody.")
        self.assertEqual(self.ask().status, 401)

    def test_the_ops_port(self) -> None:
        """There nobody is asked who it is, and what is read off elsewhere is brought up to date first."""
        metrics = Metrics()
        api = MetricsAPI(metrics, lambda: metrics.ready.set(1)).resource()
        wire = Wire(APISite(Root({b"metrics": api}, otherwise=api), Clock()))
        wire.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
        (answer,) = wire.answers()
        self.assertIn(b"\nsre_server_ready 1.0\n", answer.body)


class EverythingTests(SynchronousTestCase):
    """Who may see the metrics on the API port: they name clients and tell of every namespace."""

    def test_under_a_policy(self) -> None:
        """Only who may read everything; nobody to whom anything is denied, and no glob stands for all by matching."""
        everything = Rule(identities=("*",))
        for rules, status in (
            ((everything,), 200),
            ((Rule(identities=("*",), namespaces=("shop", "*")),), 200),
            ((), 403),
            ((Rule(identities=("*",), namespaces=("a", "b", "c", "d"), effect="deny"), everything), 403),
            ((Rule(identities=("*",), namespaces=("?",)),), 403),
            ((Rule(identities=("*",), names=("?",)),), 403),
            ((Rule(identities=("*",), namespaces=("[*]",)),), 403),
            ((Rule(identities=("*",), verbs=("scale",)),), 403),
        ):
            server = MemoryServer(authorizer=policy(*rules)).sync()
            wire = server.connect()
            (answer,) = wire.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertEqual(answer.status, status, rules)
            if status == 403:
                self.assertIn("'alice' may not read everything", answer.json()["message"])
                (record,) = server.audit.records
                self.assertEqual((record.namespace, record.name, record.outcome), (None, None, "not permitted"))


class LabelTests(MetricsTests):
    """What a request is counted as."""

    def test_plain_reads_are_there_from_0_on(self) -> None:
        """What the fast lane answers is counted before it happens, so that the first one is seen to be one more."""
        sample = MemoryServer().metrics.registry.get_sample_value
        for code, count in (("200", 0), ("304", 0), ("404", None)):
            labels = {"route": "/deployments/{namespace}/{name}/replicas", "method": "GET", "code": code}
            self.assertEqual(sample("sre_server_http_requests_total", labels), count, code)

    def test_requests(self) -> None:
        """By the URL's template, the method and the status; received, answered and timed alike."""
        self.server.get("/deployments/shop/web/replicas")
        self.server.get("/deployments/shop/nope/replicas")
        self.server.call("PUT", "/namespaces/shop/deployments/web/replica_count/4")
        counted = self.counted("http_requests_total")
        self.assertEqual(sum(counted.values()), 3)
        self.assertEqual(
            {(code, method) for code, method, _ in counted}, {("200", "GET"), ("404", "GET"), ("200", "PUT")}
        )
        self.assertFalse(any("shop" in label or "web" in label for labels in counted for label in labels), counted)
        self.assertEqual(self.samples("http_requests_received_total"), {("GET",): 2, ("PUT",): 1})
        self.assertEqual(sum(self.samples("http_request_duration_seconds_count").values()), 3)
        self.assertEqual(self.samples("http_requests_in_flight"), {(): 0})

    def test_clients_cannot_make_it_grow(self) -> None:
        """Whatever URLs, methods, names and versions they think of, the labels are the same few."""
        for number in range(30):
            self.ask(path=f"/nowhere-{number}")
            self.ask(path=f"/deployments/ns-{number}/web-{number}/replicas")
            self.ask(path=f"/deployments/NS-{number}")
            self.ask(path=f"/metrics/{number}")
            self.ask(path=f"/livez/{number}")
            self.ask(method="M" + "ETHOD" * number)
        first = len(self.server.metrics.expose("")[0].splitlines())
        methods = {labels[1] for labels in self.samples("http_requests_total")}
        self.assertEqual(methods, {"GET", "other"})
        for number in range(30, 60):
            self.ask(path=f"/nowhere-{number}")
            self.ask(path=f"/deployments/ns-{number}/web-{number}/replicas")
            self.ask(path=f"/deployments/NS-{number}")
            self.ask(path=f"/metrics/{number}")
            self.ask(path=f"/livez/{number}")
            self.ask(method="METHOD" + "X" * number)
        self.assertEqual(len(self.server.metrics.expose("")[0].splitlines()), first)

    def test_what_a_client_did(self) -> None:
        """Writes by what came of them, refusals by why, and the end of a certificate that is near: for each client."""
        limits = {Verb.READ: Rate(1, 2), Verb.SCALE: Rate(1, 3)}
        self.server = MemoryServer(
            authorizer=policy(Rule(identities=("*",), namespaces=("shop",))), limits=limits
        ).sync(namespace("shop"), deployment("web", "shop"), deployment("web", "pay"))
        self.server.clients.who = replace(ALICE, not_after=datetime.now(UTC) + timedelta(days=1))
        put = "/namespaces/{}/deployments/web/replica_count/{}"
        for namespace_name, count, status in (("pay", 4, 401), ("shop", 4, 200), ("shop", 5000, 422), ("shop", 4, 429)):
            self.assertEqual(self.server.call("PUT", put.format(namespace_name, count)).status, status)
        self.assertEqual([self.server.get("/deployments").status for _ in range(3)], [200, 200, 429])
        self.server.clients.who = NotIdentified("Nobody.")
        self.server.get("/deployments")
        self.assertEqual(self.samples("identity_writes_total"), {("alice", "changed"): 1})
        refused = {
            ("alice", "not permitted"): 1,
            ("alice", "guardrail"): 1,
            ("alice", "too many requests"): 2,
            ("unidentified", "not identified"): 1,
        }
        self.assertEqual(self.samples("identity_refusals_total"), refused)
        self.assertEqual(set(self.samples("identity_certificate_expiry_timestamp_seconds")), {("alice",)})

    def test_what_was_never_a_request(self) -> None:
        """It is counted by its status alone."""
        wire = self.server.connect()
        wire.write(b"garbage\r\n\r\n")
        self.assertEqual(self.samples("http_refused_total"), {("400",): 1})
        self.assertEqual(self.counted("http_requests_total"), {})

    def test_a_client_that_leaves(self) -> None:
        """A request whose client has gone is counted as that, and is in flight no more."""
        self.server.outcome = self.server.pending()
        self.server.outcome.addErrback(lambda _: None)
        wire = self.server.connect()
        wire.write(b"PUT /namespaces/shop/deployments/web/replica_count/4 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(self.samples("http_requests_in_flight"), {(): 1})
        wire.hang_up()
        self.assertEqual(self.samples("http_requests_in_flight"), {(): 0})
        self.assertEqual([labels[0] for labels in self.counted("http_requests_total")], ["left"])
        self.flushLoggedErrors()

    def test_one_server_knows_nothing_of_another(self) -> None:
        """Each has a registry of its own."""
        self.server.get("/deployments")
        self.assertIsNone(
            Metrics().registry.get_sample_value("sre_server_http_requests_received_total", {"method": "GET"})
        )
