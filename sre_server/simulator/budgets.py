"""What bounds the pods of a namespace: the quota that none may exceed, and the budget that drains may not break."""

from collections.abc import Iterable

from sre_server.simulator.kinds import Object
from sre_server.simulator.rollout import Limits


def existing_pods(deployments: Iterable[Object]) -> int:
    """Return how many pods there are."""
    return sum(deployment["status"].get("replicas", 0) for deployment in deployments)


def quota_limits(deployment: Object, quotas: Iterable[Object], used: int, pod: str) -> Limits:
    """Return how many pods of a Deployment may exist, where its namespace has `used`; `pod` names the next one."""
    limits = Limits()
    for quota in quotas:
        hard = _hard(quota)
        own = deployment["status"].get("replicas", 0)
        if hard is not None and own + hard - used < limits.existing:
            full = max(used, hard)  # as the next one finds it, after those that are still allowed
            refusal = (
                f'pods "{pod}" is forbidden: exceeded quota: {quota["metadata"]["name"]}, '
                f"requested: pods=1, used: pods={full}, limited: pods={hard}"
            )
            limits = Limits(existing=max(own + hard - used, 0), refusal=refusal)
    return limits


def quota_status(quota: Object, used: int) -> Object:
    """Return the status of a quota in whose namespace there are so many pods."""
    hard = quota.get("spec", {}).get("hard", {})
    return {"hard": hard, "used": {"pods": str(used)} if "pods" in hard else {}}


def budget_status(budget: Object, deployments: Iterable[Object], generation: int = 1) -> Object:
    """Return the status of a PodDisruptionBudget, by those Deployments of its namespace whose pods it selects."""
    wanted = budget["spec"]["selector"].get("matchLabels", {}).items()
    chosen = [each for each in deployments if wanted <= each["spec"]["template"]["metadata"].get("labels", {}).items()]
    expected = sum(each["spec"]["replicas"] for each in chosen)
    healthy = sum(each["status"].get("readyReplicas", 0) for each in chosen)
    spec = budget["spec"]
    if "minAvailable" in spec:
        desired = _share(spec["minAvailable"], expected)
    else:
        desired = max(0, expected - _share(spec.get("maxUnavailable", 0), expected))
    allowed = max(0, healthy - desired) if expected else 0
    return {
        "observedGeneration": generation,
        "expectedPods": expected,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "conditions": [
            {
                "type": "DisruptionAllowed",
                "status": "True" if allowed else "False",
                "reason": "SufficientPods" if allowed else "InsufficientPods",
                "message": "",
            }
        ],
    }


def _hard(quota: Object) -> int | None:
    hard = quota.get("spec", {}).get("hard", {}).get("pods")
    return None if hard is None else int(hard)


def _share(amount: int | str, of: int) -> int:
    """Return a number of pods; a percentage is rounded up, as Kubernetes does it."""
    if isinstance(amount, int):
        return amount
    return -(-of * int(amount.removesuffix("%")) // 100)
