"""Connections that are polled together: who is heard, when answers leave, and what becomes of those that fail."""

import select
import socket
from collections.abc import Callable
from unittest import skipUnless

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.tcp import Port, Server
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.unix import Port as UNIXPort
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sre_server.web import twisted_tcp
from sre_server.web.twisted_tcp import BATCH, SHORT_BYTES, TOGETHER, ConnectionPoll, PromptServer, poll_together

LONG = b"x" * (SHORT_BYTES + 1)


class Talker(Protocol):
    """Does what a test says with what it hears, and notes why it ends."""

    def __init__(self, says: Callable[["Talker", bytes], object]) -> None:
        self._says = says
        self.ended: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        """Do it."""
        self._says(self, data)

    def write(self, data: bytes) -> None:
        """Answer."""
        assert self.transport is not None
        self.transport.write(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Note why."""
        self.ended = reason


@skipUnless(hasattr(select, "epoll"), "this system has no epoll: tests/functional/test_no_epoll.py is about such ones")
class ConnectionPollTests(SynchronousTestCase):
    """A poll on a reactor that does nothing by itself, and connections over pairs of sockets."""

    def setUp(self) -> None:
        """Make the poll."""
        self.reactor = MemoryReactorClock()
        self.begun = 0
        self.poll = ConnectionPoll(self.reactor, self._begin)
        self.addCleanup(self.poll.connectionLost, Failure(ConnectionDone()))

    def _begin(self) -> None:
        self.begun += 1

    def talker(self, connection: PromptServer) -> Talker:
        """The protocol of a connection, which Twisted takes from it when it is lost."""
        assert isinstance(connection.protocol, Talker)
        return connection.protocol

    def connect(self, says: Callable[[Talker, bytes], object] = Talker.write) -> tuple[PromptServer, socket.socket]:
        """Make a connection, whose protocol echoes if nothing else is said; return it and its peer."""
        ours, peer = socket.socketpair()
        peer.setblocking(False)
        self.addCleanup(peer.close)
        connection = type("Polled", (PromptServer,), {"poll": self.poll})(
            ours, Talker(says), ("peer", 0), None, 0, self.reactor
        )
        connection.protocol.makeConnection(connection)
        return connection, peer

    def write_on(self) -> None:
        """Have all connections write that wait for it, as the reactor does."""
        for writer in list(self.reactor.writers):
            if why := writer.doWrite():
                writer.connectionLost(Failure(why))

    def received(self, peer: socket.socket) -> bytes:
        """What a peer has been sent since it last looked."""
        received = b""
        while True:
            try:
                piece = peer.recv(1 << 20)
            except BlockingIOError:
                return received
            if not piece:
                return received + b"END"
            received += piece

    def test_all_are_heard_before_any_is_answered(self) -> None:
        """Short answers leave together, each once, and are not left to the reactor."""
        before: list[bytes] = []

        def look(talker: Talker, data: bytes) -> None:
            talker.write(b"answer to " + data)
            before.extend(self.received(peer) for peer in peers)

        peers = [self.connect(look)[1] for _ in range(3)]
        for number, peer in enumerate(peers):
            peer.send(b"%d" % number)
        self.poll.doRead()
        self.assertEqual(before, [b""] * 9)
        self.assertEqual([self.received(peer) for peer in peers], [b"answer to 0", b"answer to 1", b"answer to 2"])
        self.poll.doRead()
        self.assertEqual(([self.received(peer) for peer in peers], list(self.reactor.writers)), ([b""] * 3, []))

    def test_some_are_answered_before_others_are_heard(self) -> None:
        """Their clients go on with what they were told while the others are heard, within one turn of the reactor."""
        sent: list[int] = []

        def look(talker: Talker, data: bytes) -> None:
            talker.write(data)
            sent.append(sum(bool(self.received(peer)) for peer in peers))

        peers = [self.connect(look)[1] for _ in range(2 * TOGETHER)]
        for peer in peers:
            peer.send(b"a")
        self.poll.doRead()
        self.assertEqual(sent, [0] * TOGETHER + [TOGETHER] + [0] * (TOGETHER - 1))
        self.assertEqual((sum(bool(self.received(peer)) for peer in peers), self.begun), (TOGETHER, 1))

    def test_many(self) -> None:
        """More than a batch are heard in several turns of the reactor."""
        peers = [self.connect()[1] for _ in range(BATCH + 5)]
        for peer in peers:
            peer.send(b"a")
        self.poll.doRead()
        self.assertEqual(sum(bool(self.received(peer)) for peer in peers), BATCH)
        self.poll.doRead()
        self.assertEqual(sum(bool(self.received(peer)) for peer in peers), 5)

    def test_several_answers(self) -> None:
        """Whatever is written to one connection arrives in order; what follows on a kept answer is not kept."""
        for pieces in ([b"1", b"2"], [b"1", LONG], [LONG, b"1", b"2"], [b"1", LONG, b"2", b"3"]):

            def say(talker: Talker, _: bytes, pieces: list[bytes] = pieces) -> None:
                for piece in pieces:
                    talker.write(piece)

            _, peer = self.connect(say)
            peer.send(b"a")
            self.poll.doRead()
            self.assertEqual(self.received(peer), b"".join(pieces))

    def test_what_is_still_to_arrive(self) -> None:
        """Counted is what the kernel has, and what it has not taken yet."""
        connection, peer = self.connect()
        self.assertEqual(connection.unacknowledged(), 0)
        connection.write(b"x" * 10_000_000)
        left = connection.unacknowledged()
        self.assertGreaterEqual(left, 10_000_000)
        read = 0
        while read < 10_000_000:
            read += len(self.received(peer))
            self.write_on()
        self.assertEqual(connection.unacknowledged(), 0)

    def test_outside_of_a_turn(self) -> None:
        """What is written later, by a timer or a thread's result, is sent at once."""
        connection, peer = self.connect()
        connection.write(b"later")
        self.assertEqual((self.received(peer), list(self.reactor.writers)), (b"later", []))

    def test_a_peer_that_does_not_read(self) -> None:
        """What the kernel does not take is Twisted's to write, and in order; the producer is paused at once."""
        connection, peer = self.connect()
        paused: list[str] = []
        producer = type("Producer", (), {"pauseProducing": lambda _: paused.append("paused")})()
        producer.resumeProducing = lambda: paused.append("resumed")
        connection.registerProducer(producer, True)
        sent = bytes(range(256)) * 8192
        connection.write(sent)
        self.assertEqual((paused, list(self.reactor.writers)), (["paused"], [connection]))
        connection.write(b"more")
        received = b""
        while self.reactor.writers:
            received += self.received(peer)
            self.write_on()
        self.assertTrue(received + self.received(peer) == sent + b"more")
        self.assertEqual(paused, ["paused", "paused", "resumed"])
        connection.unregisterProducer()

    def test_how_much_may_be_unsent(self) -> None:
        """A producer is paused by what exceeds Twisted's own bound, and by no less; pieces are as good as a whole."""
        connection, peer = self.connect()
        paused: list[str] = []
        producer = type("Producer", (), {"pauseProducing": lambda _: paused.append("paused")})()
        connection.registerProducer(producer, True)
        with self.assertRaises(BlockingIOError):
            while True:
                connection.socket.send(b"x" * 65536)
        connection.write(b"y" * (connection.bufferSize - 1))
        connection.writeSequence([b"z", b""])
        self.assertEqual(paused, [])
        connection.writeSequence([b"z", b"z"])
        self.assertEqual(paused, ["paused"])
        connection.unregisterProducer()
        received = b""
        while self.reactor.writers:
            received += self.received(peer)
            self.write_on()
        self.assertTrue((received + self.received(peer)).endswith(b"yzzz"))

    def test_pausing(self) -> None:
        """A connection that pauses is not heard, not even one that another has paused in the same turn."""
        _, one = self.connect(lambda _, data: [each.pauseProducing() for each in (second, third)])
        second, two = self.connect()
        third, three = self.connect()
        for peer in (one, two, three):
            peer.send(b"a")
        self.poll.doRead()
        self.assertEqual([self.received(peer) for peer in (two, three)], [b"", b""])
        second.resumeProducing()
        second.resumeProducing()
        self.poll.doRead()
        self.assertEqual([self.received(peer) for peer in (two, three)], [b"a", b""])

    def test_the_end(self) -> None:
        """A peer that closes, and one that breaks off, end their connections, each with its reason."""
        closed, peer = self.connect()
        broken, other = self.connect()
        talkers = [self.talker(each) for each in (closed, broken)]
        peer.close()
        broken.write(b"unread")
        other.close()
        self.poll.doRead()
        for talker, reason in zip(talkers, (ConnectionDone, ConnectionLost), strict=True):
            self.assertTrue(talker.ended is not None and talker.ended.check(reason), talker.ended)
        self.assertEqual(self.poll._connections, {})

    def test_closing_after_an_answer(self) -> None:
        """An answer that was kept is sent before its connection is closed; after an abort nothing is."""

        def close(talker: Talker, _: bytes) -> None:
            talker.write(b"bye")
            assert talker.transport is not None
            talker.transport.loseConnection()

        _, peer = self.connect(close)
        peer.send(b"a")
        self.poll.doRead()
        self.write_on()
        self.assertEqual(self.received(peer), b"byeEND")

    def test_gone_before_its_answer(self) -> None:
        """Nothing is sent, and nothing fails, where a connection is lost between its answer and the end of the turn."""

        def lose(talker: Talker, data: bytes) -> None:
            talker.write(data)
            connection.connectionLost(Failure(ConnectionDone()))

        connection, peer = self.connect(lose)
        _, other = self.connect()
        peer.send(b"a")
        other.send(b"b")
        self.poll.doRead()
        self.assertEqual((self.received(peer), self.received(other)), (b"END", b"b"))

    def test_one_that_fails(self) -> None:
        """A protocol that raises loses its connection, is logged, and keeps none of the others from being heard."""
        failing, one = self.connect(lambda *_: 1 // 0)
        talker = self.talker(failing)
        _, two = self.connect()
        one.send(b"a")
        two.send(b"b")
        self.poll.doRead()
        self.reactor.advance(0)
        self.assertEqual((self.received(one), self.received(two)), (b"END", b"b"))
        self.assertIsNotNone(talker.ended)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_that_cannot_be_written_to(self) -> None:
        """Whatever fails while kept answers are sent is logged, and all the others are sent."""
        failing, one = self.connect()
        _, two = self.connect()
        self.patch(failing, "send_kept", lambda: 1 // 0)
        one.send(b"a")
        two.send(b"b")
        self.poll.doRead()
        self.reactor.advance(0)
        self.assertEqual((self.received(one), self.received(two)), (b"END", b"b"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_whose_end_fails(self) -> None:
        """It is polled no more: what cannot be ended is not heard for ever."""
        connection, peer = self.connect()
        producer = type("Producer", (), {"stopProducing": lambda _: 1 // 0})()
        connection.registerProducer(producer, True)
        peer.close()
        for _ in range(3):
            self.poll.doRead()
        self.assertEqual((len(self.flushLoggedErrors(ZeroDivisionError)), self.poll._connections), (1, {}))
        connection.producer = None
        self.reactor.advance(0)

    def test_nothing_after_an_abort(self) -> None:
        """Neither what was kept nor what is written later is sent."""

        def abort(talker: Talker, data: bytes) -> None:
            talker.write(data)
            connection.abortConnection()
            talker.write(data)

        connection, peer = self.connect(abort)
        peer.send(b"a")
        self.poll.doRead()
        self.assertEqual(self.received(peer), b"")
        self.reactor.advance(0)

    def test_the_reactor_stops(self) -> None:
        """The connections that are left end with it."""
        connection, peer = self.connect()
        talker = self.talker(connection)
        (ours,) = self.reactor.readers
        ours.connectionLost(Failure(ConnectionDone()))
        self.assertEqual((self.received(peer), talker.ended is not None), (b"END", True))
        self.poll = ConnectionPoll(self.reactor, self._begin)


class PortTests(SynchronousTestCase):
    """Which ports it is for."""

    def transport_of(self, port: IListeningPort) -> object:
        """What makes a port's connections."""
        return poll_together(port, int).transport  # type: ignore[attr-defined]

    @skipUnless(hasattr(select, "epoll"), "this system has no epoll")
    def test_ports(self) -> None:
        """Those of TCP; others keep Twisted's own."""
        reactor = MemoryReactorClock()
        tcp = Port(0, Factory(), reactor=reactor)
        made = self.transport_of(tcp)
        assert isinstance(made, type)
        self.assertTrue(issubclass(made, PromptServer))
        (poll,) = reactor.readers
        poll.connectionLost(Failure(ConnectionDone()))
        self.assertIs(self.transport_of(tcp), made)
        unix = UNIXPort(b"/nowhere", Factory(), reactor=reactor)
        self.assertIs(self.transport_of(unix), UNIXPort.transport)
        self.assertIsNot(UNIXPort.transport, Server)

    def test_a_system_without_epoll(self) -> None:
        """There all ports keep Twisted's own."""
        self.patch(twisted_tcp, "select", object())
        self.assertIs(self.transport_of(Port(0, Factory(), reactor=MemoryReactorClock())), Server)
