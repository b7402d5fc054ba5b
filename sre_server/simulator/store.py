"""The simulated cluster: its objects, its one version counter, and the calls that change them."""

from collections.abc import Callable
from typing import Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime

from sre_server.simulator import events, objects, population, reviews, rollout, validation
from sre_server.simulator.collection import Change, ChangeType, Collection, Stored
from sre_server.simulator.kinds import DEPLOYMENTS, EVENTS, NAMESPACES, Kind, Object
from sre_server.simulator.statuses import (
    already_exists,
    invalid,
    modified,
    modified_before_deletion,
    not_found,
    other_uid,
    other_uid_to_delete,
    other_uid_to_scale,
    too_large,
)

FIRST_VERSION = 1000


class Listener(Protocol):
    """Whoever wants to hear of every change."""

    def changed(self, kind: Kind, change: Change) -> None:
        """Learn of a change that was just applied."""

    def reset(self) -> None:
        """Learn that the past was rewritten, so no stream may go on."""


class SimulatedCluster:
    """Namespaces, Deployments and Events in the memory of one thread; `reviews` decides who may do what.

    Objects come in and go out as dictionaries of their own; what the caller does with them changes nothing here.
    Every call that the API server would refuse raises `Refusal`.
    """

    def __init__(self, clock: IReactorTime, *, deployments: int = 12, history: int = 1000) -> None:
        self._clock = clock
        self._serial = 0
        self._listeners: list[Listener] = []
        self._rollouts = rollout.Rollouts(clock, self._advance)
        self._collections = {kind.plural: Collection(kind, history) for kind in (NAMESPACES, EVENTS, DEPLOYMENTS)}
        self.reviews = reviews.Reviews()
        self.version = FIRST_VERSION
        self._populate(deployments)

    def collection(self, kind: Kind) -> Collection:
        """Return the objects of one resource."""
        return self._collections[kind.plural]

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell a listener of every change from now on; calling the result ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def stop(self) -> None:
        """End all rollouts; no timer stays behind."""
        self._rollouts.stop()

    # What tests and the demo do to the cluster from within.

    def namespace(self, name: str) -> Object:
        """Return a Namespace."""
        return self._require(NAMESPACES, "", name).decoded()

    def namespaces(self) -> list[Object]:
        """Return every Namespace, in list order."""
        return [stored.decoded() for stored in self.collection(NAMESPACES).slice(None, "", "").all()]

    def deployment(self, namespace: str, name: str) -> Object:
        """Return a Deployment."""
        return self._require(DEPLOYMENTS, namespace, name).decoded()

    def deployments(self) -> list[Object]:
        """Return every Deployment, in list order."""
        return [stored.decoded() for stored in self.collection(DEPLOYMENTS).slice(None, "", "").all()]

    def events(self) -> list[Object]:
        """Return every Event, oldest first."""
        return [stored.decoded() for stored in self._events()]

    def create_namespace(self, name: str, *, labels: dict[str, str] | None = None) -> Object:
        """Create a Namespace."""
        return self.create(NAMESPACES, "", objects.namespace(name, labels=labels)).decoded()

    def delete_namespace(self, name: str) -> None:
        """Delete a Namespace, after what is in it."""
        self.delete(NAMESPACES, "", name)

    def create_deployment(
        self, namespace: str, name: str, *, replicas: int = 1, labels: dict[str, str] | None = None
    ) -> Object:
        """Create a Deployment; its replicas appear as the clock moves."""
        written = objects.deployment(namespace, name, replicas=replicas, labels=labels)
        return self.create(DEPLOYMENTS, namespace, written).decoded()

    def delete_deployment(self, namespace: str, name: str) -> None:
        """Delete a Deployment."""
        self.delete(DEPLOYMENTS, namespace, name)

    def scale(self, namespace: str, name: str, replicas: int, *, resource_version: str = "", uid: str = "") -> Object:
        """Ask for a number of replicas, as the scale subresource does; return the Deployment."""
        return self.write_scale(
            namespace,
            name,
            lambda scale: {
                "metadata": {"resourceVersion": resource_version, "uid": uid},
                "spec": {"replicas": replicas},
            },
        ).decoded()

    def set_ready(self, namespace: str, name: str, ready: int) -> Object:
        """Make a number of a Deployment's replicas ready, as failing or recovering pods would."""
        stored = self._require(DEPLOYMENTS, namespace, name)
        now = objects.timestamp(self._clock.seconds())
        deployment = stored.decoded()
        deployment["status"] = rollout.with_ready(deployment, ready, now)
        return self._commit(DEPLOYMENTS, "MODIFIED", stored.key, deployment, stored).decoded()

    def compact(self) -> None:
        """Forget all history: older versions can be neither watched nor listed any more."""
        for collection in self._collections.values():
            collection.forget(self.version)

    def restore(self, version: int) -> None:
        """Go back to an earlier version, as a restored backup does: the counter goes backwards too."""
        if version > self.version:
            raise too_large(version, self.version)
        for collection in self._collections.values():
            collection.require(version)
        for key in self._rollouts.moving:
            self._rollouts.forget(key)
        for collection in self._collections.values():
            collection.roll_back(version)
        self.version = version
        for stored in self.collection(DEPLOYMENTS).slice(None, "", "").all():
            if not rollout.arrived(stored.decoded()):
                self._rollouts.start(stored.key)
        for listener in list(self._listeners):
            listener.reset()

    # What the API does on behalf of its clients.

    def get(self, kind: Kind, namespace: str, name: str) -> Stored:
        """Return the present version of an object."""
        return self._require(kind, namespace, name)

    def create(self, kind: Kind, namespace: str, written: Object, *, dry_run: bool = False) -> Stored:
        """Create an object from what a client wrote."""
        written = validation.named(written, objects.suffix(self._serial + 1))
        name, fresh = validation.new_object(kind, namespace, written)
        key = kind.key(namespace, name)
        if kind.namespaced:
            self._require(NAMESPACES, "", namespace)
        if self.collection(kind).get(key) is not None:
            raise already_exists(kind, name)
        metadata = fresh["metadata"]
        metadata["uid"] = self._next_uid()
        metadata["creationTimestamp"] = objects.timestamp(self._clock.seconds())
        stored = self._commit(kind, "ADDED", key, fresh, None, dry_run=dry_run)
        while len(self.collection(EVENTS)) > events.KEPT:
            self.delete(EVENTS, *self._events()[0].key.split("/"))
        return stored

    def update(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[Object], Object],
        *,
        replaces: bool = False,
        dry_run: bool = False,
    ) -> Stored:
        """Write what `change` makes of an object; status is not the client's to write.

        `replaces` says that the client sent the whole object (PUT) and not a patch, which refusals tell apart.
        """
        stored = self._require(kind, namespace, name)
        before = stored.decoded()
        written = validation.written_object(kind, change(stored.decoded()), before)
        uid, version = _preconditions(written["metadata"])
        if uid not in ("", stored.uid):
            if replaces:
                raise other_uid(kind, stored.key, name, uid, stored.uid)
            problem = f'Invalid value: "{uid}": field is immutable'
            raise invalid(kind.group, kind.name, name, "metadata.uid", problem)
        if version not in ("", str(stored.version)):
            raise modified(kind, name)
        after = validation.merged_update(kind, before, written)
        return self._replace(kind, stored, before, after, dry_run=dry_run)

    def write_scale(
        self,
        namespace: str,
        name: str,
        change: Callable[[Object], Object],
        *,
        replaces: bool = False,
        dry_run: bool = False,
    ) -> Stored:
        """Set the replicas of a Deployment to what `change` makes of its Scale; return the Deployment."""
        stored = self._require(DEPLOYMENTS, namespace, name)
        before = stored.decoded()
        metadata, replicas = validation.written_scale(name, change(objects.scale_of(before)))
        uid, version = _preconditions(metadata)
        if uid not in ("", stored.uid):
            if replaces:
                raise other_uid(DEPLOYMENTS, stored.key, name, uid, stored.uid)
            raise other_uid_to_scale(DEPLOYMENTS, name, uid, stored.uid)
        if version not in ("", str(stored.version)):
            raise modified(DEPLOYMENTS, name)
        after = {**before, "spec": {**before["spec"], "replicas": replicas}}
        return self._replace(DEPLOYMENTS, stored, before, after, dry_run=dry_run)

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        preconditions: Object | None = None,
        dry_run: bool = False,
    ) -> Stored:
        """Delete an object; a Namespace takes what is in it with it."""
        stored = self._require(kind, namespace, name)
        uid, version = _preconditions(preconditions or {})
        if uid not in ("", stored.uid):
            raise other_uid_to_delete(kind, name, uid, stored.uid)
        if version not in ("", str(stored.version)):
            raise modified_before_deletion(kind, name, version, stored.version)
        if dry_run:
            return stored
        if kind is NAMESPACES:
            stored = self._empty_namespace(name, stored)
        if kind is DEPLOYMENTS:
            self._rollouts.forget(stored.key)
        return self._commit(kind, "DELETED", stored.key, stored.decoded(), stored)

    def _empty_namespace(self, name: str, stored: Stored) -> Stored:
        ending = stored.decoded()
        ending["metadata"]["deletionTimestamp"] = objects.timestamp(self._clock.seconds())
        ending["status"] = {"phase": "Terminating"}
        ending_stored = self._commit(NAMESPACES, "MODIFIED", stored.key, ending, stored)
        for held in (DEPLOYMENTS, EVENTS):
            for doomed in self.collection(held).slice(None, f"{name}/", "").all():
                self.delete(held, name, doomed.key.partition("/")[2])
        return ending_stored

    def _replace(self, kind: Kind, stored: Stored, before: Object, after: Object, *, dry_run: bool) -> Stored:
        if after == before:
            return stored
        if kind is DEPLOYMENTS and after["spec"] != before["spec"]:
            metadata = after["metadata"]
            after["metadata"] = {**metadata, "generation": metadata["generation"] + 1}
            if after["spec"].get("template") != before["spec"].get("template"):
                after["status"] = rollout.restarted(after.get("status", {}))
        return self._commit(kind, "MODIFIED", stored.key, after, stored, dry_run=dry_run)

    def _commit(
        self,
        kind: Kind,
        change_type: ChangeType,
        key: str,
        value: Object,
        previous: Stored | None,
        *,
        dry_run: bool = False,
    ) -> Stored:
        version = self.version + (0 if dry_run else 1)
        metadata = value["metadata"]
        if not dry_run:
            metadata = {**metadata, "resourceVersion": str(version)}
        body = msgspec.json.encode({**value, "metadata": metadata})
        stored = Stored(key, metadata["uid"], version, body)
        if dry_run:
            return stored
        self.version = version
        change = Change(change_type, version, self._clock.seconds(), stored, previous)
        self.collection(kind).apply(change)
        if kind is DEPLOYMENTS and change_type != "DELETED" and rollout.unobserved(value):
            self._rollouts.start(key)
        for listener in list(self._listeners):
            listener.changed(kind, change)
        return stored

    def _advance(self, key: str) -> bool:
        stored = self.collection(DEPLOYMENTS).get(key)
        if stored is None:
            return False
        deployment = stored.decoded()
        status = rollout.next_status(deployment, objects.timestamp(self._clock.seconds()))
        if status is None:
            return False
        deployment["status"] = status
        self._commit(DEPLOYMENTS, "MODIFIED", key, deployment, stored)
        return not rollout.arrived(deployment)

    def _require(self, kind: Kind, namespace: str, name: str) -> Stored:
        stored = self.collection(kind).get(kind.key(namespace, name))
        if stored is None:
            raise not_found(kind, name)
        return stored

    def _events(self) -> list[Stored]:
        return sorted(self.collection(EVENTS).slice(None, "", "").all(), key=lambda stored: stored.version)

    def _next_uid(self) -> str:
        self._serial += 1
        return objects.uid(self._serial)

    def _populate(self, count: int) -> None:
        for name in population.namespaces(count):
            self._settle(NAMESPACES, name, objects.namespace(name))
        for someone in population.inhabitants(count):
            written = objects.deployment(someone.namespace, someone.name, replicas=someone.replicas)
            key = DEPLOYMENTS.key(someone.namespace, someone.name)
            self._settle(DEPLOYMENTS, key, written, someone.replicas)
        self.compact()

    def _settle(self, kind: Kind, key: str, value: Object, replicas: int | None = None) -> None:
        self.version += 1
        created = objects.timestamp(objects.days_ago(self._clock.seconds(), self._serial))
        metadata = value["metadata"]
        metadata["uid"] = self._next_uid()
        metadata["resourceVersion"] = str(self.version)
        metadata["creationTimestamp"] = created
        if replicas is not None:
            metadata["generation"] = 1
            metadata["annotations"] = {"deployment.kubernetes.io/revision": "1"}
            value["status"] = objects.settled_status(replicas, 1, created)
        stored = Stored(key, metadata["uid"], self.version, msgspec.json.encode(value))
        self.collection(kind).load(stored)


def _preconditions(metadata: Object) -> tuple[str, str]:
    return str(metadata.get("uid") or ""), str(metadata.get("resourceVersion") or "")
