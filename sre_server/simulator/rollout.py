"""How a Deployment's status follows its spec: a few steps, a few seconds, on the caller's clock."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sre_server.simulator.kinds import Object
from sre_server.simulator.objects import condition

OBSERVE_AFTER = 0.2
STEP_AFTER = 0.5
STEPS = 5


class Rollouts:
    """The Deployments that are on their way to what their spec asks for."""

    def __init__(self, clock: IReactorTime, advance: Callable[[str], bool]) -> None:
        self._clock = clock
        self._advance = advance
        self._pending: dict[str, IDelayedCall] = {}
        self._stopped = False

    def start(self, key: str) -> None:
        """Begin to move a Deployment; one that already moves is only re-aimed."""
        if key not in self._pending and not self._stopped:
            self._pending[key] = self._clock.callLater(OBSERVE_AFTER, self._step, key)

    def forget(self, key: str) -> None:
        """Stop moving a Deployment."""
        pending = self._pending.pop(key, None)
        if pending is not None:
            pending.cancel()

    def stop(self) -> None:
        """Stop moving anything, for good; no timer stays behind."""
        self._stopped = True
        for key in list(self._pending):
            self.forget(key)

    @property
    def moving(self) -> frozenset[str]:
        """Return the keys of the Deployments that have not arrived."""
        return frozenset(self._pending)

    def _step(self, key: str) -> None:
        del self._pending[key]
        if self._advance(key) and not self._stopped:
            self._pending[key] = self._clock.callLater(STEP_AFTER, self._step, key)


def arrived(deployment: Object) -> bool:
    """Tell whether the status says what the spec asks for."""
    return next_status(deployment, "") is None


def unobserved(deployment: Object) -> bool:
    """Tell whether the spec changed since the status was last brought up to date."""
    observed: int = deployment.get("status", {}).get("observedGeneration", 0)
    return observed < int(deployment["metadata"]["generation"])


def next_status(deployment: Object, now: str) -> Object | None:
    """Return the status one step closer to the spec, or None when there is nothing left to do."""
    status: Object = deployment.get("status") or {}
    generation: int = deployment["metadata"]["generation"]
    wanted: int = deployment["spec"].get("replicas", 1)
    replicas, updated, ready = (status.get(field, 0) for field in ("replicas", "updatedReplicas", "readyReplicas"))
    observed = status.get("observedGeneration", 0) >= generation
    if observed and replicas == updated == ready == wanted:
        return None
    if replicas < wanted:
        updated += wanted - replicas
        replicas = wanted
    if observed:
        replicas = _toward(replicas, wanted)
        updated = _toward(updated, replicas)
        ready = _toward(ready, replicas)
    return _status(generation, wanted, replicas, min(updated, replicas), min(ready, replicas), status, now)


def with_ready(deployment: Object, ready: int, now: str) -> Object:
    """Return the status of a Deployment of whose replicas exactly `ready` are ready."""
    status: Object = deployment.get("status") or {}
    replicas, updated = (status.get(field, 0) for field in ("replicas", "updatedReplicas"))
    wanted: int = deployment["spec"].get("replicas", 1)
    generation: int = status.get("observedGeneration", 0)
    return _status(generation, wanted, replicas, updated, min(ready, replicas), status, now)


def restarted(status: Object) -> Object:
    """Return the status at the moment when the pod template changed: no replica is up to date any more."""
    return {field: value for field, value in status.items() if field != "updatedReplicas"}


def _toward(count: int, goal: int) -> int:
    stride = max(1, -(-abs(goal - count) // STEPS))
    return min(goal, count + stride) if count < goal else max(goal, count - stride)


def _status(generation: int, wanted: int, replicas: int, updated: int, ready: int, before: Object, now: str) -> Object:
    counts = {
        "replicas": replicas,
        "updatedReplicas": updated,
        "readyReplicas": ready,
        "availableReplicas": ready,
        "unavailableReplicas": replicas - ready,
    }
    settled = replicas == updated == ready == wanted
    enough = ready >= wanted - wanted // 4
    conditions = [
        condition("Available", True, "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
        if enough
        else condition(
            "Available", False, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now
        ),
        condition("Progressing", True, "NewReplicaSetAvailable", "ReplicaSet has successfully progressed.", now)
        if settled
        else condition("Progressing", True, "ReplicaSetUpdated", "ReplicaSet is progressing.", now),
    ]
    known = {item["type"]: item for item in before.get("conditions", ())}
    for item in conditions:
        earlier = known.get(item["type"])
        if earlier is not None and earlier["status"] == item["status"]:
            item["lastTransitionTime"] = earlier["lastTransitionTime"]
            if earlier["reason"] == item["reason"]:
                item["lastUpdateTime"] = earlier["lastUpdateTime"]
    filled = {field: count for field, count in counts.items() if count}
    return {"observedGeneration": generation, **filled, "conditions": conditions}
