"""Access lines as text: whatever a client calls itself, a line is the same eight fields."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.telemetry.access import AccessLine
from tests.memory_server import ALICE, MemoryServer

LINE = AccessLine(0.0, "192.0.2.7", 200, "r-1", "alice", "GET", "/deployments", 45, 0.0015)


class AccessLineTests(SynchronousTestCase):
    """One line."""

    def fields(self, *, identity: str | None = "alice", method: str = "GET", path: str = "/deployments") -> list[str]:
        """The fields of a line, as whoever splits it at white space sees them."""
        (line,) = str(AccessLine(0.0, "192.0.2.7", 200, "r-1", identity, method, path, 45, 0.0015)).splitlines()
        fields = line.split()
        self.assertEqual(len(fields), 8, line)
        self.assertEqual([fields[0], *fields[4:]], ["192.0.2.7", "200", "45B", "1.5ms", "r-1"])
        return fields[1:4]

    def test_plain(self) -> None:
        """What needs no encoding has none."""
        for identity in ("alice", "spiffe://example.org/deployer", "system:node:n-1", "jürgen@example.org", "a\\b'\"c"):
            self.assertEqual(self.fields(identity=identity), [identity, "GET", "/deployments"])

    def test_names_that_would_be_several_fields(self) -> None:
        """Spaces are encoded, and so is what an encoding could be taken for."""
        for identity, field in (
            ("Alice Liddell", "Alice%20Liddell"),
            ("eve GET /deployments 200 45B 1.5ms r-1", "eve%20GET%20/deployments%20200%2045B%201.5ms%20r-1"),
            ("Alice%20Liddell", "Alice%2520Liddell"),
            ("-", "%2D"),
            ("a\x85b\u2028c\x1cd", "a%C2%85b%E2%80%A8c%1Cd"),
        ):
            self.assertEqual(self.fields(identity=identity)[0], field)

    def test_methods_that_no_client_should_send(self) -> None:
        """They are what came, and no more than one field."""
        self.assertEqual(self.fields(method="GE\x1cT\x1b[2J")[1], "GE%1CT%1B[2J")

    def test_what_is_not_known(self) -> None:
        """A dash stands for nobody, and for a request too broken to have a method or a path."""
        self.assertEqual(self.fields(identity=None, method="", path=""), ["-", "-", "-"])


class SiteTests(SynchronousTestCase):
    """Lines of a site."""

    def test_every_answer_has_as_many_fields(self) -> None:
        """Answers to somebody, to nobody, and to what is no request."""
        server = MemoryServer().sync()
        noted: list[str] = []
        self.patch(
            server.site.access, "note", lambda *args, **named: noted.append(str(AccessLine(0.0, *args, **named)))
        )
        server.clients.who = type(ALICE)("eve  x", (), ALICE.certificate_sha256, ALICE.not_after)
        server.get("/deployments")
        server.get("/livez/no")
        server.connect().write(b"GET\r\n\r\n")
        server.connect().write(b"G\x1cET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual([len(line.split()) for line in noted], [8] * 4, noted)
        self.assertIn(" eve%20%20x GET /deployments ", noted[0])
