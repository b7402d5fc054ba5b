"""What a write is judged on, and the verdict: guardrails and conditions, of one state that the write is then bound to.

That state is the cache's where the cache knows the Deployment and is fresh enough to be read; else the cluster is asked
for this one Deployment. So it is where the count that the cache knows is what speaks against the write, as that may be
behind.
"""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred

from sre_server.api.bodies import warning
from sre_server.api.conditional import Conditions
from sre_server.cache import ClusterCache
from sre_server.day.autoscalers import Autoscalers
from sre_server.day.owners import named
from sre_server.errors import GuardrailRefused, NotFound, PreconditionFailed, Unavailable
from sre_server.model import Expected, Guards, State
from sre_server.security.guardrails import STEP, Bounds, Guardrails, Write
from sre_server.security.stops import Stops


class Look(Protocol):
    """Looks one Deployment up in the cluster; see `sre_server.cluster.scaling.Scaling.look`."""

    def __call__(self, client: str, namespace: str, name: str, *, count: bool) -> Deferred[State]:
        """Look for a client, for the count too if that matters; fails with NotFound or Unavailable."""


class Wanted(Struct, frozen=True):
    """A count that a client wants to set, with what it confirms and what it makes that conditional on."""

    client: str
    namespace: str
    name: str
    replicas: int
    confirmed: frozenset[str]
    conditions: Conditions


class Judge:
    """Judges writes; `guardrails` are those of the moment, `stops` what clients scaled to 0 through this server."""

    def __init__(
        self,
        cache: ClusterCache,
        look: Look,
        guardrails: Callable[[], Guardrails],
        autoscalers: Autoscalers,
        stops: Stops,
    ) -> None:
        self._cache = cache
        self._look = look
        self._guardrails = guardrails
        self._autoscalers = autoscalers
        self._stops = stops

    async def state(self, wanted: Wanted, *, count: bool = False) -> State:
        """Return what there is to judge on, with the `count` where that matters to the caller.

        Raises NotFound, or Unavailable if the cluster has to be asked in vain.
        """
        known = self._known(wanted)
        if known is not None:
            return known
        try:
            count = count or self._needs_count(wanted)
            return await self._look(wanted.client, wanted.namespace, wanted.name, count=count)
        except NotFound:
            self._cache.check_namespace(wanted.namespace)
            raise

    def judge(self, wanted: Wanted, state: State) -> Expected:
        """Return what the write has to be bound to; raises GuardrailRefused or PreconditionFailed.

        To the UID always, as it is annotations of that very Deployment, or their absence, that let the write through.
        """
        self._guardrails().check(self.write(wanted, state))
        wanted.conditions.check(state.replicas, state.uid)
        return Expected(state.uid, state.replicas if self._needs_count(wanted) else None)

    def done(self, wanted: Wanted, state: State, replicas: int) -> list[str]:
        """Note a write that was carried out, and made the count so; return the values of Warning fields about it."""
        rails, write = self._guardrails(), self.write(wanted, state)
        if write.stops and replicas == 0:
            self._stops.note(wanted.client, rails.mass)
        return [warning(text).decode() for text in rails.warnings(write)]

    def write(self, wanted: Wanted, state: State) -> Write:
        """Return what the guardrails are asked."""
        found = self._autoscalers.of(wanted.namespace, wanted.name)
        return Write(
            namespace=wanted.namespace,
            name=wanted.name,
            replicas=wanted.replicas,
            current=state.replicas,
            guards=state.guards,
            confirmed=wanted.confirmed,
            stopped=self._stopped(wanted),
            autoscaler=Bounds(named(found), found.minimum, found.maximum) if found else None,
        )

    def _stopped(self, wanted: Wanted) -> int:
        return self._stops.lately(wanted.client, self._guardrails().mass)

    def _known(self, wanted: Wanted) -> State | None:
        """Return what the cache knows, or None if that will not do."""
        try:
            self._cache.check_fresh(wanted.namespace)
        except Unavailable:
            return None
        known = self._cache.find(wanted.namespace, wanted.name)
        if known is None:
            return None
        state = State(known.uid, known.replicas, known.guards or Guards())
        try:
            self.judge(wanted, state)
        except PreconditionFailed:
            return state if wanted.conditions.hopeless else None
        except GuardrailRefused as error:
            return None if error.rule == STEP else state
        return state

    def _needs_count(self, wanted: Wanted) -> bool:
        rails = self._guardrails()
        return wanted.conditions.need_count or rails.needs_count(
            wanted.replicas, wanted.confirmed, self._stopped(wanted)
        )
