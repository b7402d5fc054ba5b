"""The cluster as last heard of: the one place that handlers read from, in the reactor thread only.

Nothing here locks, waits or talks to anybody. Lists replace, events apply, writes are remembered until the watch has
caught up with them.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from msgspec.structs import replace

from sre_server.errors import NotFound, Unavailable
from sre_server.freshness import Freshness
from sre_server.model import Deployment, Namespace, Unreadable
from sre_server.news import Change, Deleted, Event, Listed, Put, Resource, Source
from sre_server.texts import at_least_as_new
from sre_server.unheard import Unheard

UNREADABLE_RETRY_SECONDS: Final = 30


class Listener(Protocol):
    """Whoever wants to know what the cache has taken in; told in the reactor thread, once it has."""

    def applied(self, event: Event) -> None:
        """Learn of news from the cluster."""


class ClusterCache(Freshness):
    """Namespaces and Deployments by name, and how good that knowledge is."""

    def __init__(self, now: Callable[[], float], sources: Collection[Source], max_staleness: float) -> None:
        super().__init__(now, sources, max_staleness)
        self._namespaces: dict[str, Namespace] = {}
        self._deployments: dict[str, dict[str, Deployment]] = {}
        self._unheard = Unheard()
        self._told: dict[str | None, str] = {}
        self._tree: dict[str, dict[str, Deployment]] | None = None
        self._names: frozenset[str] = frozenset()
        self._revision = 0
        self._changed_at: dict[str, int] = {}
        self._listeners: list[Listener] = []

    # What the cluster says.

    def subscribe(self, listener: Listener) -> None:
        """Tell `listener` of everything that is taken in from now on."""
        self._listeners.append(listener)

    def apply(self, event: Event) -> None:
        """Take in what a watch thread has seen; the only entrance for news from the cluster.

        What is told of other sources than the cache's own is passed on to the listeners.
        """
        taken = self._take(event) if event.source in self._heard_at else event
        if taken is None:
            return
        for listener in self._listeners:
            listener.applied(taken)

    def _take(self, event: Event) -> Event | None:
        """Take in what is told of a source of ours, and return it, or None for changes of what was never listed."""
        if isinstance(event, Listed):
            self._replace(event)
        elif self._heard_at[event.source] is None:
            return None
        else:
            for change in event.changes:
                self._change(change)
            if event.known_by and event.source.resource is Resource.DEPLOYMENTS:
                self._told[event.source.namespace] = event.known_by
                if lost := self._unheard.lost(event.source.namespace, event.known_by):
                    for change in lost:
                        self._change(change)
                    event = replace(event, changes=[*event.changes, *lost], version=event.known_by)
        self.heard(event.source, event.heard_at)
        return event

    def written(self, deployment: Deployment) -> None:
        """Remember the state that a successful write left, until the watch is known to have passed it.

        An older event may still be under way: it is ignored when it arrives.
        """
        known = self._deployments.get(deployment.namespace, {}).get(deployment.name)
        told = self._told.get(None) or self._told.get(deployment.namespace, "")
        newest = known.resource_version if known else told
        if at_least_as_new(deployment.resource_version, newest):
            if known and known.uid == deployment.uid:
                if (known.resource_version, known.replicas) == (deployment.resource_version, deployment.replicas):
                    return  # nothing was changed: what the watch has told of this version is all that there is to know
                deployment = _with_what_is_known(deployment, known)
            self._put(deployment)
            self._unheard.add(deployment, self._now(), known)

    def _replace(self, listed: Listed) -> None:
        """Swap in a whole list: readers see the old world or the new one, never a mix."""
        if listed.source.resource is Resource.NAMESPACES:
            self._replace_namespaces(listed)
            return
        self._tree = None
        self._revision += 1
        replaced = {namespace: dict(by_name) for namespace, by_name in listed.deployments.items()}
        scope = listed.source.namespace
        self._told[scope] = listed.resource_version
        self._unheard.put_over(listed, replaced)
        before = self._deployments
        if scope is None:
            self._deployments = replaced
        elif scope in replaced:
            self._deployments = {**before, scope: replaced[scope]}
        else:
            self._deployments = {name: by_name for name, by_name in before.items() if name != scope}
        self._changed_at = {name: at for name, at in self._changed_at.items() if name in self._deployments}
        for namespace in before.keys() | self._deployments.keys():
            if before.get(namespace) != self._deployments.get(namespace):
                self._touch(namespace)

    def _replace_namespaces(self, listed: Listed) -> None:
        scope, before = listed.source.namespace, self._namespaces
        others = {} if scope is None else {name: known for name, known in before.items() if name != scope}
        self._namespaces = {**others, **listed.namespaces}
        for name in before.keys() ^ self._namespaces.keys():
            self._tree = None
            self._touch(name)

    def _change(self, change: Change) -> None:
        match change:
            case Put(object=Namespace() as namespace):
                if namespace.name not in self._namespaces:
                    self._tree = None
                    self._touch(namespace.name)
                self._namespaces[namespace.name] = namespace
            case Deleted(object=Namespace() as namespace):
                known_namespace = self._namespaces.get(namespace.name)
                if known_namespace and known_namespace.uid == namespace.uid:
                    del self._namespaces[namespace.name]
                    self._touch(namespace.name)
            case Put(object=Deployment() as deployment):
                if not self._unheard.hides(deployment):
                    self._put(deployment)
            case Deleted(object=Deployment() as deployment):
                self._delete(deployment)

    def _put(self, deployment: Deployment) -> None:
        by_name = self._deployments.setdefault(deployment.namespace, {})
        known = by_name.get(deployment.name)
        if known == deployment or (isinstance(deployment, Unreadable) and _is_known_by_write(known, deployment)):
            return
        by_name[deployment.name] = deployment
        if known is None or known.replicas != deployment.replicas:
            self._touch(deployment.namespace)

    def _touch(self, namespace: str) -> None:
        """Note that what lists show of a namespace has changed: that it is there, its Deployments, or their counts."""
        self._revision += 1
        self._changed_at[namespace] = self._revision
        if self._tree is not None and self._tree.get(namespace) is not self._deployments.get(namespace):
            self._tree = None

    def _delete(self, deployment: Deployment) -> None:
        self._unheard.deleted(deployment)
        by_name = self._deployments.get(deployment.namespace, {})
        known = by_name.get(deployment.name)
        if known is None or known.uid != deployment.uid:
            return
        del by_name[deployment.name]
        if not by_name:
            del self._deployments[deployment.namespace]
        self._touch(deployment.namespace)

    def warnings(self) -> list[str]:
        """Say which of the namespaces that were chosen cannot be read now, and which there are none of."""
        chosen = (scope.namespace for scope in self._scopes.values() if scope.heard_at is not None)
        missing = [name for name in chosen if name and name not in self._namespaces]
        return [*super().warnings(), *(f"the namespace '{name}' does not exist" for name in missing)]

    # What handlers ask.

    def tree(self, namespace: str | None = None) -> Mapping[str, Mapping[str, Deployment]]:
        """Every Deployment by namespace and name, empty namespaces too; or those of one namespace, if it exists or not.

        For reading now, not for keeping: the next event changes it. Two calls between two events return the same
        objects.
        """
        if self._tree is None:
            self._tree = {**{name: {} for name in self._namespaces}, **self._deployments}
            if self._names != self._tree.keys():
                self._names = frozenset(self._tree)
        return self._tree if namespace is None else {namespace: self._tree.get(namespace, {})}

    def names(self) -> frozenset[str]:
        """The namespaces in the tree: the same object for as long as they are the same."""
        self.tree()
        return self._names

    def revision(self, namespace: str | None = None) -> int:
        """A number that is another one after every change that a list of all Deployments, or of a namespace, shows."""
        if namespace is None:
            return self._revision
        return self._changed_at.get(namespace, 0)

    def has_reached(self, version: str, namespace: str | None = None, name: str | None = None) -> bool:
        """Tell whether all is known that had happened by a resourceVersion: in a namespace, or in all of them.

        Of one Deployment enough is known if it is itself as new: so is one that was written through this server.
        """
        known = self._deployments.get(namespace or "", {}).get(name or "")
        if known is not None and at_least_as_new(known.resource_version, version):
            return True
        told = [self._told.get(scope.namespace) for scope in self._covering(namespace)]
        return all(newest is not None and at_least_as_new(newest, version) for newest in told)

    def find(self, namespace: str, name: str) -> Deployment | None:
        """The Deployment of that name, or None if there is none, or none that can be read."""
        known = self._deployments.get(namespace, {}).get(name)
        return None if isinstance(known, Unreadable) else known

    def is_heard(self, namespace: str, name: str) -> bool:
        """Tell whether what is known of a Deployment is the cluster's own news, and not only the answer to a write."""
        return (namespace, name) not in self._unheard

    def check_namespace(self, namespace: str) -> None:
        """Raise NotFound if the namespace does not exist; one with a Deployment does, ahead of its own event."""
        if namespace not in self._namespaces and namespace not in self._deployments:
            self.check_served(namespace)
            raise NotFound(f"The namespace '{namespace}' does not exist.")

    def deployment(self, namespace: str, name: str) -> Deployment:
        """The Deployment of that name; raises NotFound, saying which of the two does not exist.

        Raises Unavailable, saying why, for one that is there and cannot be read.
        """
        try:
            known = self._deployments[namespace][name]
        except KeyError:
            self.check_namespace(namespace)
            raise NotFound(f"The Deployment '{name}' does not exist in the namespace '{namespace}'.") from None
        if isinstance(known, Unreadable):
            raise Unavailable(
                f"The Deployment '{name}' in the namespace '{namespace}' cannot be read: {known.why.rstrip('.')}.",
                UNREADABLE_RETRY_SECONDS,
            )
        return known


def _is_known_by_write(known: Deployment | None, unreadable: Unreadable) -> bool:
    """Tell whether a write of ours was answered with this very state of a Deployment, which the watch cannot read."""
    return known is not None and known.uid == unreadable.uid and known.resource_version == unreadable.resource_version


def _with_what_is_known(scaled: Deployment, known: Deployment) -> Deployment:
    """Add what a Scale, which is what a write answers, does not say.

    A changed count is a new generation, which the controller has not observed yet.
    """
    progress = known.progress
    if progress is not None and scaled.replicas != known.replicas:
        progress = replace(progress, generation=progress.generation + 1)
    return replace(scaled, guards=known.guards or scaled.guards, progress=progress, owners=known.owners)
