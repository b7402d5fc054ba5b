"""The simulated cluster: its objects, its one version counter, and the calls that change them."""

from collections.abc import Callable
from typing import Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime

from sre_server.simulator import objects, ownership, pods, population
from sre_server.simulator.collection import Change, ChangeType, Collection, Stored
from sre_server.simulator.controllers import Controllers
from sre_server.simulator.kinds import CONFIG_MAPS, DEPLOYMENTS, EVENTS, NAMESPACES, PODS, STORED, Key, Kind, Object
from sre_server.simulator.reviews import Reviews
from sre_server.simulator.statuses import already_exists, bad_request, conflict, invalid, not_found, too_large

FIRST_VERSION = 1000
KEPT_EVENTS = 1000
MOST_REPLICAS = 2**31 - 1
_DAY = 86_400


class Listener(Protocol):
    """What is told of every change."""

    def changed(self, kind: Kind, change: Change) -> None:
        """Learn of a change that was just applied."""

    def restored(self) -> None:
        """Learn that the cluster went back to an earlier version, so that no stream may go on."""


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str | None = None
    generate_name: str | None = None
    namespace: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    resource_version: str | None = None
    uid: str | None = None


class _Written(msgspec.Struct):
    metadata: _Metadata = _Metadata()
    kind: str | None = None


class _ScaleSpec(msgspec.Struct, frozen=True):
    replicas: int | None = None


class _Scale(msgspec.Struct):
    metadata: _Metadata = _Metadata()
    spec: _ScaleSpec = _ScaleSpec()


class SimulatedCluster:
    """Namespaces, Deployments and Events in the memory of one thread; `reviews` says who may do what.

    A call that the API server would refuse raises `Refusal`, or `msgspec.ValidationError` for what has not the shape
    of such an object.
    """

    def __init__(self, clock: IReactorTime, *, deployments: int = 12, history: int = 1000) -> None:
        self._clock = clock
        self._serial = 0
        self._listeners: list[Listener] = []
        self._collections = {kind: Collection(kind, history) for kind in STORED}
        self.reviews = Reviews()
        self.version = FIRST_VERSION
        self._controllers = Controllers(self, clock)
        self._populate(deployments)

    def collection(self, kind: Kind) -> Collection:
        """Return the objects of one resource; pods are made up for whoever looks."""
        return self._pods() if kind is PODS else self._collections[kind]

    def subscribe(self, listener: Listener) -> None:
        """Tell a listener of every change from now on."""
        self._listeners.append(listener)

    def stop(self) -> None:
        """End all that goes on by itself; no timer stays behind."""
        self._controllers.stop()

    def compact(self) -> None:
        """Forget all history: older versions can be neither watched nor listed any more."""
        for collection in self._collections.values():
            collection.compact(self.version)

    def restore(self, version: int) -> None:
        """Go back to an earlier version, as a restored backup does: the version counter goes back, too."""
        if version > self.version:
            raise too_large(version, self.version)
        for collection in self._collections.values():
            collection.require(version)
        for collection in self._collections.values():
            collection.roll_back(version)
        self.version = version
        self._controllers.restored()
        for listener in self._listeners:
            listener.restored()

    def get(self, kind: Kind, namespace: str, name: str) -> Stored:
        """Return the present version of an object."""
        stored = self.collection(kind).get((namespace, name))
        if stored is None:
            raise not_found(kind, name)
        return stored

    def create(self, kind: Kind, namespace: str, written: Object, *, dry_run: bool = False) -> Stored:
        """Create an object from what a client wrote."""
        checked = msgspec.convert(written, _Written)
        if checked.kind not in (None, kind.name):
            raise bad_request(f"a {checked.kind} was sent where a {kind.name} is expected")
        name = self._name(checked.metadata)
        if (checked.metadata.namespace or namespace) != namespace:
            raise bad_request("the namespace of the provided object does not match the request")
        if kind.namespaced:
            self.get(NAMESPACES, "", namespace)
        if self.collection(kind).get((namespace, name)) is not None:
            raise already_exists(kind, name)
        metadata = {
            **written.get("metadata", {}),
            "name": name,
            **({"namespace": namespace} if kind.namespaced else {}),
            "uid": self._next_uid(),
            "creationTimestamp": objects.timestamp(self._clock.seconds()),
        }
        fresh = {field: value for field, value in written.items() if field not in ("kind", "apiVersion")}
        value = objects.created(kind, {**fresh, "metadata": metadata})
        stored = self._commit(kind, "ADDED", (namespace, name), value, dry_run=dry_run)
        while len(self.collection(EVENTS)) > KEPT_EVENTS:
            self.delete(EVENTS, *next(iter(self.collection(EVENTS))).key)
        return stored

    def replace(self, kind: Kind, name: str, namespace: str, written: Object, *, dry_run: bool = False) -> Stored:
        """Replace an object by what a client wrote, if it is still the version that the client read."""
        stored = self.get(kind, namespace, name)
        read = msgspec.convert(written, _Written).metadata.resource_version
        if (read or str(stored.version)) != str(stored.version):
            problem = "the object has been modified; please apply your changes to the latest version and try again"
            raise conflict(kind, name, problem)
        fresh = {field: value for field, value in written.items() if field not in ("kind", "apiVersion")}
        value = {**fresh, "metadata": stored.decoded()["metadata"]}
        return self._commit(kind, "MODIFIED", stored.key, value, dry_run=dry_run)

    def scale(
        self,
        namespace: str,
        name: str,
        change: Callable[[Object], object],
        *,
        manager: str = "unknown",
        dry_run: bool = False,
    ) -> Stored:
        """Set the replicas of a Deployment to what `change` makes of its Scale, as `manager`; return the Deployment."""
        stored = self.get(DEPLOYMENTS, namespace, name)
        deployment = stored.decoded()
        written = msgspec.convert(change(objects.scale_of(deployment)), _Scale)
        if (written.metadata.uid or stored.uid) != stored.uid:
            problem = f"UID in precondition: {written.metadata.uid}, UID in object meta: {stored.uid}"
            raise conflict(DEPLOYMENTS, name, f"Precondition failed: {problem}")
        if (written.metadata.resource_version or str(stored.version)) != str(stored.version):
            problem = "the object has been modified; please apply your changes to the latest version and try again"
            raise conflict(DEPLOYMENTS, name, problem)
        replicas = written.spec.replicas or 0  # the Go type is not a pointer: absent is zero
        if not 0 <= replicas <= MOST_REPLICAS:
            raise invalid(name, "spec.replicas", f"Invalid value: {replicas}: must be from 0 to {MOST_REPLICAS}")
        if replicas == deployment["spec"]["replicas"]:
            return stored
        deployment["spec"]["replicas"] = replicas
        metadata = deployment["metadata"]
        metadata["generation"] += 1
        metadata["managedFields"] = ownership.after_scaling(metadata.get("managedFields", []), manager, replicas)
        return self._commit(DEPLOYMENTS, "MODIFIED", stored.key, deployment, dry_run=dry_run)

    def delete(self, kind: Kind, namespace: str, name: str, *, dry_run: bool = False) -> Stored:
        """Delete an object; a Namespace takes what is in it with it."""
        stored = self.get(kind, namespace, name)
        if dry_run:
            return stored
        if kind is NAMESPACES:
            for held in STORED:
                for doomed in list(self.collection(held).items(self.version, name)):
                    self.delete(held, *doomed.key)
        return self._commit(kind, "DELETED", stored.key, stored.decoded())

    def put_status(self, kind: Kind, key: Key, status: Object) -> None:
        """Set the status of an object, as its controller does it."""
        self._commit(kind, "MODIFIED", key, {**self.get(kind, *key).decoded(), "status": status})

    def _commit(self, kind: Kind, change_type: ChangeType, key: Key, value: Object, *, dry_run: bool = False) -> Stored:
        version = self.version + 1
        if kind is CONFIG_MAPS and not value.get("data"):
            value.pop("data", None)  # as the Go type leaves out an empty map
        if not dry_run:
            value["metadata"]["resourceVersion"] = str(version)
        stored = Stored(key, value["metadata"]["uid"], version, msgspec.json.encode(value))
        if dry_run:
            return stored
        previous = self.collection(kind).get(key)
        change = Change(change_type, version, self._clock.seconds(), stored, previous)
        self.version = version
        self.collection(kind).apply(change)
        for listener in self._listeners:
            listener.changed(kind, change)
        self._controllers.changed(kind, change)
        return stored

    def _pods(self) -> Collection:
        found = Collection(PODS, 0)
        for stored in self.collection(DEPLOYMENTS):
            for pod in pods.pods_of(stored.decoded()):
                metadata = pod["metadata"]
                key = (stored.key[0], metadata["name"])
                found.load(Stored(key, metadata["uid"], stored.version, msgspec.json.encode(pod)))
        return found

    def _name(self, metadata: _Metadata) -> str:
        if metadata.name:
            return metadata.name
        if metadata.generate_name:
            return f"{metadata.generate_name}{self._serial + 1:05x}"
        raise invalid("", "metadata.name", "Required value: name or generateName is required")

    def _next_uid(self) -> str:
        self._serial += 1
        return objects.uid(self._serial)

    def _populate(self, count: int) -> None:
        for name in population.namespaces(count):
            self._load(NAMESPACES, "", objects.namespace(name))
        known = set()
        for one in population.inhabitants(count):
            written = objects.deployment(one.namespace, one.name, replicas=one.replicas, image=one.image, pool=one.pool)
            self._load(DEPLOYMENTS, one.namespace, written, one.manager)
            known.add((one.namespace, one.name))
        surroundings = list(population.surroundings(known))
        for kind, namespace, written in surroundings:
            self._load(kind, namespace, written)
        for namespace in {namespace for _, namespace, _ in surroundings}:
            self._controllers.settle(namespace)
        self.compact()

    def _load(self, kind: Kind, namespace: str, written: Object, manager: str = "") -> None:
        """Put an object in place that was created long ago and has been at rest since."""
        self.version += 1
        uid = self._next_uid()
        since = objects.timestamp(self._clock.seconds() - _DAY * (3 + self._serial * 7 % 240))
        value = objects.created(kind, written)
        if kind is DEPLOYMENTS:
            value["metadata"] |= ownership.left_by(manager, written, since)
            value["status"] = objects.settled_status(value["spec"]["replicas"], 1, since)
        value["metadata"] |= {"uid": uid, "resourceVersion": str(self.version), "creationTimestamp": since}
        key = (namespace, value["metadata"]["name"])
        self.collection(kind).load(Stored(key, uid, self.version, msgspec.json.encode(value)))
