"""More connections than there should be: some are turned away, those that are in are served, and nothing stays behind.

The cost of what is let in is bounded by caps on connections and on handshakes, and by the system's own on descriptors.
"""

import time
from contextlib import ExitStack
from http.client import HTTPConnection

import pytest

from tests.functional.asking import Asked, Asking
from tests.functional.load import (
    can_limit_descriptors,
    connect_many,
    connect_tls,
    descriptors,
    has_ended,
    limit_descriptors,
    metric,
    pause,
    report,
    room_for_descriptors,
    together,
)
from tests.functional.test_attacks import Attacks

pytestmark = pytest.mark.xdist_group("load")

REPLICAS = "/deployments/shop/cart/replicas"
REFUSED = 'sre_server_connections_refused_total{reason="%s"}'


class CrowdTests(Attacks):
    """Crowds, and a good client who was there before."""

    options = ("--listen=tcp:0:interface=127.0.0.1:backlog=4096",)  # so that it is the daemon that turns them away

    def setUp(self) -> None:
        """Start the daemon, and a good client."""
        super().setUp()
        room_for_descriptors(4096)
        self.good = Asking(self.daemon, REPLICAS, self.daemon.client, every=0.02)
        self.daemon.wait_for(lambda: metric(self.daemon, "sre_server_connections") == 1, "asked by the good client")

    def _stop_good(self) -> Asked:
        """Have the good client stop; not one of its requests has failed."""
        asked = self.good.stop()
        self.assertEqual((list(asked.statuses), asked.failures), (["200"], []))
        return asked

    def test_2000_connections(self) -> None:
        """2,000 connections at once are let in up to the caps, cut off after 5 s; a connected client is served."""
        with ExitStack() as crowd:
            silent = [crowd.enter_context(connection) for connection in connect_many(self.daemon.port, 2000)]
            self.daemon.wait_for(lambda: metric(self.daemon, REFUSED % "address") > 0, "at its caps")
            ended = sum(map(has_ended, silent))
            refused = {reason: metric(self.daemon, REFUSED % reason) for reason in ("handshakes", "address")}
            report(f"2,000 connections: {ended} refused at once, {refused}; meanwhile {self._stop_good()}")
            self.assertEqual(refused["handshakes"], 0)
            self.daemon.wait_for(lambda: all(map(has_ended, silent)), "rid of all the silent ones")
        self.assert_unharmed("2,000 connections")

    def test_silence_on_the_ops_port(self) -> None:
        """5,000 silent connections there, from one address or from 50, take nothing from probes, or from writes."""
        room_for_descriptors(12_000)
        self.assertEqual(self.daemon.put("/deployments/shop/checkout/replicas", {"replicas": 3}).status, 200)
        events = 'sre_server_kube_requests_total{code="201",verb="POST"}'
        self.daemon.wait_for(lambda: metric(self.daemon, events) > 0, "connected for Events")
        self.daemon.wait_for(lambda: metric(self.daemon, "sre_server_connections") == 1, "rid of who wrote")
        self.baseline = descriptors(self.daemon)
        for addresses in (["127.0.0.2"], [f"127.0.0.{number}" for number in range(100, 150)]):
            with ExitStack() as crowd:
                for connection in connect_many(self.daemon.ops_port, 5000, addresses):
                    crowd.enter_context(connection)
                metric(self.daemon, "sre_server_ready")  # waits until those who came before have been let in
                for _ in range(5):
                    probe = HTTPConnection("127.0.0.1", self.daemon.ops_port, timeout=60)
                    probe.request("GET", "/livez")
                    self.assertEqual(probe.getresponse().status, 200)
                    probe.close()
                self.assertEqual(self.daemon.put("/deployments/shop/checkout/replicas", {"replicas": 4}).status, 200)
                report(f"5,000 silent connections to the ops port: {descriptors(self.daemon)} descriptors")
        self._stop_good()
        self.assert_unharmed("silence on the ops port")

    def test_handshakes_without_end(self) -> None:
        """Clients that do nothing but shake hands are held to the rate, and a connected client is served."""
        until = time.monotonic() + 3

        def shake() -> int:
            done = 0
            while time.monotonic() < until:
                try:
                    with connect_tls(self.daemon) as connection:
                        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                        done += connection.recv(12) == b"HTTP/1.1 200"
                except OSError:
                    pause(0.001)
            return done

        done = together(*[shake] * 4)
        report(f"handshakes in a loop: {sum(done) / 3:.0f}/s served; meanwhile {self._stop_good()}")
        pause(1)
        self.assert_unharmed("handshakes without end")

    def test_more_connections_than_descriptors(self) -> None:
        """A daemon that runs out of descriptors serves who is connected, and is as before when the crowd has gone."""
        if not can_limit_descriptors():
            self.good.stop()
            self.skipTest("this system cannot limit the descriptors of another process")
        limit_descriptors(self.daemon.pid, 256)
        with ExitStack() as crowd:
            silent = [crowd.enter_context(connection) for connection in connect_many(self.daemon.port, 600)]
            pause(1)
            port = self._ops_port()
            pause(2)
            ended = sum(map(has_ended, silent))
            report(
                f"600 connections, 256 descriptors: {ended} refused at once; the ops port {port}; {self._stop_good()}"
            )
        self.assert_unharmed("more connections than descriptors")

    def _ops_port(self) -> str:
        connection = HTTPConnection("127.0.0.1", self.daemon.ops_port, timeout=3)
        try:
            connection.request("GET", "/readyz")
            return f"answers {connection.getresponse().status}"
        except OSError as error:
            return f"does not answer ({type(error).__name__})"
        finally:
            connection.close()
