"""What the cluster tells of itself: lists and changes, each of a source. Pure data, as in `model`."""

from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final, Protocol

from msgspec import Struct

from sre_server.model import Deployment, Namespace, Object, Other


class Resource(Enum):
    """The kinds of Kubernetes objects that are listed and watched; pods and quotas are never watched."""

    NAMESPACES = "namespaces"
    DEPLOYMENTS = "deployments"
    AUTOSCALERS = "horizontalpodautoscalers"
    TEMPORARY = "configmaps"
    """One alone: that of the temporary counts."""
    PODS = "pods"
    SCALINGS = "events"
    """Those only that tell of writes through this server."""
    QUOTAS = "resourcequotas"


_ESSENTIAL: Final = (Resource.NAMESPACES, Resource.DEPLOYMENTS)
_BESIDE: Final = (Resource.AUTOSCALERS, Resource.SCALINGS)
"""In the order in which the shared cache has them: what is new comes last."""


class Source(Struct, frozen=True):
    """One list+watch that feeds the cache: a resource, in one namespace or (None) in all of them.

    With a `name`, of the one object that is called so.
    """

    resource: Resource
    namespace: str | None = None
    name: str = ""

    @property
    def essential(self) -> bool:
        """Whether nothing can be served without it."""
        return self.resource in _ESSENTIAL

    def __str__(self) -> str:
        """Name the source as log lines and readyz show it, as in `deployments in shop`."""
        return self.resource.value + (f" in {self.namespace}" if self.namespace else "")


def sources_of(namespaces: Sequence[str]) -> list[Source]:
    """Return the sources that serve these namespaces, each on its own, or, where none is named, all of the cluster."""
    return [Source(resource, namespace) for namespace in namespaces or (None,) for resource in _ESSENTIAL]


def sources_beside(namespaces: Sequence[str]) -> list[Source]:
    """Return the sources that tell more of these namespaces, and without which they are served all the same."""
    return [Source(resource, namespace) for resource in _BESIDE for namespace in namespaces or (None,)]


class Occasion(Enum):
    """Why a list was made; the values are labels of a metric."""

    FIRST = "first"
    EXPIRED = "expired"
    """The cluster no longer keeps what the watch would have gone on from."""
    SILENCE = "silence"
    """The watch brought nothing for too long, not even a bookmark."""
    FAULT = "fault"
    """The watch brought what makes no sense, or was refused for no reason that is known."""
    CHECK = "check"
    """All seems well, and from time to time that is verified."""
    POLL = "poll"
    """There is no watch: it is listed over and over."""


class Listed(Struct, frozen=True):
    """A complete list of a source, read from one snapshot of the cluster.

    `namespaces` (by name), `deployments` or `others` (by namespace, then name) has the objects, as the source is of.
    `started_at` is the monotonic time, in seconds, at which the list was asked for: what was written to the cluster
    after it may be missing. `told_at` takes its place as `heard_at` for a list that was asked for by nobody.
    """

    source: Source
    resource_version: str
    started_at: float
    namespaces: Mapping[str, Namespace] = {}
    deployments: Mapping[str, Mapping[str, Deployment]] = {}
    others: Mapping[str, Mapping[str, Other]] = {}
    occasion: Occasion = Occasion.FIRST
    told_at: float | None = None

    def objects(self) -> Iterator[Object]:
        """Every object in it."""
        yield from self.namespaces.values()
        for deployments in self.deployments.values():
            yield from deployments.values()
        for others in self.others.values():
            yield from others.values()

    @property
    def heard_at(self) -> float:
        """When the cluster is known to have been so, as for `Changed`: a list is as old as the request for it."""
        return self.started_at if self.told_at is None else self.told_at


class Put(Struct, frozen=True, gc=False):
    """The object was added or modified: this is its state now; with a `gap`, perhaps in several steps."""

    object: Object
    gap: bool = False


class Deleted(Struct, frozen=True, gc=False):
    """The object is gone; this was its last state."""

    object: Object


Change = Put | Deleted


class Changed(Struct, frozen=True):
    """Changes of a source in the order in which the cluster made them; none at all is a sign of life.

    `heard_at` is the monotonic time, in seconds, at which the cluster said so. `version` is given where it is not
    that of the last change: all is known that had happened by that resourceVersion.
    """

    source: Source
    heard_at: float
    changes: Sequence[Change] = ()
    version: str = ""

    @property
    def known_by(self) -> str:
        """The resourceVersion by which all is known; empty for a sign of life that does not say so."""
        return self.version or (self.changes[-1].object.resource_version if self.changes else "")


Event = Listed | Changed


class Emit(Protocol):
    """Takes what was heard, from any thread."""

    def __call__(self, *events: Event) -> object:
        """Take it, all in one step."""
