"""Events of the simulated cluster: leaving them, finding them again, and how many are kept."""

from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator import events
from sre_server.simulator.faults import Fault
from sre_server.simulator.kinds import Object
from sre_server.simulator.testtools import NOON, Exchange, Wire

EVENTS = "/api/v1/events"
SHOP = "/api/v1/namespaces/shop/events"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def event(name: str = "", *, namespace: str = "shop", about: str = "cart", **fields: object) -> Object:
    """Return an Event about a Deployment, as a client writes it; without a name it asks for one."""
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name} if name else {"generateName": f"{about}."},
        "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": about},
        **fields,
    }


class EventTestCase(SynchronousTestCase):
    """Speaks to a cluster in memory."""

    def setUp(self) -> None:
        """Start a cluster."""
        self.wire = Wire()
        self.cluster = self.wire.cluster

    def leave(self, written: object, path: str = SHOP) -> Exchange:
        """Create an Event."""
        return self.wire.request("POST", path, written)

    def names(self, path: str) -> list[str]:
        """Return the names in a list."""
        return [item["metadata"]["name"] for item in self.wire.get(path).json()["items"]]


class CreateTests(EventTestCase):
    """Leaving Events."""

    def test_created(self) -> None:
        """An Event is stored as written, with what the cluster adds, and answered with 201."""
        written = event(
            reason="Scaled", message="ann did it", type="Normal", count=1, lastTimestamp="2026-01-01T12:00:00Z"
        )
        answer = self.leave(written)
        created = answer.json()
        self.assertEqual((answer.status, created["kind"], created["apiVersion"]), (201, "Event", "v1"))
        metadata = created["metadata"]
        self.assertEqual(metadata["creationTimestamp"], "2026-01-01T12:00:00Z")
        self.assertEqual(metadata["resourceVersion"], str(self.cluster.version))
        self.assertEqual(metadata["namespace"], "shop")
        self.assertRegex(metadata["uid"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        kept = {field: value for field, value in written.items() if field != "metadata"}
        self.assertEqual({**created, **kept}, created)
        self.assertEqual((created["eventTime"], created["source"]), (None, {}))
        (stored,) = self.cluster.events()
        self.assertEqual({"kind": "Event", "apiVersion": "v1", **stored}, created)
        self.assertEqual(self.wire.get(f"{SHOP}/{metadata['name']}").json(), created)

    def test_generated_names(self) -> None:
        """A generateName becomes names that differ; a name that is given counts more; a long one is cut."""
        names = [self.leave(event()).json()["metadata"]["name"] for _ in range(3)]
        self.assertEqual(len(set(names)), 3)
        for name in names:
            self.assertRegex(name, r"^cart\.[a-z0-9]{5}$")
        self.assertEqual(self.leave(event(about="a" * 200)).json()["metadata"]["name"][:-5], "a" * 58)
        both = event("mine") | {"metadata": {"name": "mine", "generateName": "other."}}
        metadata = self.leave(both).json()["metadata"]
        self.assertEqual((metadata["name"], metadata["generateName"]), ("mine", "other."))
        self.assertEqual(self.leave(both).json()["reason"], "AlreadyExists")
        self.assertEqual(self.leave(event() | {"metadata": {}}).status, 422)

    def test_no_such_namespace(self) -> None:
        """In a namespace that does not exist there can be no Event."""
        answer = self.leave(event(namespace="nowhere"), "/api/v1/namespaces/nowhere/events")
        self.assertEqual((answer.status, answer.json()["message"]), (404, 'namespaces "nowhere" not found'))

    def test_elsewhere(self) -> None:
        """An Event is left in the namespace of its object, or in "default" if that has none."""
        for written in (event(namespace="payments"), event(namespace="")):
            self.assertEqual(self.leave(written).status, 422)
        self.assertEqual(self.leave(event(namespace=""), "/api/v1/namespaces/default/events").status, 201)
        elsewhere = event() | {"metadata": {"name": "x", "namespace": "payments"}}
        self.assertEqual(self.leave(elsewhere).status, 400)

    def test_malformed(self) -> None:
        """What is no Event is refused, and nothing is stored."""
        for wrong in (
            event(involvedObject="cart"),
            event(lastTimestamp="yesterday"),
            event(count="many"),
            event(source=[]),
            event() | {"kind": "Deployment"},
            event() | {"metadata": {"generateName": 7}},
            b"[]",
        ):
            self.assertEqual((self.leave(wrong).status, self.cluster.events()), (400, []), wrong)

    def test_dry_run(self) -> None:
        """A dry run answers as if, and stores nothing."""
        self.assertEqual(self.leave(event(), f"{SHOP}?dryRun=All").status, 201)
        self.assertEqual(self.cluster.events(), [])

    def test_unwritable(self) -> None:
        """Events cannot be changed here, and none is created without a namespace."""
        self.leave(event("e"))
        self.assertEqual(self.wire.patch(f"{SHOP}/e", {}).status, 405)
        self.assertEqual(self.leave(event("e"), EVENTS).status, 405)


class BoundTests(EventTestCase):
    """How long Events stay."""

    def test_oldest_dropped(self) -> None:
        """At most so many are kept; the oldest go first, whatever their names and namespaces."""
        self.patch(events, "KEPT", 3)
        for number, (namespace, name) in enumerate([("shop", "z"), ("default", "a"), ("shop", "b"), ("payments", "c")]):
            self.leave(event(name, namespace=namespace), f"/api/v1/namespaces/{namespace}/events")
            self.assertEqual(len(self.cluster.events()), min(number + 1, 3))
        self.assertEqual([item["metadata"]["name"] for item in self.cluster.events()], ["a", "b", "c"])
        self.leave(event("d"))
        self.assertEqual([item["metadata"]["name"] for item in self.cluster.events()], ["b", "c", "d"])

    def test_deployments_stay(self) -> None:
        """An Event that goes takes nothing with it: the rollout of a Deployment of its name goes on."""
        self.leave(event("cart"))
        self.cluster.scale("shop", "cart", 5)
        self.assertEqual(self.wire.request("DELETE", f"{SHOP}/cart").status, 200)
        self.wire.clock.pump([1] * 60)
        self.assertEqual(self.cluster.deployment("shop", "cart")["status"]["readyReplicas"], 5)
        self.assertEqual(self.cluster.events(), [])

    def test_namespace_deleted(self) -> None:
        """The Events of a namespace go with it; those of others stay."""
        self.leave(event("e"))
        self.leave(event("e", namespace="payments"), "/api/v1/namespaces/payments/events")
        self.cluster.delete_namespace("shop")
        self.assertEqual([item["metadata"]["namespace"] for item in self.cluster.events()], ["payments"])


class ReadTests(EventTestCase):
    """Finding Events."""

    def test_lists(self) -> None:
        """Events are listed for a namespace and for all, page by page."""
        self.assertEqual(self.names(EVENTS), [])
        self.leave(event("one"))
        self.leave(event("two"))
        self.leave(event("three", namespace="payments"), "/api/v1/namespaces/payments/events")
        listed = self.wire.get(SHOP).json()
        self.assertEqual((listed["kind"], listed["apiVersion"]), ("EventList", "v1"))
        self.assertEqual((self.names(SHOP), self.names(EVENTS)), (["one", "two"], ["three", "one", "two"]))
        token = self.wire.get(f"{EVENTS}?limit=2").json()["metadata"]["continue"]
        self.assertEqual(self.names(f"{EVENTS}?limit=2&continue={token}"), ["two"])

    def test_field_selectors(self) -> None:
        """Events are selected by the object they are about, and by reason, type and source, as `describe` does."""
        self.leave(event("a", about="cart", reason="Scaled", type="Normal", source={"component": "x"}))
        self.leave(event("b", about="catalog", reason="Scaled", type="Warning", reportingComponent="y"))
        for selector, expected in {
            "involvedObject.name=cart,involvedObject.namespace=shop,involvedObject.kind=Deployment": ["a"],
            "involvedObject.uid=": ["a", "b"],
            "involvedObject.apiVersion!=apps/v1": [],
            "reason=Scaled": ["a", "b"],
            "type!=Normal": ["b"],
            "source=x": ["a"],
            "source=y": ["b"],
            "metadata.name=b": ["b"],
        }.items():
            self.assertEqual(self.names(f"{SHOP}?fieldSelector={quote(selector)}"), expected, selector)
        self.assertEqual(self.wire.get(f"{SHOP}?fieldSelector=message=x").status, 400)
        self.assertEqual(self.wire.get("/apis/apps/v1/deployments?fieldSelector=reason=x").status, 400)

    def test_table(self) -> None:
        """A Table has the columns that kubectl users know; ages count from the latest time that an Event tells."""
        self.wire.clock.advance(600)
        times = {"firstTimestamp": "2026-01-01T12:00:00Z", "lastTimestamp": "2026-01-01T12:09:30Z"}
        told = {"reason": "Scaled", "type": "Normal", "message": " ann did it\n"}
        self.leave(event("a", source={"component": "x"}, count=4) | told | times)
        self.leave(event("b", eventTime="2026-01-01T12:05:00.000000Z"))
        self.leave(event("c", series={"count": 9, "lastObservedTime": "2026-01-01T12:09:59.5Z"}))
        self.leave(event("d", involvedObject={"kind": "Namespace", "namespace": "shop"}))
        table = self.wire.get(SHOP, Accept=TABLE).json()
        columns = table["columnDefinitions"]
        shown = [column["name"] for column in columns if not column["priority"]]
        self.assertEqual(shown, ["Last Seen", "Type", "Reason", "Object", "Message"])
        cells = {row["object"]["metadata"]["name"]: row["cells"] for row in table["rows"]}
        self.assertEqual(
            cells["a"], ["30s", "Normal", "Scaled", "deployment/cart", "", "x", "ann did it", "10m", 4, "a"]
        )
        self.assertEqual((cells["b"][0], cells["b"][7], cells["b"][8]), ("5m", "5m", 1))
        self.assertEqual((cells["c"][0], cells["c"][7], cells["c"][8]), ("0s", "<unknown>", 9))
        self.assertEqual((cells["d"][0], cells["d"][3]), ("<unknown>", "namespace"))
        self.assertEqual({len(row) for row in cells.values()}, {len(columns)})

    def test_watch(self) -> None:
        """A watch tells of Events that are left and that go, and of nothing else, until its time is over."""
        watch = self.wire.get(f"{EVENTS}?watch=1&resourceVersion={self.cluster.version}&timeoutSeconds=100")
        self.cluster.scale("shop", "cart", 9)
        self.leave(event("e"))
        self.wire.request("DELETE", f"{SHOP}/e")
        told = [(line["type"], line["object"]["metadata"]["name"]) for line in watch.events()]
        self.assertEqual((told, watch.complete), ([("ADDED", "e"), ("DELETED", "e")], False))
        self.wire.clock.advance(100)
        self.assertTrue(watch.complete)

    def test_bookmarks(self) -> None:
        """Bookmarks come as empty Events, or as rows as wide as the Table."""
        query = f"{EVENTS}?watch=1&resourceVersion={self.cluster.version}&allowWatchBookmarks=true"
        plain, tabled = self.wire.get(query), self.wire.get(query, Accept=TABLE)
        self.wire.clock.advance(60)
        (mark,) = plain.events()
        self.assertEqual((mark["type"], mark["object"]["involvedObject"]), ("BOOKMARK", {}))
        (mark,) = tabled.events()
        self.assertEqual(len(mark["object"]["rows"][0]["cells"]), len(mark["object"]["columnDefinitions"]))

    def test_other_watches(self) -> None:
        """A watch of Deployments hears nothing of Events, not even when it has something to tell."""
        watch = self.wire.get(f"/apis/apps/v1/deployments?watch=1&resourceVersion={self.cluster.version}")
        self.leave(event())
        self.assertEqual(watch.events(), [])
        self.cluster.scale("shop", "cart", 9)
        self.assertEqual([line["object"]["metadata"]["name"] for line in watch.events()], ["cart"])


class FaultTests(EventTestCase):
    """What can go wrong with Events."""

    def test_refused(self) -> None:
        """A fault of events meets their creation, and is counted, and leaves everything else alone."""
        self.wire.go_wrong(Fault(kind="status", verb="create", resource="events", code=403, times=1))
        self.assertEqual(self.wire.get(SHOP).status, 200)
        self.assertEqual(self.wire.request("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}}).status, 201)
        self.assertEqual((self.leave(event()).status, self.cluster.events()), (403, []))
        self.assertEqual(self.leave(event()).status, 201)
        self.assertEqual(self.wire.faults.count(verb="create", resource="events"), 2)
        self.assertEqual(self.wire.faults.count(verb="list", resource="events"), 1)

    def test_restored(self) -> None:
        """A restored cluster has the Events that it had, and accepts new ones."""
        self.leave(event("before"))
        version = self.cluster.version
        self.wire.clock.advance(1)
        self.leave(event("after"))
        self.cluster.restore(version)
        self.assertEqual([item["metadata"]["name"] for item in self.cluster.events()], ["before"])
        self.assertEqual(self.leave(event("after")).status, 201)
        self.assertGreater(self.wire.clock.seconds(), NOON)
