"""How a Deployment's status follows its spec: a few steps, a few seconds, on the caller's clock."""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sre_server.simulator.kinds import Key, Object
from sre_server.simulator.objects import deployment_status

STEP_SECONDS = 0.5
STEPS = 5


class Rollouts:
    """The Deployments whose status may not be what their spec asks for; `advance` moves one a step.

    A Deployment that was moved has changed, and whoever changed it starts it again.
    """

    def __init__(self, clock: IReactorTime, advance: Callable[[Key], object]) -> None:
        self._clock = clock
        self._advance = advance
        self._pending: dict[Key, IDelayedCall] = {}
        self._stopped = False

    def start(self, key: Key) -> None:
        """Move a Deployment soon."""
        if key not in self._pending and not self._stopped:
            self._pending[key] = self._clock.callLater(STEP_SECONDS, self._step, key)

    def forget(self, key: Key) -> None:
        """Move a Deployment no more."""
        pending = self._pending.pop(key, None)
        if pending is not None:
            pending.cancel()

    def clear(self) -> None:
        """Forget all Deployments."""
        for key in list(self._pending):
            self.forget(key)

    def stop(self) -> None:
        """Move nothing any more, for good; no timer stays behind."""
        self._stopped = True
        self.clear()

    def _step(self, key: Key) -> None:
        del self._pending[key]
        self._advance(key)


def next_status(deployment: Object, now: str) -> Object | None:
    """Return the status one step closer to the spec, or None when it has arrived.

    The first step observes the new generation and creates what is missing; the next ones make it ready, or remove what
    is too much.
    """
    status, wanted = deployment["status"], deployment["spec"]["replicas"]
    generation = deployment["metadata"]["generation"]
    existing, ready = status.get("replicas", 0), status.get("readyReplicas", 0)
    if status.get("observedGeneration", 0) < generation:
        existing = max(existing, wanted)
    elif existing == ready == wanted:
        return None
    else:
        existing = _toward(existing, wanted)
        ready = min(_toward(ready, wanted), existing)
    return deployment_status(generation, wanted, existing, ready, now, status.get("conditions"))


def _toward(count: int, goal: int) -> int:
    stride = max(1, -(-abs(goal - count) // STEPS))
    return min(goal, count + stride) if count < goal else max(goal, count - stride)
