"""TLS before a site, in memory: what counts as a handshake, and at whose expense bytes are decrypted."""

import contextlib
import select
from itertools import count, pairwise
from unittest import mock, skipUnless

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.tcp import Port
from twisted.internet.testing import MemoryReactorClock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from sre_server.model import State, Written
from sre_server.security.limits import Rate
from sre_server.security.tls import ServerTLS, TLSFiles
from sre_server.web.channel import HANDSHAKE_SECONDS, Channel
from sre_server.web.connections import ConnectionLimits
from sre_server.web.intake import PIECE_BYTES, Intake
from sre_server.web.transport import MutualTLSEndpoint
from sre_server.web.turns import SLICE_SECONDS, Turns
from sre_server.web.twisted_tls import Records, ShortcutTLSTransport
from tests.fakes import deployment, namespace
from tests.memory_client import read_answers
from tests.memory_server import ALICE, MemoryServer
from tests.security.test_tls import FolderTests, TLSClient, client_context

GET = b"GET /deployments/shop/web/replicas HTTP/1.1\r\nHost: localhost\r\n\r\n"
LIST = b"GET /deployments HTTP/1.1\r\nHost: localhost\r\n\r\n"
PUT = (
    b"PUT /deployments/shop/web/replicas HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\n" + b'{"replicas":5}'
)
NOWHERE = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"


class TransportTests(FolderTests):
    """A server, and clients with certificates of its CA."""

    def serve(self, limits: ConnectionLimits = ConnectionLimits()) -> None:  # noqa: B008  # frozen
        """Serve one Deployment, within limits."""
        pair = self.authority.issue("localhost")
        self.tls = ServerTLS(TLSFiles(pair.certificate, pair.key, self.authority.file))
        self.pair = self.authority.issue("client")
        self.server = MemoryServer(connections=limits).sync(namespace("shop"), deployment("web", "shop"))

    def connect(self) -> TLSClient:
        """Open a connection, and say nothing."""
        return TLSClient(client_context(self.authority.file, self.pair), self.tls, self.server)

    def shake_hands(self) -> TLSClient:
        """Open a connection, and have the handshake."""
        client = self.connect()
        for _ in range(6):
            with contextlib.suppress(SSL.WantReadError):
                client.end.do_handshake()
            client.pump()
        return client

    def refused(self) -> float:
        """How many handshakes were refused."""
        labels = {"reason": "handshakes"}
        return self.server.metrics.registry.get_sample_value("sre_server_connections_refused_total", labels) or 0


@implementer(IStreamServerEndpoint)
class PortEndpoint:
    """Makes a TCP port that does not listen."""

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See `IStreamServerEndpoint`."""
        return succeed(Port(0, factory, reactor=MemoryReactorClock()))


class EndpointTests(TransportTests):
    """A port for a site."""

    @skipUnless(hasattr(select, "epoll"), "this system has no epoll")
    def test_turns(self) -> None:
        """When it is the turn of the port's connections, each client has its slice anew."""
        self.serve()
        turns = self.server.site.turns
        port = self.successResultOf(MutualTLSEndpoint(PortEndpoint(), self.tls).listen(self.server.site))
        polled = port.transport.poll  # type: ignore[attr-defined]
        self.addCleanup(polled.connectionLost, Failure(ConnectionDone()))
        turns.spend("alice", SLICE_SECONDS)
        self.assertFalse(turns.has_time("alice"))
        polled.doRead()
        self.assertTrue(turns.has_time("alice"))


def hello(client: TLSClient) -> bytes:
    """The ClientHello of a client."""
    with contextlib.suppress(SSL.WantReadError):
        client.end.do_handshake()
    return client.end.bio_read(1 << 16)


class HandshakeTests(TransportTests):
    """What counts as a handshake."""

    def test_a_whole_hello(self) -> None:
        """Connections that say nothing, or begin to, cost no handshake; a whole ClientHello does."""
        self.serve(ConnectionLimits(handshakes=Rate(0.1, 2)))
        for _ in range(5):
            self.connect()
            client = self.connect()
            client.protocol.dataReceived(hello(client)[:-1])
        self.assertEqual(self.refused(), 0)
        served, turned_away = self.shake_hands(), self.shake_hands()
        self.assertEqual((served.end.get_state_string()[:3], self.refused()), (b"SSL", 1))
        self.assertTrue(turned_away.transport.disconnected)

    def test_a_hello_in_pieces(self) -> None:
        """It may arrive a byte at a time; one that does not end in time is cut off."""
        self.serve()
        client = self.connect()
        for byte in hello(client):
            client.protocol.dataReceived(bytes([byte]))
        self.assertNotEqual(client.received(), b"")
        slow = self.connect()
        slow.protocol.dataReceived(hello(slow)[:100])
        self.server.clock.advance(HANDSHAKE_SECONDS)
        self.assertTrue(slow.transport.disconnected)

    def test_what_is_no_hello(self) -> None:
        """Anything else is left to OpenSSL, which closes the connection."""
        self.serve()
        for data in (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x00", b"\x80\x01\x00", b"\x15\x03\x01\x00\x02\x02\x28"):
            client = self.connect()
            client.send(data + b"\x00" * 600)
            self.assertTrue(client.closed, data)

    def test_a_close_notify_amid_the_handshake(self) -> None:
        """It ends the connection, without a word in the log, wherever it comes."""
        self.serve()
        notify = b"\x15\x03\x03\x00\x02\x01\x00"
        for together in (True, False):
            client = self.connect()
            sent = hello(client)
            for data in (sent + notify,) if together else (sent, notify):
                client.send(data)
            self.assertTrue(client.closed)
            self.assertEqual(self.flushLoggedErrors(), [])


class DecryptingTests(TransportTests):
    """Whose time it takes."""

    def setUp(self) -> None:
        """Have two clients connected."""
        super().setUp()
        self.serve()
        self.client, self.other = self.shake_hands(), self.shake_hands()

    def answers(self, client: TLSClient) -> list[int]:
        """The statuses of what a client has been answered."""
        if data := client.received():
            client.end.bio_write(data)
        answered = b""
        with contextlib.suppress(SSL.WantReadError):
            while True:
                answered += client.end.recv(1 << 16)
        return [answer.status for answer in read_answers(answered)]

    def records(self, data: bytes, size: int = 1) -> bytes:
        """Encrypt data in records of so many bytes."""
        for at in range(0, len(data), size):
            self.client.end.sendall(data[at : at + size])
        return self.client.end.bio_read(1 << 20)

    def test_many_small_records_are_parsed_at_once(self) -> None:
        """A request in records of one byte each is served, and parsed in as few steps as it has pieces."""
        parsed: list[int] = []
        whole = Channel._receive

        def receive(channel: Channel, data: bytes) -> None:
            parsed.append(len(data))
            whole(channel, data)

        self.patch(Channel, "_receive", receive)
        sent = self.records(GET)
        self.client.send(sent)
        self.assertEqual(self.answers(self.client), [200])
        self.assertEqual(sum(parsed), len(GET))
        self.assertLessEqual(len(parsed), len(sent) // PIECE_BYTES + 1)

    @settings(deadline=None, max_examples=30)
    @given(st.lists(st.integers(0, 1200), max_size=8), st.sampled_from([16, 40, 76, 400]))
    def test_cut_anywhere(self, cuts: list[int], size: int) -> None:
        """However records are cut on their way, and requests into records, every request is answered, in order."""
        client = self.shake_hands()
        for at in range(0, len(GET * 4), size):
            client.end.sendall((GET * 4)[at : at + size])
        sent = client.end.bio_read(1 << 20)
        edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(sent)}), len(sent)]
        for begin, end in pairwise(edges):
            client.send(sent[begin:end])
        self.assertEqual(self.answers(client), [200] * 4)
        client.protocol.connectionLost(Failure(ConnectionDone()))

    def end(self, request: bytes, size: int = 1 << 14, *, together: bool = True) -> TLSClient:
        """Send requests in records of so many bytes, and a close_notify with them or after them."""
        client = self.client = self.shake_hands()
        sent = self.records(request, size)
        client.end.shutdown()
        for data in (sent + client.end.bio_read(1 << 16),) if together else (sent, client.end.bio_read(1 << 16)):
            client.send(data)
        return client

    def last_answers(self, client: TLSClient) -> list[int]:
        """The statuses of all that a client is answered until the server has closed in good order."""
        self.server.clock.pump([0] * 200)
        self.assertTrue(client.closed)
        client.end.bio_write(client.received())
        answered = b""
        with self.assertRaises(SSL.ZeroReturnError):
            while True:
                answered += client.end.recv(1 << 16)
        return [answer.status for answer in read_answers(answered)]

    def test_requests_with_a_close_notify(self) -> None:
        """A client that has nothing more to say, and says so along with its last requests, is answered them all."""
        for request, size, statuses in (
            (GET, len(GET), [200]),
            (GET, 10, [200]),
            (NOWHERE, 99, [404]),
            (GET * 20, 1000, [200] * 20),
            (NOWHERE * 20 + GET, 1000, [404] * 20 + [200]),
            (GET + GET[:-1], 1000, [200]),
        ):
            self.assertEqual(self.last_answers(self.end(request, size)), statuses, request)

    def test_an_answer_that_comes_after_a_close_notify(self) -> None:
        """It is sent, and the write is no write of a client that left; then the connection is closed."""
        for together in (True, False):
            waiting: Deferred[Written | State] = Deferred()
            self.server.outcome = waiting
            client = self.end(PUT + NOWHERE, together=together)
            self.assertFalse(client.closed)
            waiting.callback(Written(deployment("web", "shop", replicas=5)))
            self.assertEqual(self.last_answers(client), [200, 404])
        self.assertEqual([line.status for line in self.server.audit.records], [200, 200])

    def test_what_comes_after_a_close_notify(self) -> None:
        """It is not kept while an answer is waited for, however much comes, and does not keep the connection open."""
        junk = b"\x17\x03\x03\x40\x00" * (1 << 16)
        for together in (True, False):
            waiting: Deferred[Written | State] = Deferred()
            self.server.outcome = waiting
            client = self.client = self.shake_hands()
            sent = self.records(PUT, 1 << 14)
            client.end.shutdown()
            sent += client.end.bio_read(1 << 16)
            client.send(sent + junk if together else sent)
            self.server.site.turns.spend(ALICE.name, 1)
            with mock.patch.object(SSL.Connection, "bio_write") as kept:
                client.send(junk)
                client.send(junk[:100])
            self.assertEqual((kept.called, client.closed), (False, False))
            waiting.callback(Written(deployment("web", "shop", replicas=5)))
            self.assertEqual(self.last_answers(client), [200])

    def test_a_long_answer_amid_which_a_close_notify_comes(self) -> None:
        """It is sent to its end, as the client reads on."""
        self.server.sync(namespace("shop"), *(deployment(f"{'x' * 200}-{number}", "shop") for number in range(1500)))
        self.server.site.lane = None
        client = self.client = self.shake_hands()
        channel = client.protocol.wrappedProtocol
        assert isinstance(channel, Channel)
        client.end.sendall(LIST)
        client.send(client.end.bio_read(1 << 16))
        channel.pauseProducing()
        client.end.shutdown()
        client.send(client.end.bio_read(1 << 16))
        self.assertFalse(client.closed)
        channel.resumeProducing()
        self.assertEqual(self.last_answers(client), [200])

    def test_a_client_that_wants_short_records(self) -> None:
        """An answer is whole where OpenSSL takes a part at a time, as after max_fragment_length (RFC 6066)."""
        whole = SSL.Connection.send
        self.patch(SSL.Connection, "send", lambda end, data, flags=0: whole(end, data[:50], flags))
        for _ in range(2):
            self.client.end.sendall(GET)
            self.client.pump()
            self.client.pump()
            self.assertEqual(self.answers(self.client), [200])

    def test_the_middle_of_a_record(self) -> None:
        """Bytes that look like a record, and are the middle of one, are taken for what they are."""
        records = Records(ShortcutTLSTransport(TLSMemoryBIOFactory(self.tls, False, Factory()), Protocol()))
        self.patch(ShortcutTLSTransport, "decrypt", lambda _, data: None)
        looks = b"\x17\x03\x03\x00\x02ab"
        self.assertTrue(records.is_one(looks))
        follow = (b"\x17\x03\x03\x00\x09xy", b"1234567", b"\x17\x03", b"\x03\x00\x01z")
        for before, expected in zip(follow, (False, True, False, True), strict=True):
            records.take(before)
            self.assertEqual(records.is_one(looks), expected, before)

    def test_what_costs_too_much_waits(self) -> None:
        """Past its slice a client's bytes wait, and its connection is not read from; another's request is served."""
        sent = self.records(GET * 6)
        self.assertGreater(len(sent), 3 * PIECE_BYTES // 2)
        self.server.site.turns.now = count(step=SLICE_SECONDS).__next__
        self.client.protocol.dataReceived(sent)
        self.assertEqual(self.client.transport.producerState, "paused")
        self.assertLess(len(self.answers(self.client)), 6)

    def test_turns_come(self) -> None:
        """What waits is served a piece in each turn, in order, and then the connection is read from again."""
        sent = self.records(GET * 6)
        now = count(step=SLICE_SECONDS)
        self.server.site.turns.now = now.__next__
        self.client.protocol.dataReceived(sent)
        answered = self.answers(self.client)
        for _ in range(20):
            self.server.clock.advance(0)
            answered += self.answers(self.client)
        self.assertEqual(answered, [200] * 6)
        self.assertEqual(self.client.transport.producerState, "producing")

    def test_gone_meanwhile(self) -> None:
        """Nothing is done any more for a client that has gone while its bytes waited."""
        self.server.site.turns.spend(ALICE.name, 1.0)
        self.client.protocol.dataReceived(self.records(GET))
        self.client.protocol.connectionLost(Failure(ConnectionDone()))
        self.server.clock.advance(0)
        received = self.server.metrics.registry.get_sample_value
        self.assertFalse(received("sre_server_http_requests_received_total", {"method": "GET"}))

    def test_a_channel_that_wants_no_more(self) -> None:
        """A turn that comes does not read on where the channel has stopped reading, and the other way round."""
        self.server.site.turns.spend(ALICE.name, 1.0)
        self.client.protocol.dataReceived(self.records(GET))
        self.client.protocol.pauseProducing()
        self.server.clock.advance(0)
        self.assertEqual(self.client.transport.producerState, "paused")
        self.client.protocol.resumeProducing()
        self.assertEqual(self.client.transport.producerState, "producing")
        self.server.site.turns.spend(ALICE.name, 1.0)
        self.client.protocol.dataReceived(self.records(GET))
        self.client.protocol.resumeProducing()
        self.assertEqual(self.client.transport.producerState, "paused")


class IntakeTests(FolderTests):
    """Bytes, a piece at a time."""

    def test_pieces(self) -> None:
        """All bytes are handed on once, in order, in pieces; those that came while others waited, too."""
        clock, handed = Clock(), bytearray()
        turns = Turns(clock)
        largest = 0

        def process(piece: bytes) -> None:
            nonlocal largest
            handed.extend(piece)
            largest = max(largest, len(piece))
            clock.rightNow += SLICE_SECONDS

        states: list[str] = []
        stream = mock.Mock()
        stream.pauseProducing.side_effect = lambda: states.append("paused")
        stream.resumeProducing.side_effect = lambda: states.append("read")
        intake = Intake(turns, lambda: "alice", process, stream)
        data = bytes(range(256)) * 100
        intake.take(data[:20_000])
        intake.take(data[20_000:])
        self.assertEqual(bytes(handed), data[:PIECE_BYTES])
        clock.pump([0] * 10)
        self.assertEqual((bytes(handed), largest, states[0], states[-1]), (data, PIECE_BYTES, "paused", "read"))
