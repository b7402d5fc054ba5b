"""`Prefer: wait`: which clients wait, for how long, how many at a time, and what ends a wait."""

from sre_server.day.waits import PER_CLIENT
from sre_server.errors import Unavailable
from sre_server.news import Changed
from tests.api.waiting import REPLICAS, UPDATED, WaitingTestCase, at


class PreferenceTests(WaitingTestCase):
    """When it is waited, and when it is not."""

    def test_without(self) -> None:
        """Without the preference, or with one that makes no sense, the answer is what it always was."""
        for prefer in (None, "wait=soon", "return=minimal", "wait"):
            (answer,) = self.put(5, prefer).answers()
            self.assertEqual(answer.body, b'{"message":"%s"}\n' % UPDATED.encode())
            self.assertIsNone(answer.header("Preference-Applied"))

    def test_other_family(self) -> None:
        """The other family is as it was drawn."""
        path = "/namespaces/shop/deployments/web/replica_count/5"
        answer = self.server.call("PUT", path, headers={"Prefer": "wait=60"})
        self.assertEqual(answer.json(), {"namespace": "shop", "deployment": "web", "replica_count": 5})
        self.assertIsNone(answer.header("Preference-Applied"))

    def test_failed_write(self) -> None:
        """A write that fails is answered at once, as ever."""
        self.server.outcome = Unavailable("Too many writes are waiting for the cluster.", 1)
        (answer,) = self.put(5).answers()
        self.assertEqual((answer.status, answer.header("Preference-Applied")), (503, None))

    def test_no_time(self) -> None:
        """A wait of 0 tells what is known now."""
        wire = self.put(5, "wait=0")
        self.server.clock.advance(0)
        (answer,) = wire.answers()
        self.assertEqual((answer.json()["outcome"], answer.header("Preference-Applied")), ("waiting", "wait=0"))

    def test_bounds(self) -> None:
        """Past a client's bound the write is done, and answered at once without the preference."""
        wires = [self.put(5) for _ in range(PER_CLIENT)]
        self.assert_waits(PER_CLIENT)
        (answer,) = self.put(5).answers()
        self.assertEqual((answer.status, answer.header("Preference-Applied")), (200, None))
        self.assertEqual(answer.json(), {"message": UPDATED})
        wires[0].hang_up()
        self.assert_waits(PER_CLIENT - 1)
        self.assertEqual(self.put(5).answers(), [])

    def test_audit(self) -> None:
        """The write is in the audit log when it is done, not when somebody is done waiting."""
        wire = self.put(5)
        self.assertIsNone(self.told(wire))
        self.assertEqual([record.outcome for record in self.server.audit.records], ["changed"])
        self.assertEqual(len(self.server.told), 1)

    def test_client_leaves(self) -> None:
        """A client that leaves waits no more, and its write stands."""
        wire = self.put(5)
        wire.hang_up()
        self.assert_waits(0)
        self.assertEqual(self.server.writes, [("shop", "web", 5)])
        self.server.tell(at(1001, 5, 5))
        self.server.clock.advance(300)
        self.assertEqual(wire.answers(), [])

    def test_shutdown(self) -> None:
        """When the server stops, everybody is answered at once, on a connection that closes after that."""
        wire = self.put(5)
        self.server.site.drain()
        self.assertEqual(wire.answers()[0].header("Connection"), "close")
        cause = "The server is shutting down. The Deployment's controller has not seen this count yet."
        self.assertEqual(self.told(wire), {"outcome": "waiting", "replicas": 5, "cause": cause})
        self.assertTrue(wire.closing)

    def test_the_connection_outlasts_it(self) -> None:
        """No clock of the connection cuts a wait short; what the client asks meanwhile is answered after it."""
        wire = self.put(5, "wait=300")
        self.server.tell(at(1001, 5, 4))
        wire.write(b"GET /deployments/shop/web/replicas HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in range(299):
            self.server.clock.advance(1)
            self.server.cache.apply(Changed(self.server.sources[1], self.server.clock.seconds()))
            self.server.cache.apply(Changed(self.server.sources[0], self.server.clock.seconds()))
        self.assertEqual(wire.answers(), [])
        self.assertEqual(self.server.get(REPLICAS).json()["replicas"], 5)
        self.server.clock.advance(1)
        first, second = wire.answers()
        self.assertEqual((first.json()["outcome"], second.json()["replicas"]), ("waiting", 5))

    def test_metrics(self) -> None:
        """Outcomes are counted, and a wait is no slow answer."""
        wire = self.put(5)
        self.server.clock.advance(20)
        self.server.tell(at(1001, 5, 5))
        self.told(wire)
        lines = self.metrics()
        self.assertIn('sre_server_wait_outcomes_total{outcome="available"} 1.0', lines)
        route = 'route="/deployments/{namespace}/{name}/replicas"'
        self.assertIn(f'sre_server_http_request_duration_seconds_sum{{method="PUT",{route}}} 0.0', lines)
