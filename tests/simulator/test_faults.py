"""Each fault of the simulated API, seen from the client's side of the wire."""

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator.faults import Fault
from sre_server.simulator.testtools import Exchange, Wire

DEPLOYMENTS = "/apis/apps/v1/deployments"
CART = "/apis/apps/v1/namespaces/shop/deployments/cart"
SCALE = f"{CART}/scale"
NAMESPACES = "/api/v1/namespaces"


class FaultTestCase(SynchronousTestCase):
    """Breaks a cluster in memory."""

    def setUp(self) -> None:
        """Start a cluster."""
        self.wire = Wire()
        self.cluster = self.wire.cluster
        self.go_wrong = self.wire.go_wrong

    def watch(self, query: str = "") -> Exchange:
        """Open a watch of Deployments from now."""
        return self.wire.get(f"{DEPLOYMENTS}?watch=1&resourceVersion={self.cluster.version}&{query}")

    def replicas(self) -> int:
        """Return what shop/cart was asked for."""
        return int(self.cluster.deployment("shop", "cart")["spec"]["replicas"])


class MatchingTests(FaultTestCase):
    """Whom a fault meets, and how often."""

    def broken(self, fault: Fault, *paths: str) -> list[bool]:
        """Tell for each path whether a fault meets a GET of it."""
        self.go_wrong(fault)
        return [self.wire.get(path).status != 200 for path in paths]

    def test_everything(self) -> None:
        """A fault without limits meets every request."""
        self.assertEqual(self.broken(Fault(kind="status"), DEPLOYMENTS, NAMESPACES, CART, "/version"), [True] * 4)

    def test_resource(self) -> None:
        """A fault of one resource leaves the others alone; a scale is a resource of its own."""
        fault = Fault(kind="status", resource="deployments")
        self.assertEqual(self.broken(fault, DEPLOYMENTS, CART, NAMESPACES, SCALE), [True, True, False, False])

    def test_verb(self) -> None:
        """A fault of one verb leaves the others alone; a watch is no list."""
        fault = Fault(kind="status", verb="list")
        watch = f"{DEPLOYMENTS}?watch=1"
        self.assertEqual(self.broken(fault, DEPLOYMENTS, NAMESPACES, CART, watch), [True, True, False, False])

    def test_verb_class(self) -> None:
        """Writes can be met without meeting reads."""
        self.assertEqual(self.broken(Fault(kind="status", verb="write"), DEPLOYMENTS, SCALE), [False, False])
        self.assertEqual(self.wire.patch(SCALE, {"spec": {"replicas": 9}}).status, 500)
        self.assertEqual(self.replicas(), 3)

    def test_times(self) -> None:
        """A fault is over after so many times, and is then no longer on."""
        self.assertEqual(self.broken(Fault(kind="status", times=2), *[CART] * 4), [True, True, False, False])
        self.assertEqual(self.wire.faults.active, [])

    def test_skip(self) -> None:
        """A fault can let some requests through first."""
        fault = Fault(kind="status", skip=2, times=1)
        self.assertEqual(self.broken(fault, *[CART] * 4), [False, False, True, False])

    def test_continued(self) -> None:
        """A fault can be for list pages after the first."""
        token = self.wire.get(f"{DEPLOYMENTS}?limit=2").json()["metadata"]["continue"]
        fault = Fault(kind="status", code=410, verb="list", continued=True)
        paths = (f"{DEPLOYMENTS}?limit=2", f"{DEPLOYMENTS}?limit=2&continue={token}")
        self.assertEqual(self.broken(fault, *paths), [False, True])

    def test_clear(self) -> None:
        """Faults are switched off all at once or one by one."""
        one, other = Fault(kind="status"), Fault(kind="hang")
        self.wire.faults.add(one, other)
        self.wire.faults.remove(one)
        self.assertEqual(self.wire.faults.active, [other])
        self.wire.faults.clear()
        self.assertEqual(self.wire.get(CART).status, 200)

    def test_order(self) -> None:
        """Of several faults the first that meets a request strikes."""
        self.wire.faults.add(Fault(kind="status", code=503, times=1), Fault(kind="status", code=429))
        self.assertEqual([self.wire.get(CART).status for _ in range(2)], [503, 429])

    def test_json(self) -> None:
        """Faults travel as JSON in camel case; unknown kinds and fields are refused."""
        text = b'{"kind":"status","verb":"list","times":2,"code":429,"retryAfter":7}'
        fault = msgspec.json.decode(text, type=Fault)
        self.assertEqual(fault, Fault(kind="status", verb="list", times=2, code=429, retry_after=7))
        self.assertEqual(msgspec.json.encode(fault), text)
        for wrong in (b'{"kind":"odd"}', b'{"kind":"hang","typo":1}', b"{}"):
            self.assertRaises(msgspec.ValidationError, msgspec.json.decode, wrong, type=Fault)


class RequestFaultTests(FaultTestCase):
    """Faults that meet a request as it arrives."""

    def test_refuse(self) -> None:
        """The connection is closed without a byte."""
        self.go_wrong(Fault(kind="refuse", times=1))
        answer = self.wire.get(CART)
        self.assertEqual((answer.raw, answer.closed, answer.reset), (b"", True, False))
        self.assertEqual(self.wire.get(CART).status, 200)

    def test_reset(self) -> None:
        """The connection is reset without a byte."""
        self.go_wrong(Fault(kind="refuse", reset=True))
        answer = self.wire.patch(SCALE, {"spec": {"replicas": 9}})
        self.assertEqual((answer.raw, answer.reset, self.replicas()), (b"", True, 3))

    def test_hang(self) -> None:
        """There is no answer, however long one waits; hanging up is fine."""
        self.go_wrong(Fault(kind="hang"))
        answer = self.wire.patch(SCALE, {"spec": {"replicas": 9}})
        self.wire.clock.advance(3600)
        self.assertEqual((answer.raw, answer.closed, self.replicas()), (b"", False, 3))
        answer.hang_up()

    def test_status(self) -> None:
        """Any status comes as a Status, with Retry-After where it is given."""
        for code, reason in (
            (401, "Unauthorized"),
            (403, "Forbidden"),
            (410, "Expired"),
            (429, "TooManyRequests"),
            (500, "InternalError"),
            (503, "ServiceUnavailable"),
        ):
            self.go_wrong(Fault(kind="status", code=code, times=1))
            answer = self.wire.get(DEPLOYMENTS)
            told = answer.json()
            self.assertEqual((answer.status, told["code"], told["reason"]), (code, code, reason))
            self.assertNotIn("retry-after", answer.headers)
        self.go_wrong(Fault(kind="status", code=429, retry_after=5, message="slow down"))
        answer = self.wire.get(DEPLOYMENTS)
        self.assertEqual((answer.headers["retry-after"], answer.json()["message"]), ("5", "slow down"))
        self.assertEqual(answer.json()["details"], {"retryAfterSeconds": 5})

    def test_watch_refused_by_status(self) -> None:
        """A watch can be refused with an HTTP status instead of an event."""
        self.go_wrong(Fault(kind="status", code=410, verb="watch"))
        self.assertEqual(self.watch().status, 410)

    def test_too_large(self) -> None:
        """Any request can be told that its version is too large."""
        self.go_wrong(Fault(kind="too-large", verb="watch"))
        answer = self.watch()
        self.assertEqual(answer.status, 504)
        self.assertEqual(answer.json()["details"]["causes"][0]["reason"], "ResourceVersionTooLarge")

    def test_slow(self) -> None:
        """Each page takes its time."""
        self.go_wrong(Fault(kind="slow", verb="list", seconds=3))
        answer = self.wire.get(DEPLOYMENTS)
        self.wire.clock.advance(2.9)
        self.assertEqual(answer.raw, b"")
        self.wire.clock.advance(0.2)
        self.assertEqual(answer.status, 200)

    def test_slow_and_gone(self) -> None:
        """A client that does not wait for a slow answer leaves no timer behind."""
        self.go_wrong(Fault(kind="slow", seconds=3))
        self.wire.get(DEPLOYMENTS).hang_up()
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_slow_then_broken(self) -> None:
        """A slow request can still meet another fault."""
        self.wire.faults.add(Fault(kind="slow", seconds=1), Fault(kind="status", code=503))
        answer = self.wire.get(DEPLOYMENTS)
        self.wire.clock.advance(1)
        self.assertEqual(answer.status, 503)


class AppliedFaultTests(FaultTestCase):
    """Faults after a write has taken effect."""

    def test_drop(self) -> None:
        """The write is applied, then the connection is cut without an answer."""
        self.go_wrong(Fault(kind="drop-after-apply", resource="scale", verb="patch", times=1))
        self.assertEqual(self.wire.get(SCALE).status, 200)
        answer = self.wire.patch(SCALE, {"spec": {"replicas": 9}})
        self.assertEqual((answer.raw, answer.closed, self.replicas()), (b"", True, 9))
        self.assertEqual(self.wire.faults.count(verb="patch"), 1)

    def test_hang(self) -> None:
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
        """Half a line comes, then the connection is closed in the middle of the stream."""
        for stream in self.both(Fault(kind="cut")):
            self.assertTrue(stream.body.startswith(b'{"type":"MODIFIED"'))
            self.assertNotIn(b"\n", stream.body)
            self.assertEqual((stream.closed, stream.reset, stream.complete), (True, False, False))
        self.assertEqual(self.wire.api.open_watches, 0)

    def test_cut_clean(self) -> None:
        """Half a line comes, then the chunked body ends as if all were well."""
        for stream in self.both(Fault(kind="cut", clean=True)):
            self.assertNotIn(b"\n", stream.body)
            self.assertEqual((stream.closed, stream.complete), (False, True))

    def test_cut_reset(self) -> None:
        """The connection is reset in the middle of a line."""
        for stream in self.both(Fault(kind="cut", reset=True)):
            self.assertTrue(stream.reset)

    def test_garbage(self) -> None:
        """A line that is no JSON comes once, then the stream goes on."""
        streams = self.both(Fault(kind="garbage", line="\N{SNOWMAN}"))
        for stream in streams:
            self.assertEqual(stream.lines(), ["\N{SNOWMAN}".encode()])
        self.cluster.scale("shop", "cart", 4)
        for stream in streams:
            self.assertEqual([event["type"] for event in stream.events()], ["MODIFIED"])

    def test_oversized(self) -> None:
        """A line of several MiB comes, which is a well-formed event."""
        for stream in self.both(Fault(kind="oversized", size=5_000_000)):
            (line,) = stream.lines()
            self.assertGreater(len(line), 5_000_000)
            self.assertEqual(msgspec.json.decode(line)["type"], "MODIFIED")

    def test_wrong_kind(self) -> None:
        """An event with an object of a kind that nobody asked for."""
        for stream in self.both(Fault(kind="wrong-kind")):
            self.assertEqual([event["object"]["kind"] for event in stream.events()], ["Pod"])

    def test_error_event(self) -> None:
        """An ERROR event with the given code, then the end."""
        for code, reason in ((410, "Expired"), (500, "InternalError"), (429, "TooManyRequests")):
            fault = Fault(kind="error-event", code=code)
            for stream in self.both(fault):
                (event,) = stream.events()
                self.assertEqual((event["type"], stream.complete), ("ERROR", True))
                self.assertEqual((event["object"]["code"], event["object"]["reason"]), (code, reason))
            self.wire.faults.clear()

    def test_silent(self) -> None:
        """Nothing comes any more, not even bookmarks; other streams are not concerned."""
        silent = self.watch("allowWatchBookmarks=true")
        self.go_wrong(Fault(kind="silent", times=1))
        other = self.watch("allowWatchBookmarks=true")
        self.cluster.scale("shop", "cart", 4)
        self.wire.clock.pump([1.0] * 90)
        self.assertEqual((silent.body, silent.closed, silent.complete), (b"", False, False))
        self.assertIn("BOOKMARK", [event["type"] for event in other.events()])

    def test_other_resource(self) -> None:
        """Streams of another resource are spared."""
        namespaces = self.wire.get(f"{NAMESPACES}?watch=1&resourceVersion={self.cluster.version}")
        self.go_wrong(Fault(kind="close", resource="deployments"))
        self.assertFalse(namespaces.complete)


class ChangeFaultTests(FaultTestCase):
    """Faults that concern changes."""

    def test_drop_event(self) -> None:
        """One change reaches no watcher, not even one that comes later; lists show it."""
        start = self.cluster.version
        streams = [self.watch(), self.watch()]
        self.go_wrong(Fault(kind="drop-event", times=1))
        self.cluster.scale("shop", "cart", 4)
        self.cluster.scale("shop", "catalog", 4)
        streams.append(self.wire.get(f"{DEPLOYMENTS}?watch=1&resourceVersion={start}"))
        for stream in streams:
            self.assertEqual([event["object"]["metadata"]["name"] for event in stream.events()], ["catalog"])
        self.assertEqual(self.wire.get(CART).json()["spec"]["replicas"], 4)

    def test_drop_event_of_resource(self) -> None:
        """Only changes of the given resource are lost."""
        self.go_wrong(Fault(kind="drop-event", resource="namespaces", times=1))
        stream = self.watch()
        self.cluster.scale("shop", "cart", 4)
        self.assertEqual(len(stream.events()), 1)

    def test_delay_events(self) -> None:
        """Events are held for a while, in order, and bookmarks do not run ahead of them."""
        stream = self.watch("allowWatchBookmarks=true")
        fault = Fault(kind="delay-events", seconds=100)
        self.go_wrong(fault)
        start = self.cluster.version
        self.cluster.scale("shop", "cart", 4)
        self.wire.clock.advance(99)
        events = stream.events()
        self.assertEqual([event["type"] for event in events], ["BOOKMARK"])
        self.assertEqual(events[0]["object"]["metadata"]["resourceVersion"], str(start))
        self.wire.clock.advance(1)
        self.assertEqual([event["object"]["spec"]["replicas"] for event in stream.events()], [4])

    def test_delay_ends(self) -> None:
        """Held events come as soon as the fault is switched off."""
        stream = self.watch()
        self.go_wrong(Fault(kind="delay-events", seconds=100))
        self.cluster.scale("shop", "cart", 4)
        self.assertEqual(stream.events(), [])
        self.wire.faults.clear()
        self.assertEqual(len(stream.events()), 1)


class JournalTests(FaultTestCase):
    """What tests can ask about the requests that came."""

    def test_counts(self) -> None:
        """Requests are counted by verb and resource, whatever becomes of them."""
        self.go_wrong(Fault(kind="status", resource="deployments", times=1))
        for path in (DEPLOYMENTS, DEPLOYMENTS, f"{DEPLOYMENTS}?watch=1", CART, SCALE, NAMESPACES, "/version"):
            self.wire.get(path)
        self.wire.patch(SCALE, {"spec": {"replicas": 1}})
        faults = self.wire.faults
        self.assertEqual(faults.count(), 8)
        self.assertEqual(faults.count(verb="list"), 3)
        self.assertEqual(faults.count(verb="list", resource="deployments"), 2)
        self.assertEqual(faults.count(resource="scale"), 2)
        self.assertEqual(faults.journal.counts["watch", "deployments"], 1)

    def test_entries(self) -> None:
        """The journal says when what was asked by whom, and can be cleared."""
        self.wire.get(f"{DEPLOYMENTS}?limit=3", **{"User-Agent": "me"})
        (entry,) = self.wire.faults.requests
        self.assertEqual((entry.method, entry.uri), ("GET", f"{DEPLOYMENTS}?limit=3"))
        self.assertEqual((entry.verb, entry.user_agent), ("list", "me"))
        self.assertEqual(entry.time, self.wire.clock.seconds())
        self.wire.faults.journal.clear()
        self.assertEqual((self.wire.faults.requests, self.wire.faults.count()), ([], 0))


class StreamedListFaultTests(FaultTestCase):
    """Faults of lists that are streamed."""

    QUERY = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"

    def test_no_streams(self) -> None:
        """Where streams are off a streamed list is invalid; lists and watches are as ever."""
        self.go_wrong(Fault(kind="no-streams"))
        refused = self.wire.get(f"{DEPLOYMENTS}?{self.QUERY}")
        self.assertEqual(refused.status, 422)
        self.assertEqual(refused.json()["details"]["causes"][0]["field"], "sendInitialEvents")
        self.assertEqual((self.wire.get(DEPLOYMENTS).status, self.watch().status), (200, 200))

    def test_no_end(self) -> None:
        """Without its last bookmark a streamed list tells all objects, then changes."""
        self.go_wrong(Fault(kind="no-end", times=1))
        stream = self.wire.get(f"{DEPLOYMENTS}?{self.QUERY}")
        self.assertEqual({event["type"] for event in stream.events()}, {"ADDED"})
        self.cluster.scale("shop", "cart", 4)
        self.assertEqual([event["type"] for event in stream.events()], ["MODIFIED"])
        whole = self.wire.get(f"{DEPLOYMENTS}?{self.QUERY}")
        self.assertEqual(whole.events()[-1]["type"], "BOOKMARK")
