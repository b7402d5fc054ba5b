"""The simulated cluster from within: plain calls, one Clock, no HTTP."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator.collection import Change
from sre_server.simulator.kinds import DEPLOYMENTS, NAMESPACES, Kind, Object
from sre_server.simulator.statuses import Refusal
from sre_server.simulator.store import SimulatedCluster


class Witness:
    """Remembers what a cluster tells its listeners."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []
        self.resets = 0

    def changed(self, kind: Kind, change: Change) -> None:
        """Remember a change."""
        self.seen.append((change.type, change.current.key, change.version))

    def reset(self) -> None:
        """Remember that the past was rewritten."""
        self.resets += 1


def counts(deployment: Object) -> tuple[int, int, int]:
    """Return the replicas that are wanted, that exist, and that are ready."""
    status = deployment["status"]
    return deployment["spec"]["replicas"], status.get("replicas", 0), status.get("readyReplicas", 0)


class PopulationTests(SynchronousTestCase):
    """Who lives in a new cluster."""

    def test_defaults(self) -> None:
        """A dozen Deployments live in namespaces that exist; some namespaces are empty."""
        cluster = SimulatedCluster(Clock())
        names = {namespace["metadata"]["name"] for namespace in cluster.namespaces()}
        used = {deployment["metadata"]["namespace"] for deployment in cluster.deployments()}
        self.assertEqual(len(cluster.deployments()), 12)
        self.assertLess(used, names)
        self.assertLessEqual({"default", "kube-system", "kube-public", "kube-node-lease"}, names)

    def test_none(self) -> None:
        """A cluster without any Deployment still has its namespaces."""
        cluster = SimulatedCluster(Clock(), deployments=0)
        self.assertEqual(cluster.deployments(), [])
        self.assertNotEqual(cluster.namespaces(), [])

    def test_many(self) -> None:
        """Any number can be had, all of them distinct, each in a namespace that exists."""
        cluster = SimulatedCluster(Clock(), deployments=3_000)
        found = [deployment["metadata"] for deployment in cluster.deployments()]
        names = {namespace["metadata"]["name"] for namespace in cluster.namespaces()}
        self.assertEqual(len({metadata["uid"] for metadata in found}), 3_000)
        self.assertLessEqual({metadata["namespace"] for metadata in found}, names)

    def test_repeatable(self) -> None:
        """Two clusters that start at the same moment are the same."""
        self.assertEqual(SimulatedCluster(Clock()).deployments(), SimulatedCluster(Clock()).deployments())

    def test_settled(self) -> None:
        """The starting population has arrived: every replica is ready, and no timer runs."""
        clock = Clock()
        for deployment in SimulatedCluster(clock).deployments():
            wanted, existing, ready = counts(deployment)
            self.assertTrue(wanted == existing == ready)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_shape(self) -> None:
        """A Deployment has the fields that clients of a real one rely on."""
        deployment = SimulatedCluster(Clock()).deployment("shop", "cart")
        metadata, spec, status = deployment["metadata"], deployment["spec"], deployment["status"]
        for field in ("name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "labels"):
            self.assertIn(field, metadata)
        self.assertTrue(metadata["resourceVersion"].isdecimal())
        self.assertEqual(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"])
        self.assertEqual(len(spec["template"]["spec"]["containers"]), 1)
        self.assertEqual(status["observedGeneration"], metadata["generation"])
        self.assertEqual([item["type"] for item in status["conditions"]], ["Available", "Progressing"])


class WriteTests(SynchronousTestCase):
    """What changes a cluster, and what it refuses."""

    def setUp(self) -> None:
        """Listen to a cluster."""
        self.clock = Clock()
        self.cluster = SimulatedCluster(self.clock)
        self.witness = Witness()
        self.cluster.subscribe(self.witness)

    def refused_scale(self, replicas: int, **preconditions: str) -> Object:
        """Return the Status with which scaling shop/cart is refused."""
        with self.assertRaises(Refusal) as caught:
            self.cluster.scale("shop", "cart", replicas, **preconditions)
        refusal: Refusal = caught.exception
        return refusal.status

    def test_one_counter(self) -> None:
        """Every change of whatever resource takes the next version of the one counter."""
        before = self.cluster.version
        self.cluster.create_namespace("blue")
        self.cluster.create_deployment("blue", "door", replicas=2)
        self.cluster.scale("shop", "cart", 4)
        self.assertEqual(
            self.witness.seen,
            [("ADDED", "blue", before + 1), ("ADDED", "blue/door", before + 2), ("MODIFIED", "shop/cart", before + 3)],
        )
        self.assertEqual(self.cluster.deployment("shop", "cart")["metadata"]["resourceVersion"], str(before + 3))

    def test_scale_generation(self) -> None:
        """Scaling raises the generation; the status follows later."""
        before = self.cluster.deployment("shop", "cart")["metadata"]["generation"]
        after = self.cluster.scale("shop", "cart", 9)
        self.assertEqual(after["metadata"]["generation"], before + 1)
        self.assertEqual(after["status"]["observedGeneration"], before)

    def test_scale_to_same(self) -> None:
        """Scaling to what is already asked for changes nothing, not even the version."""
        before = self.cluster.deployment("shop", "cart")
        self.assertEqual(self.cluster.scale("shop", "cart", before["spec"]["replicas"]), before)
        self.assertEqual(self.witness.seen, [])

    def test_stale_version(self) -> None:
        """A write against an older version is a conflict, worded as the API server words it."""
        version = self.cluster.deployment("shop", "cart")["metadata"]["resourceVersion"]
        self.cluster.scale("shop", "cart", 4, resource_version=version)
        told = self.refused_scale(5, resource_version=version)
        self.assertEqual((told["code"], told["reason"]), (409, "Conflict"))
        self.assertEqual(
            told["message"],
            'Operation cannot be fulfilled on deployments.apps "cart": the object has been modified; '
            "please apply your changes to the latest version and try again",
        )
        self.assertEqual(self.cluster.deployment("shop", "cart")["spec"]["replicas"], 4)

    def test_other_uid(self) -> None:
        """A write that was meant for a deleted namesake is a conflict."""
        uid = self.cluster.deployment("shop", "cart")["metadata"]["uid"]
        self.cluster.delete_deployment("shop", "cart")
        new = self.cluster.create_deployment("shop", "cart")["metadata"]["uid"]
        self.assertNotEqual(uid, new)
        told = self.refused_scale(5, uid=uid)
        problem = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {new}"
        self.assertEqual(
            told["message"],
            f'Operation cannot be fulfilled on deployments/scale.apps "cart": {problem}',
        )

    def test_negative(self) -> None:
        """A negative number of replicas is invalid."""
        told = self.refused_scale(-1)
        self.assertEqual((told["code"], told["reason"]), (422, "Invalid"))
        self.assertEqual(told["details"]["causes"][0]["field"], "spec.replicas")

    def test_missing(self) -> None:
        """What does not exist cannot be scaled, read or deleted."""
        for act in (
            lambda: self.cluster.scale("shop", "nothing", 1),
            lambda: self.cluster.deployment("shop", "nothing"),
            lambda: self.cluster.delete_deployment("shop", "nothing"),
            lambda: self.cluster.delete_namespace("nothing"),
            lambda: self.cluster.create_deployment("nothing", "web"),
        ):
            self.assertEqual(self.assertRaises(Refusal, act).status["reason"], "NotFound")

    def test_twice(self) -> None:
        """What exists cannot be created again."""
        refusal = self.assertRaises(Refusal, self.cluster.create_deployment, "shop", "cart")
        self.assertEqual((refusal.code, refusal.status["reason"]), (409, "AlreadyExists"))

    def test_delete_namespace(self) -> None:
        """A namespace is terminating first, then its Deployments go, then itself."""
        self.cluster.delete_namespace("monitoring")
        self.assertEqual(
            [(event, key) for event, key, _ in self.witness.seen],
            [
                ("MODIFIED", "monitoring"),
                ("DELETED", "monitoring/alert-router"),
                ("DELETED", "monitoring/grafana"),
                ("DELETED", "monitoring"),
            ],
        )

    def test_returned_objects_are_copies(self) -> None:
        """Changing a returned object changes nothing in the cluster."""
        self.cluster.deployment("shop", "cart")["spec"]["replicas"] = 99
        self.assertNotEqual(self.cluster.deployment("shop", "cart")["spec"]["replicas"], 99)


class RolloutTests(SynchronousTestCase):
    """How the status follows the spec."""

    def setUp(self) -> None:
        """Begin with a settled cluster."""
        self.clock = Clock()
        self.cluster = SimulatedCluster(self.clock)

    def course(self, seconds: float) -> list[tuple[int, int, int]]:
        """Let time pass; return the distinct counts of shop/cart along the way."""
        found = [counts(self.cluster.deployment("shop", "cart"))]
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)
            now = counts(self.cluster.deployment("shop", "cart"))
            if now != found[-1]:
                found.append(now)
        return found

    def test_up(self) -> None:
        """Scaling up makes replicas at once and ready ones step by step, within a few seconds."""
        self.cluster.scale("shop", "cart", 6)
        self.assertEqual(self.course(5), [(6, 3, 3), (6, 6, 3), (6, 6, 4), (6, 6, 5), (6, 6, 6)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_down(self) -> None:
        """Scaling down takes replicas away step by step."""
        self.cluster.scale("shop", "cart", 0)
        self.assertEqual(self.course(5), [(0, 3, 3), (0, 2, 2), (0, 1, 1), (0, 0, 0)])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_each_step_is_an_event(self) -> None:
        """Each step takes a new version and reaches the listeners."""
        witness = Witness()
        self.cluster.subscribe(witness)
        self.cluster.scale("shop", "cart", 6)
        self.course(5)
        versions = [version for _, _, version in witness.seen]
        self.assertGreaterEqual(len(versions), 5)
        self.assertEqual(versions, list(range(versions[0], versions[0] + len(versions))))

    def test_observed_generation(self) -> None:
        """The new generation is observed before any replica moves."""
        generation = self.cluster.scale("shop", "cart", 6)["metadata"]["generation"]
        self.clock.advance(0.3)
        status = self.cluster.deployment("shop", "cart")["status"]
        self.assertEqual((status["observedGeneration"], status["readyReplicas"]), (generation, 3))

    def test_unavailable(self) -> None:
        """A Deployment with too few ready replicas says that it is not available, then that it is."""

        def available() -> str:
            conditions = self.cluster.deployment("shop", "cart")["status"]["conditions"]
            return next(str(item["status"]) for item in conditions if item["type"] == "Available")

        self.cluster.scale("shop", "cart", 20)
        self.clock.advance(0.3)
        self.assertEqual(available(), "False")
        self.clock.pump([0.5] * 12)
        self.assertEqual(available(), "True")

    def test_re_aimed(self) -> None:
        """A Deployment that is scaled again on its way ends where it was last sent."""
        self.cluster.scale("shop", "cart", 10)
        self.clock.pump([0.1] * 10)
        self.cluster.scale("shop", "cart", 1)
        self.assertEqual(self.course(8)[-1], (1, 1, 1))

    def test_created(self) -> None:
        """A new Deployment starts with nothing and gets there."""
        self.cluster.create_deployment("shop", "fresh", replicas=3)
        self.assertEqual(counts(self.cluster.deployment("shop", "fresh")), (3, 0, 0))
        self.clock.pump([0.5] * 12)
        self.assertEqual(counts(self.cluster.deployment("shop", "fresh")), (3, 3, 3))

    def test_deleted(self) -> None:
        """A Deployment that is deleted on its way leaves no timer behind."""
        self.cluster.scale("shop", "cart", 10)
        self.cluster.delete_deployment("shop", "cart")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped(self) -> None:
        """A stopped cluster leaves no timer behind, and starts none."""
        self.cluster.scale("shop", "cart", 10)
        self.cluster.stop()
        self.cluster.scale("shop", "catalog", 10)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_set_ready(self) -> None:
        """Tests can take ready replicas away; they do not come back by themselves."""
        self.cluster.set_ready("shop", "cart", 1)
        self.clock.pump([1.0] * 5)
        self.assertEqual(counts(self.cluster.deployment("shop", "cart")), (3, 3, 1))


class HistoryTests(SynchronousTestCase):
    """What a cluster remembers of its past."""

    def test_compact(self) -> None:
        """After a compaction nothing older than now can be asked for."""
        cluster = SimulatedCluster(Clock())
        before = cluster.version
        cluster.scale("shop", "cart", 9)
        cluster.compact()
        for kind in (DEPLOYMENTS, NAMESPACES):
            refusal = self.assertRaises(Refusal, cluster.collection(kind).require, before)
            self.assertEqual((refusal.code, refusal.status["reason"]), (410, "Expired"))
            cluster.collection(kind).require(cluster.version)

    def test_bounded(self) -> None:
        """Only the latest changes of a resource are remembered; other resources' changes do not count."""
        cluster = SimulatedCluster(Clock(), history=3)
        start = cluster.version
        for replicas in range(10, 15):
            cluster.scale("shop", "cart", replicas)
        collection = cluster.collection(DEPLOYMENTS)
        self.assertEqual(collection.oldest, start + 2)
        self.assertEqual([change.version for change in collection.since(start + 2)], [start + 3, start + 4, start + 5])
        cluster.collection(NAMESPACES).require(start)

    def test_restore(self) -> None:
        """A restored cluster is what it was, its counter included, and its listeners are told."""
        cluster = SimulatedCluster(clock := Clock())
        witness = Witness()
        cluster.subscribe(witness)
        before, version = cluster.deployments(), cluster.version
        cluster.scale("shop", "cart", 9)
        cluster.create_deployment("shop", "late")
        cluster.delete_namespace("payments")
        clock.pump([0.5] * 10)
        cluster.restore(version)
        self.assertEqual((cluster.deployments(), cluster.version, witness.resets), (before, version, 1))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_restore_midway(self) -> None:
        """A rollout that was on its way at the restored moment goes on from there."""
        cluster = SimulatedCluster(clock := Clock())
        cluster.scale("shop", "cart", 9)
        version = cluster.version
        clock.pump([0.5] * 10)
        cluster.restore(version)
        self.assertEqual(counts(cluster.deployment("shop", "cart")), (9, 3, 3))
        clock.pump([0.5] * 10)
        self.assertEqual(counts(cluster.deployment("shop", "cart")), (9, 9, 9))
