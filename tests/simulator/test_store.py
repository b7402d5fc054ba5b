"""The simulated cluster from within: plain calls, one Clock, no HTTP."""

from twisted.internet.task import Clock

from sre_server.simulator import store
from sre_server.simulator.collection import Change
from sre_server.simulator.kinds import DEPLOYMENTS, EVENTS, NAMESPACES, Kind, Object
from sre_server.simulator.statuses import Refusal
from sre_server.simulator.store import SimulatedCluster
from tests.simulator.memory import SimulatorTestCase, Wire


class Witness:
    """Remembers what a cluster tells its listeners."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []
        self.restores = 0

    def changed(self, kind: Kind, change: Change) -> None:
        """Remember a change."""
        self.seen.append((change.type, "/".join(change.current.key), change.version))

    def restored(self) -> None:
        """Remember that the cluster was restored."""
        self.restores += 1


class PopulationTests(SimulatorTestCase):
    """What a new cluster holds."""

    def test_defaults(self) -> None:
        """A dozen Deployments live in namespaces that exist, all replicas ready, and no timer runs."""
        names = {namespace["metadata"]["name"] for namespace in self.wire.objects(NAMESPACES)}
        deployments = self.wire.objects()
        self.assertEqual(len(deployments), 12)
        self.assertLess({deployment["metadata"]["namespace"] for deployment in deployments}, names)
        self.assertLessEqual({"default", "kube-system", "kube-public", "kube-node-lease"}, names)
        for deployment in deployments:
            self.assertEqual(deployment["status"].get("readyReplicas", 0), deployment["spec"]["replicas"])
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_many(self) -> None:
        """Any number can be had, none as well, all of them distinct, each in a namespace that exists."""
        self.assertEqual(Wire(deployments=0).objects(), [])
        wire = Wire(deployments=3_000)
        found = [deployment["metadata"] for deployment in wire.objects()]
        names = {namespace["metadata"]["name"] for namespace in wire.objects(NAMESPACES)}
        self.assertEqual(len({metadata["uid"] for metadata in found}), 3_000)
        self.assertLessEqual({metadata["namespace"] for metadata in found}, names)

    def test_repeatable(self) -> None:
        """Two clusters that start at the same moment are the same."""
        self.assertEqual(Wire().objects(), self.wire.objects())

    def test_shape(self) -> None:
        """A Deployment has the fields that clients of a real one rely on."""
        deployment = self.wire.deployment("shop", "cart")
        metadata, spec, status = deployment["metadata"], deployment["spec"], deployment["status"]
        for field in ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "labels"):
            self.assertIn(field, metadata)
        self.assertTrue(metadata["resourceVersion"].isdecimal())
        self.assertEqual(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"])
        self.assertEqual(status["observedGeneration"], metadata["generation"])
        self.assertEqual([item["type"] for item in status["conditions"]], ["Available", "Progressing"])


class WriteTests(SimulatorTestCase):
    """What changes a cluster, and what it refuses."""

    def setUp(self) -> None:
        """Listen to a cluster."""
        super().setUp()
        self.witness = Witness()
        self.cluster.subscribe(self.witness)

    def refused_scale(self, replicas: int, **preconditions: str) -> Object:
        """Return the Status with which scaling shop/cart is refused."""
        refusal: Refusal = self.assertRaises(Refusal, self.wire.scale, "shop", "cart", replicas, **preconditions)
        return refusal.status

    def test_one_counter(self) -> None:
        """Every change of whatever resource takes the next version of the one counter."""
        before = self.cluster.version
        self.cluster.create(NAMESPACES, "", {"metadata": {"name": "blue"}})
        self.wire.create("blue", "door", replicas=2)
        self.wire.scale("shop", "cart", 4)
        self.assertEqual(
            self.witness.seen,
            [("ADDED", "/blue", before + 1), ("ADDED", "blue/door", before + 2), ("MODIFIED", "shop/cart", before + 3)],
        )
        self.assertEqual(self.wire.deployment("shop", "cart")["metadata"]["resourceVersion"], str(before + 3))

    def test_scale_to_same(self) -> None:
        """Scaling to what is already asked for changes nothing, not even the version."""
        before = self.wire.deployment("shop", "cart")
        self.assertEqual(self.wire.scale("shop", "cart", before["spec"]["replicas"]), before)
        self.assertEqual(self.witness.seen, [])

    def test_stale_version(self) -> None:
        """A write against an older version is a conflict, worded as the API server words it."""
        version = self.wire.deployment("shop", "cart")["metadata"]["resourceVersion"]
        self.wire.scale("shop", "cart", 4, resourceVersion=version)
        status = self.refused_scale(5, resourceVersion=version)
        self.assertEqual((status["code"], status["reason"]), (409, "Conflict"))
        self.assertEqual(
            status["message"],
            'Operation cannot be fulfilled on deployments.apps "cart": the object has been modified; '
            "please apply your changes to the latest version and try again",
        )
        self.assertEqual(self.wire.deployment("shop", "cart")["spec"]["replicas"], 4)

    def test_other_uid(self) -> None:
        """A write that was meant for a deleted Deployment of the same name is a conflict."""
        uid = self.wire.deployment("shop", "cart")["metadata"]["uid"]
        self.cluster.delete(DEPLOYMENTS, "shop", "cart")
        new = self.wire.create("shop", "cart")["metadata"]["uid"]
        self.assertNotEqual(uid, new)
        status = self.refused_scale(5, uid=uid)
        self.assertEqual((status["code"], status["reason"]), (409, "Conflict"))
        self.assertIn(f"UID in precondition: {uid}, UID in object meta: {new}", status["message"])

    def test_out_of_range(self) -> None:
        """A number of replicas that is negative or does not fit into an int32 is invalid."""
        for replicas in (-1, 2**31):
            status = self.refused_scale(replicas)
            self.assertEqual((status["code"], status["reason"]), (422, "Invalid"))
            self.assertEqual(status["details"]["causes"][0]["field"], "spec.replicas")

    def test_missing(self) -> None:
        """What does not exist cannot be scaled, read or deleted, and nothing is created in it."""
        for act in (
            lambda: self.wire.scale("shop", "nothing", 1),
            lambda: self.wire.deployment("shop", "nothing"),
            lambda: self.cluster.delete(NAMESPACES, "", "nothing"),
            lambda: self.wire.create("nothing", "web"),
        ):
            self.assertEqual(self.assertRaises(Refusal, act).status["reason"], "NotFound")

    def test_twice(self) -> None:
        """What exists cannot be created again."""
        self.assertEqual(self.assertRaises(Refusal, self.wire.create, "shop", "cart").status["reason"], "AlreadyExists")

    def test_delete_namespace(self) -> None:
        """The Deployments and Events of a namespace go first, then itself."""
        self.cluster.create(EVENTS, "monitoring", {"metadata": {"name": "event"}})
        self.cluster.delete(NAMESPACES, "", "monitoring")
        self.assertEqual(
            [(event, key) for event, key, _ in self.witness.seen],
            [
                ("ADDED", "monitoring/event"),
                ("DELETED", "monitoring/event"),
                ("DELETED", "monitoring/alert-router"),
                ("DELETED", "monitoring/grafana"),
                ("DELETED", "/monitoring"),
            ],
        )

    def test_generated_names(self) -> None:
        """A generateName becomes names that differ; without any name an object is invalid."""
        written = {"metadata": {"generateName": "cart."}}
        keys = {self.cluster.create(EVENTS, "shop", written).key for _ in range(3)}
        self.assertEqual(len(keys), 3)
        for _, name in keys:
            self.assertRegex(name, r"^cart\.[a-z0-9]{5}$")
        self.assertEqual(self.assertRaises(Refusal, self.cluster.create, EVENTS, "shop", {}).code, 422)

    def test_oldest_events_are_dropped(self) -> None:
        """A bounded number of Events is kept; the oldest go first, whatever their names and namespaces."""
        self.patch(store, "KEPT_EVENTS", 2)
        for namespace, name in (("shop", "z"), ("default", "a"), ("shop", "b")):
            self.cluster.create(EVENTS, namespace, {"metadata": {"name": name}})
        self.assertEqual([stored.key[1] for stored in self.cluster.collection(EVENTS)], ["a", "b"])


class HistoryTests(SimulatorTestCase):
    """What a cluster remembers of its past."""

    def test_compact(self) -> None:
        """After a compaction nothing older than now can be asked for."""
        before = self.cluster.version
        self.wire.scale("shop", "cart", 9)
        self.cluster.compact()
        for kind in (DEPLOYMENTS, NAMESPACES):
            refusal = self.assertRaises(Refusal, self.cluster.collection(kind).since, before)
            self.assertEqual((refusal.code, refusal.status["reason"]), (410, "Expired"))
            self.assertEqual(self.cluster.collection(kind).since(self.cluster.version), [])

    def test_bounded(self) -> None:
        """Only the latest changes of a resource are remembered; other resources' changes do not count."""
        wire = Wire(history=3)
        start = wire.cluster.version
        for replicas in range(10, 15):
            wire.scale("shop", "cart", replicas)
        collection = wire.cluster.collection(DEPLOYMENTS)
        self.assertEqual(collection.oldest, start + 2)
        self.assertEqual([change.version for change in collection.since(start + 2)], [start + 3, start + 4, start + 5])
        self.assertEqual(wire.cluster.collection(NAMESPACES).since(start), [])

    def test_restore(self) -> None:
        """A restored cluster is what it was, its counter included, its listeners are told, and rollouts go on."""
        witness = Witness()
        self.cluster.subscribe(witness)
        self.wire.scale("shop", "cart", 9)
        before, version = self.wire.objects(), self.cluster.version
        self.wire.create("shop", "late")
        self.cluster.delete(NAMESPACES, "", "payments")
        self.wire.clock.pump([0.5] * 10)
        self.cluster.restore(version)
        self.assertEqual((self.wire.objects(), self.cluster.version, witness.restores), (before, version, 1))
        self.wire.clock.pump([0.5] * 10)
        self.assertEqual(self.wire.deployment("shop", "cart")["status"]["readyReplicas"], 9)
        self.assertEqual(self.wire.clock.getDelayedCalls(), [])

    def test_restore_what_is_unknown(self) -> None:
        """Neither the future nor what is forgotten can be restored."""
        start = self.cluster.version
        self.assertEqual(self.assertRaises(Refusal, self.cluster.restore, start + 1).code, 504)
        self.wire.scale("shop", "cart", 9)
        self.cluster.compact()
        self.assertEqual(self.assertRaises(Refusal, self.cluster.restore, start).code, 410)

    def test_stop(self) -> None:
        """A stopped cluster leaves no timer behind, and starts none."""
        clock = Clock()
        cluster = SimulatedCluster(clock)
        for name in ("cart", "catalog"):
            cluster.scale("shop", name, lambda _: {"spec": {"replicas": 10}})
            cluster.stop()
        self.assertEqual(clock.getDelayedCalls(), [])
