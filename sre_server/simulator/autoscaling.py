"""What a HorizontalPodAutoscaler does with the count of its Deployment: it keeps it in bounds; no metric moves it.

As the real one, it is off while the count is 0, until somebody else sets 1 or more.
"""

import msgspec

from sre_server.simulator.kinds import Object

SYNC_SECONDS = 3.0
MANAGER = "kube-controller-manager"
_TEXTS = {
    "SucceededRescale": "the HPA controller was able to update the target scale to {count}",
    "ReadyForNewScale": "recommended size matches current size",
    "SucceededGetScale": "the HPA controller was able to get the target's current scale",
    "ValidMetricFound": "the HPA was able to successfully calculate a replica count from cpu resource utilization "
    "(percentage of request)",
    "ScalingDisabled": "scaling is disabled since the replica count of the target is zero",
    "TooFewReplicas": "the desired replica count is less than the minimum replica count",
    "TooManyReplicas": "the desired replica count is more than the maximum replica count",
    "DesiredWithinRange": "the desired count is within the acceptable range",
}


class Decision(msgspec.Struct, frozen=True):
    """The count that the Deployment gets, and the status that the autoscaler has then."""

    replicas: int
    status: Object


def target_of(autoscaler: Object) -> str:
    """Return the name of the Deployment that is scaled, or nothing where it is something else."""
    target = autoscaler["spec"]["scaleTargetRef"]
    return str(target["name"]) if target["kind"] == "Deployment" else ""


def decide(autoscaler: Object, deployment: Object, now: str) -> Decision:
    """Return what becomes of a count."""
    spec, before = autoscaler["spec"], autoscaler.get("status") or {}
    present = deployment["spec"]["replicas"]
    lowest = spec.get("minReplicas", 1)
    replicas = min(max(present, lowest), spec["maxReplicas"]) if present else 0
    if not present:
        reasons = [("AbleToScale", True, "SucceededGetScale"), ("ScalingActive", False, "ScalingDisabled")]
    else:
        moved = "SucceededRescale" if replicas != present else "ReadyForNewScale"
        bound = "TooFewReplicas" if replicas > present else "TooManyReplicas"
        limited = replicas != present
        reasons = [
            ("AbleToScale", True, moved),
            ("ScalingActive", True, "ValidMetricFound"),
            ("ScalingLimited", limited, bound if limited else "DesiredWithinRange"),
        ]
    earlier = {condition["type"]: condition for condition in before.get("conditions", ())}
    conditions = [_condition(earlier.get(kind), kind, holds, reason, replicas, now) for kind, holds, reason in reasons]
    status = {
        **{field: value for field, value in before.items() if field == "lastScaleTime"},
        **({"lastScaleTime": now} if replicas != present else {}),
        "currentReplicas": present,
        "desiredReplicas": replicas,
        "conditions": conditions,
    }
    return Decision(replicas, status)


def _condition(before: Object | None, kind: str, holds: bool, reason: str, count: int, now: str) -> Object:
    status = "True" if holds else "False"
    since = before["lastTransitionTime"] if before and before["status"] == status else now
    message = _TEXTS[reason].format(count=count)
    return {"type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message}
