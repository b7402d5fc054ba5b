"""The site from the outside: good requests in order, the access log, and the drain."""

from collections.abc import Iterable

from twisted.logger import LogEvent, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Written
from sre_server.telemetry.access import FLUSH_SECONDS, AccessLine
from tests.fakes import deployment, namespace
from tests.memory_client import read_answers
from tests.memory_server import MemoryServer

GET = b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
PUT = b"PUT /namespaces/shop/deployments/web/replica_count/9 HTTP/1.1\r\nHost: a\r\n\r\n"


def shop() -> MemoryServer:
    """Make a server that knows one Deployment."""
    return MemoryServer().sync(namespace("shop"), deployment("web", "shop"))


def lines_in(events: Iterable[LogEvent]) -> list[AccessLine]:
    """The access lines that log events tell of."""
    return [line for event in events for line in event.get("access_lines", ())]


class ConnectionTests(SynchronousTestCase):
    """HTTP/1.1 as clients rely on it, and HTTP/1.0."""

    def test_a_connection_is_kept(self) -> None:
        """One connection serves many requests, one after the other."""
        wire = shop().connect()
        for count in range(1, 4):
            self.assertEqual([answer.status for answer in wire.send(GET)], [200] * count)
        self.assertFalse(wire.closing)

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """Requests that arrive together run one after the other; a slow one holds up those behind it."""
        server = shop()
        server.outcome = pending = server.pending()
        wire = server.connect()
        self.assertEqual([answer.status for answer in wire.send(LIVEZ + PUT + GET + LIVEZ)], [200])
        pending.callback(Written(deployment("web", "shop", replicas=9)))
        bodies = [answer.body for answer in wire.answers()]
        listed = b'[{"namespace":"shop","deployments":["web"]}]\n'
        written = b'{"namespace":"shop","deployment":"web","replica_count":9}\n'
        self.assertEqual(bodies, [b"{}\n", written, listed, b"{}\n"])

    def test_bytes_may_arrive_one_by_one(self) -> None:
        """Where TCP cuts the stream does not matter."""
        wire = shop().connect()
        for byte in GET + PUT:
            wire.write(bytes([byte]))
        self.assertEqual([answer.status for answer in wire.answers()], [200, 200])

    def test_connection_close(self) -> None:
        """A client that asks for it gets its answer and the end, and nothing that it sent after is run."""
        server = shop()
        wire = server.connect()
        (answer,) = wire.send(b"GET /deployments HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + PUT)
        self.assertEqual((answer.status, answer.header("Connection"), wire.closing), (200, "close", True))
        self.assertEqual(server.writes, [])

    def test_http_1_0(self) -> None:
        """HTTP/1.0 is served, with or without a Host, and then closed."""
        for head in (b"GET /deployments HTTP/1.0\r\n\r\n", b"GET /deployments HTTP/1.0\r\nHost: a\r\n\r\n"):
            wire = shop().connect()
            (answer,) = wire.send(head)
            self.assertEqual((answer.check().status, wire.closing), (200, True))

    def test_head_has_no_body(self) -> None:
        """After the headers of an answer to HEAD comes the next answer."""
        server = shop()
        wire = server.connect()
        wire.write(GET.replace(b"GET", b"HEAD") * 2)
        self.assertEqual([answer.status for answer in wire.answers(head=True)], [200, 200])

    def test_a_refusal_waits_for_the_answers_before_it(self) -> None:
        """A bad request behind a good one is refused after the good one's answer."""
        server = shop()
        server.outcome = pending = server.pending()
        wire = server.connect()
        self.assertEqual(wire.send(PUT + b"nonsense\r\n\r\n" + GET), [])
        pending.callback(Written(deployment("web", "shop", replicas=9)))
        self.assertEqual([answer.status for answer in wire.answers()], [200, 400])


class AccessLogTests(SynchronousTestCase):
    """One line per answer."""

    def logged(self, data: bytes, server: MemoryServer | None = None) -> list[AccessLine]:
        """The access lines of what a client sends."""
        server = server or shop()
        with capturedLogs() as events:
            server.connect().write(data)
            server.clock.advance(FLUSH_SECONDS)
        return lines_in(events)

    def test_a_line_tells_who_asked_what_and_what_became_of_it(self) -> None:
        """Address, method, path without its query, status, size, time and request id."""
        head = b"GET /deployments?token=secret HTTP/1.1\r\nHost: a\r\nX-Request-Id: r-17\r\n\r\n"
        (line,) = self.logged(head)
        self.assertEqual(str(line), "192.0.2.7 alice GET /deployments 200 45B 0.0ms r-17")
        (line,) = self.logged(head.replace(b"/deployments?token=secret", b"/nowhere"))
        self.assertRegex(str(line), r"\A192\.0\.2\.7 alice GET /nowhere 404 \d+B 0\.0ms r-17\Z")

    def test_time_is_measured(self) -> None:
        """The milliseconds are those that the answer took."""
        server = shop()
        server.outcome = pending = server.pending()
        wire = server.connect()
        with capturedLogs() as events:
            wire.write(PUT)
            server.clock.advance(1.5)
            pending.callback(Written(deployment("web", "shop", replicas=9)))
            server.clock.advance(FLUSH_SECONDS)
        (line,) = lines_in(events)
        self.assertEqual((line.seconds, line.method), (1.5, "PUT"))

    def test_lines_go_out_together(self) -> None:
        """What is answered within a tenth of a second is one event, in order; a drain does not lose the last ones."""
        server = shop()
        with capturedLogs() as events:
            server.connect().write(GET + LIVEZ.replace(b"livez", b"nowhere") + b"nonsense\r\n\r\n")
            self.assertEqual(lines_in(events), [])
            server.site.access.flush()
            self.assertEqual([line.status for line in lines_in(events)], [200, 404, 400])
            server.clock.advance(1)
        self.assertEqual(len([event for event in events if "access_lines" in event]), 1)

    def test_health_that_is_well_is_not_worth_a_line(self) -> None:
        """Probes that are answered 200 leave no line; those that are not do, and so do look-alikes."""
        self.assertEqual(self.logged(LIVEZ + LIVEZ.replace(b"livez", b"readyz")), [])
        statuses = [line.status for line in self.logged(LIVEZ.replace(b"livez", b"livez/x"))]
        self.assertEqual(statuses, [404])
        lines = self.logged(LIVEZ.replace(b"livez", b"readyz"), MemoryServer())
        self.assertEqual([line.status for line in lines], [503])

    def test_what_was_refused_leaves_a_line(self) -> None:
        """Requests that never were requests are logged with their status."""
        for data, status in (
            (b"nonsense\r\n\r\n", 400),
            (b"GET /" + b"x" * 9000 + b"\r\n", 414),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
        ):
            (line,) = self.logged(data)
            self.assertEqual(line.status, status)
            self.assertTrue(str(line).startswith("192.0.2.7 "))

    def test_lines_stay_lines(self) -> None:
        """Nothing that a client sends breaks a line in two or colours a terminal."""
        for path in (b"/\x1b[2J", b"/a\rb", b"/a\x0bb", b"/\x7f", b"/{path}{0}", b"/\xa0\x85", b"/%0a%0d"):
            for line in self.logged(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n"):
                self.assertTrue(str(line).isprintable(), str(line))


class DrainTests(SynchronousTestCase):
    """A site that is about to go."""

    def test_idle_connections_are_closed_at_once(self) -> None:
        """Those that wait for a request, the first or the next, end; the drain ends when the last is gone."""
        server = shop()
        fresh, used = server.connect(), server.connect()
        used.write(GET)
        drained = server.site.drain()
        self.assertTrue(fresh.closing)
        self.assertTrue(used.closing)
        fresh.hang_up()
        self.assertNoResult(drained)
        used.hang_up()
        self.assertIsNone(self.successResultOf(drained))

    def test_an_idle_peer_that_never_closes_is_not_waited_for(self) -> None:
        """A second is what a peer gets to answer the closing of an idle connection; a busy one is waited for."""
        server = shop()
        server.outcome = pending = server.pending()
        busy = server.connect()
        server.connect()
        busy.write(PUT)
        drained = server.site.drain()
        server.clock.advance(4.9)
        self.assertNoResult(drained)
        pending.callback(Written(deployment("web", "shop", replicas=9)))
        busy.hang_up()
        self.assertIsNone(self.successResultOf(drained))
        server = shop()
        server.connect()
        drained = server.site.drain()
        server.clock.advance(0.9)
        self.assertNoResult(drained)
        server.clock.advance(0.1)
        self.assertIsNone(self.successResultOf(drained))

    def test_a_site_without_connections_is_drained(self) -> None:
        """Nothing to wait for is waited for no time, once and again."""
        site = shop().site
        self.successResultOf(site.drain())
        self.successResultOf(site.drain())

    def test_a_busy_connection_is_answered_first(self) -> None:
        """An answer that is under way is sent, says `Connection: close`, and is the last."""
        server = shop()
        server.outcome = pending = server.pending()
        wire = server.connect()
        wire.write(PUT + GET)
        drained = server.site.drain()
        self.assertFalse(wire.closing)
        pending.callback(Written(deployment("web", "shop", replicas=9)))
        self.assertEqual([(answer.status, answer.header("Connection")) for answer in wire.answers()], [(200, "close")])
        self.assertTrue(wire.closing)
        self.assertNoResult(drained)
        wire.hang_up()
        self.successResultOf(drained)

    def test_a_request_that_is_still_arriving_is_answered(self) -> None:
        """What was begun before the drain is served, and then the connection is closed."""
        server = shop()
        early, late = server.connect(), server.connect()
        early.write(GET[:20])
        late.write(GET[:30])
        server.site.drain()
        for wire, rest in ((early, GET[20:]), (late, GET[30:])):
            if not wire.closing:
                wire.write(rest)
                answers = [(answer.status, answer.header("Connection")) for answer in wire.answers()]
                self.assertEqual((answers, wire.closing), ([(200, "close")], True))
        self.assertEqual(len(late.answers()), 1)

    def test_a_connection_that_slips_in_gets_one_answer(self) -> None:
        """A request on a connection made while the site drains is answered, and told that it was the last."""
        server = shop()
        server.site.drain()
        wire = server.connect()
        (answer,) = wire.send(GET + PUT)
        self.assertEqual((answer.status, answer.header("Connection"), wire.closing), (200, "close", True))
        self.assertEqual(server.writes, [])

    def test_abort_closes_everything_by_force(self) -> None:
        """What is still open is cut."""
        server = shop()
        server.outcome = server.pending()
        idle, busy = server.connect(), server.connect()
        busy.write(PUT)
        server.site.abort()
        self.assertEqual((idle.aborted, busy.aborted), (True, True))


class StrictClientTests(SynchronousTestCase):
    """The reader that the tests read answers with."""

    def test_it_is_strict(self) -> None:
        """A response that is cut short, or has no length, is no response."""
        for data in (b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", b"hello\r\n\r\n"):
            self.assertRaises((AssertionError, ValueError), read_answers, data)
        self.assertRaises(ValueError, read_answers, b"HTTP/1.1 200 OK\r\n\r\n")
