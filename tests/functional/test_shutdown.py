"""How the daemon ends: in order, in time, with nobody's answer cut off."""

import signal
import threading
import time
from http.client import HTTPException

from tests.functional.daemon import Answer
from tests.functional.load import report
from tests.functional.simulated import SimulatedTestCase


class ShutdownTests(SimulatedTestCase):
    """A daemon of a simulator that can be made to hang."""

    def test_idle(self) -> None:
        """An idle daemon with open keep-alive connections ends cleanly and at once on SIGTERM."""
        connection = self.daemon.connect()
        self.addCleanup(connection.close)
        self.assertEqual(self.daemon.request("GET", "/deployments", connection=connection).status, 200)
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait()
        self.assertNotIn("Traceback", self.daemon.output())

    def test_request_under_way(self) -> None:
        """A write that is under way when SIGTERM comes is answered, readyz says 503 meanwhile, nobody else gets in."""
        self.simulator.faults({"kind": "slow", "verb": "patch", "seconds": 4.0})
        answers: list[Answer] = []
        writing = threading.Thread(
            target=lambda: answers.append(self.daemon.put("/deployments/shop/cart/replicas", {"replicas": 9}))
        )
        writing.start()
        self.daemon.wait_for(lambda: any("patch" in verb for verb in self.simulator.counts()), "writing")
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait_for(lambda: self._ready_status() == 503, "unready")
        self.assertRaises(OSError, self.daemon.get, "/deployments")
        for number in (signal.SIGTERM, signal.SIGINT):  # which change nothing
            self.daemon.send_signal(number)
        writing.join(60)
        self.assertEqual(answers[0].status, 200)
        self.assertEqual(answers[0].headers["connection"], "close")
        self.daemon.wait()
        self.assertNotIn("Traceback", self.daemon.output())

    def _ready_status(self) -> int:
        try:
            return self.daemon.ops("/readyz").status
        except (OSError, HTTPException):
            return 0

    def test_hung_cluster(self) -> None:
        """With every watch and a write hung in a frozen cluster, SIGTERM still ends the process, in bounded time."""
        self.simulator.send_signal(signal.SIGSTOP)
        self.addCleanup(self.simulator.send_signal, signal.SIGCONT)
        connection = self.daemon.connect()
        self.addCleanup(connection.close)
        connection.request("PUT", "/namespaces/shop/deployments/cart/replica_count/8")
        self.daemon.send_signal(signal.SIGTERM)
        started = time.monotonic()
        self.daemon.wait()
        report(f"SIGTERM to the end, the cluster frozen: {time.monotonic() - started:.1f} s of 10 s")

    def test_hangup(self) -> None:
        """SIGHUP, which many daemons are sent to read their files again, ends nothing."""
        connection = self.daemon.connect()
        self.addCleanup(connection.close)
        self.daemon.send_signal(signal.SIGHUP)
        self.assertEqual(self.daemon.request("GET", "/deployments", connection=connection).status, 200)
        self.assertIsNone(self.daemon.poll())

    def test_interrupt(self) -> None:
        """Ctrl-C ends it as SIGTERM does."""
        self.daemon.send_signal(signal.SIGINT)
        self.daemon.wait()
        self.assertNotIn("Traceback", self.daemon.output())
