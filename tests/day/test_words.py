"""What is said of a Deployment: how its rollout does, and who else sets its count."""

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.owners import managed_by, setter_of
from sre_server.day.rollout import Rollout, rollout_of
from sre_server.model import Autoscaler, Owners, Progress
from tests.fakes import deployment

SETTLED = Progress(generation=2, observed=2, total=3, ready=3, available=3, updated=3)


class RolloutTests(SynchronousTestCase):
    """The word for a Deployment's status."""

    def test_words(self) -> None:
        """Only a status of this very spec, with exactly the pods that are wanted, is steady."""
        for progress, word in (
            (SETTLED, Rollout.STEADY),
            (replace(SETTLED, observed=1), Rollout.SETTLING),
            (replace(SETTLED, ready=2, available=2), Rollout.SETTLING),
            (replace(SETTLED, available=2), Rollout.SETTLING),
            (replace(SETTLED, updated=1), Rollout.SETTLING),
            (replace(SETTLED, total=4), Rollout.SETTLING),
            (replace(SETTLED, trouble="FailedCreate: quota"), Rollout.STUCK),
            (replace(SETTLED, paused=True), Rollout.PAUSED),
            (replace(SETTLED, paused=True, trouble="FailedCreate: quota"), Rollout.PAUSED),
            (None, None),
        ):
            with self.subTest(progress):
                self.assertIs(rollout_of(replace(deployment(replicas=3), progress=progress)), word)

    def test_none_wanted(self) -> None:
        """A Deployment of 0 is steady once the last pod is gone."""
        none = replace(deployment(replicas=0), progress=Progress(generation=2, observed=2))
        self.assertIs(rollout_of(none), Rollout.STEADY)
        self.assertIs(rollout_of(replace(none, progress=replace(SETTLED, total=1))), Rollout.SETTLING)


class OwnersTests(SynchronousTestCase):
    """Who sets the count."""

    def test_owners(self) -> None:
        """Whoever will bring back a count of its own is named; who once set it by hand is not."""
        git, applied = "argocd-controller (server-side apply)", "(its last applied configuration has a count)"
        for owners, names in (
            (None, []),
            (Owners("kubectl", "Update", "scale"), []),
            (Owners("kubectl-edit", "Update"), []),
            (Owners("argocd-controller", "Apply", appliers=("argocd-controller",)), [git]),
            (Owners(appliers=("argocd-controller",)), [git]),
            (Owners("kubectl", "Update", "scale", appliers=("argocd-controller",)), []),
            (Owners("kubectl-client-side-apply", "Update", applied=True), [f"kubectl-client-side-apply {applied}"]),
            (Owners("sre-server", "Update", "scale", applied=True), [f"kubectl apply {applied}"]),
            (Owners(controller="Kafka main"), ["Kafka main"]),
        ):
            with self.subTest(owners):
                self.assertEqual(managed_by(replace(deployment(), owners=owners), None), names)

    def test_setter(self) -> None:
        """Who has set a count is told by its owner; where it has none, not even who might have is passed off as one."""
        scaler = Autoscaler("shop", "web", "u", "1", "web", 1, 5)
        unowned = deployment()
        self.assertEqual(setter_of(unowned, None), "through /scale, program unknown")
        self.assertEqual(
            setter_of(unowned, scaler), "through /scale, program unknown (HorizontalPodAutoscaler 'web' sets it, too)"
        )
        owned = replace(deployment(), owners=Owners("kube-controller-manager", "Update", "scale"))
        self.assertEqual(setter_of(owned, None), "kube-controller-manager")
        self.assertEqual(setter_of(owned, scaler), "kube-controller-manager (HorizontalPodAutoscaler 'web')")

    def test_autoscaler_comes_first(self) -> None:
        """It is the one that acts by itself; where something made it, that is what has to be changed."""
        scaler = Autoscaler("shop", "web", "u", "1", "web", 1, 5, owner="ScaledObject web")
        owned = replace(deployment(), owners=Owners(controller="Kafka main"))
        named = "HorizontalPodAutoscaler web (of ScaledObject web)"
        self.assertEqual(managed_by(owned, scaler), [named, "Kafka main"])
