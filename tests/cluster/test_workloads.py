"""Decoding what a Deployment's own controller says of it, who else sets its count, and autoscalers."""

import json
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.single import decode_state
from sre_server.cluster.unpacking import decode_line, decode_page
from sre_server.model import Autoscaler, Deployment, Guards, Owners, Progress
from sre_server.news import Deleted, Put, Resource
from tests.fakes import deployment
from tests.wire import altered, deployment_body, event_line, list_page, object_json, page_of

DEPLOYMENTS, AUTOSCALERS = Resource.DEPLOYMENTS, Resource.AUTOSCALERS
ANNOTATIONS = {"minimum": "min-replicas", "maximum": "max-replicas", "protected": "protected"}
PROGRESS = Progress(generation=7, observed=6, total=4, ready=3, available=2, updated=1)
SCALER = Autoscaler("shop", "web-scaler", "uid-hpa", "41", "web", 3, 10)


def decoded(item: Deployment, **changed: Any) -> Deployment:
    """Return what a page with this Deployment comes to, with some of its fields changed."""
    (found,) = decode_page(DEPLOYMENTS, page_of(altered(item, **changed))).objects
    assert isinstance(found, Deployment)
    return found


class ProgressTests(SynchronousTestCase):
    """What the status says."""

    def test_counts(self) -> None:
        """Counts and both generations are kept, also of a paused Deployment."""
        for progress in (PROGRESS, replace(PROGRESS, paused=True), Progress(generation=1)):
            with self.subTest(progress):
                item = replace(deployment(), progress=progress)
                self.assertEqual(decode_page(DEPLOYMENTS, list_page(item)).objects, [item])

    def test_trouble(self) -> None:
        """What keeps the controller from getting on is told in its own words; what is in order is not."""
        trouble = "ProgressDeadlineExceeded: it took too long"
        for conditions, told in (
            ([("Available", "False", "MinimumReplicasUnavailable", "not enough")], ""),
            ([("Progressing", "True", "ReplicaSetUpdated", "it goes on")], ""),
            ([("Progressing", "Unknown", "DeploymentPaused", "it is paused")], ""),
            ([("ReplicaFailure", "False", "Fine", "")], ""),
            ([("Progressing", "False", "ProgressDeadlineExceeded", "it took too long")], trouble),
            ([("ReplicaFailure", "True", "FailedCreate", "quota\nof 4")], "FailedCreate: quota of 4"),
            ([("Progressing", "False", "Slow", "-"), ("ReplicaFailure", "True", "Refused", "no")], "Refused: no"),
            ([("ReplicaFailure", "True", "Refused", "no"), ("Progressing", "False", "Slow", "-")], "Refused: no"),
        ):
            with self.subTest(conditions):
                names = ("type", "status", "reason", "message")
                drawn = [dict(zip(names, each, strict=True)) for each in conditions]
                progress = decoded(deployment(), status={"conditions": drawn}).progress
                assert progress is not None
                self.assertEqual(progress.trouble, told)

    def test_equal_values_are_one_object(self) -> None:
        """A hundred thousand settled Deployments share what their status says."""
        one, other = (replace(deployment(name), progress=PROGRESS) for name in ("a", "b"))
        self.assertIs(decoded(one).progress, decoded(other).progress)

    def test_nonsense_leaves_the_count(self) -> None:
        """A Deployment whose status makes no sense is served, set and guarded as ever: in lists and in watches."""
        item, guarded = replace(deployment(), progress=PROGRESS), replace(deployment(), guards=Guards(maximum="9"))
        metadata = {**object_json(item)["metadata"], "annotations": {"sre-server/max-replicas": "9"}}
        for nonsense in ({"status": {"readyReplicas": "many"}}, {"status": 7}, {"status": {"conditions": "Failure"}}):
            with self.subTest(nonsense):
                self.assertEqual(decoded(item, metadata=metadata, **nonsense), guarded)
        line = event_line("MODIFIED", item).replace(b'"readyReplicas": 3', b'"readyReplicas": null')
        self.assertEqual(decode_line(DEPLOYMENTS, bytearray(line)).change, Put(deployment()))


class OwnersTests(SynchronousTestCase):
    """Who else sets the count."""

    def test_owners(self) -> None:
        """The manager of the count is told from those of other fields, and of the status, which has a count, too."""
        for owners in (
            Owners("kubectl-client-side-apply", "Update", applied=True),
            Owners("argocd-controller", "Apply", appliers=("argocd-controller",)),
            Owners("sre-server", "Update", "scale", appliers=("flux",)),
            Owners(appliers=("flux", "helm")),
            Owners(controller="Kafka main"),
        ):
            with self.subTest(owners):
                item = replace(deployment(), owners=owners)
                self.assertEqual(decode_page(DEPLOYMENTS, list_page(item)).objects, [item])

    def test_nobody(self) -> None:
        """Of a Deployment that nobody else manages nothing is kept."""
        self.assertIsNone(decoded(replace(deployment(), owners=Owners())).owners)

    def test_names_are_cleaned(self) -> None:
        """The name of a manager is somebody's own choice: it stays one line, and short."""
        managed = [{"manager": "a\r\nb" + 200 * "c", "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
        metadata = {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1", "managedFields": managed}
        owners = decoded(deployment(), metadata=metadata).owners
        assert owners is not None
        self.assertEqual((owners.manager[:4], len(owners.manager)), ("a  b", 128))


class GuardsTests(SynchronousTestCase):
    """The annotations that bound a Deployment's own count."""

    def test_each_counts_alone(self) -> None:
        """Any of the three makes guards, whichever others there are; without them nothing is kept."""
        for guards in (
            None,
            Guards(minimum="2"),
            Guards(maximum="9"),
            Guards(protected="true"),
            Guards(minimum="2", maximum="9"),
            Guards(minimum="2", protected="true"),
            Guards(maximum="9", protected="true"),
            Guards(minimum="2", maximum="9", protected="true"),
        ):
            with self.subTest(guards):
                drawn = {"example.org/owner": "shop"}
                for name in ("minimum", "maximum", "protected") if guards else ():
                    if text := getattr(guards, name):
                        drawn[f"sre-server/{ANNOTATIONS[name]}"] = text
                metadata = {**object_json(deployment())["metadata"], "annotations": drawn}
                item = replace(deployment(), guards=guards)
                self.assertEqual(decoded(deployment(), metadata=metadata), item)
                line = {"type": "MODIFIED", "object": altered(deployment(), metadata=metadata)}
                self.assertEqual(decode_line(DEPLOYMENTS, json.dumps(line).encode()).change, Put(item))
                for metadata_only in (False, True):
                    body = deployment_body(deployment(), annotations=drawn, metadata_only=metadata_only)
                    self.assertEqual(decode_state(body).guards, guards or Guards())

    def test_no_annotations(self) -> None:
        """So it is where there is no annotation at all, or null in their place."""
        absent: tuple[dict[str, str] | None, ...] = ({}, None)
        for annotations in absent:
            metadata = {**object_json(deployment())["metadata"], "annotations": annotations}
            self.assertIsNone(decoded(deployment(), metadata=metadata).guards)


class AutoscalerTests(SynchronousTestCase):
    """HorizontalPodAutoscalers."""

    def test_autoscalers(self) -> None:
        """Target, bounds, owner, and whether it is switched off are kept; one of something else has no target."""
        for item in (
            SCALER,
            replace(SCALER, owner="ScaledObject web"),
            replace(SCALER, active=False),
            replace(SCALER, minimum=0),
            replace(SCALER, target=""),
        ):
            with self.subTest(item):
                self.assertEqual(decode_page(AUTOSCALERS, list_page(item)).objects, [item])
                line = bytearray(event_line("DELETED", item))
                self.assertEqual(decode_line(AUTOSCALERS, line).change, Deleted(item))

    def test_minimum_is_one_by_default(self) -> None:
        """So it is in Kubernetes, where the minimum is left out."""
        body = list_page(replace(SCALER, minimum=1)).replace(b'"minReplicas": 1, ', b"")
        self.assertEqual(decode_page(AUTOSCALERS, body).objects, [replace(SCALER, minimum=1)])

    def test_long_owner(self) -> None:
        """The owner's name is cut where it is longer than any that is proper."""
        item = replace(SCALER, owner=f"ScaledObject {'x' * 300}")
        (found,) = decode_page(AUTOSCALERS, list_page(item)).objects
        assert isinstance(found, Autoscaler)
        self.assertEqual((len(found.owner), found.owner[:15], found.owner[-4:]), (256, "ScaledObject xx", "x..."))

    def test_failing_metrics_do_not_switch_it_off(self) -> None:
        """It holds the count in its bounds also while it cannot compute one."""
        failing = list_page(SCALER).replace(b"ValidMetricFound", b"FailedGetResourceMetric").replace(b"True", b"False")
        self.assertEqual(decode_page(AUTOSCALERS, failing).objects, [SCALER])

    def test_unreadable_bounds_nothing(self) -> None:
        """One that cannot be read keeps no other from being read, and nobody from writing."""
        body = list_page(SCALER).replace(b'"maxReplicas": 10', b'"maxReplicas": "ten"')
        (found,) = decode_page(AUTOSCALERS, body).objects
        assert isinstance(found, Autoscaler)
        self.assertEqual((found.name, found.target, found.active), ("web-scaler", "", False))
        self.assertEqual((found.uid, found.resource_version), (SCALER.uid, SCALER.resource_version))
        self.assertEqual(len(self.flushLoggedErrors()), 0)
