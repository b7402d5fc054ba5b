"""The simulated API's watch streams, read line by line from the bytes on the wire."""

from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator.kinds import Object
from sre_server.simulator.testtools import Exchange, Wire

DEPLOYMENTS = "/apis/apps/v1/deployments"
NAMESPACES = "/api/v1/namespaces"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def told(events: list[Object]) -> list[tuple[str, str]]:
    """Return the types and names of events."""
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


def versions(events: list[Object]) -> list[int]:
    """Return the versions of events."""
    return [int(event["object"]["metadata"]["resourceVersion"]) for event in events]


class WatchTestCase(SynchronousTestCase):
    """Watches a cluster in memory."""

    def setUp(self) -> None:
        """Start a cluster."""
        self.wire = Wire()
        self.cluster = self.wire.cluster

    def watch(self, query: str = "", path: str = DEPLOYMENTS, *, version: object = None, **headers: str) -> Exchange:
        """Open a watch from a version, the present one unless told otherwise."""
        start = self.cluster.version if version is None else version
        return self.wire.get(f"{path}?watch=1&resourceVersion={start}&{query}", **headers)

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
        """Every change comes as one line, in order, with the whole object and its kind."""
        stream = self.watch()
        self.cluster.create_deployment("shop", "fresh")
        changed = self.cluster.scale("shop", "cart", 4)
        self.cluster.delete_deployment("shop", "catalog")
        events = stream.events()
        self.assertEqual(told(events), [("ADDED", "fresh"), ("MODIFIED", "cart"), ("DELETED", "catalog")])
        self.assertEqual(events[1]["object"], {"kind": "Deployment", "apiVersion": "apps/v1", **changed})
        self.assertEqual(versions(events), sorted(versions(events)))

    def test_deleted_version(self) -> None:
        """A deletion carries the last state under a version of its own."""
        stream = self.watch()
        before = self.cluster.deployment("shop", "cart")
        self.cluster.delete_deployment("shop", "cart")
        gone = stream.events()[0]["object"]
        self.assertEqual(gone["metadata"]["uid"], before["metadata"]["uid"])
        self.assertEqual(gone["metadata"]["resourceVersion"], str(self.cluster.version))

    def test_replay(self) -> None:
        """A watch from an earlier version tells first what happened since."""
        start = self.cluster.version
        self.cluster.scale("shop", "cart", 4)
        self.cluster.scale("shop", "cart", 5)
        stream = self.watch(version=start + 1)
        self.assertEqual([event["object"]["spec"]["replicas"] for event in stream.events()], [5])

    def test_one_namespace(self) -> None:
        """The watch of one namespace tells nothing of the others."""
        stream = self.watch(path="/apis/apps/v1/namespaces/shop/deployments")
        self.cluster.scale("payments", "ledger", 4)
        self.cluster.scale("shop", "cart", 4)
        self.assertEqual(told(stream.events()), [("MODIFIED", "cart")])

    def test_namespaces(self) -> None:
        """Namespaces are watched apart from Deployments."""
        stream = self.watch(path=NAMESPACES)
        self.cluster.scale("shop", "cart", 4)
        self.cluster.create_namespace("blue")
        self.cluster.delete_namespace("blue")
        self.assertEqual(told(stream.events()), [("ADDED", "blue"), ("MODIFIED", "blue"), ("DELETED", "blue")])

    def test_label_selector(self) -> None:
        """An object that comes to match is added, one that ceases to is deleted."""
        stream = self.watch(f"labelSelector={quote('tier in (front)')}")
        self.cluster.create_deployment("shop", "web", labels={"tier": "front"})
        path = "/apis/apps/v1/namespaces/shop/deployments"
        for label in ("back", "other", "front"):
            self.wire.patch(f"{path}/web", {"metadata": {"labels": {"tier": label}}})
        self.cluster.delete_deployment("shop", "web")
        self.assertEqual([event["type"] for event in stream.events()], ["ADDED", "DELETED", "ADDED", "DELETED"])

    def test_field_selector(self) -> None:
        """One object can be watched by its name."""
        stream = self.watch("fieldSelector=metadata.name=cart")
        self.cluster.scale("shop", "catalog", 1)
        self.cluster.scale("shop", "cart", 1)
        self.assertEqual(told(stream.events()), [("MODIFIED", "cart")])

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
        self.cluster.scale("shop", "cart", 4)

    def test_table(self) -> None:
        """Kubectl's watch comes as Tables; only the first one defines the columns."""
        stream = self.watch(Accept=TABLE)
        self.cluster.scale("shop", "cart", 4)
        self.cluster.scale("shop", "catalog", 4)
        first, second = (event["object"] for event in stream.events())
        self.assertEqual((first["kind"], first["rows"][0]["cells"][:2]), ("Table", ["cart", "3/4"]))
        self.assertTrue(first["columnDefinitions"])
        self.assertFalse(second["columnDefinitions"])


class StartTests(WatchTestCase):
    """Where a stream starts."""

    def test_too_old(self) -> None:
        """A forgotten version is answered by 200 and one ERROR event, 410 Expired, and the end."""
        start = self.cluster.version
        self.cluster.scale("shop", "cart", 4)
        self.cluster.compact()
        stream = self.watch(version=start)
        (event,) = stream.events()
        self.assertEqual((stream.status, event["type"], stream.complete), (200, "ERROR", True))
        status = event["object"]
        self.assertEqual((status["kind"], status["code"], status["reason"]), ("Status", 410, "Expired"))
        self.assertEqual(status["message"], f"too old resource version: {start} ({self.cluster.version})")

    def test_before_the_beginning(self) -> None:
        """Versions from before the cluster started are too old."""
        self.assertEqual(self.watch(version=1).events()[0]["object"]["code"], 410)

    def test_compaction_spares_live_streams(self) -> None:
        """A stream that is up to date outlives a compaction, even if its resource was quiet for long."""
        stream = self.watch(path=NAMESPACES)
        self.cluster.scale("shop", "cart", 4)
        self.cluster.compact()
        self.cluster.create_namespace("blue")
        self.assertEqual(told(stream.events()), [("ADDED", "blue")])

    def test_without_version(self) -> None:
        """Without a version, or from version 0, the present comes first, as additions."""
        present = [("ADDED", item["metadata"]["name"]) for item in self.cluster.deployments()]
        for path in (f"{DEPLOYMENTS}?watch=true", f"{DEPLOYMENTS}?watch=1&resourceVersion=0"):
            stream = self.wire.get(path)
            self.assertEqual(told(stream.events()), present)
            self.cluster.scale("shop", "cart", 4 if stream.raw.count(b"cart") == 1 else 5)
            stream.hang_up()

    def test_initial_events(self) -> None:
        """A streaming list sends the present, then a bookmark that says so, then changes."""
        query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        stream = self.watch(query)
        *events, bookmark = stream.events()
        self.assertEqual(len(events), 12)
        self.assertEqual({event["type"] for event in events}, {"ADDED"})
        self.assertEqual(bookmark["type"], "BOOKMARK")
        metadata = bookmark["object"]["metadata"]
        self.assertEqual(metadata["annotations"], {"k8s.io/initial-events-end": "true"})
        self.assertEqual(metadata["resourceVersion"], str(self.cluster.version))
        self.cluster.scale("shop", "cart", 4)
        self.assertEqual(told(stream.events()), [("MODIFIED", "cart")])

    def test_initial_events_of_nothing(self) -> None:
        """An empty streaming list is only the bookmark."""
        path = "/apis/apps/v1/namespaces/kube-public/deployments"
        query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        stream = self.wire.get(f"{path}?watch=1&{query}")
        self.assertEqual([event["type"] for event in stream.events()], ["BOOKMARK"])

    def test_initial_events_from_the_future(self) -> None:
        """A streaming list that is not older than the future fails as too large."""
        query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        stream = self.watch(query, version=999_999)
        (event,) = stream.events()
        self.assertEqual(event["object"]["details"]["causes"][0]["reason"], "ResourceVersionTooLarge")
        self.assertTrue(stream.complete)

    def test_from_the_future(self) -> None:
        """A plain watch from the future is accepted and tells nothing until the counter has passed it."""
        stream = self.watch("allowWatchBookmarks=true", version=self.cluster.version + 2)
        self.cluster.scale("shop", "cart", 4)
        self.cluster.scale("shop", "cart", 5)
        self.assertEqual(stream.events(), [])
        self.cluster.scale("shop", "cart", 6)
        self.assertEqual([event["object"]["spec"]["replicas"] for event in stream.events()], [6])

    def test_restore_ends_streams(self) -> None:
        """When the cluster is restored, every stream ends."""
        stream = self.watch()
        version = self.cluster.version
        self.cluster.scale("shop", "cart", 4)
        self.cluster.restore(version)
        self.assertTrue(stream.complete)


class BookmarkTests(WatchTestCase):
    """Bookmarks."""

    def test_regular(self) -> None:
        """A quiet stream gets a bookmark a minute, which follows the one counter of all resources."""
        stream = self.watch("allowWatchBookmarks=true&timeoutSeconds=600", path=NAMESPACES)
        self.cluster.scale("shop", "cart", 4)
        self.wire.clock.pump([1.0] * 125)
        events = stream.events()
        self.assertEqual([event["type"] for event in events], ["BOOKMARK", "BOOKMARK"])
        self.assertEqual(versions(events), [self.cluster.version] * 2)
        mark = events[0]["object"]
        self.assertEqual((mark["kind"], mark["apiVersion"]), ("Namespace", "v1"))

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


class SlowClientTests(SynchronousTestCase):
    """Clients that do not read."""

    def test_nothing_is_buffered(self) -> None:
        """While the connection is full nothing is written; afterwards everything comes, in order."""
        wire = Wire()
        stream = wire.get(f"{DEPLOYMENTS}?watch=1&resourceVersion={wire.cluster.version}")
        stream.stall()
        for replicas in range(20, 30):
            wire.cluster.scale("shop", "cart", replicas)
        self.assertEqual(stream.body, b"")
        stream.drain()
        self.assertEqual([event["object"]["spec"]["replicas"] for event in stream.events()], list(range(20, 30)))

    def test_dropped(self) -> None:
        """A client that falls behind the history is cut off instead of being told a story with holes."""
        wire = Wire(history=5)
        stream = wire.get(f"{DEPLOYMENTS}?watch=1&resourceVersion={wire.cluster.version}")
        stream.stall()
        for replicas in range(20, 30):
            wire.cluster.scale("shop", "cart", replicas)
        stream.drain()
        self.assertEqual((stream.events(), stream.complete, wire.api.open_watches), ([], True, 0))

    def test_initial_events(self) -> None:
        """The initial events wait for the client, too, and come before later changes."""
        wire = Wire()
        stream = wire.get(f"{DEPLOYMENTS}?watch=1")
        self.assertEqual(len(stream.events()), 12)
        stream.stall()
        wire.cluster.scale("shop", "cart", 4)
        self.assertEqual(stream.events(), [])
        stream.drain()
        self.assertEqual(told(stream.events()), [("MODIFIED", "cart")])
