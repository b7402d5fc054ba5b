"""How many connections there may be, and for how long one may take over its handshake or over reading answers."""

from msgspec.structs import replace
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request

from sre_server.errors import NotIdentified
from sre_server.security.limits import Rate
from sre_server.web.channel import HANDSHAKE_SECONDS, WRITE_SECONDS, Channel
from sre_server.web.connections import ConnectionLimits, network_of
from sre_server.web.site import APISite
from tests.fakes import namespace
from tests.memory_client import ClientTransport, Wire
from tests.memory_server import ALICE, MemoryServer

GET = b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n"
HALF_A_BODY = b"\r\nContent-Length: 9\r\n\r\nhalf"


def peer(host: str) -> IPv4Address:
    """Make an address."""
    return IPv4Address("TCP", host, 40000)


class Nothing(Resource):
    """Answers everything with nothing."""

    isLeaf = True

    def render(self, request: Request) -> bytes:
        """Answer."""
        return b""


class CapsTests(SynchronousTestCase):
    """How many."""

    def serve(self, limits: ConnectionLimits) -> None:
        """Serve with these limits."""
        self.server = MemoryServer(connections=limits).sync(namespace("shop"))
        self.site = self.server.site

    def refused(self, reason: str) -> float | None:
        """How many were turned away."""
        metric = self.server.metrics.registry.get_sample_value
        return metric("sre_server_connections_refused_total", {"reason": reason})

    def open(self) -> float | None:
        """How many are open, by the metric."""
        return self.server.metrics.registry.get_sample_value("sre_server_connections")

    def test_without_limits(self) -> None:
        """A site that was given none lets everybody in."""
        self.serve(ConnectionLimits())
        wires = [self.server.connect() for _ in range(50)]
        self.assertTrue(self.site.admits(peer("192.0.2.7")))
        self.assertEqual((len(wires), self.open()), (50, 50))

    def test_the_total(self) -> None:
        """Past it nobody is let in, wherever from; one that closes makes room for one."""
        self.serve(ConnectionLimits(total=2))
        wires = [self.server.connect(), self.server.connect()]
        self.assertFalse(self.site.admits(peer("198.51.100.1")))
        self.assertEqual(self.refused("total"), 1)
        wires.pop().hang_up()
        self.assertTrue(self.site.admits(peer("198.51.100.1")))

    def test_each_address(self) -> None:
        """One address that has all of its own leaves others theirs."""
        self.serve(ConnectionLimits(total=10, per_address=2))
        wires = [self.server.connect(), self.server.connect()]
        self.assertFalse(self.site.admits(peer("192.0.2.7")))
        self.assertTrue(self.site.admits(peer("192.0.2.8")))
        self.assertEqual((self.refused("address"), self.refused("total")), (1, None))
        wires.pop().hang_up()
        self.assertTrue(self.site.admits(peer("192.0.2.7")))

    def test_each_identity(self) -> None:
        """One connection too many of a client is answered 429 and closed; its others, and others' own, go on."""
        self.serve(ConnectionLimits(per_identity=2))
        wires = [self.server.connect() for _ in range(3)]
        statuses = [wire.send(GET)[0].status for wire in wires]
        self.assertEqual((statuses, self.refused("identity")), ([200, 200, 429], 1))
        refusals = [
            each for each in self.server.metrics.registry.collect() if each.name == "sre_server_identity_refusals"
        ]
        counted = {sample.labels["identity"]: sample.value for sample in refusals[0].samples if "_total" in sample.name}
        self.assertEqual(counted, {ALICE.name: 1})
        self.assertEqual([wire.closing for wire in wires], [False, False, True])
        self.assertEqual(wires[2].answers()[0].header("Retry-After"), "1")
        self.assertEqual([answer.status for answer in wires[0].send(GET)], [200, 200])
        self.server.clients.who = replace(ALICE, name="bob")
        self.assertEqual(self.server.get("/deployments").status, 200)

    def test_whatever_it_asks(self) -> None:
        """One connection too many is 429, and closed, whatever it asks first."""
        self.serve(ConnectionLimits(per_identity=1))
        wire = self.server.connect()
        for path in (
            "/livez",
            "/readyz?verbose",
            "/openapi.json",
            "/metrics",
            "/nowhere",
            "/namespaces",
            "/deployments/A",
        ):
            answer = self.server.get(path)
            self.assertEqual((answer.status, answer.header("Connection")), (429, "close"), path)
            self.assertEqual(answer.header("Retry-After"), "1", path)
        self.assertEqual(wire.send(GET)[0].status, 200)

    def test_a_connection_counts_once_for_its_identity(self) -> None:
        """However many requests it makes; one that was refused counts for nothing when it closes."""
        self.serve(ConnectionLimits(per_identity=1))
        first = self.server.connect()
        self.assertEqual([answer.status for answer in first.send(GET * 5)], [200] * 5)
        for _ in range(3):
            self.assertEqual(self.server.get("/deployments").status, 429)
        first.hang_up()
        self.assertEqual(self.server.get("/deployments").status, 200)

    def test_connections_count_before_their_first_request(self) -> None:
        """The handshake tells whose a connection is; one too many stays that, though others close meanwhile."""
        self.serve(ConnectionLimits(per_identity=2))
        silent = [self.server.connect() for _ in range(3)]
        silent[0].hang_up()
        self.assertEqual([wire.send(GET)[0].status for wire in silent[1:]], [200, 429])
        self.assertEqual(self.server.get("/deployments").status, 200)

    def handshakes(self, *addresses: str) -> list[bool]:
        """Whether connections from these may have their handshakes, in this order."""
        return [self.site.connections.may_shake_hands(address) for address in addresses]

    def test_handshakes(self) -> None:
        """So many at once and so many a second, all clients together."""
        self.serve(ConnectionLimits(handshakes=Rate(2, 4)))
        known = [f"192.0.2.{number}" for number in range(6)]
        for address in known:
            self.site.connections.identified(address, address)
        self.assertEqual((self.handshakes(*known), self.refused("handshakes")), ([True] * 4 + [False] * 2, 2))
        self.server.clock.advance(1)
        self.assertEqual(self.handshakes(*known[:3]), [True, True, False])

    def test_handshakes_of_one_address(self) -> None:
        """One address has half of the handshakes at most, so that it cannot keep all others out."""
        self.serve(ConnectionLimits(handshakes=Rate(2, 4)))
        for address in ("192.0.2.1", "192.0.2.2"):
            self.site.connections.identified(address, address)
        self.assertEqual(self.handshakes(*["192.0.2.1"] * 3), [True, True, False])
        self.assertEqual(self.handshakes(*["192.0.2.2"] * 3), [True, True, False])

    def test_handshakes_of_strangers(self) -> None:
        """Addresses without a client yet share half of the handshakes; the other half is for those that had one."""
        self.serve(ConnectionLimits(handshakes=Rate(2, 8)))
        wire = self.server.connect()
        self.assertEqual(self.handshakes(*(f"198.51.100.{number}" for number in range(9))), [True] * 4 + [False] * 5)
        self.assertEqual(self.handshakes(*["192.0.2.7"] * 5), [True] * 4 + [False])
        wire.hang_up()

    def test_networks(self) -> None:
        """A client that has a /64 of IPv6 has no more than one that has an address."""
        self.assertEqual(network_of("2001:db8:1:2:3:4:5:6"), network_of("2001:db8:1:2::1"))
        self.assertNotEqual(network_of("2001:db8:1:2::1"), network_of("2001:db8:1:3::1"))
        self.assertEqual(network_of("::ffff:192.0.2.7"), "192.0.2.7")
        self.assertEqual((network_of("192.0.2.7"), network_of("-"), network_of("")), ("192.0.2.7", "-", ""))
        self.serve(ConnectionLimits(handshakes=Rate(2, 4)))
        self.site.connections.identified("2001:db8::1", "alice")
        self.assertEqual(self.handshakes("2001:db8::2", "2001:db8::3", "2001:db8::4"), [True, True, False])

    def test_one_that_is_turned_away_costs_no_handshake(self) -> None:
        """Whoever is past a limit on connections takes nothing from the others' handshakes."""
        self.serve(ConnectionLimits(per_address=1, handshakes=Rate(0.1, 1)))
        wire = self.server.connect()
        for _ in range(5):
            self.assertFalse(self.site.admits(peer("192.0.2.7")))
        self.assertEqual(self.handshakes("192.0.2.8"), [True])
        self.assertFalse(wire.closing)

    def test_a_silent_connection_makes_room(self) -> None:
        """Where the port is full, the one goes that has been without a client for the longest, and no other."""
        self.serve(ConnectionLimits(total=3))
        self.server.clients.who = NotIdentified("Nobody knows.")
        silent = [self.server.connect(), self.server.connect()]
        self.server.clients.who = ALICE
        known = self.server.connect()
        self.assertTrue(self.site.admits(peer("192.0.2.8")))
        self.assertEqual(([wire.aborted for wire in silent], self.site.open), ([True, False], 2))
        silent[0].hang_up()
        self.assertEqual(self.site.open, 2)
        others = [self.server.connect()]
        self.assertTrue(self.site.admits(peer("192.0.2.8")))
        others.append(self.server.connect())
        self.assertEqual((silent[1].aborted, known.aborted, self.refused("silent")), (True, False, 2))
        self.assertFalse(self.site.admits(peer("192.0.2.8")))
        self.assertEqual(self.refused("total"), 1)

    def test_the_ops_port_makes_room(self) -> None:
        """There, where nobody is known, the one goes on which nothing was heard, or is under way, for the longest."""
        clock = Clock()
        site = APISite(Nothing(), clock, limits=ConnectionLimits(total=3))
        wires = [Wire(site) for _ in range(3)]
        wires[0].write(b"GE")
        wires[1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        for expected in (2, 0, 1):
            self.assertTrue(site.admits(peer("192.0.2.8")))
            self.assertTrue(wires[expected].aborted, expected)
            wires.append(Wire(site))
        self.assertEqual(site.open, 3)

    def test_half_a_request_keeps_no_place(self) -> None:
        """Nor does one without its end: the place is for whoever comes next, such as a probe; an answer keeps it."""
        site = APISite(Nothing(), Clock(), limits=ConnectionLimits(total=3))
        wires = [Wire(site) for _ in range(3)]
        for wire, sent in zip(
            wires, (b"GET / HTTP/1.1\r\n", GET[:-2], GET.replace(b"\r\n\r\n", HALF_A_BODY)), strict=True
        ):
            wire.write(sent)
        for wire in wires:
            self.assertTrue(site.admits(peer("192.0.2.8")))
            self.assertTrue(wire.aborted)
            Wire(site)
        self.serve(ConnectionLimits(total=1))
        self.server.clients.who = NotIdentified("Nobody knows.")
        waiting = self.server.connect()
        waiting.write(GET[:-2])
        self.assertTrue(self.site.admits(peer("192.0.2.8")))
        self.assertTrue(waiting.aborted)

    def test_one_too_many_of_a_client_keeps_no_place(self) -> None:
        """A client that has all of its connections cannot take the others' with those that it is refused."""
        self.serve(ConnectionLimits(total=3, per_identity=1))
        wires = [self.server.connect() for _ in range(3)]
        self.assertTrue(self.site.admits(peer("192.0.2.8")))
        self.assertEqual([wire.aborted for wire in wires], [False, True, False])

    def test_nothing_is_left_of_connections_that_are_gone(self) -> None:
        """Counters and timers go back to where they were, however a connection ends."""
        self.serve(ConnectionLimits(total=100, per_address=100, per_identity=2))
        for sent in (b"", b"GE", GET, GET * 3, GET + b"GET /", b"\r\n" * 9, b"garbage\r\n\r\n", GET, GET):
            wires = [self.server.connect() for _ in range(4)]
            for wire in wires:
                wire.write(sent)
            for wire in wires:
                wire.hang_up()
        self.site.access.flush()
        self.assertEqual((self.open(), self.site.open, self.server.clock.getDelayedCalls()), (0, 0, []))
        self.assertEqual(self.site.connections.identities, 0)
        in_flight = self.server.metrics.registry.get_sample_value("sre_server_http_requests_in_flight")
        self.assertEqual(in_flight, 0)


class DeadlinesTests(SynchronousTestCase):
    """For how long."""

    def setUp(self) -> None:
        """Accept a connection whose handshake has yet to come."""
        self.server = MemoryServer().sync(namespace("shop"))
        self.transport = ClientTransport()
        channel = self.server.site.buildProtocol(self.transport.getPeer())
        assert isinstance(channel, Channel)
        self.channel = channel
        self.channel.makeConnection(self.transport)

    def test_the_handshake(self) -> None:
        """Five seconds, then the connection is cut."""
        self.assertEqual(HANDSHAKE_SECONDS, 5)
        self.server.clock.advance(4.9)
        self.assertFalse(self.transport.disconnected)
        self.server.clock.advance(0.2)
        self.assertTrue(self.transport.disconnected)

    def test_a_handshake_in_time(self) -> None:
        """Once it is over its clock has stopped, and the idle one alone runs."""
        self.server.clock.advance(4.9)
        self.channel.handshakeCompleted()
        self.server.clock.advance(30)
        self.assertFalse(self.transport.disconnected or self.transport.disconnecting)

    def test_a_plain_port_waits_for_none(self) -> None:
        """Where there is no TLS there is no handshake to wait for."""
        clock = Clock()
        wire = Wire(APISite(Resource(), clock))
        clock.advance(HANDSHAKE_SECONDS * 2)
        self.assertFalse(wire.aborted or wire.closing)

    def test_a_client_that_does_not_read(self) -> None:
        """Ten seconds from when the transport is full, then the connection is cut; reading in time saves it."""
        self.assertEqual(WRITE_SECONDS, 10)
        self.channel.handshakeCompleted()
        self.channel.pauseProducing()
        self.server.clock.advance(9.9)
        self.channel.resumeProducing()
        self.server.clock.advance(9.9)
        self.assertFalse(self.transport.disconnected)
        self.channel.pauseProducing()
        self.server.clock.advance(5)
        self.channel.pauseProducing()
        self.server.clock.advance(5.1)
        self.assertTrue(self.transport.disconnected)
