"""What keeps pods from running, told by what the cluster says of them."""

from typing import Any

import msgspec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.looking import OBJECT_BYTES
from sre_server.cluster.permissions import Permissions
from sre_server.cluster.pods import BOUNDS, Pods, faults_in, look_at_pods
from sre_server.cluster.workers import ConnectedWorkers
from sre_server.errors import BadAnswer, ClusterError, ClusterRefused, Unavailable
from sre_server.model import PodFault
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool
from tests.wire import refusal

DEPLOYMENT = "/apis/apps/v1/namespaces/shop/deployments/web"
PODS = "/api/v1/namespaces/shop/pods"


def found(selector: object = None) -> FakeReply:
    """Answer with a Deployment that selects its pods so, by default by one label."""
    return answer({"spec": {"selector": {"matchLabels": {"app": "web"}} if selector is None else selector}})


def answer(value: object) -> FakeReply:
    """Answer with JSON."""
    return FakeReply(200, [msgspec.json.encode(value)])


def pods(*items: dict[str, Any]) -> FakeReply:
    """Answer with a list of pods."""
    return answer({"items": items})


def pod(name: str = "web-1", **status: Any) -> dict[str, Any]:
    """Make a pod with a status, and with what nobody is to look at."""
    spec = {"containers": [{"name": "web", "env": [{"name": "PASSWORD", "value": "hunter2"}]}]}
    return {"metadata": {"name": name}, "spec": spec, "status": {"phase": "Pending", **status}}


def waiting(reason: str, message: str = "", **more: Any) -> dict[str, Any]:
    """Make the status of a container that waits."""
    return {"name": "web", "state": {"waiting": {"reason": reason, "message": message}}, **more}


def unschedulable(message: str) -> dict[str, Any]:
    """Make the condition of a pod for which there is no node."""
    return {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}


class FaultsTests(SynchronousTestCase):
    """One pod's trouble."""

    def fault(self, **status: Any) -> PodFault | None:
        """Return the trouble of a pod with this status, if it is in any."""
        faults = faults_in(msgspec.json.encode({"items": [pod(**status)]}))
        self.assertLessEqual(len(faults), 1)
        return faults[0] if faults else None

    def test_no_node(self) -> None:
        """What the scheduler says is told whole; a pod that waits for something else has no such trouble."""
        self.assertEqual(
            self.fault(conditions=[unschedulable("0/2 nodes are available: 2 node(s) were unschedulable.")]),
            PodFault("web-1", "unschedulable", "Unschedulable: 0/2 nodes are available: 2 node(s) were unschedulable."),
        )
        gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "gated"}
        self.assertIsNone(self.fault(conditions=[gated, {"type": "PodScheduled", "status": "True"}]))

    def test_images(self) -> None:
        """Every way in which an image does not come."""
        for reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
            fault = self.fault(containerStatuses=[waiting(reason, "Back-off pulling image")])
            self.assertEqual(fault, PodFault("web-1", "image", f"container 'web': {reason}: Back-off pulling image"))

    def test_crashing(self) -> None:
        """How a container ended is told with it, where that is known; so it is of one that is to run first."""
        crash = waiting("CrashLoopBackOff", "back-off 10s")
        ended = crash | {"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
        for status, code in ((crash, ""), (ended, " (it ended with 137, OOMKilled)")):
            expected = PodFault("web-1", "crashing", f"container 'web': CrashLoopBackOff{code}: back-off 10s")
            self.assertEqual(self.fault(containerStatuses=[status]), expected)
            self.assertEqual(self.fault(initContainerStatuses=[status]), expected)

    def test_other_reasons(self) -> None:
        """A reason that no outcome is for is told without one, unless another container has one that it is for."""
        odd = waiting("CreateContainerConfigError", 'secret "db" not found')
        said = "container 'web': CreateContainerConfigError: secret \"db\" not found"
        self.assertEqual(self.fault(containerStatuses=[odd]), PodFault("web-1", "", said))
        both = self.fault(containerStatuses=[odd, waiting("ErrImagePull")])
        self.assertEqual(both, PodFault("web-1", "image", "container 'web': ErrImagePull"))

    def test_no_trouble(self) -> None:
        """A pod that begins, runs, or is about to end is in no trouble."""
        running = {"name": "web", "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}
        for statuses in ([], [running], [waiting("ContainerCreating")], [waiting("PodInitializing")], [waiting("")]):
            self.assertIsNone(self.fault(containerStatuses=statuses))
        ending = pod(containerStatuses=[waiting("ErrImagePull")])
        ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.assertEqual(faults_in(msgspec.json.encode({"items": [ending]})), [])
        self.assertEqual(faults_in(b'{"items":null}'), [])

    def test_clean(self) -> None:
        """What the cluster says goes into an answer: it is one line, of some length."""
        fault = self.fault(containerStatuses=[waiting("ErrImagePull", "a\nb" + 1000 * "c")])
        assert fault is not None
        self.assertIn("a bc", fault.said)
        self.assertEqual(len(fault.said), 256)


class LookingTests(SynchronousTestCase):
    """What is asked of the cluster."""

    def setUp(self) -> None:
        """Note what it permits."""
        self.told: list[tuple[str, bool]] = []

    def look(self, *answers: FakeReply | ClusterError) -> list[PodFault]:
        """Look at the pods of `web` in `shop`."""
        self.cluster = FakeTransport(answers)
        told = lambda what, error: self.told.append((what, error is None))  # noqa: E731
        return list(look_at_pods(self.cluster, "shop", "web", told))

    def test_what_is_asked(self) -> None:
        """The pods that the Deployment selects, a bounded number of those that are not over; nothing more."""
        image, crash = waiting("ErrImagePull"), waiting("CrashLoopBackOff")
        faults = self.look(found(), pods(pod(containerStatuses=[image])), pods(pod("web-2", containerStatuses=[crash])))
        self.assertEqual([(fault.pod, fault.outcome) for fault in faults], [("web-1", "image"), ("web-2", "crashing")])
        pending = {"labelSelector": "app=web", "fieldSelector": "status.phase=Pending", "limit": 100}
        running = {"labelSelector": "app=web", "fieldSelector": "status.phase=Running", "limit": 200}
        self.assertEqual(
            self.cluster.requests, [("GET", DEPLOYMENT, {}), ("GET", PODS, pending), ("GET", PODS, running)]
        )
        self.assertEqual(self.told, [("get deployments", True), ("list pods", True), ("list pods", True)])

    def test_selectors(self) -> None:
        """Every form of a selector."""
        expressions = [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "zone", "operator": "NotIn", "values": ["c"]},
            {"key": "canary", "operator": "Exists"},
            {"key": "debug", "operator": "DoesNotExist"},
        ]
        self.look(found({"matchLabels": {"app": "web", "x": "y"}, "matchExpressions": expressions}), pods(), pods())
        expected = "app=web,x=y,tier in (a,b),zone notin (c),canary,!debug"
        self.assertEqual([query["labelSelector"] for _, _, query in self.cluster.requests[1:]], 2 * [expected])

    def test_no_selector(self) -> None:
        """One that would select the pods of everybody is not used."""
        self.assertRaises(BadAnswer, self.look, found({}), pods(), pods())
        self.assertEqual(len(self.cluster.requests), 1)

    def test_refused(self) -> None:
        """Which right is missing is told."""
        self.assertRaises(ClusterRefused, self.look, found(), refusal(403, "Forbidden", "you may not"))
        self.assertEqual(self.told, [("get deployments", True), ("list pods", False)])

    def test_nonsense(self) -> None:
        """What makes no sense is an error, and no trouble of a pod's."""
        self.assertRaises(BadAnswer, self.look, answer([]))
        self.assertRaises(BadAnswer, self.look, found(), answer({"items": [{}]}))
        self.assertRaises(BadAnswer, self.look, found(), FakeReply(200, [b"x" * (OBJECT_BYTES + 1)]))


class PodsTests(SynchronousTestCase):
    """Looks in threads."""

    def test_pauses(self) -> None:
        """Once it was refused, nothing is asked for a while; then it is tried again."""
        clock, reactor = Clock(), FakeReactor()
        permissions = Permissions(now=clock.seconds)
        cluster = FakeTransport([found(), refusal(403, "Forbidden", "you may not"), found(), pods(), pods()])
        workers = ConnectedWorkers(reactor, "looks at pods", BOUNDS, lambda: cluster, InlinePool())
        workers.startService()
        looks = Pods(workers, permissions.told, permissions.pauses)
        refused = looks.look("shop", "web")
        reactor.advance(0)
        self.failureResultOf(refused, ClusterRefused)
        self.assertIn("list pods", permissions.warnings()[0])
        self.failureResultOf(looks.look("shop", "web"), Unavailable)
        clock.advance(60)
        again = looks.look("shop", "web")
        reactor.advance(0)
        self.assertEqual(self.successResultOf(again), [])
        self.assertEqual((permissions.warnings(), len(cluster.requests)), ([], 5))
