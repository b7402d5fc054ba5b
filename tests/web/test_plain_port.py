"""A port without TLS, as the ops port is: what is pipelined there comes in order, and no faster than its turns."""

from collections.abc import Iterator

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource

from sre_server.web.intake import PIECE_BYTES
from sre_server.web.request import APIRequest
from sre_server.web.site import APISite
from sre_server.web.turns import SLICE_SECONDS
from tests.memory_client import Wire

READ_BYTES = 65_536
"""What a turn of the reactor brings of one connection."""


class Slow(Resource):
    """Notes each request, and takes a whole slice for it."""

    isLeaf = True

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.requests: list[APIRequest] = []

    def render(self, request: HTTPRequest) -> bytes:
        """Take the time."""
        assert isinstance(request, APIRequest)
        self.requests.append(request)
        self._clock.rightNow += SLICE_SECONDS
        return b"{}\n"


class PlainPortTests(SynchronousTestCase):
    """One client, which sends many requests at once."""

    def setUp(self) -> None:
        """Connect."""
        self.clock = Clock()
        self.slow = Slow(self.clock)
        self.wire = Wire(APISite(self.slow, self.clock))

    @staticmethod
    def requests() -> Iterator[bytes]:
        """Requests without end, each with its number."""
        number = 0
        while True:
            yield b"GET /%06d HTTP/1.1\r\nHost: a\r\n\r\n" % number
            number += 1

    def test_in_order(self) -> None:
        """Each is answered, in order, though only so many of them have their turn at once."""
        requests = self.requests()
        sent = b"".join(next(requests) for _ in range(300))
        self.assertGreater(len(sent), 2 * PIECE_BYTES)
        self.wire.write(sent)
        for _ in range(1000):
            self.clock.advance(0)
        self.assertEqual([int(request.path[1:]) for request in self.slow.requests], list(range(300)))
        self.assertEqual([answer.status for answer in self.wire.answers()], [200] * 300)

    def test_half_closed(self) -> None:
        """A client that ends its side after its requests gets all answers, and then the connection is closed."""
        requests = self.requests()
        self.wire.write(b"".join(next(requests) for _ in range(300)))
        self.wire.end()
        self.assertFalse(self.wire.closing)
        for _ in range(1000):
            self.clock.advance(0)
        self.assertEqual([answer.status for answer in self.wire.answers()], [200] * 300)
        self.assertTrue(self.wire.closing)

    def test_half_closed_with_nothing_to_answer(self) -> None:
        """Neither silence nor half a request is waited for."""
        for data in (b"", b"GET /000001 HT", b"GET /000001 HTTP/1.1\r\nHost: a\r\n"):
            wire = Wire(APISite(self.slow, self.clock))
            wire.write(data)
            wire.end()
            self.assertEqual((wire.answers(), wire.closing), ([], True))

    def test_no_more_is_read_than_has_its_turn(self) -> None:
        """While bytes wait nothing is read, whatever was answered, or was read by the peer, meanwhile."""
        requests = self.requests()
        answered = 0
        for _ in range(20):
            if not self.wire.paused:
                burst = b""
                while len(burst) < READ_BYTES:
                    burst += next(requests)
                self.wire.write(burst)
                self.assertTrue(self.wire.paused)
            self.wire.stop_reading()
            self.wire.read_on()
            self.clock.advance(0)
            answered = len(self.slow.requests)
        self.assertLess(int(next(requests)[5:11]), answered + 2 * READ_BYTES // 30)
        self.assertFalse(self.wire.closing)

    def test_who_is_nobody_keeps_nothing(self) -> None:
        """Why a client has no name is noted without the frames it was raised in, which have all that was received."""
        self.wire.write(next(self.requests()))
        (request,) = self.slow.requests
        assert request._unidentified is not None
        self.assertIsNone(request._unidentified.__traceback__)
