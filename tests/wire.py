"""The Kubernetes API's own JSON, drawn from model objects, with some of the many fields that nobody here reads."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sre_server.cluster.scalings import COMPONENT, SCALED, annotations_of
from sre_server.model import Autoscaler, Deployment, Namespace, Notes, Object, Owners, Progress, ScaledEvent
from tests.fakes import FakeReply


def by_name(items: Iterable[Deployment]) -> dict[str, dict[str, Deployment]]:
    """Arrange Deployments as a list holds them."""
    arranged: dict[str, dict[str, Deployment]] = {}
    for item in items:
        arranged.setdefault(item.namespace, {})[item.name] = item
    return arranged


def object_json(item: Object, *, kind: bool = True) -> dict[str, Any]:
    """Draw an object as the Kubernetes API does, with some fields that nobody here reads; lists leave out the kind."""
    if isinstance(item, Autoscaler):
        return _autoscaler_json(item, kind=kind)
    if isinstance(item, Notes):
        named = {"name": item.name, "namespace": item.namespace, "uid": item.uid}
        head = {"kind": "ConfigMap", "apiVersion": "v1"} if kind else {}
        return {**head, "metadata": {**named, "resourceVersion": item.resource_version}, "data": item.data}
    if isinstance(item, ScaledEvent):
        return _scaling_json(item, kind=kind)
    metadata: dict[str, Any] = {"name": item.name}
    metadata |= {} if isinstance(item, Namespace) else {"namespace": item.namespace}
    metadata |= {"uid": item.uid, "resourceVersion": item.resource_version}
    metadata |= {"generation": 4, "creationTimestamp": "2026-05-04T10:00:00Z", "labels": {"app": "ünïcode"}}
    if isinstance(item, Namespace):
        head = {"kind": "Namespace", "apiVersion": "v1"}
        body: dict[str, Any] = {"spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    else:
        head = {"kind": "Deployment", "apiVersion": "apps/v1"}
        template = {"spec": {"containers": [{"name": "c", "image": "nginx", "resources": {}}]}}
        body = {"spec": {"replicas": item.replicas, "template": template}}
        if item.progress is not None:
            metadata["generation"] = item.progress.generation
            body["spec"]["paused"] = item.progress.paused
            body["status"] = _status_json(item.progress)
        if item.owners is not None:
            metadata |= _owners_json(item.owners)
    return {**(head if kind else {}), "metadata": metadata, **body}


def _status_json(progress: Progress) -> dict[str, Any]:
    counts = {
        "observedGeneration": progress.observed,
        "replicas": progress.total,
        "readyReplicas": progress.ready,
        "availableReplicas": progress.available,
        "updatedReplicas": progress.updated,
    }
    reason, _, message = progress.trouble.partition(": ")
    failing = {"type": "Progressing", "status": "False", "reason": reason, "message": message}
    available = {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}
    conditions = [available, *([failing] if progress.trouble else [])]
    return {**{field: count for field, count in counts.items() if count}, "conditions": conditions}


def _owners_json(owners: Owners) -> dict[str, Any]:
    managed: list[dict[str, Any]] = [
        {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {}}}}
        for manager in owners.appliers
        if (manager, "Apply") != (owners.manager, owners.operation)
    ]
    if owners.manager:
        fields: dict[str, Any] = {"f:spec": {"f:replicas": {}, "f:selector": {}}}
        entry = {"manager": owners.manager, "operation": owners.operation, "fieldsV1": fields}
        managed.append(entry | ({"subresource": owners.subresource} if owners.subresource else {}))
    status: dict[str, Any] = {"f:status": {"f:replicas": {}}}
    managed.append(
        {"manager": "controller", "operation": "Update", "subresource": "status", "fieldsV1": status},
    )
    last_applied = json.dumps({"spec": {"replicas": 3} if owners.applied else {"template": {}}}, separators=(",", ":"))
    references: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "bystander", "uid": "x"}]
    if owners.controller:
        owner, name = owners.controller.split()
        references.append({"apiVersion": "v1", "kind": owner, "name": name, "uid": "y", "controller": True})
    return {
        "managedFields": managed,
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": last_applied},
        "ownerReferences": references,
    }


def _autoscaler_json(item: Autoscaler, *, kind: bool) -> dict[str, Any]:
    head = {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2"} if kind else {}
    metadata: dict[str, Any] = {"name": item.name, "namespace": item.namespace, "uid": item.uid}
    metadata["resourceVersion"] = item.resource_version
    if item.owner:
        owner, name = item.owner.split()
        metadata["ownerReferences"] = [{"kind": owner, "name": name, "controller": True}]
    target = {"kind": "Deployment" if item.target else "StatefulSet", "name": item.target or "other"}
    spec = {"scaleTargetRef": target, "minReplicas": item.minimum, "maxReplicas": item.maximum}
    active = ("True", "ValidMetricFound") if item.active else ("False", "ScalingDisabled")
    conditions = [{"type": "ScalingActive", "status": active[0], "reason": active[1]}]
    return {**head, "metadata": metadata, "spec": spec, "status": {"conditions": conditions}}


def _scaling_json(item: ScaledEvent, *, kind: bool) -> dict[str, Any]:
    head = {"kind": "Event", "apiVersion": "v1"} if kind else {}
    metadata: dict[str, Any] = {"name": item.name, "namespace": item.namespace, "uid": item.uid}
    metadata |= {"resourceVersion": item.resource_version, "annotations": annotations_of(item.author)}
    involved = {"kind": "Deployment", "name": "web", "uid": item.target, "resourceVersion": item.left_at}
    body = {"involvedObject": involved, "reason": SCALED, "source": {"component": COMPONENT}, "message": "scaled"}
    return {**head, "metadata": metadata, **body}


def deployment_body(
    item: Deployment, *, annotations: Mapping[str, str] | None = None, metadata_only: bool = False
) -> bytes:
    """Draw one Deployment, or its metadata alone, as the cluster answers who asks for it by name."""
    drawn = object_json(item)
    if annotations:
        drawn["metadata"]["annotations"] = {"another": "one", **annotations}
    if metadata_only:
        drawn = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": drawn["metadata"]}
    return json.dumps(drawn).encode()


def list_page(*items: Object, version: str = "100", next_token: str = "") -> bytes:
    """Draw one page of a list."""
    metadata = {"resourceVersion": version} | ({"continue": next_token} if next_token else {})
    drawn = [object_json(item, kind=False) for item in items]
    return json.dumps({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": drawn}).encode()


def altered(item: Deployment, **fields: Any) -> dict[str, Any]:
    """Draw a Deployment with some of its top-level fields replaced; None leaves one out."""
    drawn = object_json(item) | fields
    return {name: value for name, value in drawn.items() if value is not None}


def page_of(*items: Any) -> bytes:
    """Draw a page of anything."""
    return json.dumps({"metadata": {"resourceVersion": "5"}, "items": items}).encode()


def event_line(kind: str, item: Object) -> bytes:
    """Draw one line of a watch: ADDED, MODIFIED or DELETED."""
    return json.dumps({"type": kind, "object": object_json(item)}).encode() + b"\n"


def bookmark_line(version: str, *, initial_events_end: bool = False) -> bytes:
    """Draw a BOOKMARK line of a watch, or the one that ends a streamed list."""
    metadata: dict[str, Any] = {"resourceVersion": version}
    if initial_events_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    bookmarked: dict[str, Any] = {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": metadata}
    bookmarked |= {"spec": {"template": {}}, "status": {}}
    return json.dumps({"type": "BOOKMARK", "object": bookmarked}).encode() + b"\n"


def status_json(code: int, reason: str = "", message: str = "", about: str = "") -> dict[str, Any]:
    """Draw the Status that says what went wrong, `about` which object, as in `deployments/web`."""
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    kind, _, name = about.rpartition("/")
    details = {"kind": kind, "name": name} if about else {}
    return {**head, "message": message, "reason": reason, "code": code, "details": details}


def refusal(
    code: int, reason: str = "", message: str = "", retry_after: int | None = None, about: str = ""
) -> FakeReply:
    """Answer a request with a Status, as HTTP status and body."""
    return FakeReply(code, [json.dumps(status_json(code, reason, message, about)).encode()], retry_after)


def error_line(code: int, reason: str = "", message: str = "") -> bytes:
    """Draw an ERROR line of a watch."""
    return json.dumps({"type": "ERROR", "object": status_json(code, reason, message)}).encode() + b"\n"


def scale_body(deployment: Deployment) -> bytes:
    """Draw the Scale of a Deployment, which leaves a count of 0 out."""
    metadata = {"name": deployment.name, "namespace": deployment.namespace, "uid": deployment.uid}
    metadata["resourceVersion"] = deployment.resource_version
    spec = {"replicas": deployment.replicas} if deployment.replicas else {}
    scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec}
    return json.dumps({**scale, "status": {"replicas": 5, "selector": "app=web"}}).encode()
