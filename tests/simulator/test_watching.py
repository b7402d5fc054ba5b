"""The simulated API's watch streams, read line by line from the bytes on the wire."""

from sre_server.simulator.kinds import DEPLOYMENTS, EVENTS, NAMESPACES, Object
from tests.simulator import memory
from tests.simulator.memory import ALL, SHOP, SimulatorTestCase, Wire

STREAMED = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


def seen(events: list[Object]) -> list[tuple[str, str]]:
    """Return the types and names of events."""
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


def versions(events: list[Object]) -> list[int]:
    """Return the versions of events."""
    return [int(event["object"]["metadata"]["resourceVersion"]) for event in events]


class WatchTestCase(SimulatorTestCase):
    """Watches a cluster in memory."""

    def tearDown(self) -> None:
        """No stream may leave a timer behind once the API stops."""
        self.wire.api.stop()
        self.wire.cluster.stop()
        self.assertEqual((self.wire.clock.getDelayedCalls(), self.wire.api.open_watches), ([], 0))


class StreamTests(WatchTestCase):
    """What a stream tells, and when it ends."""

    def test_headers_at_once(self) -> None:
        """The headers of a quiet watch come at once: a chunked stream of JSON."""
        stream = self.watch()
        self.assertEqual((stream.status, stream.body, stream.complete), (200, b"", False))
        self.assertEqual(stream.headers["content-type"], "application/json")
        self.assertEqual(stream.headers["transfer-encoding"], "chunked")

    def test_events(self) -> None:
        """Every change comes as one line, in order, with the whole object and its kind, under its own version."""
        stream = self.watch()
        self.wire.create("shop", "fresh")
        changed = self.wire.scale("shop", "cart", 4)
        self.cluster.delete(DEPLOYMENTS, "shop", "catalog")
        events = stream.events()
        self.assertEqual(seen(events), [("ADDED", "fresh"), ("MODIFIED", "cart"), ("DELETED", "catalog")])
        self.assertEqual(events[1]["object"], {"kind": "Deployment", "apiVersion": "apps/v1", **changed})
        start = self.cluster.version - 3
        self.assertEqual(versions(events), [start + 1, start + 2, start + 3])

    def test_replay(self) -> None:
        """A watch from an earlier version tells first what happened since."""
        start = self.cluster.version
        self.wire.scale("shop", "cart", 4)
        self.wire.scale("shop", "cart", 5)
        stream = self.watch(version=start + 1)
        self.assertEqual([event["object"]["spec"]["replicas"] for event in stream.events()], [5])

    def test_only_what_is_watched(self) -> None:
        """Neither other resources nor other namespaces nor other names are told."""
        streams = [
            self.watch("fieldSelector=metadata.name=cart"),
            self.watch(path=SHOP),
            self.watch(path=memory.NAMESPACES),
            self.watch(path=memory.EVENTS),
        ]
        self.wire.scale("payments", "ledger", 4)
        self.wire.scale("shop", "cart", 4)
        self.wire.scale("shop", "catalog", 4)
        self.cluster.create(NAMESPACES, "", {"metadata": {"name": "blue"}})
        self.cluster.create(EVENTS, "shop", {"metadata": {"name": "event"}})
        cart, catalog = ("MODIFIED", "cart"), ("MODIFIED", "catalog")
        expected = [[cart], [cart, catalog], [("ADDED", "blue")], [("ADDED", "event")]]
        self.assertEqual([seen(stream.events()) for stream in streams], expected)

    def test_server_timeout(self) -> None:
        """A watch ends properly when its time is up, and not before."""
        stream = self.watch("timeoutSeconds=30")
        self.wire.clock.advance(29)
        self.assertFalse(stream.complete)
        self.wire.clock.advance(1)
        self.assertTrue(stream.complete)
        self.assertEqual(self.wire.api.open_watches, 0)

    def test_client_gone(self) -> None:
        """A client that hangs up leaves nothing behind."""
        stream = self.watch("allowWatchBookmarks=true&timeoutSeconds=300")
        stream.hang_up()
        self.assertEqual((self.wire.clock.getDelayedCalls(), self.wire.api.open_watches), ([], 0))
        self.wire.scale("shop", "cart", 4)


class StartTests(WatchTestCase):
    """Where a stream starts."""

    def test_too_old(self) -> None:
        """A forgotten version is answered by 200 and one ERROR event, 410 Expired, and the end."""
        start = self.cluster.version
        self.wire.scale("shop", "cart", 4)
        self.cluster.compact()
        for version in (start, 1):
            stream = self.watch(version=version)
            (event,) = stream.events()
            self.assertEqual((stream.status, event["type"], stream.complete), (200, "ERROR", True))
            status = event["object"]
            self.assertEqual((status["kind"], status["code"], status["reason"]), ("Status", 410, "Expired"))
            self.assertEqual(status["message"], f"too old resource version: {version} ({self.cluster.version})")

    def test_compaction_spares_live_streams(self) -> None:
        """A stream that is up to date outlives a compaction, even if its resource was quiet for long."""
        stream = self.watch(path=memory.NAMESPACES)
        self.wire.scale("shop", "cart", 4)
        self.cluster.compact()
        self.cluster.create(NAMESPACES, "", {"metadata": {"name": "blue"}})
        self.assertEqual(seen(stream.events()), [("ADDED", "blue")])

    def test_without_version(self) -> None:
        """Without a version, or from version 0, the present comes first, as additions, then changes."""
        present = [("ADDED", item["metadata"]["name"]) for item in self.wire.objects()]
        streams = [self.wire.get(f"{ALL}?watch=true"), self.wire.get(f"{ALL}?watch=1&resourceVersion=0")]
        self.wire.scale("shop", "cart", 4)
        for stream in streams:
            self.assertEqual(seen(stream.events()), [*present, ("MODIFIED", "cart")])

    def test_initial_events(self) -> None:
        """A streamed list sends the present, then a bookmark that says so, then changes."""
        stream = self.wire.get(f"{ALL}?watch=1&{STREAMED}")
        *events, bookmark = stream.events()
        self.assertEqual(
            [event["object"]["metadata"] for event in events], [o["metadata"] for o in self.wire.objects()]
        )
        self.assertEqual({event["type"] for event in events}, {"ADDED"})
        metadata = {
            "resourceVersion": str(self.cluster.version),
            "annotations": {"k8s.io/initial-events-end": "true"},
        }
        object_ = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata}
        self.assertEqual(bookmark, {"type": "BOOKMARK", "object": object_})
        self.wire.scale("shop", "cart", 4)
        self.assertEqual(seen(stream.events()), [("MODIFIED", "cart")])

    def test_initial_events_of_nothing(self) -> None:
        """An empty streamed list is only the bookmark."""
        stream = self.wire.get(f"/apis/apps/v1/namespaces/kube-public/deployments?watch=1&{STREAMED}")
        self.assertEqual([event["type"] for event in stream.events()], ["BOOKMARK"])

    def test_initial_events_from_the_future(self) -> None:
        """A streamed list that is to be at least as new as the future fails as too large."""
        stream = self.watch(STREAMED, version=999_999)
        (event,) = stream.events()
        self.assertEqual(event["object"]["details"]["causes"][0]["reason"], "ResourceVersionTooLarge")
        self.assertTrue(stream.complete)

    def test_from_the_future(self) -> None:
        """A plain watch from the future is accepted and tells nothing until the counter has passed it."""
        stream = self.watch("allowWatchBookmarks=true", version=self.cluster.version + 2)
        self.wire.scale("shop", "cart", 4)
        self.wire.scale("shop", "cart", 5)
        self.assertEqual(stream.events(), [])
        self.wire.scale("shop", "cart", 6)
        self.assertEqual([event["object"]["spec"]["replicas"] for event in stream.events()], [6])

    def test_restore_ends_streams(self) -> None:
        """When the cluster is restored, every stream ends; a new one from then is silent, without bookmarks."""
        start = self.cluster.version
        self.wire.scale("shop", "cart", 4)
        stream, version = self.watch(), self.cluster.version
        self.cluster.restore(start)
        self.assertTrue(stream.complete)
        silent = self.watch("allowWatchBookmarks=true", version=version)
        self.wire.clock.pump([1] * 70)
        self.assertEqual((silent.body, silent.complete), (b"", False))


class BookmarkTests(WatchTestCase):
    """Bookmarks."""

    def test_regular(self) -> None:
        """A quiet stream gets a bookmark a minute, which follows the one counter of all resources."""
        stream = self.watch("allowWatchBookmarks=true&timeoutSeconds=600", path=memory.NAMESPACES)
        self.wire.scale("shop", "cart", 4)
        self.wire.clock.pump([1.0] * 125)
        events = stream.events()
        self.assertEqual([event["type"] for event in events], ["BOOKMARK", "BOOKMARK"])
        self.assertEqual(versions(events), [self.cluster.version] * 2)
        self.assertEqual(events[0]["object"]["kind"], "Namespace")

    def test_before_the_end(self) -> None:
        """The last bookmark comes two seconds before the server's timeout."""
        stream = self.watch("allowWatchBookmarks=true&timeoutSeconds=10")
        self.wire.clock.advance(7.9)
        self.assertEqual(stream.events(), [])
        self.wire.clock.advance(0.2)
        self.assertEqual([event["type"] for event in stream.events()], ["BOOKMARK"])

    def test_only_on_request(self) -> None:
        """Who does not ask for bookmarks gets none."""
        stream = self.watch("timeoutSeconds=300")
        self.wire.clock.pump([1.0] * 300)
        self.assertEqual((stream.events(), stream.complete), ([], True))


class SlowClientTests(WatchTestCase):
    """Clients that do not read."""

    def test_nothing_is_buffered(self) -> None:
        """While the connection is full nothing is written; afterwards everything comes, in order."""
        stream = self.watch()
        stream.stall()
        for replicas in range(20, 30):
            self.wire.scale("shop", "cart", replicas)
        self.assertEqual(stream.body, b"")
        stream.drain()
        self.assertEqual([event["object"]["spec"]["replicas"] for event in stream.events()], list(range(20, 30)))

    def test_cut_off(self) -> None:
        """A client that falls behind the history is cut off instead of being told a story with holes."""
        wire = Wire(history=5)
        stream = wire.get(f"{ALL}?watch=1&resourceVersion={wire.cluster.version}")
        stream.stall()
        for replicas in range(20, 30):
            wire.scale("shop", "cart", replicas)
        stream.drain()
        self.assertEqual((stream.events(), stream.complete, wire.api.open_watches), ([], True, 0))
