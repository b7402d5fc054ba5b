"""`PUT .../replicas` with `Prefer: wait=N`: one of the outcomes, once it is certain."""

from msgspec.structs import replace

from sre_server.day.causes import FIRST_SECONDS, LOOK_SECONDS, PERSISTS_SECONDS
from sre_server.day.outcomes import AUTHOR_SECONDS, QUOTA_SECONDS, STANDING_SECONDS
from sre_server.errors import NotIdentified, Unavailable
from sre_server.model import (
    Author,
    Autoscaler,
    Owners,
    PodFault,
    ScaledEvent,
    Unreadable,
    Written,
)
from sre_server.news import Changed, Deleted
from tests.api.waiting import REFUSED, SLOW, UNOWNED, UPDATED, WEB, WaitingTestCase, at
from tests.fakes import deployment, namespace
from tests.memory_server import MemoryServer


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

    def test_who_is_nobody_by_then(self) -> None:
        """The write is done, and is answered; what came of it is not for a client whose certificate was revoked."""
        wire = self.put(5)
        self.server.clients.who = NotIdentified("The client certificate has been revoked.")
        self.server.tell(at(1000, 5, 5))
        (answer,) = wire.answers()
        self.assertEqual((answer.status, answer.json(), wire.closing), (200, {"message": UPDATED}, True))

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
