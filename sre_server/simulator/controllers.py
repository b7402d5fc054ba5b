"""What acts on changes by itself: rollouts, autoscalers, quotas and disruption budgets."""

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from sre_server.simulator import autoscaling, budgets, objects, pods
from sre_server.simulator.collection import Change, Collection
from sre_server.simulator.kinds import AUTOSCALERS, BUDGETS, DEPLOYMENTS, QUOTAS, Key, Kind, Object
from sre_server.simulator.rollout import STEP_SECONDS, Limits, next_status
from sre_server.simulator.timers import Timers


class Cluster(Protocol):
    """What controllers need of a cluster."""

    version: int

    def collection(self, kind: Kind) -> Collection:
        """Return the objects of one resource."""

    def scale(self, namespace: str, name: str, change: Callable[[Object], object], *, manager: str) -> object:
        """Set the replicas of a Deployment."""

    def put_status(self, kind: Kind, key: Key, status: Object) -> None:
        """Set the status of an object."""


class Controllers:
    """Listens to a cluster and changes it, now and on the clock that is passed in."""

    def __init__(self, cluster: Cluster, clock: IReactorTime) -> None:
        self._cluster = cluster
        self._clock = clock
        self._rollouts = Timers(clock, STEP_SECONDS, self._advance)
        self._syncs = Timers(clock, autoscaling.SYNC_SECONDS, self._sync)

    def changed(self, kind: Kind, change: Change) -> None:
        """Do what a change calls for."""
        key, gone = change.current.key, change.type == "DELETED"
        if kind is DEPLOYMENTS:
            if gone:
                self._rollouts.forget(key)
            else:
                self._rollouts.start(key)
            self._tell_neighbours(key, scaled=gone or change.previous is None or _scaled(change))
        elif kind is QUOTAS and (gone or change.previous is None or _respecified(change)):
            self._recount(key[0])
            for stored in self._in(DEPLOYMENTS, key[0]):
                self._rollouts.start(_key(stored))
        elif kind is BUDGETS and (change.previous is None or _respecified(change)):
            self._recount(key[0])
        elif kind is AUTOSCALERS:
            if gone:
                self._syncs.forget(key)
            elif change.previous is None or _respecified(change):
                self._syncs.start(key)

    def restored(self) -> None:
        """Begin anew with what there is."""
        self._rollouts.clear()
        self._syncs.clear()
        for stored in self._cluster.collection(DEPLOYMENTS):
            self._rollouts.start(stored.key)
        for stored in self._cluster.collection(AUTOSCALERS):
            self._syncs.start(stored.key)

    def stop(self) -> None:
        """Do nothing any more; no timer stays behind."""
        self._rollouts.stop()
        self._syncs.stop()

    def settle(self, namespace: str) -> None:
        """Let every status of a namespace that was populated just now be what it has long been."""
        self._recount(namespace)
        for autoscaler in self._in(AUTOSCALERS, namespace):
            self._sync(_key(autoscaler))

    def _tell_neighbours(self, key: Key, *, scaled: bool) -> None:
        namespace, name = key
        self._recount(namespace)
        if next(iter(self._in(QUOTAS, namespace)), None) is not None:
            for other in self._in(DEPLOYMENTS, namespace):
                if self._next_status(other) is not None:
                    self._rollouts.start(_key(other))
        for autoscaler in self._in(AUTOSCALERS, namespace) if scaled else ():
            if autoscaling.target_of(autoscaler) == name:
                self._syncs.start(_key(autoscaler))

    def _recount(self, namespace: str) -> None:
        quotas, drains = self._in(QUOTAS, namespace), self._in(BUDGETS, namespace)
        if not (quotas or drains):
            return
        deployments = self._in(DEPLOYMENTS, namespace)
        used = budgets.existing_pods(deployments)
        for quota in quotas:
            self._put(QUOTAS, quota, budgets.quota_status(quota, used))
        for budget in drains:
            self._put(BUDGETS, budget, budgets.budget_status(budget, deployments))

    def _put(self, kind: Kind, value: Object, status: Object) -> None:
        if value.get("status") != status:
            self._cluster.put_status(kind, _key(value), status)

    def _advance(self, key: Key) -> None:
        stored = self._cluster.collection(DEPLOYMENTS).get(key)
        status = self._next_status(stored.decoded()) if stored is not None else None
        if status is not None:
            self._cluster.put_status(DEPLOYMENTS, key, status)

    def _next_status(self, deployment: Object) -> Object | None:
        namespace = deployment["metadata"]["namespace"]
        quotas, startable = self._in(QUOTAS, namespace), pods.limits_of(deployment).ready
        limits = Limits(ready=startable)
        if quotas:
            used = budgets.existing_pods(self._in(DEPLOYMENTS, namespace))
            next_one = pods.name_of(deployment, deployment["status"].get("replicas", 0))
            bounded = budgets.quota_limits(deployment, quotas, used, next_one)
            limits = Limits(bounded.existing, startable, bounded.refusal)
        return next_status(deployment, self._now(), limits)

    def _sync(self, key: Key) -> None:
        stored = self._cluster.collection(AUTOSCALERS).get(key)
        if stored is None:
            return
        autoscaler = stored.decoded()
        name = autoscaling.target_of(autoscaler)
        target = self._cluster.collection(DEPLOYMENTS).get((key[0], name))
        if target is None:
            return
        decision = autoscaling.decide(autoscaler, target.decoded(), self._now())
        if decision.replicas != target.decoded()["spec"]["replicas"]:
            written = {"spec": {"replicas": decision.replicas}}
            self._cluster.scale(key[0], name, lambda _: written, manager=autoscaling.MANAGER)
        self._put(AUTOSCALERS, autoscaler, decision.status)

    def _in(self, kind: Kind, namespace: str) -> list[Object]:
        return [stored.decoded() for stored in self._cluster.collection(kind).items(self._cluster.version, namespace)]

    def _now(self) -> str:
        return objects.timestamp(self._clock.seconds())


def _key(value: Object) -> Key:
    return value["metadata"]["namespace"], value["metadata"]["name"]


def _scaled(change: Change) -> bool:
    before = change.previous.decoded()["spec"].get("replicas") if change.previous else None
    return bool(before != change.current.decoded()["spec"].get("replicas"))


def _respecified(change: Change) -> bool:
    before = change.previous.decoded().get("spec") if change.previous else None
    return bool(before != change.current.decoded().get("spec"))
