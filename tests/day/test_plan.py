"""What is found about a count that somebody wants, and the verdict."""

from decimal import Decimal

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.basis import PARTS, basis_of, changed
from sre_server.day.plan import Finding, Verdict, findings_of, verdict_of
from sre_server.model import Autoscaler, Budget, Deployment, Guards, Limit, Owners, Progress, Quota, Surroundings
from tests.fakes import deployment

SETTLED = Progress(generation=2, observed=2, total=3, ready=3, available=3, updated=3)
WEB = replace(deployment(replicas=3), progress=SETTLED)
SCALER = Autoscaler("shop", "web-scaler", "uid-hpa", "41", "web", 3, 6)
ONE = {"pods": Decimal(1), "count/pods": Decimal(1)}
AROUND = Surroundings(WEB.uid, 3, ONE, (), ())


def limit(resource: str = "pods", hard: str = "4", used: str = "3") -> Limit:
    """Make a limit of plain numbers."""
    return Limit(resource, hard, used, Decimal(hard), Decimal(hard) - Decimal(used))


def quota(*limits: Limit, scopes: tuple[str, ...] = ()) -> Surroundings:
    """Have one quota around."""
    return replace(AROUND, quotas=(Quota("q", "stands", limits, scopes),))


class FindingsTestCase(SynchronousTestCase):
    """Findings of one Deployment."""

    def find(
        self, replicas: int, web: Deployment = WEB, around: Surroundings | None = AROUND
    ) -> list[tuple[str, Verdict]]:
        """What is found, in short; messages are sentences."""
        self.found = list(findings_of(web, replicas, around))
        for each in self.found:
            self.assertRegex(each.message, r"\A[A-Z].*\.\Z")
        return [(each.about, each.verdict) for each in self.found]

    @property
    def message(self) -> str:
        """What the only finding says."""
        (found,) = self.found
        return found.message


class OwnersTests(FindingsTestCase):
    """Who else sets the count."""

    def test_nobody(self) -> None:
        """Where nobody does, and all is well, nothing is found, and the count holds."""
        self.assertEqual(self.find(6), [])
        self.assertIs(verdict_of([]), Verdict.HOLDS)

    def test_a_controller(self) -> None:
        """What belongs to something is to be changed there."""
        self.assertEqual(
            self.find(6, replace(WEB, owners=Owners(controller="Kafka main"))), [("controller", Verdict.MAY_NOT_HOLD)]
        )
        self.assertIn("Kafka main", self.message)

    def test_apply(self) -> None:
        """An applier is named, with an if: it is not known whether it applies again; after 0 nothing stops it."""
        flux = replace(WEB, owners=Owners("flux", "Apply", appliers=("flux",)))
        for count, how in ((6, "or without force it meets a conflict"), (0, "silently, as a count of 0 has no owner")):
            self.assertEqual(self.find(count, flux), [("apply", Verdict.MAY_NOT_HOLD)])
            what = "A count is written down elsewhere, by flux (server-side apply)"
            self.assertEqual(self.message, f"{what}; if that is applied again, its count comes back, {how}.")
        self.find(0, replace(WEB, owners=Owners("kubectl-client-side-apply", "Update", applied=True)))
        self.assertNotIn("silently", self.message)

    def test_perhaps_an_applier(self) -> None:
        """Once a count was set through `/scale`, managedFields say no more whether an applier has one."""
        for owner, found in (
            (Owners("sre-server", "Update", "scale", ("flux",)), [("apply", Verdict.MAY_NOT_HOLD)]),
            (Owners("kube-controller-manager", "Update", "scale", ("flux",)), []),
            (Owners("kubectl-edit", "Update", "", ("flux",)), []),
            (Owners("kubectl", "Update", "scale"), []),
        ):
            self.assertEqual(self.find(6, replace(WEB, owners=owner)), found)
            self.assertTrue(not found or "If what flux applies from the server's side has a count" in self.message)


class RolloutTests(FindingsTestCase):
    """What the Deployment itself is at."""

    def test_states(self) -> None:
        """One that is stuck may not get there; the others are worth knowing."""
        for changes, verdict, words in (
            ({"paused": True}, Verdict.HOLDS, "paused"),
            ({"trouble": "ProgressDeadlineExceeded: slow"}, Verdict.MAY_NOT_HOLD, "ProgressDeadlineExceeded: slow"),
            ({"updated": 1}, Verdict.HOLDS, "1 of 3 pods have the latest"),
            ({"available": 1}, Verdict.HOLDS, "1 of 3 pods are available"),
            ({"observed": 1}, Verdict.HOLDS, "settle"),
        ):
            self.assertEqual(self.find(6, replace(WEB, progress=replace(SETTLED, **changes))), [("rollout", verdict)])
            self.assertIn(words, self.message)

    def test_not_known(self) -> None:
        """Without a status that is said."""
        self.assertEqual(self.find(6, deployment()), [("not known", Verdict.HOLDS)])


class QuotaTests(FindingsTestCase):
    """Whether there is room for more pods."""

    def test_pods(self) -> None:
        """A count that the quota can never allow is not reached; one for which there is no room now may not be."""
        around = quota(limit())
        for count, found in (
            (4, []),
            (5, [("quota", Verdict.DOES_NOT_HOLD)]),
            (3, []),
            (0, []),
        ):
            self.assertEqual(self.find(count, around=around), found, count)
        self.find(9, around=around)
        self.assertIn("ResourceQuota q allows pods 4, of which 3 is used: 1 of 6 more pods fit", self.message)
        self.assertEqual(self.find(5, around=quota(limit(used="4", hard="9"))), [])
        self.assertEqual(self.find(5, around=quota(limit(used="8", hard="9"))), [("quota", Verdict.MAY_NOT_HOLD)])
        self.assertEqual(self.find(5, around=quota(limit("count/pods"))), [("quota", Verdict.DOES_NOT_HOLD)])
        self.assertEqual(self.find(4, around=quota(limit(used="4"))), [("quota", Verdict.MAY_NOT_HOLD)])

    def test_pods_that_there_are(self) -> None:
        """Those count, not the count that was wanted: pods that never came still have to."""
        self.assertEqual(self.find(4, around=replace(quota(limit()), pods=2)), [("quota", Verdict.MAY_NOT_HOLD)])
        self.assertEqual(self.find(2, around=replace(quota(limit(used="4")), pods=2)), [])

    def test_what_pods_take(self) -> None:
        """What a template says decides, never for certain; what it leaves out is not known."""
        around = replace(quota(limit("requests.cpu", "2", "1.5")), needs={**ONE, "requests.cpu": Decimal("0.5")})
        self.assertEqual(self.find(4, around=around), [])
        self.assertEqual(self.find(5, around=around), [("quota", Verdict.MAY_NOT_HOLD)])
        self.assertIn("1 of 2 more pods fit", self.message)
        self.assertEqual(self.find(9, around=quota(limit("limits.memory"))), [("not known", Verdict.MAY_NOT_HOLD)])
        self.assertEqual(self.find(9, around=quota(limit("services", "1", "1"))), [])
        none_left = quota(limit(hard="1", used="3"))
        self.find(9, around=none_left)
        self.assertIn("0 of 6 more pods fit", self.message)

    def test_scopes(self) -> None:
        """Whether a quota with scopes counts these pods is not known, but for deadlines, which they never have."""
        for scopes, found in (
            (("Terminating",), []),
            (("NotTerminating",), [("quota", Verdict.DOES_NOT_HOLD)]),
            (("BestEffort",), [("quota", Verdict.MAY_NOT_HOLD)]),
            (("NotTerminating", "BestEffort", "PriorityClass"), [("quota", Verdict.MAY_NOT_HOLD)]),
        ):
            self.assertEqual(self.find(9, around=quota(limit(), scopes=scopes)), found, scopes)
        self.assertIn("if it counts these pods (it is for BestEffort, PriorityClass)", self.message)

    def test_not_known(self) -> None:
        """It is said, and speaks against more pods, not against fewer; so it is of another Deployment of that name."""
        budgets = ("not known", Verdict.HOLDS)
        for around in (None, replace(quota(limit()), uid="another")):
            self.assertEqual(self.find(4, around=around), [("not known", Verdict.MAY_NOT_HOLD), budgets])
            self.assertEqual(self.find(2, around=around), [budgets])
        self.assertEqual(self.find(4, around=replace(AROUND, quotas=None)), [("not known", Verdict.MAY_NOT_HOLD)])
        self.assertEqual(self.message, "Whether a ResourceQuota allows so many pods is not known.")


class BudgetTests(FindingsTestCase):
    """Disruption budgets: they do not hold the count, they hold up drains."""

    def test_drains(self) -> None:
        """A budget that lets no pod go at that count is found; percentages are rounded up, as Kubernetes does."""
        for budget, stuck in (
            (Budget("b", "3"), {1, 2, 3}),
            (Budget("b", "50%"), {1}),
            (Budget("b", "100%"), {1, 2, 3, 4, 5}),
            (Budget("b", "60%"), {1, 2}),
            (Budget("b", "", "0"), {1, 2, 3, 4, 5}),
            (Budget("b", "", "0%"), {1, 2, 3, 4, 5}),
            (Budget("b", "", "1%"), set()),
            (Budget("b", "", "1"), set()),
            (Budget("b"), set()),
        ):
            around = replace(AROUND, budgets=(budget,))
            found = {count for count in range(6) if self.find(count, around=around)}
            self.assertEqual(found, stuck, budget)
        self.assertEqual(
            self.find(3, around=replace(AROUND, budgets=(Budget("b", "3"),))), [("disruption budget", Verdict.HOLDS)]
        )
        said = "PodDisruptionBudget b ({}) lets none of 3 pods go: drains of nodes will be stuck."
        self.assertEqual(self.message, said.format("minAvailable 3"))
        self.find(3, around=replace(AROUND, budgets=(Budget("b", "", "0%"),)))
        self.assertEqual(self.message, said.format("maxUnavailable 0%"))


class VerdictTests(SynchronousTestCase):
    """What findings come to."""

    def test_the_worst(self) -> None:
        """One finding is enough, wherever it stands."""
        found = [Finding("x", "y", verdict) for verdict in Verdict]
        for number, verdict in enumerate(Verdict):
            self.assertIs(verdict_of(found[: number + 1]), verdict)
            self.assertIs(verdict_of(reversed(found[: number + 1])), verdict)


class BasisTests(SynchronousTestCase):
    """What a plan stands on."""

    def basis(
        self,
        web: Deployment = WEB,
        scaler: Autoscaler | None = SCALER,
        quotas: tuple[Quota, ...] | None = (Quota("q", "pods 4", (limit(),)),),
        *,
        known: bool = True,
        guardrails: bytes = b"{}",
        temporary: str | None = None,
    ) -> list[str]:
        """The digests, of what is so unless it says otherwise."""
        return basis_of(web, scaler, quotas, autoscalers_known=known, guardrails=guardrails, temporary=temporary)

    def test_each_part(self) -> None:
        """Each change is told as that of its part, and of no other; what is not known is a value of its own."""
        was = self.basis()
        autoscaler, paused, owners, quotas, guardrails, temporary = PARTS
        for now, part in (
            (self.basis(scaler=replace(SCALER, maximum=7)), autoscaler),
            (self.basis(scaler=replace(SCALER, minimum=2)), autoscaler),
            (self.basis(scaler=replace(SCALER, name="other")), autoscaler),
            (self.basis(scaler=None), autoscaler),
            (self.basis(scaler=None, known=False), autoscaler),
            (self.basis(replace(WEB, progress=replace(SETTLED, paused=True))), paused),
            (self.basis(replace(WEB, progress=None)), paused),
            (self.basis(replace(WEB, owners=Owners(controller="Kafka main"))), owners),
            (self.basis(replace(WEB, owners=Owners("flux", "Apply", appliers=("flux",)))), owners),
            (self.basis(quotas=(Quota("q", "pods 5"),)), quotas),
            (self.basis(quotas=()), quotas),
            (self.basis(quotas=None), quotas),
            (self.basis(guardrails=b"{1}"), guardrails),
            (self.basis(replace(WEB, guards=Guards(minimum="1"))), guardrails),
            (self.basis(temporary="20 until noon"), temporary),
        ):
            self.assertEqual(changed(was, now), [part])
        self.assertNotEqual(self.basis(scaler=None), self.basis(scaler=None, known=False))
        self.assertNotEqual(self.basis(quotas=()), self.basis(quotas=None))

    def test_what_is_in_use(self) -> None:
        """What changes by itself, and by our own write, is no part of it."""
        busy = replace(WEB, resource_version="99", progress=replace(SETTLED, ready=1, trouble="x: y"))
        used = (Quota("q", "pods 4", (limit(used="1"),)),)
        ours = replace(WEB, owners=Owners("sre-server", "Update", "scale"))
        for now in (
            self.basis(busy),
            self.basis(quotas=used),
            self.basis(ours),
            self.basis(scaler=replace(SCALER, active=False, resource_version="99")),
        ):
            self.assertEqual(changed(self.basis(), now), [])

    def test_another_version(self) -> None:
        """Digests of a server that knows of other parts tell nothing: all may have changed."""
        self.assertEqual(changed(self.basis()[1:], self.basis()), list(PARTS))
