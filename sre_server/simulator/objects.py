"""Kubernetes objects as plain dictionaries, with the fields that a real cluster fills in.

Objects carry no kind and no apiVersion here, as in a typed list; whoever sends a single one adds them.
"""

from datetime import UTC, datetime
from uuid import UUID, uuid5

from sre_server.simulator.kinds import Object

_UIDS = UUID("5f1b6d0e-4a3c-4c1e-9f5d-1d2c3b4a5968")
_DAY = 86_400.0
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_SPREAD = 7_368_787


def timestamp(seconds: float) -> str:
    """Return a moment as Kubernetes writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def uid(serial: int) -> str:
    """Return the UID of the object that was created as number `serial`."""
    return str(uuid5(_UIDS, str(serial)))


def suffix(serial: int) -> str:
    """Return what makes a generateName the name of the object that is created as number `serial`."""
    base = len(_SUFFIX_LETTERS)
    number = serial * _SPREAD % base**_SUFFIX_LENGTH
    return "".join(_SUFFIX_LETTERS[number // base**place % base] for place in range(_SUFFIX_LENGTH))


def namespace(name: str, *, labels: dict[str, str] | None = None) -> Object:
    """Return an active Namespace."""
    return {
        "metadata": {"name": name, "labels": {**(labels or {}), "kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def deployment(
    namespace: str, name: str, *, replicas: int = 1, labels: dict[str, str] | None = None, image: str = ""
) -> Object:
    """Return a Deployment as a user would have written it, defaults filled in, without any status."""
    own = {"app.kubernetes.io/name": name}
    container = {"name": name, "image": image or f"images.example/{namespace}/{name}:1.4.2"}
    return with_defaults(
        {
            "metadata": {"name": name, "namespace": namespace, "labels": {**own, **(labels or {})}},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": own},
                "template": {"metadata": {"labels": own}, "spec": {"containers": [container]}},
            },
        }
    )


def with_defaults(written: Object) -> Object:
    """Return a Deployment with the fields that its author left to the cluster."""
    spec = dict(written.get("spec") or {})
    template = dict(spec.get("template") or {})
    pod = {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
        **(template.get("spec") or {}),
    }
    containers = pod.get("containers")
    pod["containers"] = [_container(item) for item in containers] if isinstance(containers, list) else []
    defaults: Object = {
        "replicas": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }
    filled = {field: value for field, value in spec.items() if value is not None}
    return {**written, "spec": {**defaults, **filled, "template": {**template, "spec": pod}}}


def settled_status(replicas: int, generation: int, since: str) -> Object:
    """Return the status of a Deployment whose replicas have all been available for a while."""
    status: Object = {"observedGeneration": generation}
    if replicas:
        status |= dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
    status["conditions"] = [
        condition("Available", True, "MinimumReplicasAvailable", "Deployment has minimum availability.", since),
        condition("Progressing", True, "NewReplicaSetAvailable", "ReplicaSet has successfully progressed.", since),
    ]
    return status


def condition(kind: str, holds: bool, reason: str, message: str, since: str) -> Object:
    """Return one entry of a Deployment's conditions."""
    return {
        "type": kind,
        "status": "True" if holds else "False",
        "lastUpdateTime": since,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }


def scale_of(deployment: Object) -> Object:
    """Return the Scale of a Deployment, as autoscaling/v1 encodes it: zero replicas are left out."""
    metadata = deployment["metadata"]
    labels = deployment["spec"].get("selector", {}).get("matchLabels", {})
    replicas = deployment["spec"].get("replicas", 1)
    shown = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {field: metadata[field] for field in shown},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {
            "replicas": deployment.get("status", {}).get("replicas", 0),
            "selector": ",".join(f"{label}={value}" for label, value in sorted(labels.items())),
        },
    }


def days_ago(now: float, serial: int) -> float:
    """Return a believable, repeatable moment of creation for the starting population."""
    return now - _DAY * (3 + serial * 7 % 240) - serial * 977 % 80_000


def _container(written: Object) -> Object:
    defaults: Object = {
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "IfNotPresent",
    }
    return {**defaults, **written}
