"""Paths that go silent without a word: nobody is told that the other end is gone, and everybody finds out in time.

What there is about the path to Redis is in `test_shared_faults`.
"""

import contextlib  # not `suppress` by itself: trial takes that name in a module for a setting of its own
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.connection import Connection
from sre_server.cluster.credentials import Unauthenticated
from sre_server.errors import ClusterBroke
from tests.fakes import temporary_folder
from tests.functional.daemon import Answer, Daemon
from tests.functional.load import GOOD, connect_tls, metric, pause, report, together
from tests.functional.network import Network
from tests.functional.relay import Relay
from tests.functional.simulated import Simulator
from tests.functional.test_attacks import LIST, MARGIN

CART, CHECKOUT = "/deployments/shop/cart/replicas", "/deployments/shop/checkout/replicas"
PATCHES = "patch scale"
CONNECTIONS = "sre_server_connections"


class HalfOpenTestCase(SynchronousTestCase):
    """A daemon, and a simulator that it reaches through a relay. This has no tests of its own."""

    def start(self, listening: socket.socket | None = None) -> None:
        """Start all of them; `listening` is where the relay is to be reached."""
        folder = temporary_folder(self)
        self.simulator = Simulator(folder)
        self.addCleanup(self.simulator.close)
        self.relay = Relay(self.simulator.port, listening)
        self.addCleanup(self.relay.close)
        self.simulator.behind(self.relay.url)
        self.daemon = Daemon(folder, f"--kubeconfig={self.simulator.kubeconfig}", "--cluster=kubeconfig")
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.simulator.scale("shop", "cart", 21)
        self._wait_for_count(21)

    def change_behind(self) -> None:
        """Change what the daemon does not hear of now."""
        self.simulator.scale("shop", "cart", 22)
        self.simulator.call("POST", "/api/v1/namespaces", {"metadata": {"name": "late"}})

    def wait_until_fresh(self) -> None:
        """Wait until it shows what was changed meanwhile, as of now."""
        self._wait_for_count(22)
        self.daemon.wait_for(lambda: "late" in self.daemon.get("/namespaces").json["namespaces"], "showing all")
        self.assertLess(int(self.daemon.get(CART).headers["age"]), 10)

    def _wait_for_count(self, replicas: int) -> None:
        self.daemon.wait_for(lambda: self.daemon.get(CART).json["replicas"] == replicas, f"showing {replicas}")

    def wait_until_said(self, pattern: str) -> None:
        """Wait until the daemon has said this of each source."""
        patterns = [pattern.format(source) for source in ("deployments", "namespaces")]

        def is_said() -> bool:
            said = self.daemon.said()
            return all(re.search(each, said) for each in patterns)

        self.daemon.wait_for(is_said, f"saying {pattern!r}", 120)

    def write(self) -> Answer:
        """Write, whatever comes of it."""
        return self.daemon.put(CHECKOUT, {"replicas": 7})

    def check(self, since: float, figures: Mapping[str, tuple[float, Callable[[], object]]]) -> None:
        """Run jobs at once, each of which ends when something was found out, and hold the time that took to bounds."""

        def timed(job: Callable[[], object]) -> float:
            job()
            return time.monotonic() - since

        taken = together(*(partial(timed, job) for _, job in figures.values()))
        late = {}
        for (name, (bound, _)), seconds in zip(figures.items(), taken, strict=True):
            report(f"{name}: {seconds:.1f} s of {bound:.0f} s")
            if seconds > bound + MARGIN:
                late[name] = seconds
        self.assertEqual(late, {})


class LinkTests(HalfOpenTestCase):
    """A cluster and clients at the other end of a link that goes down; no TCP there answers any more."""

    def setUp(self) -> None:
        """Start all, and another daemon, whose lists are long, for the clients."""
        self.network = Network()
        self.network.open()
        self.addCleanup(self.network.close)
        self.start(self.network.within(lambda: socket.create_server((self.network.there, 0))))
        options = ("--cluster=simulated", "--simulated-deployments=20000")
        self.front = Daemon(temporary_folder(self), *options, host=self.network.here)
        self.addCleanup(self.front.close)
        self.front.wait_until_ready()

    def _come(self) -> None:
        """Have two clients come: one reads a long answer, little by little, the other one asks and stays."""
        reading = self.network.within(lambda: connect_tls(self.front, receive_buffer=4096))
        self.addCleanup(reading.close)
        reading.sendall((LIST + b"\r\n") * 5)
        threading.Thread(target=self._read_on, args=(reading,), daemon=True).start()
        pause(1)
        idle = self.network.within(lambda: connect_tls(self.front))
        self.addCleanup(idle.close)
        idle.sendall(GOOD)
        self.assertIn(b"200 OK", idle.recv(65536))
        self.assertEqual(metric(self.front, CONNECTIONS), 2)

    def _read_on(self, reading: socket.socket) -> None:
        reading.settimeout(1)
        with contextlib.suppress(OSError):
            while reading.recv(4096):
                pause(0.05)

    def _wait_for_connections(self, count: int) -> None:
        self.front.wait_for(lambda: metric(self.front, CONNECTIONS) == count, f"down to {count} connections", 90)

    def _wait_for_watches(self) -> None:
        self.wait_until_said("{}: The connection to the cluster broke: timed out. Next try")

    def _ask(self, connection: Connection) -> None:
        """Ask on a connection that has been used before, and that would be waited on for long."""
        self.assertRaises(ClusterBroke, connection.request, "GET", "/api/v1/namespaces", {}, read_timeout=90)

    def test_the_other_end_is_gone(self) -> None:
        """Watches break, and go on without a list; writes are answered; connections of clients are closed."""
        asked = Connection(Unauthenticated(lambda: self.relay.url))
        with asked.request("GET", "/api/v1/namespaces", {}, read_timeout=5) as reply:
            reply.read(2**20, 5)
        self._come()
        self.simulator.faults({"kind": "hang-after-apply", "verb": "patch", "times": 1})
        before = self.simulator.counts().get(PATCHES)
        pool = ThreadPoolExecutor(1)
        self.addCleanup(pool.shutdown)
        flying = pool.submit(self.write)
        self.daemon.wait_for(lambda: self.simulator.counts().get(PATCHES) != before, "asking the cluster")
        self.network.unplug()
        cut_at = time.monotonic()
        self.change_behind()
        late: list[Answer] = []
        self.check(
            cut_at,
            {
                "a watch, its peer dead": (25, self._wait_for_watches),
                "a request, its peer dead": (25, partial(self._ask, asked)),
                "a write that begins": (5, lambda: late.append(self.write())),
                "a write in flight": (10, flying.result),
                "a client amid an answer": (10, partial(self._wait_for_connections, 1)),
                "an idle client": (60, partial(self._wait_for_connections, 0)),
            },
        )
        self.assertEqual((flying.result().status, late[0].status), (504, 502))
        self.assertIn("unknown", flying.result().json["message"])
        self.assertIn("cannot be reached", late[0].json["message"])
        shown = self.daemon.get(CART)
        self.assertEqual((shown.status, shown.json["replicas"]), (200, 21))
        self.assertGreater(int(shown.headers["age"]), 50)
        self.network.plug()
        self.wait_until_fresh()
        self.assertNotRegex(self.daemon.said(), r"listed \d+ \((?!first)")


class ProxyTests(HalfOpenTestCase):
    """A cluster behind a proxy that lives, and passes nothing on."""

    def _wait_for_lists(self) -> None:
        self.wait_until_said(r"{}: listed \d+ \(silence\)")

    def test_a_proxy_swallows(self) -> None:
        """Watches that bring nothing are followed by a list; a write is answered, and the next one gets through."""
        self.start()
        before = self.simulator.counts()
        self.relay.swallow()
        cut_at = time.monotonic()
        self.change_behind()
        written: list[Answer] = []

        def write() -> None:
            written.append(self.write())
            self.relay.recover()

        self.check(
            cut_at, {"a watch, its proxy alive": (90, self._wait_for_lists), "a write, its proxy alive": (10, write)}
        )
        self.assertEqual(written[0].status, 504)
        self.assertIn("unknown", written[0].json["message"])
        self.assertEqual(self.simulator.counts()[PATCHES], before[PATCHES] + 1)
        self.wait_until_fresh()
        self.assertEqual(self.write().status, 200)
