"""Waits over sockets: outcomes, many of them at a time, and their end with the server's."""

import signal
from contextlib import ExitStack
from http.client import HTTPSConnection
from pathlib import Path

import msgspec
import pytest

from tests.certificates import Pair
from tests.fakes import temporary_folder
from tests.functional.asking import Asking
from tests.functional.daemon import Answer, Daemon
from tests.functional.load import descriptors, metric, pause, report, room_for_descriptors
from tests.functional.simulated import SimulatedTestCase

pytestmark = pytest.mark.xdist_group("load")

CART = "/deployments/shop/cart"
REPLICAS = f"{CART}/replicas"
CLIENTS, EACH = 10, 64


def threads(daemon: Daemon) -> int | None:
    """Count the daemon's threads; None where the system does not say."""
    folder = Path(f"/proc/{daemon.pid}/task")
    return len(list(folder.iterdir())) if folder.exists() else None


class WaitsTestCase(SimulatedTestCase):
    """A daemon whose waits can be counted. This has no tests of its own."""

    def wait_for_waits(self, count: int) -> None:
        """Wait until so many wait."""
        self.daemon.wait_for(lambda: metric(self.daemon, "sre_server_waits") == count, f"{count} waits")


class WaitingTests(WaitsTestCase):
    """A daemon of a simulator, in which a rollout takes seconds."""

    def waiting(self, path: str = REPLICAS, body: bytes | None = b'{"replicas":9}', **headers: str) -> HTTPSConnection:
        """Send a request that waits, and return its connection."""
        connection = self.daemon.connect(60)
        self.addCleanup(connection.close)
        fields = {"Content-Type": "application/json", "Prefer": "wait=50", **headers}
        connection.request("PUT" if body else "GET", path, body, fields)
        return connection

    def answer(self, connection: HTTPSConnection) -> Answer:
        """Read what comes."""
        response = connection.getresponse()
        text = response.read()
        fields = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, fields, msgspec.json.decode(text) if text else None)

    def test_available(self) -> None:
        """The answer comes once the rollout is over, as the picture has it, too; and so it does for none."""
        for replicas in (9, 0):
            answer = self.daemon.put(REPLICAS, {"replicas": replicas}, Prefer="wait=50")
            self.assertEqual((answer.status, answer.headers["preference-applied"]), (200, "wait=50"))
            self.assertEqual((answer.json["outcome"], answer.json["replicas"]), ("available", replicas))
            picture = self.daemon.get(CART).json
            self.assertEqual((picture["available"], picture["rollout"]), (replicas, "steady"))

    def test_superseded(self) -> None:
        """Somebody else's count ends the wait, and so does another client's through this server, by name."""
        connection = self.waiting()
        self.wait_for_waits(1)
        self.simulator.scale("shop", "cart", 7)
        answer = self.answer(connection)
        self.assertEqual((answer.json["outcome"], answer.json["replicas"]), ("superseded", 7))
        connection = self.waiting()
        self.wait_for_waits(1)
        self.assertEqual(self.daemon.put(REPLICAS, {"replicas": 6}).status, 200)
        answer = self.answer(connection)
        self.assertEqual((answer.json["outcome"], answer.json["by"]), ("superseded", "sre-server (alice)"))

    def test_blocking_query(self) -> None:
        """The picture comes when there is something new in it."""
        tag = self.daemon.get(CART).headers["etag"]
        connection = self.waiting(CART, None, **{"If-None-Match": tag})
        self.wait_for_waits(1)
        self.simulator.scale("shop", "cart", 7)
        answer = self.answer(connection)
        self.assertEqual((answer.status, answer.json["replicas"]), (200, 7))
        self.assertNotEqual(answer.headers["etag"], tag)

    def test_end_of_the_server(self) -> None:
        """At SIGTERM everybody is answered in full, before the connections are closed; then it ends at once."""
        tag = self.daemon.get("/deployments/shop/checkout").headers["etag"]
        reads = [self.waiting("/deployments/shop/checkout", None, **{"If-None-Match": tag}) for _ in range(20)]
        self.wait_for_waits(20)
        writes = [self.waiting() for _ in range(8)]  # as many as one client may have under way
        self.wait_for_waits(28)
        self.daemon.send_signal(signal.SIGTERM)
        for connection in writes:
            answer = self.answer(connection)
            self.assertEqual((answer.status, answer.headers["connection"]), (200, "close"))
            self.assertEqual((answer.json["outcome"], answer.json["replicas"]), ("waiting", 9))
            self.assertIn("The server is shutting down.", answer.json["cause"])
        self.assertEqual([self.answer(connection).status for connection in reads], 20 * [304])
        self.daemon.wait()
        self.assertNotIn("Traceback", self.daemon.output())

    def test_client_leaves(self) -> None:
        """The wait of a client that leaves ends, and its write is not undone."""
        connection = self.waiting()
        self.wait_for_waits(1)
        connection.close()
        self.wait_for_waits(0)
        self.assertEqual(self.daemon.get(REPLICAS).json["replicas"], 9)
        self.assertNotIn("Traceback", self.daemon.said())


class ManyWaitsTests(WaitsTestCase):
    """As many clients as there may be, each with as many waits."""

    def setUp(self) -> None:
        """Start a daemon that lets them all come at once."""
        super().setUp()
        room_for_descriptors(4096)
        self.daemon.close()
        options = [f"--kubeconfig={self.simulator.kubeconfig}", "--cluster=kubeconfig", "--handshake-rate=4000:4000"]
        self.daemon = Daemon(temporary_folder(self), *options)
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.bob = self.daemon.authority.issue("bob")

    def waits_of(self, client: Pair, tag: str, stack: ExitStack) -> list[HTTPSConnection]:
        """Have one client wait for as much as it may; return its connections."""
        context, connections = self.daemon.context(client), []
        for _ in range(EACH):
            connection = HTTPSConnection("localhost", self.daemon.port, context=context, timeout=60)
            stack.callback(connection.close)
            connection.request("GET", CART, headers={"If-None-Match": tag, "Prefer": "wait=300"})
            connections.append(connection)
        return connections

    def figures(self, name: str) -> str:
        """Measure how Bob's reads do for a while."""
        asking = Asking(self.daemon, REPLICAS, self.bob, every=0.005)
        pause(5)
        asked = asking.stop()
        self.assertEqual((list(asked.statuses), asked.failures), (["200"], []))
        return f"{name}: {asked}"

    def test_many(self) -> None:
        """640 waits take no thread, and a descriptor each until they end; others are served as ever."""
        tag = self.daemon.get(CART).headers["etag"]
        figures = [self.figures("nobody waits")]
        before, open_before = threads(self.daemon), descriptors(self.daemon)
        with ExitStack() as stack:
            for number in range(CLIENTS):
                self.waits_of(self.daemon.authority.issue(f"client-{number}"), tag, stack)
            self.wait_for_waits(CLIENTS * EACH)
            self.assertEqual(threads(self.daemon), before)
            figures.append(self.figures(f"{CLIENTS * EACH} wait"))
        self.wait_for_waits(0)
        self.daemon.wait_for(lambda: descriptors(self.daemon) == open_before, "rid of their descriptors")
        self.assertEqual(threads(self.daemon), before)
        report("; ".join(figures))

    def test_all_at_once(self) -> None:
        """One change answers everybody, each once and in full."""
        tag = self.daemon.get(CART).headers["etag"]
        with ExitStack() as stack:
            clients = [self.daemon.authority.issue(f"client-{number}") for number in range(3)]
            connections = [each for client in clients for each in self.waits_of(client, tag, stack)]
            self.wait_for_waits(len(connections))
            self.simulator.scale("shop", "cart", 7)
            statuses = [connection.getresponse().status for connection in connections]
        self.assertEqual(statuses, len(connections) * [200])
