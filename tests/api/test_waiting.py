"""`PUT .../replicas` with `Prefer: wait=N`: one of the outcomes, once it is certain."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.causes import FIRST_SECONDS, LOOK_SECONDS, PERSISTS_SECONDS
from sre_server.day.outcomes import AUTHOR_SECONDS, QUOTA_SECONDS, STANDING_SECONDS
from sre_server.day.waits import PER_CLIENT
from sre_server.errors import Unavailable
from sre_server.model import (
    Author,
    Autoscaler,
    Deployment,
    Owners,
    PodFault,
    Progress,
    ScaledEvent,
    Unreadable,
    Written,
)
from sre_server.news import Changed, Deleted
from sre_server.security.authorization import AnyClient, Decision, Verb
from sre_server.security.identity import Identity
from tests.day.test_autoscalers import listed
from tests.fakes import deployment, namespace
from tests.memory_server import Answer, MemoryServer, Wire

REPLICAS = "/deployments/shop/web/replicas"
UPDATED = "Successfully updated the replica count for the deployment"
WEB = replace(deployment(replicas=3), progress=Progress(2, 2, 3, 3, 3, 3))
REFUSED = (
    'FailedCreate: pods "web-1" is forbidden: exceeded quota: four, requested: pods=1, used: pods=4, limited: pods=4'
)
UNOWNED = "through /scale, program unknown (HorizontalPodAutoscaler 'web-scaler' sets it, too)"
SLOW = 'ProgressDeadlineExceeded: ReplicaSet "web-1" has timed out progressing.'


def at(version: int, replicas: int, total: int, **more: Any) -> Deployment:
    """Make what the watch tells at a version: a count of which so many pods are there, available, and observed."""
    progress = Progress(3, 3, total, total, total, total)
    fields = {name: more.pop(name) for name in list(more) if name in Progress.__struct_fields__}
    seen = replace(WEB, resource_version=str(version), replicas=replicas, progress=replace(progress, **fields))
    return replace(seen, **more)


class Fickle(AnyClient):
    """Lets everybody do everything, until it does not."""

    allows = True

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
        """See `Authorizer.decide`."""
        return Decision(self.allows, "a whim")

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """See `Authorizer.known_to_read`."""
        return self.allows


class WaitingTestCase(SynchronousTestCase):
    """A settled Deployment of 3, whose writes succeed at version 1000. This has no tests of its own."""

    def setUp(self) -> None:
        """Serve it, on a clock that has run for a while."""
        self.server = MemoryServer()
        self.server.clock.advance(5)
        self.server.sync(namespace(), WEB)
        self.server.cache.apply(listed())

    def put(self, replicas: int, prefer: str | None = "wait=60", headers: Mapping[str, str] | None = None) -> Wire:
        """Send a PUT, and return the connection on which its answer is to come."""
        wire, body = self.server.connect(), b'{"replicas":%d}' % replicas
        fields = {"Host": "localhost", "Content-Length": str(len(body)), **(headers or {})}
        if prefer is not None:
            fields["Prefer"] = prefer
        lines = [f"PUT {REPLICAS} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        wire.write("\r\n".join(lines).encode() + body)
        return wire

    def told(self, wire: Wire) -> dict[str, Any] | None:
        """Return what is answered beside the message, checked for what every such answer has; None before it comes."""
        answers = wire.answers()
        if not answers:
            return None
        (answer,) = answers
        self.assertEqual((answer.check().status, answer.header("Preference-Applied")), (200, "wait=60"))
        body = answer.json()
        self.assertEqual(body.pop("message"), UPDATED)
        self.assertEqual(list(body)[:3], ["outcome", "replicas", "after"])
        return {name: value for name, value in body.items() if name != "after"}

    def metrics(self) -> list[str]:
        """Return the lines of all metrics."""
        (answer,) = self.server.connect().send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return answer.body.decode().splitlines()

    def assert_waits(self, count: int) -> None:
        """Check how many wait, by the metric."""
        self.assertIn(f"sre_server_waits {count}.0", self.metrics())


class OutcomeTests(WaitingTestCase):
    """What comes of a write."""

    def test_available(self) -> None:
        """It is answered once all pods are there by a status of this very spec, and not a moment before."""
        wire = self.put(5)
        for seen in (
            at(999, 5, 5),
            at(1000, 5, 3, observed=2),
            at(1001, 5, 5, observed=2),
            at(1002, 5, 5, available=4),
            at(1003, 5, 6, available=5),
            at(1004, 5, 5, updated=4),
            replace(WEB, resource_version="1005", replicas=5, progress=None),
        ):
            self.server.clock.advance(1)
            self.server.tell(seen)
            self.assertIsNone(self.told(wire), seen)
        self.server.tell(at(1006, 5, 5))
        self.assertEqual(self.told(wire), {"outcome": "available", "replicas": 5})
        self.assertEqual(wire.answers()[0].json()["after"], 7)
        self.assertEqual(wire.answers()[0].header("X-Resource-Version"), "1000")

    def test_the_status_of_before(self) -> None:
        """What the cache had is no status of the new count, even if it is the same number that somebody undid since."""
        self.server.tell(at(20, 5, 5))
        wire = self.put(5)
        self.assertIsNone(self.told(wire))
        self.server.tell(at(1000, 5, 3))
        self.assertIsNone(self.told(wire))
        self.server.tell(at(1001, 5, 5))
        self.assertEqual(self.told(wire), {"outcome": "available", "replicas": 5})

    def test_nothing_to_do(self) -> None:
        """A write that changes nothing leaves the version as it is: what is known of that is true still."""
        self.server.outcome = Written(deployment(replicas=3, version="10"))
        self.assertEqual(self.told(self.put(3)), {"outcome": "available", "replicas": 3})

    def test_nothing_to_do_yet(self) -> None:
        """Where an earlier write of ours is all that is known of that version, its news is waited for."""
        self.put(5, None)
        wire = self.put(5)
        self.assertIsNone(self.told(wire))
        self.server.tell(at(1000, 5, 5))
        self.assertEqual(self.told(wire), {"outcome": "available", "replicas": 5})

    def test_watch_is_faster(self) -> None:
        """News of the write that comes before its answer are as good as news that come after."""
        self.server.outcome = pending = MemoryServer.pending()
        wire = self.put(5)
        self.server.tell(at(1000, 5, 3), at(1001, 5, 5))
        pending.callback(Written(deployment(replicas=5, version="1000")))
        self.assertEqual(self.told(wire), {"outcome": "available", "replicas": 5})

    def test_fewer(self) -> None:
        """Fewer are available once those that are too many are gone, none once the last one is."""
        for version, wanted in ((1000, 1), (2000, 0)):
            self.server.outcome = Written(deployment(replicas=wanted, version=str(version)))
            wire = self.put(wanted)
            self.server.tell(at(version, wanted, wanted + 1, available=wanted))
            self.assertIsNone(self.told(wire))
            self.server.tell(at(version + 1, wanted, wanted))
            self.assertEqual(self.told(wire), {"outcome": "available", "replicas": wanted})

    def test_paused(self) -> None:
        """A paused rollout scales: its pods need not be of the latest template, which none will be."""
        wire = self.put(5)
        self.server.tell(at(1001, 5, 5, paused=True, updated=0, available=4))
        self.assertIsNone(self.told(wire))
        self.server.tell(at(1002, 5, 5, paused=True, updated=0))
        self.assertEqual(self.told(wire), {"outcome": "available", "replicas": 5})

    def test_admission(self) -> None:
        """What admission made of the count is what is waited for."""
        self.server.outcome = Written(deployment(replicas=4, version="1000"))
        wire = self.put(5)
        self.server.tell(at(1001, 4, 4))
        (answer,) = wire.answers()
        self.assertEqual(answer.json()["message"], f"{UPDATED}, admission made it 4")
        self.assertEqual((answer.json()["outcome"], answer.json()["replicas"]), ("available", 4))

    def test_superseded(self) -> None:
        """Another count is somebody else's: the program is named as far as the cluster tells, and by its autoscaler."""
        scale = ("kube-controller-manager", "Update", "scale")
        for replicas, owners, by in (
            (2, Owners("kubectl", "Update", "scale"), "kubectl"),
            (2, Owners("argocd-controller", "Apply"), "argocd-controller (server-side apply)"),
            (2, Owners(*scale), "kube-controller-manager (HorizontalPodAutoscaler 'web-scaler')"),
            (2, Owners("kube-controller-manager", "Update"), "kube-controller-manager"),
            (2, Owners("sre-server", "Update", "scale"), "sre-server"),
            (2, None, UNOWNED),
            (0, None, UNOWNED),
            (0, Owners(appliers=("argocd-controller",)), UNOWNED),
        ):
            with self.subTest(owners):
                self.setUp()
                self.server.tell(Autoscaler("shop", "web-scaler", "u", "1", "web", 3, 10))
                wire = self.put(5)
                self.server.tell(at(1000, 5, 3, observed=2))
                self.server.tell(at(1001, replicas, 3, owners=owners))
                if by in ("sre-server", UNOWNED):  # whose write it was may turn out
                    self.assertIsNone(self.told(wire))
                    self.server.clock.advance(1.1 * AUTHOR_SECONDS)
                self.assertEqual(self.told(wire), {"outcome": "superseded", "replicas": replicas, "by": by})

    def test_superseded_for_a_moment(self) -> None:
        """Whoever sets another count and takes it back at once has superseded it; what was before it has not."""
        wire = self.put(5)
        self.server.tell(at(998, 7, 7), at(999, 2, 2))
        self.assertIsNone(self.told(wire))
        kubectl = Owners("kubectl", "Update", "scale")
        self.server.tell_at_once(at(1001, 7, 3, owners=kubectl), at(1002, 5, 5))
        self.assertEqual(self.told(wire), {"outcome": "superseded", "replicas": 7, "by": "kubectl"})

    def test_superseded_through_us(self) -> None:
        """Another client of this server is named; one that sets the same count supersedes nothing."""
        wire = self.put(5)
        self.put(5, None)
        self.assertIsNone(self.told(wire))
        self.server.outcome = Written(deployment(replicas=6, version="1002"))
        self.put(6, None)
        self.assertEqual(self.told(wire), {"outcome": "superseded", "replicas": 6, "by": "sre-server (alice)"})

    def test_superseded_before_the_answer(self) -> None:
        """What came after the write is known at once, from the watch or from another write of ours."""
        self.server.outcome = pending = MemoryServer.pending()
        wire = self.put(5)
        self.server.outcome = Written(deployment(replicas=6, version="1002"))
        self.put(6, None)
        pending.callback(Written(deployment(replicas=5, version="1000")))
        self.assertEqual(self.told(wire), {"outcome": "superseded", "replicas": 6, "by": "sre-server (alice)"})

    def test_superseded_through_others_like_us(self) -> None:
        """The client of another replica is known by the Event that this leaves, also of a 0, which has no owner."""
        for replicas, owners in ((2, Owners("sre-server", "Update", "scale")), (0, None)):
            self.setUp()
            wire = self.put(5)
            self.server.tell(at(1000, 5, 3, observed=2), at(1001, replicas, 3, owners=owners))
            self.assertIsNone(self.told(wire))
            self.server.tell(ScaledEvent("shop", "web.1", "u", "7", WEB.uid, "1001", Author("bob", before=5)))
            self.assertEqual(self.told(wire), {"outcome": "superseded", "replicas": replicas, "by": "sre-server (bob)"})

    def test_superseded_as_the_time_ends(self) -> None:
        """What is certain is told when the time is up, whoever it was."""
        wire = self.put(5)
        self.server.clock.advance(60 - AUTHOR_SECONDS / 2)
        self.server.tell(at(1001, 0, 3))
        self.server.clock.advance(AUTHOR_SECONDS / 2)
        by = "through /scale, program unknown"
        self.assertEqual(self.told(wire), {"outcome": "superseded", "replicas": 0, "by": by})

    def test_deleted(self) -> None:
        """A Deployment that is gone, in the watch or in a list, or is another one of that name, is gone for good."""
        wires = [self.put(5) for _ in range(3)]
        old = replace(WEB, uid="uid-of-before")
        source = self.server.sources[1]
        self.server.cache.apply(Changed(source, 0, [Deleted(old)]))
        self.assertIsNone(self.told(wires[0]))
        self.server.cache.apply(Changed(source, 0, [Deleted(at(1001, 5, 3))]))
        for wire in wires:
            self.assertEqual(self.told(wire), {"outcome": "deleted", "replicas": None})
        self.server.tell(WEB)
        wire = self.put(5)
        self.server.clock.advance(1)
        self.server.sync(namespace())
        self.assertEqual(self.told(wire), {"outcome": "deleted", "replicas": None})
        self.server.tell(WEB)
        wire = self.put(5)
        self.server.tell(at(1001, 5, 5, uid="uid-of-after"))
        cause = "Another Deployment has its name now."
        self.assertEqual(self.told(wire), {"outcome": "deleted", "replicas": None, "cause": cause})

    def test_quota(self) -> None:
        """A quota that stands against it for a while is told with its numbers."""
        wire = self.put(9)
        self.server.tell(at(1000, 9, 4, trouble=REFUSED, observed=2))
        self.server.clock.advance(60 - QUOTA_SECONDS - 1)
        self.assertIsNone(self.told(wire))
        self.server.tell(at(1001, 9, 4, trouble=REFUSED))
        self.server.clock.advance(QUOTA_SECONDS - 0.1)
        self.assertIsNone(self.told(wire))
        self.server.clock.pump([0.04] * 5)
        cause = "Exceeded quota: four, requested: pods=1, used: pods=4, limited: pods=4."
        self.assertEqual(self.told(wire), {"outcome": "quota", "replicas": 9, "cause": cause})

    def test_quota_for_a_moment(self) -> None:
        """A refusal that does not last, as a pod that ends makes room, is none."""
        wire = self.put(5)
        self.server.tell(at(1001, 5, 4, trouble=REFUSED))
        self.server.clock.advance(QUOTA_SECONDS / 2)
        self.server.tell(at(1002, 5, 4))
        self.server.clock.advance(QUOTA_SECONDS)
        self.assertIsNone(self.told(wire))
        self.server.tell(at(1003, 5, 4, trouble=REFUSED))
        self.server.clock.advance(QUOTA_SECONDS / 2)
        self.assertIsNone(self.told(wire))
        self.server.tell(at(1004, 5, 5))
        self.assertEqual(self.told(wire), {"outcome": "available", "replicas": 5})

    def test_quota_of_before(self) -> None:
        """A refusal that stood before the write must stand longer, as nothing says that it is not over."""
        self.server.tell(at(20, 9, 4, trouble=REFUSED))
        wire = self.put(8)
        self.server.tell(at(1001, 8, 4, trouble=REFUSED))
        self.server.clock.advance(STANDING_SECONDS - 0.1)
        self.assertIsNone(self.told(wire))
        self.server.clock.advance(0.2)
        self.assertEqual((self.told(wire) or {})["outcome"], "quota")

    def test_quota_of_before_and_nothing_to_do(self) -> None:
        """A write that changes nothing has nobody try again: the refusal may be old, and is told when time is up."""
        self.server.tell(at(20, 9, 4, trouble=REFUSED))
        self.server.outcome = Written(deployment(replicas=9, version="20"))
        wire = self.put(9)
        self.server.clock.pump([1] * 59)
        self.assertIsNone(self.told(wire))
        self.server.clock.advance(1)
        cause = f"Of 9 pods 4 are available. {REFUSED}."
        self.assertEqual(self.told(wire), {"outcome": "waiting", "replicas": 9, "cause": cause})

    def test_other_refusals(self) -> None:
        """What else keeps pods from being made, or is slow, is no quota: it is told once the time is up."""
        for trouble in ("FailedCreate: admission webhook denied the request.", SLOW):
            self.setUp()
            wire = self.put(9)
            self.server.tell(at(1001, 9, 4, updated=2, available=3, trouble=trouble))
            self.server.clock.advance(59.9)
            self.assertIsNone(self.told(wire))
            self.server.clock.advance(0.1)
            counts = "Of 9 pods 3 are available, 4 are ready, 2 are of the latest template, 4 are there."
            cause = f"{counts} {trouble}"
            self.assertEqual(self.told(wire), {"outcome": "waiting", "replicas": 9, "cause": cause})

    def test_pods(self) -> None:
        """What pods are in trouble for is told once it has lasted."""
        for outcome in ("unschedulable", "image", "crashing"):
            self.setUp()
            self.server.faults = [
                PodFault("web-7", outcome, "0/2 nodes are available."),
                PodFault("web-8", outcome, "-"),
            ]
            wire = self.put(9)
            self.server.tell(at(1001, 9, 4))
            self.server.clock.pump([FIRST_SECONDS, LOOK_SECONDS])
            self.assertIsNone(self.told(wire))
            self.server.clock.advance(PERSISTS_SECONDS - LOOK_SECONDS)
            cause = "Pod 'web-7' and 1 more: 0/2 nodes are available."
            self.assertEqual(self.told(wire), {"outcome": outcome, "replicas": 9, "cause": cause})
            self.server.clock.advance(60)
            self.assertEqual(len(self.server.looked_at_pods), 3)

    def test_pods_that_cannot_be_seen(self) -> None:
        """Without the right to look, the time is waited out, and the answer says so."""
        self.server.faults = Unavailable("the server lacks the permission to list pods", 5)
        wire = self.put(9)
        self.server.tell(at(1001, 9, 4))
        self.server.clock.pump([1] * 60)
        cause = (
            "Of 9 pods 4 are available. What keeps its pods is not known: the server lacks the permission to list pods."
        )
        self.assertEqual(self.told(wire), {"outcome": "waiting", "replicas": 9, "cause": cause})

    def test_pods_are_looked_at_for_who_waits(self) -> None:
        """Nobody's pods are looked at unless somebody waits for them."""
        self.put(9, None)
        self.server.clock.advance(60)
        self.assertEqual(self.server.looked_at_pods, [])

    def test_waiting(self) -> None:
        """When the time is up it is said how far it has come, and what is not known."""
        wire = self.put(9)
        self.server.clock.advance(60)
        cause = "The Deployment's controller has not seen this count yet."
        self.assertEqual(self.told(wire), {"outcome": "waiting", "replicas": 9, "cause": cause})
        self.setUp()
        wire = self.put(9)
        self.server.tell(at(1000, 9, 9, observed=2))
        self.server.clock.advance(60)
        self.assertEqual(self.told(wire), {"outcome": "waiting", "replicas": 9, "cause": cause})
        self.setUp()
        wire = self.put(9)
        self.server.tell(replace(WEB, resource_version="1001", replicas=9, progress=None))
        self.server.clock.advance(60)
        cause = "The status of the Deployment is not known."
        self.assertEqual(self.told(wire), {"outcome": "waiting", "replicas": 9, "cause": cause})

    def test_no_news(self) -> None:
        """An answer does not pass off old knowledge as news: that the cluster was not heard of is the cause."""
        for namespaces in ((), ("shop",)):
            server = self.server = MemoryServer(max_staleness=30, namespaces=namespaces)
            server.sync(namespace(), WEB)
            wire = self.put(9)
            server.clock.advance(60)
            cause = "The cluster was last heard from 60 s ago. The Deployment's controller has not seen this count yet."
            self.assertEqual(self.told(wire), {"outcome": "waiting", "replicas": 9, "cause": cause})

    def test_unreadable(self) -> None:
        """A Deployment that cannot be read any more is neither gone nor superseded."""
        wire = self.put(9)
        self.server.tell_at_once(Unreadable("shop", "web", WEB.uid, "1001", why="its count is no number"))
        self.assertIsNone(self.told(wire))
        self.server.clock.advance(60)
        told = self.told(wire) or {}
        self.assertEqual((told["outcome"], told["replicas"]), ("waiting", 9))
        self.assertIn("its count is no number", told["cause"])


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


class BlockingQueryTests(WaitingTestCase):
    """`GET /deployments/{ns}/{name}` with the tag of an earlier answer, and `Prefer: wait=N`."""

    def picture(self, tag: str | None = None, prefer: str | None = "wait=60", **headers: str) -> Wire:
        """Ask for the picture, and return the connection on which it is to come."""
        wire = self.server.connect()
        fields = {"Host": "localhost", **headers}
        if tag is not None:
            fields["If-None-Match"] = tag
        if prefer is not None:
            fields["Prefer"] = prefer
        lines = ["GET /deployments/shop/web HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        wire.write("\r\n".join(lines).encode())
        return wire

    def answer(self, wire: Wire) -> Answer:
        """Return the answer, which has come."""
        (answer,) = wire.answers()
        return answer.check()

    def setUp(self) -> None:
        """Learn the tag."""
        super().setUp()
        self.tag = self.answer(self.picture()).header("ETag") or ""

    def test_news_at_once(self) -> None:
        """What the client does not have is answered at once, and so is one who does not say what it has."""
        first = self.answer(self.picture())
        self.assertEqual((first.status, first.header("Preference-Applied")), (200, None))
        answer = self.answer(self.picture('"another"'))
        self.assertEqual((answer.status, answer.header("Preference-Applied")), (200, "wait=60"))
        unchanged = self.answer(self.picture(self.tag, None))
        self.assertEqual((unchanged.status, unchanged.header("Preference-Applied")), (304, None))
        self.assert_waits(0)

    def test_news_later(self) -> None:
        """It is answered with the next change of what it shows, and with nothing else's."""
        wire = self.picture(self.tag)
        self.server.tell(replace(WEB, resource_version="11"), deployment("api"))
        self.assertEqual(wire.answers(), [])
        self.server.tell(at(12, 5, 3))
        answer = self.answer(wire)
        self.assertEqual(
            (answer.status, answer.header("Preference-Applied"), answer.header("Age")), (200, "wait=60", "0")
        )
        self.assertEqual(answer.json()["replicas"], 5)
        self.assertNotEqual(answer.header("ETag"), self.tag)

    def test_what_is_beside(self) -> None:
        """An autoscaler is part of the picture, one of another Deployment is not."""
        wire = self.picture(self.tag)
        self.server.tell(
            Autoscaler("shop", "a", "u", "1", "api", 3, 10), Autoscaler("bank", "a", "u", "1", "web", 3, 10)
        )
        self.assertEqual(wire.answers(), [])
        self.server.tell(Autoscaler("shop", "web-scaler", "u", "1", "web", 3, 10))
        self.assertEqual(self.answer(wire).json()["autoscaler"]["name"], "web-scaler")

    def test_a_write_of_ours(self) -> None:
        """A count that is set through this server is news at once, ahead of the watch."""
        wire = self.picture(self.tag)
        self.put(5, None)
        self.assertEqual(self.answer(wire).json()["replicas"], 5)

    def test_no_news(self) -> None:
        """After its time it is an empty 304, still current, and no slow answer."""
        wire = self.picture(self.tag)
        self.server.clock.advance(60)
        answer = self.answer(wire)
        self.assertEqual((answer.status, answer.header("Preference-Applied")), (304, "wait=60"))
        self.assertEqual((answer.header("ETag"), answer.header("Age")), (self.tag, "60"))
        route = 'method="GET",route="/deployments/{namespace}/{name}"'
        self.assertIn(f"sre_server_http_request_duration_seconds_sum{{{route}}} 0.0", self.metrics())

    def test_gone(self) -> None:
        """That it is deleted is news: 404."""
        wire = self.picture(self.tag)
        self.server.cache.apply(Changed(self.server.sources[1], 0, [Deleted(WEB)]))
        for answer in (self.answer(wire), self.answer(self.picture(self.tag))):
            self.assertEqual((answer.status, answer.header("Preference-Applied")), (404, None))

    def test_nothing_heard(self) -> None:
        """Where the cluster is not heard of, 503 is answered at once, or when the time is up."""
        wire = self.picture(self.tag, "wait=300")
        self.server.clock.advance(300)
        self.assertEqual(self.answer(wire).status, 503)
        self.assertEqual(self.answer(self.picture(self.tag)).status, 503)
        stale = {"Cache-Control": "max-stale"}
        tag = self.answer(self.picture(**stale)).header("ETag")
        self.assertEqual(self.answer(self.picture(tag)).status, 503)
        wire = self.picture(tag, **stale)
        self.assertEqual(wire.answers(), [])
        self.server.clock.advance(60)
        self.assertEqual(self.answer(wire).status, 304)

    def test_bounds(self) -> None:
        """Waits for writes and for pictures count together; past the bound the answer is what it is now."""
        for _ in range(PER_CLIENT - 1):
            self.picture(self.tag)
        wire = self.put(3)
        self.assertEqual(wire.answers(), [])
        self.assert_waits(PER_CLIENT)
        answer = self.answer(self.picture(self.tag))
        self.assertEqual((answer.status, answer.header("Preference-Applied")), (304, None))

    def test_shutdown(self) -> None:
        """When the server stops, it is told that there is no news."""
        wire = self.picture(self.tag)
        self.server.site.drain()
        answer = self.answer(wire)
        self.assertEqual((answer.status, answer.header("Connection")), (304, "close"))

    def test_client_leaves(self) -> None:
        """A client that leaves waits no more."""
        self.picture(self.tag).hang_up()
        self.assert_waits(0)

    def test_not_in_the_fast_lane(self) -> None:
        """The fast lane, which answers at once, leaves it alone, on a connection that it has served before, too."""
        wire = self.server.connect()
        head = f"GET /deployments/shop/web HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {self.tag}\r\n"
        self.assertEqual([answer.status for answer in wire.send(f"{head}\r\n".encode())], [304])
        wire.write(f"{head}Prefer: wait=60\r\n\r\n".encode())
        self.assertEqual(len(wire.answers()), 1)
        self.server.tell(at(12, 5, 3))
        self.assertEqual([answer.status for answer in wire.answers()], [304, 200])

    def test_the_right_to_it(self) -> None:
        """Whoever may not read the Deployment does not wait for it, and who may not any more is not told the news."""
        authorizer = Fickle()
        self.server = MemoryServer(authorizer=authorizer).sync(namespace(), WEB)
        tag = self.answer(self.picture()).header("ETag")
        wire = self.picture(tag)
        authorizer.allows = False
        self.assertEqual(self.answer(self.picture(tag)).status, 403)
        self.server.tell(at(12, 5, 3))
        answer = self.answer(wire)
        self.assertEqual((answer.status, answer.header("Preference-Applied")), (403, None))
