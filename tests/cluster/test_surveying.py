"""Looking around for a plan: what is asked, in which threads, and what each answer to it means."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.permissions import LIST_BUDGETS, LIST_QUOTAS, Permissions
from sre_server.cluster.surveying import BOUNDS, Surveys
from sre_server.cluster.workers import ConnectedWorkers
from sre_server.errors import ClusterError, ClusterTimedOut, NotFound, Unavailable
from sre_server.model import Quota, Surroundings
from tests.cluster.test_quotas import budget, items, quota, workload
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool
from tests.wire import refusal

QUOTAS = "/api/v1/namespaces/shop/resourcequotas"
BUDGETS = "/apis/policy/v1/namespaces/shop/poddisruptionbudgets"
WEB = "/apis/apps/v1/namespaces/shop/deployments/web"
Script = FakeReply | ClusterError


class SurveysTests(SynchronousTestCase):
    """A cluster that answers from a script."""

    def setUp(self) -> None:
        """Run at once."""
        self.reactor, self.pool = FakeReactor(), InlinePool()
        self.permissions = Permissions()

    def surveys(self, *script: Script) -> Surveys:
        """Have a cluster that answers this."""
        self.cluster = FakeTransport(script)
        workers = ConnectedWorkers(self.reactor, "plans", BOUNDS, lambda: self.cluster, self.pool)
        workers.startService()
        return Surveys(workers, self.permissions.told, self.permissions.pauses)

    def survey(self, *script: Script) -> Deferred[Surroundings | None]:
        """Look around `web` in `shop`."""
        found = self.surveys(*script).survey("alice", "shop", "web")
        self.reactor.advance(0)
        return found

    def answers(self) -> tuple[FakeReply, FakeReply, FakeReply]:
        """What a cluster answers that is asked for everything."""
        return (
            FakeReply(200, [items(quota("q", hard={"pods": "4"}))]),
            FakeReply(200, [items(budget("b", minAvailable=1, selector={}))]),
            FakeReply(200, [workload()]),
        )

    def test_everything(self) -> None:
        """Two lists of the namespace, and the Deployment, whole."""
        found = self.successResultOf(self.survey(*self.answers()))
        assert found is not None
        assert found.quotas is not None
        assert found.budgets is not None
        self.assertEqual(([each.name for each in found.quotas], [each.name for each in found.budgets]), (["q"], ["b"]))
        self.assertEqual(self.cluster.requests, [("GET", path, {}) for path in (QUOTAS, BUDGETS, WEB)])

    def test_missing_rights(self) -> None:
        """What may not be listed is not known, and told once: it is not asked for again at once."""
        _, budgets, web = self.answers()
        forbidden = refusal(403, "Forbidden", "no quotas")
        found = self.successResultOf(self.survey(forbidden, budgets, web))
        assert found is not None
        self.assertEqual((found.quotas, len(found.budgets or ())), (None, 1))
        self.assertTrue(self.permissions.lacks(LIST_QUOTAS))
        self.assertFalse(self.permissions.lacks(LIST_BUDGETS))
        found = self.successResultOf(self.survey(*self.answers()[1:]))
        assert found is not None
        self.assertEqual((found.quotas, len(found.budgets or ())), (None, 1))

    def test_a_cluster_without_budgets(self) -> None:
        """Where there is no such resource, nothing is known of it."""
        quotas, _, web = self.answers()
        found = self.successResultOf(self.survey(quotas, FakeReply(404, [b"404 page not found"]), web))
        assert found is not None
        self.assertIsNone(found.budgets)

    def test_what_cannot_be_told(self) -> None:
        """Anything else that goes wrong is worth another try."""
        quotas, budgets, _ = self.answers()
        broken = ClusterTimedOut("Slow.")
        for script in (
            (broken,),
            (quotas, broken),
            (quotas, budgets, broken),
            (quotas, budgets, FakeReply(200, [b"<html>"])),
            (FakeReply(200, [b"<html>"]),),
            (refusal(500, "InternalError"),),
            (refusal(401),),
        ):
            self.failureResultOf(self.survey(*script), Unavailable)
        gone = refusal(404, "NotFound", "no", about="deployments/web")
        self.failureResultOf(self.survey(quotas, budgets, gone), NotFound)
        self.failureResultOf(self.survey(quotas, budgets, refusal(403)), Unavailable)
        self.assertTrue(self.permissions.lacks("get deployments"))

    def test_quotas_alone(self) -> None:
        """For a write that is to hold to a plan, nothing else is listed."""
        quotas = self.surveys(self.answers()[0]).quotas("alice", "shop")
        self.reactor.advance(0)
        found: tuple[Quota, ...] | None = self.successResultOf(quotas)
        self.assertEqual(([each.name for each in found or ()], len(self.cluster.requests)), (["q"], 1))

    def test_switched_off(self) -> None:
        """Nothing is asked, and nothing known."""
        surveys = Surveys(None)
        self.assertIsNone(self.successResultOf(surveys.survey("alice", "shop", "web")))
        self.assertIsNone(self.successResultOf(surveys.quotas("alice", "shop")))

    def test_bounds_of_a_client(self) -> None:
        """One client's plans run two at a time and wait in a queue of its own, which has an end."""
        self.pool = InlinePool(inline=False)
        surveys = self.surveys()
        waiting = [surveys.survey("alice", "shop", "web") for _ in range(10)]
        self.assertEqual(len(self.pool.pending), 2)
        self.failureResultOf(surveys.survey("alice", "shop", "web"), Unavailable)
        others = surveys.survey("bob", "shop", "web")
        self.assertEqual(len(self.pool.pending), 3)
        for each in (*waiting, others):
            self.assertNoResult(each)
