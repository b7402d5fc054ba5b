"""Writes that would not hold, and masses of them: what is refused, and what somebody is warned of."""

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import AdmissionRefused
from sre_server.model import Autoscaler, State, Written
from sre_server.security.guardrails import Guardrails, Mass
from tests.day.test_autoscalers import listed
from tests.fakes import deployment, namespace
from tests.memory_client import Answer
from tests.memory_server import MemoryServer

SCALER = Autoscaler("shop", "web-scaler", "uid-hpa", "41", "web", 3, 6)
PATH = "/deployments/shop/web/replicas"
B = "/namespaces/shop/deployments/web/replica_count"


class AutoscalerTests(SynchronousTestCase):
    """A Deployment that an autoscaler holds in 3..6."""

    def serve(self, guardrails: Guardrails = Guardrails(), scaler: Autoscaler = SCALER) -> MemoryServer:  # noqa: B008
        """Serve it."""
        self.server = MemoryServer(guardrails=guardrails).sync(namespace(), deployment(replicas=4))
        self.server.cache.apply(listed(scaler))
        return self.server

    def warnings(self, answer: Answer) -> list[str]:
        """What an answer warns of."""
        return [str(value) for value in answer.headers.getRawHeaders("Warning") or []]

    def test_outside_the_bounds(self) -> None:
        """Both families refuse it, name autoscaler and way out, write nothing, and do as they are told after that."""
        server = self.serve()
        for answer in (server.put(PATH, 20), server.call("PUT", f"{B}/1")):
            self.assertEqual(answer.status, 422)
            self.assertIn("HorizontalPodAutoscaler web-scaler (3..6)", answer.json()["message"])
        self.assertEqual(([record.rule for record in server.audit.records], server.writes), (["autoscaler"] * 2, []))
        for answer in (server.put(f"{PATH}?confirm=autoscaler", 20), server.call("PUT", f"{B}/1?confirm=autoscaler")):
            self.assertEqual(answer.status, 200)
            self.assertIn("puts it back", self.warnings(answer)[0])

    def test_one_that_is_off(self) -> None:
        """It is on again with the first count that is not 0."""
        server = self.serve(scaler=replace(SCALER, active=False))
        server.tell(replace(deployment(replicas=0), resource_version="11"))
        self.assertEqual([server.put(PATH, count).status for count in (1, 7, 3)], [422, 422, 200])

    def test_within_the_bounds_and_zero(self) -> None:
        """They pass, and the answer warns of what may become of it."""
        server = self.serve()
        self.assertIn("may change it", self.warnings(server.put(PATH, 5))[0])
        self.assertIn("off until", self.warnings(server.put(PATH, 0))[0])

    def test_a_warning_of_admission(self) -> None:
        """It is passed on beside ours, which can stand in a field whatever the autoscaler's owner is called."""
        server = self.serve(Guardrails(autoscaler="warn"), replace(SCALER, owner='Scaled"Object \\x'))
        server.outcome = Written(deployment(replicas=1, version="1000"), ['299 - "deprecated"'])
        theirs, ours = self.warnings(server.put(PATH, 1))
        self.assertEqual(theirs, '299 - "deprecated"')
        self.assertRegex(ours, r"""\A199 sre-server "[^"\\]*\(of Scaled'Object /x\)[^"\\]*"\Z""")

    def test_what_is_not_known(self) -> None:
        """Without news of autoscalers nothing is refused or warned of."""
        server = MemoryServer().sync(namespace(), deployment(replicas=4))
        answer = server.put(PATH, 20)
        self.assertEqual((answer.status, self.warnings(answer)), (200, []))
        self.serve()
        self.server.clock.advance(121)
        self.assertEqual(self.server.put(PATH, 20).status, 200)
        self.assertEqual(self.server.looked, [("shop", "web", False)])

    def test_on_what_the_cluster_says(self) -> None:
        """A Deployment that the cache does not know is held by its autoscaler all the same."""
        server = MemoryServer().sync(namespace())
        server.cache.apply(listed(SCALER))
        self.assertEqual((server.put(PATH, 20).status, server.looked), (422, [("shop", "web", False)]))


class MassTests(SynchronousTestCase):
    """One client that stops many Deployments; three in ten minutes may be stopped."""

    def setUp(self) -> None:
        """Serve ten."""
        self.names = [f"web-{number}" for number in range(10)]
        self.server = MemoryServer(guardrails=Guardrails(mass=Mass(3, 10)))
        self.server.sync(namespace(), *(deployment(name) for name in self.names))

    def stop(self, name: str, query: str = "", count: int = 0) -> int:
        """Set a count, of 0 unless another one is given; return the status."""
        return self.server.put(f"/deployments/shop/{name}/replicas{query}", count).status

    def test_a_loop(self) -> None:
        """The fourth is refused until it is confirmed, or ten minutes have passed; starting is no stopping."""
        self.assertEqual([self.stop(name) for name in self.names[:5]], [200] * 3 + [422] * 2)
        self.assertEqual(self.server.call("PUT", "/namespaces/shop/deployments/web-3/replica_count/0").status, 422)
        self.assertEqual(self.stop("web-3", "?confirm=zero"), 422)
        self.assertEqual(self.stop("web-3", "?confirm=zero&confirm=mass"), 200)
        self.assertEqual(self.stop("web-4", count=2), 200)
        self.server.clock.advance(600)
        self.server.sync(namespace(), *(deployment(name) for name in self.names))
        self.assertEqual(self.stop("web-5"), 200)

    def test_what_is_carried_out_counts(self) -> None:
        """Neither what was refused does, nor what failed, nor what admission made something else of."""
        for outcome in (AdmissionRefused("no", 422), Written(deployment("web-0", replicas=2, version="1000"))):
            self.server.outcome = outcome
            for _ in range(5):
                self.stop("web-0")
        self.server.outcome = None
        self.assertEqual([self.stop(name) for name in self.names[1:5]], [200] * 3 + [422])

    def test_one_that_is_stopped_already(self) -> None:
        """Stopping it again is nothing more, before and past the limit; the cluster has to agree that it is stopped."""
        self.assertEqual([self.stop("web-0") for _ in range(9)], [200] * 9)
        self.assertEqual([self.stop(name) for name in self.names[1:4]], [200, 200, 422])
        self.assertEqual(self.stop("web-0"), 200)
        assert self.server.expected is not None
        self.assertEqual(self.server.expected.replicas, 0)
        self.server.outcome = State(self.server.expected.uid, 7)
        self.assertEqual(self.stop("web-0"), 422)

    def test_clients_by_themselves(self) -> None:
        """One client's mass is not another's."""
        self.assertEqual([self.stop(name) for name in self.names[:4]], [200] * 3 + [422])
        self.server.clients.who = replace(self.server.clients.identity(None), name="bob")
        self.assertEqual(self.stop("web-4"), 200)
