"""Fields and parameters: repeated lines are one list, empty elements nothing; what cannot be read never writes."""

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from sre_server.web.bounded import MAX_HEADERS
from tests.fakes import deployment, namespace
from tests.memory_client import Answer
from tests.memory_server import MemoryServer

TAG: Final = '"3-uid-shop-web"'
PATH_A: Final = "/deployments/shop/web/replicas"
PATH_B: Final = "/namespaces/shop/deployments/web/replica_count"
LONG: Final = [deployment(f"a-name-that-is-long-{number}", "shop") for number in range(60)]


class FieldTests(SynchronousTestCase):
    """RFC 9110, sections 5.3, 5.6.1 and 5.6.6."""

    def setUp(self) -> None:
        """Know some Deployments."""
        self.server = MemoryServer().sync(namespace("shop"), deployment("web", "shop"), *LONG)

    def ask(self, method: str, path: str, *lines: str, body: bytes = b"") -> Answer:
        """Make one request with these field lines, as they are."""
        wire = self.server.connect()
        length = (f"Content-Length: {len(body)}",) if body else ()
        wire.write("\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *length, *lines, "", ""]).encode() + body)
        (answer,) = wire.answers()
        self.closed = wire.closing
        wire.hang_up()
        return answer.check()

    def test_a_condition_on_several_lines(self) -> None:
        """Every line of If-None-Match and of If-Match counts, whichever comes last."""
        other = 'If-None-Match: "other"'
        for lines in (
            (f"If-None-Match: {TAG}", other),
            (other, f"If-None-Match: {TAG}"),
            (f"If-None-Match: ,{TAG},", other),
        ):
            self.assertEqual(self.ask("PUT", f"{PATH_B}/6", *lines).status, 412, lines)
            self.assertEqual(self.ask("GET", PATH_A, *lines).status, 304, lines)
        self.assertEqual(self.server.writes, [])
        self.assertEqual(self.ask("PUT", f"{PATH_B}/6", 'If-Match: "9-x"', f"If-Match: , {TAG}").status, 200)
        assert self.server.expected is not None
        self.assertEqual((self.server.expected.replicas, self.server.expected.uid), (3, "uid-shop-web"))

    def test_a_condition_that_cannot_be_read(self) -> None:
        """It is 400 for a write, in both families, and nothing for a read."""
        for value in ("x", TAG[:-1], f"{TAG} {TAG}", f"{TAG}, *", "*, *", f"w/{TAG}"):
            for name in ("If-Match", "If-None-Match"):
                answer = self.ask("PUT", f"{PATH_B}/6", f"{name}: {value}")
                self.assertEqual(answer.status, 400, (name, value))
                self.assertIn("entity tags", answer.json()["message"])
                self.assertEqual(self.ask("PUT", PATH_A, f"{name}: {value}", body=b'{"replicas":6}').status, 400)
                self.assertEqual(self.ask("GET", PATH_A, f"{name}: {value}").status, 200)
        self.assertEqual(self.server.writes, [])

    def test_close_anywhere(self) -> None:
        """`close` counts wherever it stands in Connection (RFC 9112, section 9.6), and is answered."""
        for lines in (
            ("Connection: close, TE",),
            ("Connection: TE,Close",),
            ("Connection: keep-alive", "Connection: , close"),
            ("Connection: close", "Connection: keep-alive"),
        ):
            answer = self.ask("GET", PATH_A, *lines)
            self.assertEqual((answer.status, answer.header("Connection"), self.closed), (200, "close", True), lines)
        for lines in (("Connection: TE",), ("Connection: keep-alive, TE",), ("Connection: closed",), ("Connection:",)):
            answer = self.ask("GET", PATH_A, *lines)
            self.assertEqual((answer.status, answer.header("Connection"), self.closed), (200, None, False), lines)

    def test_media_types(self) -> None:
        """Parameters may be empty, and JSON's charset may be named; two types are none."""
        for value in ("application/json;", "application/json ; ;", 'Application/JSON;; charset="UTF-8";'):
            self.assertEqual(self.ask("PUT", PATH_A, f"Content-Type: {value}", body=b'{"replicas":6}').status, 200)
        twice = ("Content-Type: application/json", "Content-Type: application/json")
        self.assertEqual(self.ask("PUT", PATH_A, *twice, body=b'{"replicas":6}').status, 415)

    def test_preferences_on_several_lines(self) -> None:
        """Codings and cache directives are collected from every line, in any case, and from among empty elements."""
        path = "/namespaces/shop/deployments/ANY/replica_count"
        for lines in (("Accept-Encoding: gzip", "Accept-Encoding: br"), ("Accept-Encoding: ,gzip;,",)):
            self.assertEqual(self.ask("GET", path, *lines).header("Content-Encoding"), "gzip", lines)
        refused = ("Accept-Encoding: *", "Accept-Encoding: gzip;q=0")
        self.assertIsNone(self.ask("GET", path, *refused).header("Content-Encoding"))
        self.server.clock.advance(500)
        for lines in (("Cache-Control: max-stale", "Cache-Control: no-cache"), ("Cache-Control: , MAX-STALE=900,",)):
            self.assertEqual(self.ask("GET", PATH_A, *lines).status, 200, lines)
        for value in ("max-stale=9", "max-stale=x", "min-fresh=max-stale", 'x="max-stale"', "max-stale=-1"):
            self.assertEqual(self.ask("GET", PATH_A, f"Cache-Control: {value}").status, 503, value)

    def test_two_ids(self) -> None:
        """A request that offers two ids gets one that is made up, in an answer that has one."""
        answer = self.ask("GET", PATH_A, "X-Request-Id: a", "X-Request-Id: b")
        self.assertRegex(answer.header("X-Request-Id") or "", r"\A[0-9a-f]{16}\Z")

    def test_too_many_lines(self) -> None:
        """One header line too many is 431, and closes the connection; as many as there may be are served."""
        full = [f"X-{number}: 1" for number in range(MAX_HEADERS - 1)]
        self.assertEqual((self.ask("GET", PATH_A, *full).status, self.closed), (200, False))
        self.assertEqual((self.ask("GET", PATH_A, *full, "X: 1").status, self.closed), (431, True))


class ParameterTests(SynchronousTestCase):
    """The query of a call that writes."""

    def setUp(self) -> None:
        """Know a Deployment."""
        self.server = MemoryServer().sync(namespace("shop"), deployment("web", "shop"))

    def test_what_a_write_does_not_know(self) -> None:
        """A parameter that was mistyped is 400 and names itself, and so is a value of `confirm`; nothing is asked."""
        for query, named in (
            ("confrim=zero", "confrim"),
            ("dryRun=true", "dryRun"),
            ("Confirm=zero", "Confirm"),
            ("confirm=zero&x", "x"),
            ("confirm=", "''"),
            ("confirm", "''"),
            ("confirm=Zero", "Zero"),
            ("confirm=zero,step", "zero,step"),
            ("confirm=zero&confirm=all", "all"),
            ("%63onfirm=zerO", "zerO"),
        ):
            for path, body in ((PATH_A, b'{"replicas":6}'), (f"{PATH_B}/6", None)):
                answer = self.server.call("PUT", f"{path}?{query}", body)
                self.assertEqual(answer.status, 400, query)
                self.assertIn(named, answer.json()["message"])
        self.assertEqual((self.server.writes, self.server.audit.begun), ([], []))

    def test_what_a_write_knows(self) -> None:
        """Each rule that can be confirmed may be, also twice, and without need."""
        all_of_them = "confirm=zero&confirm=mass&confirm=autoscaler&confirm=step"
        for query in (all_of_them, "confirm=step&confirm=zero", "confirm=step&confirm=step", "", "&&"):
            self.assertEqual(self.server.call("PUT", f"{PATH_B}/6?{query}").status, 200, query)

    def test_reads_ignore_what_they_do_not_know(self) -> None:
        """A read has no parameters, and does not mind any."""
        self.assertEqual(self.server.get(f"{PATH_A}?confrim=zero&x").status, 200)
