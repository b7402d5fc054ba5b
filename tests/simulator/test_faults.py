"""Each fault of the simulated API, seen from the client's side of the wire."""

from sre_server.simulator.faults import Call, Fault
from sre_server.simulator.kinds import DEPLOYMENTS
from tests.simulator.memory import ALL, CART, EVENTS, NAMESPACES, SCALE, Exchange, SimulatorTestCase

STREAMED = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


class FaultTestCase(SimulatorTestCase):
    """Breaks a cluster in memory."""

    def replicas(self) -> int:
        """Return what shop/cart was asked for."""
        return int(self.wire.deployment("shop", "cart")["spec"]["replicas"])


class MatchingTests(FaultTestCase):
    """Whom a fault meets, and how often."""

    def broken(self, fault: Fault, *paths: str) -> list[bool]:
        """Tell for each path whether a fault meets a GET of it."""
        self.go_wrong(fault)
        return [self.wire.get(path).status != 200 for path in paths]

    def test_everything(self) -> None:
        """A fault without limits meets every request."""
        self.assertEqual(self.broken(Fault(kind="status"), ALL, NAMESPACES, CART, "/version"), [True] * 4)

    def test_resource(self) -> None:
        """A fault of one resource leaves the others alone; a scale is a resource of its own."""
        fault = Fault(kind="status", resource="deployments")
        self.assertEqual(self.broken(fault, ALL, CART, NAMESPACES, SCALE, EVENTS), [True, True, False, False, False])

    def test_verb(self) -> None:
        """A fault of one verb leaves the others alone; a watch is no list."""
        fault = Fault(kind="status", verb="list")
        self.assertEqual(self.broken(fault, ALL, NAMESPACES, CART, f"{ALL}?watch=1"), [True, True, False, False])

    def test_writes(self) -> None:
        """A write that meets a fault changes nothing."""
        self.go_wrong(Fault(kind="status", verb="patch", resource="scale"))
        self.assertEqual(self.wire.patch(SCALE, {"spec": {"replicas": 9}}).status, 500)
        self.go_wrong(Fault(kind="status", verb="create", resource="events", code=403))
        self.assertEqual(self.wire.request("POST", EVENTS, {"metadata": {"name": "e"}}).status, 403)
        self.assertEqual((self.replicas(), self.names(EVENTS)), (3, []))

    def test_how_often(self) -> None:
        """A fault lets the first so many requests through, and is over after so many more."""
        fault = Fault(kind="status", skip=1, times=2)
        self.assertEqual(self.broken(fault, *[CART] * 5), [False, True, True, False, False])
        self.assertEqual(self.wire.faults.active, [])

    def test_order(self) -> None:
        """Of several faults the first that meets a request strikes."""
        self.go_wrong(Fault(kind="status", code=503, times=1), Fault(kind="status", code=429))
        self.assertEqual([self.wire.get(CART).status for _ in range(2)], [503, 429])

    def test_counts(self) -> None:
        """Requests are counted by verb and resource, whatever becomes of them."""
        self.go_wrong(Fault(kind="status", resource="deployments", times=1))
        for path in (ALL, ALL, f"{ALL}?watch=1", SCALE, "/version"):
            self.wire.get(path)
        self.wire.patch(SCALE, {"spec": {"replicas": 1}})
        expected = {
            Call("list", "deployments"): 2,
            Call("watch", "deployments"): 1,
            Call("get", "scale"): 1,
            Call("discover"): 1,
            Call("patch", "scale"): 1,
        }
        self.assertEqual(self.wire.faults.counts, expected)


class RequestFaultTests(FaultTestCase):
    """Faults that meet a request as it arrives."""

    def test_refuse(self) -> None:
        """The connection is closed without a byte."""
        self.go_wrong(Fault(kind="refuse", times=1))
        answer = self.wire.patch(SCALE, {"spec": {"replicas": 9}})
        self.assertEqual((answer.raw, answer.closed, self.replicas()), (b"", True, 3))
        self.assertEqual(self.wire.get(CART).status, 200)

    def test_hang(self) -> None:
        """There is no answer, however long one waits; hanging up is fine."""
        self.go_wrong(Fault(kind="hang"))
        answer = self.wire.patch(SCALE, {"spec": {"replicas": 9}})
        self.wire.clock.advance(3600)
        self.assertEqual((answer.raw, answer.closed, self.replicas()), (b"", False, 3))
        answer.hang_up()

    def test_status(self) -> None:
        """Any status comes as a Status, to watches, too, with Retry-After where it is given."""
        for code, reason in ((403, "Forbidden"), (410, "Expired"), (500, "InternalError")):
            self.go_wrong(Fault(kind="status", code=code))
            for path in (ALL, f"{ALL}?watch=1"):
                self.assertNotIn("retryAfterSeconds", self.assert_status(self.wire.get(path), code, reason)["details"])
        self.go_wrong(Fault(kind="status", code=429, retry_after=5, message="slow down"))
        answer = self.wire.get(ALL)
        self.assertEqual((answer.headers["retry-after"], answer.json()["message"]), ("5", "slow down"))
        self.assertEqual(answer.json()["details"], {"retryAfterSeconds": 5})

    def test_slow(self) -> None:
        """The answer takes its time, and can still meet another fault then."""
        self.go_wrong(Fault(kind="slow", seconds=3), Fault(kind="status", code=503, skip=1))
        for code in (200, 503):
            answer = self.wire.get(ALL)
            self.wire.clock.advance(2.9)
            self.assertEqual(answer.raw, b"")
            self.wire.clock.advance(0.2)
            self.assertEqual(answer.status, code)

    def test_slow_and_gone(self) -> None:
        """A client that does not wait for a slow answer leaves no timer behind."""
        self.go_wrong(Fault(kind="slow", seconds=3))
        self.wire.get(ALL).hang_up()
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_drop_after_apply(self) -> None:
        """The write is applied, then the connection is closed without an answer."""
        self.go_wrong(Fault(kind="drop-after-apply", resource="scale", verb="patch", times=1))
        self.assertEqual(self.wire.get(SCALE).status, 200)
        answer = self.wire.patch(SCALE, {"spec": {"replicas": 9}})
        self.assertEqual((answer.raw, answer.closed, self.replicas()), (b"", True, 9))

    def test_hang_after_apply(self) -> None:
        """The write is applied, then nothing comes."""
        self.go_wrong(Fault(kind="hang-after-apply", verb="patch"))
        answer = self.wire.patch(SCALE, {"spec": {"replicas": 9}})
        self.wire.clock.advance(3600)
        self.assertEqual((answer.raw, answer.closed, self.replicas()), (b"", False, 9))
        answer.hang_up()


class StreamFaultTests(FaultTestCase):
    """Faults that strike watch streams."""

    def both(self, fault: Fault) -> list[Exchange]:
        """Return a stream that was open when the fault struck, and one that was opened into it."""
        before = self.watch()
        self.go_wrong(fault)
        return [before, self.watch()]

    def test_close(self) -> None:
        """Streams end properly and empty, so do new ones."""
        for stream in self.both(Fault(kind="close", verb="watch")):
            self.assertEqual((stream.status, stream.body, stream.complete), (200, b"", True))
        self.assertEqual(self.wire.api.open_watches, 0)

    def test_times(self) -> None:
        """A fault for one stream strikes one stream only, the oldest."""
        one, other = self.watch(), self.watch()
        self.go_wrong(Fault(kind="close", times=1))
        self.assertEqual([one.complete, other.complete, self.watch().complete], [True, False, False])

    def test_cut(self) -> None:
        """Half a line comes, then the connection is closed in the middle of the stream, by a reset if asked for."""
        for reset in (False, True):
            for stream in self.both(Fault(kind="cut", reset=reset)):
                self.assertTrue(stream.body.startswith(b'{"type":"MODIFIED"'))
                self.assertNotIn(b"\n", stream.body)
                self.assertEqual((stream.closed, stream.reset, stream.complete), (True, reset, False))
            self.assertEqual(self.wire.api.open_watches, 0)
            self.go_wrong()

    def test_oversized(self) -> None:
        """A line of several MiB comes, which is a well-formed event, then the stream goes on."""
        streams = self.both(Fault(kind="oversized", size=5_000_000))
        self.wire.scale("shop", "cart", 4)
        for stream in streams:
            self.assertGreater(len(stream.body), 5_000_000)
            objects = [event["object"] for event in stream.events()]
            self.assertEqual([item["kind"] for item in objects], ["Deployment", "Deployment"])
            self.assertEqual(objects[1]["spec"]["replicas"], 4)

    def test_error_event(self) -> None:
        """An ERROR event with the given code, then the end."""
        for code, reason in ((410, "Expired"), (500, "InternalError"), (429, "TooManyRequests")):
            for stream in self.both(Fault(kind="error-event", code=code)):
                (event,) = stream.events()
                self.assertEqual((event["type"], stream.complete), ("ERROR", True))
                self.assertEqual((event["object"]["code"], event["object"]["reason"]), (code, reason))
            self.go_wrong()

    def test_silent(self) -> None:
        """Nothing comes any more, not even bookmarks; other streams are not concerned."""
        silent = self.watch("allowWatchBookmarks=true")
        self.go_wrong(Fault(kind="silent", times=1))
        other = self.watch("allowWatchBookmarks=true")
        self.wire.scale("shop", "cart", 4)
        self.wire.clock.pump([1.0] * 90)
        self.assertEqual((silent.body, silent.closed, silent.complete), (b"", False, False))
        self.assertIn("BOOKMARK", [event["type"] for event in other.events()])

    def test_other_resource(self) -> None:
        """Streams of another resource are spared."""
        namespaces = self.watch(path=NAMESPACES)
        self.go_wrong(Fault(kind="close", resource="deployments"))
        self.assertFalse(namespaces.complete)

    def test_delay_events(self) -> None:
        """Events are held for a while, bookmarks do not run ahead of them, and they come when the fault is over."""
        stream = self.watch("allowWatchBookmarks=true")
        self.go_wrong(Fault(kind="delay-events", seconds=100))
        start = self.cluster.version
        self.wire.scale("shop", "cart", 4)
        self.wire.clock.advance(99)
        (bookmark,) = stream.events()
        self.assertEqual(bookmark["object"]["metadata"]["resourceVersion"], str(start))
        self.wire.clock.advance(1)
        self.assertEqual([event["object"]["spec"]["replicas"] for event in stream.events()], [4])
        self.cluster.delete(DEPLOYMENTS, "shop", "catalog")
        self.assertNotIn("DELETED", [event["type"] for event in stream.events()])
        self.go_wrong()
        self.assertEqual(stream.events()[-1]["type"], "DELETED")

    def test_no_streams(self) -> None:
        """Where streamed lists are off they are invalid; lists and watches are as ever."""
        self.go_wrong(Fault(kind="no-streams"))
        status = self.assert_status(self.wire.get(f"{ALL}?{STREAMED}"), 422, "Invalid")
        self.assertEqual(status["details"]["causes"][0]["field"], "sendInitialEvents")
        self.assertEqual((self.wire.get(ALL).status, self.watch().status), (200, 200))

    def test_no_end(self) -> None:
        """Without its last bookmark a streamed list tells all objects, then changes."""
        self.go_wrong(Fault(kind="no-end", times=1))
        stream = self.wire.get(f"{ALL}?{STREAMED}")
        self.assertEqual({event["type"] for event in stream.events()}, {"ADDED"})
        self.wire.scale("shop", "cart", 4)
        self.assertEqual([event["type"] for event in stream.events()], ["MODIFIED"])
        whole = self.wire.get(f"{ALL}?{STREAMED}")
        self.assertEqual(whole.events()[-1]["type"], "BOOKMARK")
