"""What would become of a count, by all that is known beside it: findings in words, and the verdict they come to."""

from collections.abc import Iterable, Iterator
from decimal import ROUND_CEILING, Decimal
from enum import Enum

from msgspec import Struct

from sre_server.day.owners import SERVER_SIDE, applier_of, perhaps_applier_of
from sre_server.day.rollout import Rollout, rollout_of
from sre_server.model import Budget, Deployment, Limit, Owners, Quota, Surroundings

_MEASURED = frozenset(
    {"pods", "count/pods", "cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"}
)
"""The resources of quotas that are understood here."""


class Verdict(Enum):
    """What becomes of a count, the best first; the values are what the API says."""

    HOLDS = "will hold"
    MAY_NOT_HOLD = "may not hold"
    DOES_NOT_HOLD = "will not hold"
    REFUSED = "is refused"


class Finding(Struct, frozen=True):
    """One thing to know; `about` is one of few words, `verdict` what would become of the count if it were all."""

    about: str
    message: str
    verdict: Verdict = Verdict.HOLDS


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Return the worst of the verdicts."""
    order = list(Verdict)
    return max((each.verdict for each in findings), key=order.index, default=Verdict.HOLDS)


def findings_of(deployment: Deployment, replicas: int, around: Surroundings | None) -> Iterator[Finding]:
    """Find what bears on a count: its other owners, quotas, the rollout, disruption budgets, and what is not known."""
    owners = deployment.owners or Owners()
    if owners.controller:
        what = f"It belongs to {owners.controller}, whose controller may set the count again; change it there."
        yield Finding("controller", what, Verdict.MAY_NOT_HOLD)
    if applier := applier_of(owners):
        yield Finding("apply", _applied(applier, replicas), Verdict.MAY_NOT_HOLD)
    elif applier := perhaps_applier_of(owners):
        what = f"If what {applier} applies from the server's side has a count, that comes back the next time."
        yield Finding("apply", what, Verdict.MAY_NOT_HOLD)
    yield from _rollout(deployment)
    around = around if around is not None and around.uid == deployment.uid else None
    more = replicas - (around.pods if around else deployment.replicas)
    if around is not None and around.quotas is not None:
        for quota in around.quotas if more > 0 else ():
            yield from _quota(quota, around, replicas, more)
    elif more > 0:
        yield Finding("not known", "Whether a ResourceQuota allows so many pods is not known.", Verdict.MAY_NOT_HOLD)
    if around is not None and around.budgets is not None:
        yield from (_stuck(budget, replicas) for budget in around.budgets if _allows_none(budget, replicas))
    else:
        yield Finding("not known", "Whether a PodDisruptionBudget holds up drains of nodes then is not known.")


def _applied(applier: str, replicas: int) -> str:
    how = ""
    if applier.endswith(SERVER_SIDE):
        how = ", silently, as a count of 0 has no owner" if replicas == 0 else ", or without force it meets a conflict"
    return f"A count is written down elsewhere, by {applier}; if that is applied again, its count comes back{how}."


def _rollout(deployment: Deployment) -> Iterator[Finding]:
    progress, rollout = deployment.progress, rollout_of(deployment)
    if progress is None:
        yield Finding("not known", "Its status is not known, so neither is whether a rollout is under way.")
    elif rollout is Rollout.PAUSED:
        yield Finding("rollout", "Its rollout is paused; it is scaled all the same.")
    elif rollout is Rollout.STUCK:
        what = f"It is stuck already ({progress.trouble}), and new pods may be of either template."
        yield Finding("rollout", what, Verdict.MAY_NOT_HOLD)
    elif progress.updated < progress.total:
        new = f"{progress.updated} of {progress.total} pods have the latest template"
        yield Finding("rollout", f"A rollout is under way: {new}, and new ones may be of either.")
    elif rollout is Rollout.SETTLING:
        ready = f"{progress.available} of {deployment.replicas} pods are available"
        yield Finding("rollout", f"It has yet to settle at the count of now: {ready}.")


def _quota(quota: Quota, around: Surroundings, replicas: int, more: int) -> Iterator[Finding]:
    """Find what a quota leaves no room for; pods of a Deployment have no deadline, so they are never Terminating."""
    if "Terminating" in quota.scopes:
        return
    scopes = [scope for scope in quota.scopes if scope != "NotTerminating"]
    for limit in quota.limits:
        if limit.resource not in _MEASURED:
            continue
        need = around.needs.get(limit.resource)
        allowed = f"ResourceQuota {quota.name} allows {limit.resource} {limit.hard}, of which {limit.used} is used"
        if need is None:
            what = f"{allowed}; what a pod takes of that is not in the template."
            yield Finding("not known", what, Verdict.MAY_NOT_HOLD)
        elif need * more > limit.free:
            fits = f"{_fitting(limit, need)} of {more} more pods fit"
            if scopes:
                what = f"{allowed}, and if it counts these pods (it is for {', '.join(scopes)}), {fits}."
            else:
                what = f"{allowed}: {fits}."
            # Only a count of pods is certain: what a pod takes may be another figure, once it was admitted.
            never = not scopes and limit.resource.endswith("pods") and need * replicas > limit.most
            yield Finding("quota", what, Verdict.DOES_NOT_HOLD if never else Verdict.MAY_NOT_HOLD)


def _fitting(limit: Limit, need: Decimal) -> int:
    return max(0, int(limit.free // need))


def _stuck(budget: Budget, replicas: int) -> Finding:
    bound = (
        f"minAvailable {budget.min_available}" if budget.min_available else f"maxUnavailable {budget.max_unavailable}"
    )
    what = (
        f"PodDisruptionBudget {budget.name} ({bound}) lets none of {replicas} pods go: drains of nodes will be stuck."
    )
    return Finding("disruption budget", what)


def _allows_none(budget: Budget, replicas: int) -> bool:
    """Tell whether a budget lets no pod be evicted when all of so many are there; percentages are rounded up."""
    if replicas == 0:
        return False
    if budget.min_available:
        return _count(budget.min_available, replicas) >= replicas
    return bool(budget.max_unavailable) and _count(budget.max_unavailable, replicas) <= 0


def _count(bound: str, replicas: int) -> int:
    if bound.endswith("%") and bound[:-1].isdecimal():
        share = Decimal(bound[:-1]) * replicas / 100
        return int(share.to_integral_value(ROUND_CEILING))
    return int(bound) if bound.isdecimal() else 1
