"""Kubernetes objects as plain dictionaries, with the fields that a real cluster fills in.

They carry no kind and no apiVersion here, as in a list; whoever sends a single one adds them.
"""

from datetime import UTC, datetime
from uuid import UUID, uuid5

from sre_server.simulator.kinds import DEPLOYMENTS, NAMESPACES, Kind, Object

_UIDS = UUID("5f1b6d0e-4a3c-4c1e-9f5d-1d2c3b4a5968")
_MESSAGES = {
    "MinimumReplicasAvailable": "Deployment has minimum availability.",
    "MinimumReplicasUnavailable": "Deployment does not have minimum availability.",
    "NewReplicaSetAvailable": "ReplicaSet has successfully progressed.",
    "ReplicaSetUpdated": "ReplicaSet is progressing.",
}


def timestamp(seconds: float) -> str:
    """Return a moment as Kubernetes writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def uid(serial: int) -> str:
    """Return the UID of the object that was created as number `serial`."""
    return str(uuid5(_UIDS, str(serial)))


def namespace(name: str) -> Object:
    """Return a Namespace as a user writes it."""
    return {"metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}


def deployment(namespace: str, name: str, *, replicas: int = 1, image: str = "", pool: str = "") -> Object:
    """Return a Deployment with the defaults of a real one, without any status; `pool` is where its pods have to run."""
    labels = {"app.kubernetes.io/name": name}
    container = {
        "name": name,
        "image": image or f"images.example/{namespace}/{name}:1.4.2",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
    pod = {
        "containers": [container],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        **({"nodeSelector": {"pool": pool}} if pool else {}),
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": spec}


def created(kind: Kind, written: Object) -> Object:
    """Return a new object with the fields that a cluster adds to those of its kind."""
    if kind is NAMESPACES:
        return {**written, "status": {"phase": "Active"}}
    if kind is DEPLOYMENTS:
        metadata = {**written["metadata"], "generation": 1}
        return {**written, "metadata": metadata, "spec": {"replicas": 1, **(written.get("spec") or {})}, "status": {}}
    return written


def settled_status(replicas: int, generation: int, since: str) -> Object:
    """Return the status of a Deployment whose replicas have all been available for a while."""
    return deployment_status(generation, replicas, replicas, replicas, since)


def deployment_status(
    generation: int,
    wanted: int,
    existing: int,
    ready: int,
    now: str,
    conditions: list[Object] | None = None,
    *,
    refusal: str = "",
) -> Object:
    """Return the status of a Deployment; `conditions` are those before, which tell when each one changed last.

    `refusal` says why no more pods could be made, where that is so.
    """
    counts = {
        "replicas": existing,
        "updatedReplicas": existing,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": existing - ready,
    }
    before = {condition["type"]: condition for condition in conditions or ()}
    enough, settled = ready >= wanted - wanted // 4, existing == ready == wanted
    available = "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
    progressing = "NewReplicaSetAvailable" if settled else "ReplicaSetUpdated"
    failed = "ReplicaFailure"
    failure = [_condition(failed, True, "FailedCreate", now, before.get(failed), refusal)] if refusal else []
    return {
        "observedGeneration": generation,
        **{field: count for field, count in counts.items() if count},
        "conditions": [
            _condition("Available", enough, available, now, before.get("Available")),
            _condition("Progressing", True, progressing, now, before.get("Progressing")),
            *failure,
        ],
    }


def metadata_of(value: Object) -> Object:
    """Return the metadata of an object alone, as clients may ask for it."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": value["metadata"]}


def scale_of(deployment: Object) -> Object:
    """Return the Scale of a Deployment, as autoscaling/v1 encodes it: zero replicas are left out."""
    metadata, spec = deployment["metadata"], deployment["spec"]
    labels = spec.get("selector", {}).get("matchLabels", {})
    shown = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in shown},
        "spec": {"replicas": spec["replicas"]} if spec["replicas"] else {},
        "status": {
            "replicas": deployment["status"].get("replicas", 0),
            "selector": ",".join(f"{label}={value}" for label, value in sorted(labels.items())),
        },
    }


def _condition(kind: str, holds: bool, reason: str, now: str, before: Object | None, message: str = "") -> Object:
    status = "True" if holds else "False"
    unchanged = before is not None and before["status"] == status
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": now,
        "lastTransitionTime": before["lastTransitionTime"] if before and unchanged else now,
        "reason": reason,
        "message": message or _MESSAGES[reason],
    }
