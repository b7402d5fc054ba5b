"""Plans: what would become of a count, and a tag with which it is only written while that stands.

A plan is of what the cache knows, and of what is looked up beside it; it asks the cluster for nothing that changes
anything. Its tag has all that is needed to verify it, so that any server can.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from sre_server.api.conditional import PlanTag, replicas_tag
from sre_server.api.judging import Judge, Wanted
from sre_server.cache import ClusterCache
from sre_server.day.basis import basis_of, changed
from sre_server.day.factory import Day
from sre_server.day.plan import Finding, Verdict, findings_of, verdict_of
from sre_server.errors import GuardrailRefused, PreconditionFailed
from sre_server.model import Deployment, Guards, Quota, State, Surroundings
from sre_server.security.guardrails import Bounds, Guardrails

_NO_AUTOSCALER: Final = "Whether an autoscaler holds the count in bounds is not known."


class Surveyor(Protocol):
    """Looks around in the cluster; see `sre_server.cluster.surveying.Surveys`."""

    def survey(self, client: str, namespace: str, name: str) -> Deferred[Surroundings | None]:
        """Look around a Deployment; fails with NotFound or Unavailable."""

    def quotas(self, client: str, namespace: str) -> Deferred[tuple[Quota, ...] | None]:
        """List the quotas of a namespace; fails with Unavailable."""


class Temporary(Protocol):
    """Tells of a temporary count."""

    def __call__(self, namespace: str, name: str) -> str | None:
        """Say which one is in force, in words that stay the same for as long; None if there is none."""


def no_temporary(namespace: str, name: str) -> None:
    """Know of no temporary count."""


class Plan(Struct, frozen=True):
    """A plan as it is answered, with its entity tag."""

    body: dict[str, object]
    tag: bytes


class Planner:
    """Makes plans, and verifies them; `guardrails` are those of the moment."""

    def __init__(
        self,
        cache: ClusterCache,
        day: Day,
        judge: Judge,
        guardrails: Callable[[], Guardrails],
        surveyor: Surveyor,
        temporary: Temporary = no_temporary,
    ) -> None:
        self._cache = cache
        self._day = day
        self._judge = judge
        self._guardrails = guardrails
        self._surveyor = surveyor
        self._temporary = temporary

    async def plan(self, wanted: Wanted) -> Plan:
        """Say what would become of a count; raises NotFound, or Unavailable if what is known is too old."""
        namespace, name, replicas = wanted.namespace, wanted.name, wanted.replicas
        self._deployment(wanted)
        around = await self._surveyor.survey(wanted.client, namespace, name)
        deployment = self._deployment(wanted)
        findings = list(self._findings(wanted, deployment, around))
        quotas = around.quotas if around else None
        tag = PlanTag(deployment.replicas, replicas, deployment.uid, tuple(self._basis(deployment, quotas)))
        body: dict[str, object] = {
            "from": deployment.replicas,
            "to": replicas,
            "verdict": verdict_of(findings).value,
            "findings": [{"about": each.about, "message": each.message} for each in findings],
        }
        return Plan(body, bytes(tag))

    async def settle(self, wanted: Wanted) -> Wanted:
        """Verify the plans that a write is conditional on, so that it is on the count and the UID of those that stand.

        Raises PreconditionFailed if none does and there is no other condition; NotFound or Unavailable as `plan`.
        """
        conditions = wanted.conditions
        plans = {tag: plan for tag in conditions.if_match or () if (plan := PlanTag.of(tag)) is not None}
        if not plans:
            return wanted
        self._deployment(wanted)
        quotas = await self._surveyor.quotas(wanted.client, wanted.namespace)
        deployment = self._deployment(wanted)
        now, tags, reasons = self._basis(deployment, quotas), list[bytes](), list[str]()
        for tag in conditions.if_match or ():
            plan = plans.get(tag)
            why = [] if plan is None else self._against(plan, wanted, now)
            if why:
                reasons = why
            else:
                tags.append(tag if plan is None else replicas_tag(plan.before, plan.uid))
        if not tags:
            said = f"This is not what was planned: {'; '.join(reasons)}. Nothing was changed; plan again."
            raise PreconditionFailed(said, deployment.replicas, deployment.uid)
        return replace(wanted, conditions=replace(conditions, if_match=tags))

    def _against(self, plan: PlanTag, wanted: Wanted, now: list[str]) -> list[str]:
        """Say what speaks against a plan: it is for another count, or what it stood on has changed."""
        other = [f"the plan was for {plan.after}"] if plan.after != wanted.replicas else []
        parts = changed(plan.digests, now)
        return [*other, *([f"{', '.join(parts)} changed since"] if parts else [])]

    def _deployment(self, wanted: Wanted) -> Deployment:
        """Return what the cache knows, if that may be read."""
        self._cache.check_served(wanted.namespace)
        self._cache.check_synced(wanted.namespace)
        self._cache.check_fresh(wanted.namespace)
        return self._cache.deployment(wanted.namespace, wanted.name)

    def _findings(self, wanted: Wanted, deployment: Deployment, around: Surroundings | None) -> list[Finding]:
        state = State(deployment.uid, deployment.replicas, deployment.guards or Guards())
        write = self._judge.write(wanted, state)
        found = []
        try:
            self._guardrails().check(write)
        except GuardrailRefused as error:
            found.append(Finding("guardrail", str(error), Verdict.REFUSED))
        if not self._day.autoscalers.are_known(wanted.namespace):
            found.append(Finding("not known", _NO_AUTOSCALER, Verdict.MAY_NOT_HOLD))
        elif write.autoscaler is not None:
            found.append(_autoscaler(write.autoscaler, wanted.replicas))
        if temporary := self._temporary(wanted.namespace, wanted.name):
            found.append(Finding("temporary", f"A temporary count is in force, which a write ends: {temporary}."))
        return [*found, *findings_of(deployment, wanted.replicas, around)]

    def _basis(self, deployment: Deployment, quotas: tuple[Quota, ...] | None) -> list[str]:
        namespace, name, autoscalers = deployment.namespace, deployment.name, self._day.autoscalers
        return basis_of(
            deployment,
            autoscalers.of(namespace, name),
            quotas,
            autoscalers_known=autoscalers.are_known(namespace),
            guardrails=msgspec.json.encode(self._guardrails()),
            temporary=self._temporary(namespace, name),
        )


def _autoscaler(bounds: Bounds, replicas: int) -> Finding:
    if undone := bounds.undoes(replicas):
        return Finding("autoscaler", f"{undone}.", Verdict.DOES_NOT_HOLD)
    said, moves = f"{bounds.otherwise(replicas)}.", bounds.may_move(replicas)
    return Finding("autoscaler", said, Verdict.MAY_NOT_HOLD if moves else Verdict.HOLDS)
