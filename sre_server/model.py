"""What the server knows of a cluster: namespaces, Deployments, and the events that change them.

Pure data: no Twisted, no Kubernetes client, no I/O. Everything here is immutable once made, so the watch threads may
build it and hand it to the reactor thread without locks.
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final

from msgspec import Struct

MAX_REPLICAS: Final = 2**31 - 1
"""The largest count that Kubernetes' own `int32` field can hold."""

# RFC 1123 section 2.1, as Kubernetes applies it: namespaces are labels, Deployments are subdomains.
# https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
_LABEL: Final = "[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_NAMESPACE: Final = re.compile(_LABEL, re.ASCII)
_SUBDOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)


class Namespace(Struct, frozen=True, gc=False):
    """One namespace of the cluster; its `uid` is its identity, its name only where to find it."""

    name: str
    uid: str
    resource_version: str


class Guards(Struct, frozen=True, gc=False):
    """What a Deployment's own annotations say of its count, as text: somebody typed it, and it may make no sense."""

    minimum: str = ""
    maximum: str = ""
    protected: str = ""


class Deployment(Struct, frozen=True, gc=False):
    """One Deployment; `replicas` is the desired count (`spec.replicas`), never the current one."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    replicas: int
    guards: Guards | None = None


class Expected(Struct, frozen=True, gc=False):
    """What a conditional write is for: a Deployment with this count and this identity; None stands for any."""

    replicas: int | None = None
    uid: str | None = None


class Resource(Enum):
    """The two kinds of Kubernetes objects that the cache holds."""

    NAMESPACES = "namespaces"
    DEPLOYMENTS = "deployments"


class Source(Struct, frozen=True):
    """One list+watch that feeds the cache: a resource, in one namespace or (None) in all of them."""

    resource: Resource
    namespace: str | None = None

    def __str__(self) -> str:
        """Name the source as log lines and readyz show it, as in `deployments in shop`."""
        return self.resource.value + (f" in {self.namespace}" if self.namespace else "")


def sources_of(namespaces: Sequence[str]) -> list[Source]:
    """Return the sources that serve these namespaces, or, where none is named, all of the cluster."""
    return [Source(Resource.NAMESPACES), *(Source(Resource.DEPLOYMENTS, name) for name in namespaces or (None,))]


class Listed(Struct, frozen=True):
    """A complete list of a source, read from one snapshot of the cluster.

    `namespaces` (by name) or `deployments` (by namespace, then name) holds the objects, whichever the source is of.
    `started_at` is the monotonic time, in seconds, at which the list was asked for: what was written to the cluster
    after it may be missing.
    """

    source: Source
    resource_version: str
    started_at: float
    namespaces: Mapping[str, Namespace] = {}
    deployments: Mapping[str, Mapping[str, Deployment]] = {}

    @property
    def heard_at(self) -> float:
        """When the cluster is known to have been so, as for `Changed`: a list is as old as the request for it."""
        return self.started_at


class Put(Struct, frozen=True, gc=False):
    """The object was added or modified: this is its state now."""

    object: Namespace | Deployment


class Deleted(Struct, frozen=True, gc=False):
    """The object is gone; this was its last state."""

    object: Namespace | Deployment


Change = Put | Deleted


class Changed(Struct, frozen=True):
    """Changes of a source in the order in which the cluster made them; none at all is a sign of life.

    `heard_at` is the monotonic time, in seconds, at which the cluster said so.
    """

    source: Source
    heard_at: float
    changes: Sequence[Change] = ()


Event = Listed | Changed


def at_least_as_new(version: str, than: str) -> bool:
    """Tell whether resourceVersion `version` is `than`, or later than it.

    Kubernetes guarantees that resourceVersions of one resource compare as decimal integers (KEP-5504). Should one of
    them be something else, nothing can be known, and the answer is True: what arrived last counts.
    """
    if not all(text.isascii() and text.isdecimal() for text in (version, than)):
        return True
    ours, theirs = version.lstrip("0"), than.lstrip("0")
    return (len(ours), ours) >= (len(theirs), theirs)


def is_namespace_name(text: str) -> bool:
    """Tell whether Kubernetes would accept `text` as the name of a namespace (a DNS-1123 label)."""
    return len(text) <= 63 and _NAMESPACE.fullmatch(text) is not None


def is_deployment_name(text: str) -> bool:
    """Tell whether Kubernetes would accept `text` as the name of a Deployment (a DNS-1123 subdomain)."""
    return len(text) <= 253 and _SUBDOMAIN.fullmatch(text) is not None
