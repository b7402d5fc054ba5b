"""How a Deployment's status follows its spec: a few steps, a few seconds, as far as pods may exist and can start."""

import msgspec

from sre_server.simulator.kinds import Object
from sre_server.simulator.objects import deployment_status

STEP_SECONDS = 0.5
STEPS = 5
_UNBOUNDED = 2**31


class Limits(msgspec.Struct, frozen=True):
    """What keeps a Deployment from getting on: so many pods may exist (`refusal` says why), so many can be ready."""

    existing: int = _UNBOUNDED
    ready: int = _UNBOUNDED
    refusal: str = ""


def next_status(deployment: Object, now: str, limits: Limits) -> Object | None:
    """Return the status one step closer to the spec, or None when it has come as far as it can.

    The first step observes the new generation and creates what is missing; the next ones make it ready, or remove what
    is too much. Pods that exist, or are ready, stay so, whatever the limits.
    """
    status, wanted = deployment["status"], deployment["spec"]["replicas"]
    generation = deployment["metadata"]["generation"]
    existing, ready = status.get("replicas", 0), status.get("readyReplicas", 0)
    allowed = min(wanted, max(existing, limits.existing))
    startable = min(allowed, max(ready, limits.ready))
    refusal = limits.refusal if allowed < wanted else ""
    told = any(condition["type"] == "ReplicaFailure" for condition in status.get("conditions", ()))
    if status.get("observedGeneration", 0) < generation:
        existing = max(existing, allowed)
    elif (existing, ready, told) == (allowed, startable, bool(refusal)):
        return None
    else:
        existing = _toward(existing, allowed)
        ready = min(_toward(ready, startable), existing)
    return deployment_status(generation, wanted, existing, ready, now, status.get("conditions"), refusal=refusal)


def _toward(count: int, goal: int) -> int:
    stride = max(1, -(-abs(goal - count) // STEPS))
    return min(goal, count + stride) if count < goal else max(goal, count - stride)
