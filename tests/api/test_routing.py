"""What every answer of both families has in common: age, caching, request ids, and errors in JSON, bugs included."""

from types import SimpleNamespace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from sre_server.api.routes import max_stale
from sre_server.api.statuses import FAMILY_A, FAMILY_B
from sre_server.errors import SreServerError
from sre_server.model import Written
from sre_server.news import Changed
from sre_server.web.site import APISite
from tests.fakes import deployment, namespace
from tests.memory_client import Wire
from tests.memory_server import MemoryServer

READS = (
    "/deployments",
    "/deployments/shop",
    "/deployments/shop/web/replicas",
    "/namespaces",
    "/namespaces/shop/deployments",
    "/namespaces/ANY/deployments",
    "/namespaces/shop/deployments/web/replica_count",
    "/namespaces/shop/deployments/ANY/replica_count",
    "/namespaces/ANY/deployments/ANY/replica_count",
)


def shop(max_staleness: float = 120.0) -> MemoryServer:
    """Make a server that knows one Deployment."""
    return MemoryServer(max_staleness=max_staleness).sync(namespace("shop"), deployment("web", "shop"))


class FreshnessTests(SynchronousTestCase):
    """How old an answer may be, and how it says so."""

    def test_503_before_the_first_complete_list(self) -> None:
        """Before the first sync every read is 503 with `Retry-After`, whatever the client tolerates."""
        for path in READS:
            answer = MemoryServer().get(path, {"Cache-Control": "max-stale"})
            self.assertEqual((answer.status, answer.header("Retry-After")), (503, "2"), path)
            self.assertIsNone(answer.header("Age"), path)

    def test_half_a_sync_is_none(self) -> None:
        """Events alone, or the list of one source, make no answer: neither an empty one nor a 404."""
        server = MemoryServer()
        server.cache.apply(Changed(server.sources[1], server.clock.seconds()))
        self.assertEqual(server.get("/deployments").status, 503)
        self.assertEqual(server.get("/deployments/nowhere").status, 503)

    def test_every_read_tells_its_age(self) -> None:
        """`Age` is whole seconds since the cluster was last heard from, rounded up, and 404 tells it, too."""
        server = shop()
        self.assertEqual(server.get(READS[0]).header("Age"), "0")
        for seconds, age in ((0.001, "1"), (0.999, "1"), (0.001, "2"), (117.9, "119")):
            server.clock.advance(seconds)
            for path in (*READS, "/deployments/nowhere"):
                self.assertEqual(server.get(path).header("Age"), age, path)

    def test_503_past_the_staleness_bound(self) -> None:
        """At the bound reads are answered, past it they are 503 with `Retry-After`, until news come."""
        server = shop(120)
        server.clock.advance(120)
        self.assertEqual([server.get(path).status for path in READS], [200] * len(READS))
        server.clock.advance(0.5)
        for path in READS:
            answer = server.get(path)
            self.assertEqual((answer.status, answer.header("Retry-After")), (503, "5"), path)
        for source in server.sources:
            server.cache.apply(Changed(source, server.clock.seconds()))
        self.assertEqual([server.get(path).status for path in READS], [200] * len(READS))

    def test_a_client_may_accept_any_age(self) -> None:
        """`Cache-Control: max-stale` reads what was known, and is told how old it is."""
        server = shop()
        server.clock.advance(100_000)
        for path in READS:
            answer = server.get(path, {"Cache-Control": "no-transform, max-stale"})
            self.assertEqual((answer.status, answer.header("Age")), (200, "100000"), path)

    def test_a_client_may_accept_some_age(self) -> None:
        """`max-stale=N` accepts N seconds past the bound, and not one more."""
        server = shop(120)
        server.clock.advance(150)
        path = READS[0]
        self.assertEqual(server.get(path, {"Cache-Control": "max-stale=30"}).status, 200)
        self.assertEqual(server.get(path, {"Cache-Control": "max-stale=29"}).status, 503)

    def test_max_stale_as_rfc_9111_writes_it(self) -> None:
        """Directives are case-insensitive, may be quoted and stand among others; what is none of them is ignored."""
        forever = float("inf")
        for text, tolerance in {
            b"max-stale": forever,
            b"Max-Stale": forever,
            b"no-cache, max-stale": forever,
            b"max-stale,no-transform": forever,
            b"max-stale=60": 60.0,
            b"no-cache,max-stale=60": 60.0,
            b'max-stale="60"': 60.0,
            b"max-stale=0": 0.0,
            b"max-stale=": 0.0,
            b"max-stale=-1": 0.0,
            b"max-stale=soon": 0.0,
            b"max-stale=6x": 0.0,
            b"x-max-stale": 0.0,
            b"max-staleness": 0.0,
            b"max-age=60": 0.0,
            b"\xff": 0.0,
            b"": 0.0,
        }.items():
            self.assertEqual(max_stale(text), tolerance, text)
        self.assertEqual(max_stale(None), 0.0)

    def test_caches_ask_again_and_never_keep_errors(self) -> None:
        """Reads are `no-cache`; errors are `no-store`."""
        server = shop()
        for path in READS:
            self.assertEqual(server.get(path).header("Cache-Control"), "no-cache", path)
        for path in ("/deployments/nowhere", "/namespaces/nowhere/deployments", "/nowhere", "/deployments/UPPER"):
            self.assertEqual(server.get(path).header("Cache-Control"), "no-store", path)


class RequestIdTests(SynchronousTestCase):
    """`X-Request-Id`."""

    def test_a_sane_id_comes_back(self) -> None:
        """The client's own id is kept, in good answers and in errors."""
        for sane in ("1", "a" * 128, "4f6d-23a", "team:checkout/42.7_x+y=z@h", "01HZY"):
            for path in ("/deployments", "/nowhere", "/deployments/UPPER"):
                answer = shop().get(path, {"X-Request-Id": sane})
                self.assertEqual(answer.header("X-Request-Id"), sane, path)

    def test_any_other_id_is_replaced(self) -> None:
        """An id that could mislead a log or a header is replaced by one of ours, which is never the same twice."""
        seen = set()
        for insane in ("", " ", "a" * 129, "a" * 10_000, "a b", "-a", '"a"', "{x}", "a;b", "é", b"\xff", "a\tb", "<b>"):
            answer = shop().get("/deployments", {"X-Request-Id": insane})
            self.assertRegex(answer.header("X-Request-Id") or "", r"\A[0-9a-f]{16}\Z", repr(insane))
            seen.add(answer.header("X-Request-Id"))
        self.assertEqual(len(seen), 13)

    def test_no_header_is_injected(self) -> None:
        """CR and LF in an id never reach the response, encoded or bare."""
        for injected in (b"a%0d%0aX-Evil: 1", b"a\rX-Evil: 1", b"a\nX-Evil: 1"):
            request = b"GET /deployments HTTP/1.1\r\nHost: a\r\nX-Request-Id: " + injected + b"\r\n\r\n"
            for answer in shop().connect().send(request):
                self.assertIsNone(answer.header("X-Evil"), injected)
                self.assertNotIn("Evil", answer.header("X-Request-Id") or "", injected)


class FailureTests(SynchronousTestCase):
    """What a client sees of a bug, and what the log does."""

    def assert_hidden_and_logged(self, server: MemoryServer, method: str, path: str, body: bytes | None) -> None:
        """Check that a request meets a bug, answers 500 without a word of it, and logs it under the request id."""
        with capturedLogs() as events:
            answer = server.call(method, path, body, {"X-Request-Id": "r-17"})
        self.assertEqual((answer.status, answer.header("X-Request-Id")), (500, "r-17"))
        for secret in (b"Traceback", b"secret", b"RuntimeError", b"<", b".py"):
            self.assertNotIn(secret, answer.body)
        critical = [event for event in events if event["log_level"] is LogLevel.critical]
        self.assertEqual([event["request_id"] for event in critical], ["r-17"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_bug_in_a_read(self) -> None:
        """A handler that raises answers 500 in JSON."""
        server = shop()
        self.patch(server.cache, "tree", _boom)
        self.assert_hidden_and_logged(server, "GET", "/deployments", None)
        self.assert_hidden_and_logged(server, "GET", "/namespaces/ANY/deployments", None)

    def test_a_bug_in_a_write(self) -> None:
        """So does one whose coroutine fails."""
        server = shop()
        server.outcome = RuntimeError("secret")
        self.assert_hidden_and_logged(server, "PUT", "/deployments/shop/web/replicas", b'{"replicas":1}')
        self.assert_hidden_and_logged(server, "PUT", "/namespaces/shop/deployments/web/replica_count/1", None)

    def test_a_bug_in_readyz(self) -> None:
        """So does a health check."""
        server = shop()
        self.patch(server.cache, "check_ready", _boom)
        self.assert_hidden_and_logged(server, "GET", "/readyz", None)

    def test_a_value_that_is_no_deployment(self) -> None:
        """So does an answer that cannot be encoded."""
        server = shop()
        self.patch(server.cache, "deployment", lambda *_: SimpleNamespace(replicas=object()))
        answer = server.get("/deployments/shop/web/replicas")
        self.assertEqual(answer.status, 500)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    def test_a_bug_outside_of_the_apps(self) -> None:
        """500 is JSON even where no Klein app was reached."""
        site = APISite(_Broken(), Clock())
        (answer,) = Wire(site).send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: r-17\r\n\r\n")
        self.assertEqual((answer.check().status, answer.header("X-Request-Id")), (500, "r-17"))
        self.assertNotIn(b"secret", answer.body)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_hanging_write_holds_up_nobody_else(self) -> None:
        """While one client waits for the cluster, others are served."""
        server = shop()
        server.outcome = Deferred()
        waiting = server.connect()
        self.assertEqual(
            waiting.send(b"PUT /namespaces/shop/deployments/web/replica_count/1 HTTP/1.1\r\nHost: a\r\n\r\n"), []
        )
        self.assertEqual(server.get("/deployments").status, 200)
        server.outcome.callback(Written(deployment("web", "shop", replicas=1)))
        (answer,) = waiting.answers()
        self.assertEqual(answer.json()["replica_count"], 1)

    def test_every_error_of_the_domain_has_a_status(self) -> None:
        """Both tables know every error that there is, so that none of them becomes a 500."""
        kinds = _subclasses(SreServerError)
        for table in (FAMILY_A, FAMILY_B):
            self.assertEqual([kind.__name__ for kind in kinds if not set(kind.__mro__) & set(table)], [])

    def test_hosts_that_are_none_are_the_clients_fault(self) -> None:
        """A Host header that names no host is 400 in JSON, and nothing to log a traceback for."""
        for host in (b"\xff", b"a b", b"a/b", b"a@b", b"<a>"):
            answer = shop().get("/deployments", {"Host": host})
            self.assertEqual(answer.status, 400, host)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_hosts_that_dns_would_not_take_are_served(self) -> None:
        """The name that a client has for this server decides nothing, so that it is not looked at closely."""
        for host in (b"a..b", b"..", b"x" * 70, b"", b"[::1]:8443", b"localhost:8443", b"10.0.0.1"):
            self.assertEqual(shop().get("/deployments", {"Host": host}).status, 200, host)
        self.assertEqual(self.flushLoggedErrors(), [])


class _Broken(Resource):
    isLeaf = True

    def render(self, request: Request) -> bytes:
        raise RuntimeError("secret")


def _boom(*_: object) -> None:
    raise RuntimeError("secret")


def _subclasses(kind: type[SreServerError]) -> list[type[SreServerError]]:
    return [known for child in kind.__subclasses__() for known in (child, *_subclasses(child))]
