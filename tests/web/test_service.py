"""A site at an endpoint, as a service, on a clock that the test moves and a port that it closes."""

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sre_server.model import Written
from sre_server.web.service import BACKLOG, SiteService, endpoint_of
from tests.fakes import deployment, namespace
from tests.memory_client import Wire
from tests.memory_server import MemoryServer

PUT = b"PUT /namespaces/shop/deployments/web/replica_count/9 HTTP/1.1\r\nHost: a\r\n\r\n"


@implementer(IListeningPort)
class FakePort:
    """A port that notes when it is closed."""

    def __init__(self) -> None:
        self.closing = Deferred[None]()
        self.asked_to_close = False
        self.host: IAddress = IPv4Address("TCP", "192.0.2.1", 8443)

    def startListening(self) -> None:
        """Listen already."""

    def stopListening(self) -> Deferred[None]:
        """Close when the test says so."""
        self.asked_to_close = True
        return self.closing

    def getHost(self) -> IAddress:
        """Be somewhere."""
        return self.host


@implementer(IStreamServerEndpoint)
class FakeEndpoint:
    """An endpoint that listens, or fails to, as told."""

    def __init__(self, result: FakePort | Exception) -> None:
        self._result = result
        self.factories: list[IProtocolFactory] = []

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Note the factory."""
        self.factories.append(protocolFactory)
        return fail(self._result) if isinstance(self._result, Exception) else succeed(self._result)


class SiteServiceTests(SynchronousTestCase):
    """A site at an endpoint."""

    def setUp(self) -> None:
        """Serve at a fake port."""
        self.server = MemoryServer().sync(namespace("shop"), deployment("web", "shop"))
        self.clock = self.server.clock
        self.port = FakePort()
        self.endpoint = FakeEndpoint(self.port)
        self.service = SiteService(self.clock, self.endpoint, self.server.site, "API", "--listen: 'tcp:8443'")

    def test_listens_before_privileges_are_shed(self) -> None:
        """The site is bound in `privilegedStartService`, not before, and the log says where."""
        self.assertEqual(self.endpoint.factories, [])
        with capturedLogs() as events:
            self.service.privilegedStartService()
            self.assertEqual(self.endpoint.factories, [self.server.site])
            self.port.host = UNIXAddress(b"/run/sre.sock")
            self.service.privilegedStartService()
        texts = [formatEvent(event) for event in events]
        self.assertEqual(texts, ["API: listening on 192.0.2.1:8443", "API: listening on /run/sre.sock"])

    def test_what_cannot_be_listened_at_ends_the_process_with_one_line(self) -> None:
        """The line names the option, its value and the reason, whatever Twisted and Python make of it."""
        for error, reason in (
            (CannotListenError("", 8443, OSError(98, "Address already in use")), "Address already in use"),
            (CannotListenError("::1", 443, PermissionError(13, "Permission denied")), "Permission denied"),
            (CannotListenError(None, "/run/socket", "Cannot acquire lock"), "Cannot acquire lock"),
            (FileNotFoundError(2, "No such file or directory", "17", None, "/nope.lock"), "No such file or directory"),
            (OSError("AF_UNIX path too long"), "AF_UNIX path too long"),
            (OverflowError("bind(): port must be 0-65535."), "bind(): port must be 0-65535."),
            (UnicodeError("label empty or too long"), "label empty or too long"),
        ):
            endpoint = FakeEndpoint(error)
            service = SiteService(self.clock, endpoint, self.server.site, "ops port", "--ops-listen: 'this'")
            exit_ = self.assertRaises(SystemExit, service.privilegedStartService)
            self.assertEqual(exit_.code, f"sre-server: --ops-listen: 'this' cannot be listened at: {reason}")

    def test_a_long_queue_for_every_kind_of_tcp(self) -> None:
        """A burst is not lost in the kernel, unless the operator said how long the queue is."""
        for text, backlog in {"tcp:1": BACKLOG, "tcp6:1": BACKLOG, "tcp:1:backlog=7": 7}.items():
            reactor = MemoryReactorClock()
            self.successResultOf(endpoint_of(reactor, text, "--listen").listen(Factory()))
            self.assertEqual(reactor.tcpServers[0][2], backlog, text)

    def test_the_port_is_closed_before_the_drain(self) -> None:
        """Nobody new is let in while those inside are seen out."""
        self.service.privilegedStartService()
        wire = self.server.connect()
        stopped = self.service.stopService()
        self.assertTrue(self.port.asked_to_close)
        self.assertFalse(wire.closing)
        self.port.closing.callback(None)
        self.assertTrue(wire.closing)
        wire.hang_up()
        self.successResultOf(stopped)

    def busy_stop(self) -> tuple[Wire, Deferred[None], Deferred[None]]:
        """Begin to stop while a client waits for a write; return its wire, what ends the stop, and what the write."""
        self.port.closing.callback(None)
        self.service.privilegedStartService()
        wire = self.server.connect()
        written = self.server.pending()
        self.server.outcome = written
        wire.write(PUT)
        answered: Deferred[None] = Deferred()
        answered.addCallback(lambda _: written.callback(Written(deployment("web", "shop", replicas=9))))
        return wire, self.service.stopService(), answered

    def test_a_busy_request_is_waited_for(self) -> None:
        """The stop ends with the answer, not with the deadline."""
        wire, stopped, answered = self.busy_stop()
        self.clock.advance(4)
        self.assertNoResult(stopped)
        answered.callback(None)
        self.assertEqual([answer.status for answer in wire.answers()], [200])
        wire.hang_up()
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_drain_has_a_deadline(self) -> None:
        """After 5 s what is still open is aborted, and the stop ends."""
        wire, stopped, _ = self.busy_stop()
        self.clock.advance(4.9)
        self.assertFalse(wire.aborted)
        self.clock.advance(0.1)
        self.assertTrue(wire.aborted)
        wire.hang_up()
        self.successResultOf(stopped)

    def test_stopping_what_never_listened(self) -> None:
        """A service whose bind failed can be stopped like any other."""
        self.successResultOf(self.service.stopService())
