"""The pods of a Deployment, made up from its status whenever somebody looks; and what keeps them from starting.

An image with the tag `withdrawn` cannot be pulled any more: pods that run it go on. A pool, which pods are bound to by
a node selector, has room for a few of them.
"""

from collections.abc import Iterator

from sre_server.simulator.kinds import Object
from sre_server.simulator.rollout import Limits

POOL_ROOM = 2
WITHDRAWN = ":withdrawn"
_NO_NODE = (
    "0/4 nodes are available: 1 Too many pods, 3 node(s) didn't match Pod's node affinity/selector. "
    "no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
)


def image_of(deployment: Object) -> str:
    """Return the image of a Deployment's only container."""
    containers = _template(deployment)["spec"]["containers"]
    return str(containers[0].get("image", "")) if containers else ""


def limits_of(deployment: Object) -> Limits:
    """Return how many pods of a Deployment can start."""
    if image_of(deployment).endswith(WITHDRAWN):
        return Limits(ready=0)
    if _template(deployment)["spec"].get("nodeSelector"):
        return Limits(ready=POOL_ROOM)
    return Limits()


def name_of(deployment: Object, number: int) -> str:
    """Return the name of a Deployment's pod."""
    return f"{replica_set_of(deployment)}-{number:05x}"


def replica_set_of(deployment: Object) -> str:
    """Return the name of the only ReplicaSet of a Deployment."""
    return f"{deployment['metadata']['name']}-{_hash(deployment)}"


def pods_of(deployment: Object) -> Iterator[Object]:
    """Yield the pods that exist, the ready ones first."""
    metadata, status = deployment["metadata"], deployment["status"]
    for number in range(status.get("replicas", 0)):
        ready = number < status.get("readyReplicas", 0)
        yield {
            "metadata": {
                "name": name_of(deployment, number),
                "namespace": metadata["namespace"],
                "uid": f"{metadata['uid'][:-5]}{number:05x}",
                "resourceVersion": metadata["resourceVersion"],
                "creationTimestamp": metadata["creationTimestamp"] if ready else _latest(status),
                "labels": {
                    **_template(deployment)["metadata"].get("labels", {}),
                    "pod-template-hash": _hash(deployment),
                },
                "ownerReferences": [
                    {
                        "apiVersion": "apps/v1",
                        "kind": "ReplicaSet",
                        "name": replica_set_of(deployment),
                        "uid": f"{metadata['uid'][:-5]}fffff",
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "spec": _template(deployment)["spec"],
            "status": _running(deployment) if ready else _waiting(deployment, number),
        }


def _running(deployment: Object) -> Object:
    conditions = [_condition(kind, True) for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]
    return {
        "phase": "Running",
        "conditions": conditions,
        "containerStatuses": [_container(deployment, {"running": {}})],
    }


def _waiting(deployment: Object, number: int) -> Object:
    if _template(deployment)["spec"].get("nodeSelector") and number >= POOL_ROOM:
        return {"phase": "Pending", "conditions": [_condition("PodScheduled", False, "Unschedulable", _NO_NODE)]}
    image = image_of(deployment)
    waiting = {"reason": "ContainerCreating"}
    if image.endswith(WITHDRAWN):
        waiting = {
            "reason": "ImagePullBackOff",
            "message": f'Back-off pulling image "{image}": ErrImagePull: not found',
        }
    conditions = [
        _condition("PodScheduled", True),
        _condition(
            "Ready", False, "ContainersNotReady", f"containers with unready status: [{deployment['metadata']['name']}]"
        ),
    ]
    return {
        "phase": "Pending",
        "conditions": conditions,
        "containerStatuses": [_container(deployment, {"waiting": waiting})],
    }


def _container(deployment: Object, state: Object) -> Object:
    ready = "running" in state
    return {
        "name": deployment["metadata"]["name"],
        "image": image_of(deployment),
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
    }


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Object:
    why = {"reason": reason, "message": message} if reason else {}
    return {"type": kind, "status": "True" if holds else "False", **why}


def _template(deployment: Object) -> Object:
    template = deployment["spec"].get("template") or {}
    return {"metadata": template.get("metadata") or {}, "spec": {"containers": [], **(template.get("spec") or {})}}


def _hash(deployment: Object) -> str:
    return str(deployment["metadata"]["uid"]).replace("-", "")[:10]


def _latest(status: Object) -> str:
    return max(str(condition["lastUpdateTime"]) for condition in status["conditions"])
