"""What one connection may cost: bytes of each part of a request, and seconds of each thing that is waited for."""

import tempfile

from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Written
from sre_server.web.channel import WRITE_SECONDS
from sre_server.web.site import IDLE_SECONDS
from tests.fakes import deployment, namespace
from tests.memory_client import Wire
from tests.memory_server import MemoryServer

PUT = b"PUT /deployments/shop/web/replicas HTTP/1.1\r\nHost: a\r\n"
COUNT = b'{"replicas":9}'


class LimitTests(SynchronousTestCase):
    """A connection to a server that knows one Deployment."""

    def setUp(self) -> None:
        """Connect."""
        self.server = MemoryServer().sync(namespace("shop"), deployment("web", "shop"))
        self.wire = self.server.connect()

    def assert_refused(self, status: int, wire: Wire | None = None) -> None:
        """Check that the one final answer has this status, says that it is the last, and is."""
        wire = wire or self.wire
        answers = [answer.check() for answer in wire.answers()]
        self.assertEqual([(answer.status, answer.header("Connection")) for answer in answers], [(status, "close")])
        self.assertTrue(wire.closing)
        wire.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(len(wire.answers()), 1)
        self.assertEqual(self.server.writes, [])


class SizeTests(LimitTests):
    """Bytes."""

    def test_the_longest_request_line(self) -> None:
        """8192 bytes are served, one more is 414."""
        line = b"GET /deployments?" + b"x" * (8192 - 26) + b" HTTP/1.1"
        self.assertEqual(len(line), 8192)
        (answer,) = self.wire.send(line + b"\r\nHost: a\r\n\r\n")
        self.assertEqual(answer.status, 200)
        wire = self.server.connect()
        wire.write(line.replace(b"?", b"?x") + b"\r\nHost: a\r\n\r\n")
        self.assert_refused(414, wire)

    def test_a_request_line_without_an_end(self) -> None:
        """414 does not wait for the end of the line."""
        self.wire.write(b"GET /")
        for _ in range(17):
            self.wire.write(b"x" * 1024)
        self.assert_refused(414)

    def test_headers_are_bounded_in_all(self) -> None:
        """16 KiB of request line and headers are read, more are 431."""
        line = b"X-A: " + b"x" * 1000 + b"\r\n"
        (answer,) = self.wire.send(b"GET /deployments HTTP/1.1\r\nHost: a\r\n" + line * 16 + b"\r\n")
        self.assertEqual(answer.status, 200)
        wire = self.server.connect()
        wire.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\n" + line * 17)
        self.assert_refused(431, wire)

    def test_one_long_header(self) -> None:
        """One header of 16 KiB is too many."""
        self.wire.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\nX-A: " + b"x" * 16384 + b"\r\n\r\n")
        self.assert_refused(431)

    def test_a_header_without_an_end(self) -> None:
        """431 does not wait for the end of the line."""
        self.wire.write(b"GET /deployments HTTP/1.1\r\nX-A: ")
        for _ in range(17):
            self.wire.write(b"x" * 1024)
        self.assert_refused(431)

    def test_each_request_of_a_connection_has_the_whole_budget(self) -> None:
        """What one request used up is not missing from the next."""
        request = b"GET /deployments HTTP/1.1\r\nHost: a\r\nX-A: " + b"x" * 10_000 + b"\r\n\r\n"
        self.assertEqual([answer.status for answer in self.wire.send(request * 3)], [200, 200, 200])

    def test_the_longest_body(self) -> None:
        """4096 bytes are read, and a longer Content-Length is 413 before a byte of it has come."""
        body = COUNT.rjust(4096)
        (answer,) = self.wire.send(PUT + b"Content-Length: 4096\r\n\r\n" + body)
        self.assertEqual(answer.status, 200)
        self.server.writes.clear()
        wire = self.server.connect()
        wire.write(PUT + b"Content-Length: 4097\r\n\r\n")
        self.assert_refused(413, wire)

    def test_a_long_chunked_body(self) -> None:
        """A chunked body is 413 with the byte that is too many, in one chunk or in many."""
        for chunks in (b"1001\r\n" + b" " * 4097, b"1\r\n \r\n" * 4097, b"fffffffff\r\n" + b" " * 4097):
            wire = self.server.connect()
            wire.write(PUT + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
            self.assert_refused(413, wire)

    def test_a_body_that_was_valid_until_it_grew_too_long(self) -> None:
        """A refused body is never run, even if what was kept of it makes sense and its end comes in the same piece."""
        chunks = b"e\r\n" + COUNT + b"\r\n1000\r\n" + b" " * 4096 + b"\r\n0\r\n\r\n"
        self.wire.write(PUT + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        self.assert_refused(413)

    def test_a_chunked_body_of_the_longest_length(self) -> None:
        """4096 bytes in chunks are read."""
        body = COUNT.rjust(4096)
        (answer,) = self.wire.send(PUT + b"Transfer-Encoding: chunked\r\n\r\n1000\r\n" + body + b"\r\n0\r\n\r\n")
        self.assertEqual(answer.status, 200)

    def test_the_rest_of_a_refused_body_is_not_read_as_a_request(self) -> None:
        """What follows a body that was refused is thrown away."""
        self.wire.write(PUT + b"Content-Length: 1000000\r\n\r\n")
        self.wire.write(b"PUT /namespaces/shop/deployments/web/replica_count/9 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assert_refused(413)

    def test_no_body_goes_to_disk(self) -> None:
        """Bodies stay in memory, as the server's file system may be read-only."""

        def no_disk(*_: object, **__: object) -> None:
            raise FileNotFoundError("no usable temporary directory")

        self.patch(tempfile, "TemporaryFile", no_disk)
        self.assertEqual(
            [answer.status for answer in self.wire.send(PUT + b"Transfer-Encoding: chunked\r\n\r\ne\r\n" + COUNT)], []
        )
        self.assertEqual([answer.status for answer in self.wire.send(b"\r\n0\r\n\r\n")], [200])
        self.server.writes.clear()
        wire = self.server.connect()
        wire.write(PUT + b"Content-Length: 100000\r\n\r\n" + b" " * 5000)
        self.assert_refused(413, wire)

    def test_a_body_that_asks_first(self) -> None:
        """`Expect: 100-continue` is answered 100 for a body that will be read, and 413 alone for any other."""
        self.wire.write(PUT + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(COUNT))
        self.assertEqual([answer.status for answer in self.wire.answers()], [100])
        self.assertEqual([answer.status for answer in self.wire.send(COUNT)], [100, 200])
        self.server.writes.clear()
        wire = self.server.connect()
        wire.write(PUT + b"Expect: 100-continue\r\nContent-Length: 4097\r\n\r\n")
        self.assert_refused(413, wire)

    def test_a_refusal_carries_the_clients_id(self) -> None:
        """What is refused after its headers were read is answered under the client's own request id."""
        self.wire.write(PUT + b"X-Request-Id: r-17\r\nContent-Length: 4097\r\n\r\n")
        self.assertEqual([answer.header("X-Request-Id") for answer in self.wire.answers()], ["r-17"])

    def test_pipelined_requests_are_held_back(self) -> None:
        """While one request is answered, no more than 16 KiB of the next ones are read."""
        self.server.outcome = self.server.pending()
        self.wire.write(b"PUT /namespaces/shop/deployments/web/replica_count/9 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.wire.write(b"x" * 16_384)
        self.assertFalse(self.wire.paused)
        self.wire.write(b"x")
        self.assertTrue(self.wire.paused)

    def test_answers_that_are_not_read(self) -> None:
        """A client that does not read its answers is read from no more, however its requests come; then it goes on."""
        get = b"GET /deployments HTTP/1.1\r\nHost: a\r\nX-Anything: else\r\n\r\n"
        for pieces in ([get] * 5, [get * 5], [get[:-3], get[-3:] + get * 4], [get + get[:20], get[20:] + get * 3]):
            wire = self.server.connect()
            wire.fill_up()
            for piece in pieces:
                wire.write(piece)
            self.assertEqual((len(wire.answers()), wire.paused), (1, True))
            self.server.clock.advance(WRITE_SECONDS - 0.1)
            wire.read_on()
            self.assertEqual((len(wire.answers()), wire.paused, wire.closing), (5, False, False))
            self.server.clock.advance(WRITE_SECONDS)
            self.assertEqual((len(wire.answers()), wire.aborted), (5, False))

    def test_a_last_answer_that_is_not_read(self) -> None:
        """After the last answer what the client still sends is thrown away, so that its end is seen."""
        wire = self.server.connect()
        wire.fill_up()
        wire.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + b"x" * 99_999)
        wire.write(b"x" * 99_999)
        self.assertEqual((len(wire.answers()), wire.paused, wire.closing), (1, False, True))


class TimeTests(LimitTests):
    """Seconds."""

    def drip(self, data: bytes, every: float) -> None:
        """Send byte by byte, until the server has closed."""
        for byte in data:
            self.wire.write(bytes([byte]))
            self.server.clock.advance(every)
            if self.wire.closing:
                return

    def test_dripped_headers(self) -> None:
        """A request has 10 s in total, however lively it drips; then it is 408."""
        began = self.server.clock.seconds()
        self.drip(b"GET /deployments HTTP/1.1\r\nHost: a\r\n" + b"X-A: x\r\n" * 50, every=0.25)
        self.assertEqual(self.server.clock.seconds() - began, 10)
        self.assert_refused(408)

    def test_a_dripped_request_line(self) -> None:
        """The clock runs from the first byte."""
        self.drip(b"GET /" + b"x" * 100, every=4)
        self.assertEqual(self.server.clock.seconds(), 12)
        self.assert_refused(408)

    def test_a_dripped_body(self) -> None:
        """Headers and body share the 10 s."""
        self.wire.write(PUT)
        self.server.clock.advance(6)
        self.wire.write(b"Content-Length: 100\r\n\r\n")
        self.drip(b" " * 100, every=0.5)
        self.assertEqual(self.server.clock.seconds(), 10)
        self.assert_refused(408)

    def test_a_dripped_chunked_body(self) -> None:
        """However it is framed."""
        self.wire.write(PUT + b"Transfer-Encoding: chunked\r\n\r\n")
        self.drip(b"1\r\n \r\n" * 100, every=0.5)
        self.assertEqual(self.server.clock.seconds(), 10)
        self.assert_refused(408)

    def test_a_request_that_stops(self) -> None:
        """Silence in the middle of a request is 408, too; so is a line that is ended by a bare LF."""
        self.wire.write(b"GET /deployments HTTP/1.1\nHost: a\n\n")
        self.server.clock.advance(9.9)
        self.assertFalse(self.wire.closing)
        self.server.clock.advance(0.1)
        self.assert_refused(408)

    def test_every_request_has_its_own_ten_seconds(self) -> None:
        """What one request took is not missing from the next."""
        for _ in range(5):
            self.wire.write(b"GET /deployments HTTP/1.1\r\n")
            self.server.clock.advance(9)
            self.wire.write(b"Host: a\r\n\r\n")
        self.server.clock.advance(9)
        self.assertEqual([answer.status for answer in self.wire.answers()], [200] * 5)

    def test_a_pipelined_request_that_stops(self) -> None:
        """The rest of a request that came with the one before has 10 s, too."""
        self.wire.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\nGET /deployments HTTP/1.1\r\n")
        self.server.clock.advance(10)
        self.assertEqual([answer.status for answer in self.wire.answers()], [200, 408])

    def test_a_request_that_stops_behind_a_slow_one(self) -> None:
        """The same holds where the one before took its time."""
        self.server.outcome = pending = self.server.pending()
        self.wire.write(b"PUT /namespaces/shop/deployments/web/replica_count/9 HTTP/1.1\r\nHost: a\r\n\r\nGET ")
        pending.callback(Written(deployment("web", "shop", replicas=9)))
        self.server.clock.advance(10)
        self.assertEqual([answer.status for answer in self.wire.answers()], [200, 408])

    def test_an_empty_line_behind_a_body(self) -> None:
        """A line end that some clients send after a body is no request that could be too slow."""
        wire = self.server.connect()
        wire.write(PUT + b"Content-Length: 2\r\n\r\n{}\r\n")
        self.server.clock.advance(11)
        self.assertEqual([answer.status for answer in wire.answers()], [400])
        self.assertFalse(wire.closing)

    def test_a_slow_answer_is_not_a_slow_request(self) -> None:
        """The clocks of request and connection stand still while the cluster is waited for."""
        self.server.outcome = pending = self.server.pending()
        self.wire.write(b"PUT /namespaces/shop/deployments/web/replica_count/9 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.server.clock.advance(1000)
        self.assertEqual((self.wire.answers(), self.wire.closing), ([], False))
        pending.callback(Written(deployment("web", "shop", replicas=9)))
        self.assertEqual([answer.status for answer in self.wire.answers()], [200])

    def test_an_idle_connection_is_closed(self) -> None:
        """55 s without a byte, before a request or between two, end a connection without a word."""
        for request in (b"", b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n"):
            wire = self.server.connect()
            said = wire.send(request)
            self.server.clock.advance(IDLE_SECONDS - 0.1)
            self.assertFalse(wire.closing, request)
            self.server.clock.advance(0.1)
            self.assertTrue(wire.closing, request)
            self.assertEqual(wire.answers(), said, request)

    def test_a_request_starts_the_idle_clock_anew(self) -> None:
        """A connection that is used stays."""
        for _ in range(5):
            self.wire.write(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
            self.server.clock.advance(IDLE_SECONDS - 1)
        self.assertFalse(self.wire.closing)

    def test_a_peer_that_never_closes_is_cut_off(self) -> None:
        """5 s after the server has closed its side, for whatever reason, the connection is aborted."""
        for request, wait in (
            (b"", IDLE_SECONDS),
            (b"GET", 10),
            (b"x\r\n\r\n", 0),
            (b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 0),
            (b"GET /livez HTTP/1.0\r\n\r\n", 0),
        ):
            wire = self.server.connect()
            wire.write(request)
            self.server.clock.advance(wait)
            self.assertTrue(wire.closing, request)
            self.server.clock.advance(4.9)
            self.assertFalse(wire.aborted, request)
            self.server.clock.advance(0.1)
            self.assertTrue(wire.aborted, request)

    def test_nothing_is_left_behind(self) -> None:
        """A connection that is gone, at whatever point, has nothing left on the clock."""
        self.wire.hang_up()
        for request in (b"", b"G", b"GET / HTTP/1.1\r\n", b"x\r\n\r\n", PUT + b"Content-Length: 9\r\n\r\n ", b"\r\n"):
            wire = self.server.connect()
            wire.write(request)
            wire.hang_up()
            self.server.site.access.flush()
            self.assertEqual(self.server.clock.getDelayedCalls(), [], request)
            self.assertEqual(self.server.site.open, 0, request)
