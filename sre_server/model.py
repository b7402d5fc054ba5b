"""What the server knows of a cluster: namespaces, Deployments, and what stands beside them.

Pure data: no Twisted, no Kubernetes client, no I/O. Everything here is immutable once made, so the watch threads may
build it and hand it to the reactor thread without locks.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

from msgspec import Struct

MAX_REPLICAS: Final = 2**31 - 1
"""The largest count that Kubernetes' own `int32` field can hold."""


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


class Progress(Struct, frozen=True, array_like=True, gc=False):
    """How far the controller of a Deployment has come, by its status; counts are of pods.

    What it says is of the spec of generation `observed`: it is out of date while that is less than `generation`.
    `trouble` is its own reason and words for not getting on, empty while it does.
    """

    generation: int = 0
    observed: int = 0
    total: int = 0
    ready: int = 0
    available: int = 0
    updated: int = 0
    paused: bool = False
    trouble: str = ""


class Owners(Struct, frozen=True, array_like=True, gc=False):
    """Who else sets the count of a Deployment, by its metadata.

    `manager` is the field manager that has `spec.replicas`, if there is one, as `operation` (Apply or Update) through
    the `subresource`; `appliers` are those that apply the Deployment from the server's side (KEP-555). `applied` tells
    whether the last configuration of `kubectl apply` has a count, `controller` is the object that it belongs to.
    """

    manager: str = ""
    operation: str = ""
    subresource: str = ""
    appliers: tuple[str, ...] = ()
    applied: bool = False
    controller: str = ""


class Deployment(Struct, frozen=True, gc=False):
    """One Deployment; `replicas` is the desired count (`spec.replicas`), never the current one.

    `progress` is None where the status is not known, or cannot be read; `owners`, where nobody else sets the count.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    replicas: int
    guards: Guards | None = None
    progress: Progress | None = None
    owners: Owners | None = None


class Autoscaler(Struct, frozen=True, gc=False):
    """One HorizontalPodAutoscaler: it holds the count of the Deployment `target` (empty: of something else) in bounds.

    `active` is False while it does not scale, as where the count is 0; `owner` is what made it, as a ScaledObject.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    target: str
    minimum: int
    maximum: int
    active: bool = True
    owner: str = ""


class Notes(Struct, frozen=True, gc=False):
    """A ConfigMap in which this server keeps notes of its own: texts, each under a key."""

    namespace: str
    name: str
    uid: str
    resource_version: str
    data: Mapping[str, str] = {}


class Author(Struct, frozen=True, gc=False):
    """Who set a count through this server, and why; `before` is the count that the write was judged on, if known."""

    identity: str
    reason: str | None = None
    request_id: str | None = None
    before: int | None = None


class ScaledEvent(Struct, frozen=True, gc=False):
    """An Event that tells of a write through some replica of this server.

    The write left the Deployment of UID `target` at resourceVersion `left_at`; both are empty where the Event does not
    say so in a form that can be read.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    target: str = ""
    left_at: str = ""
    author: Author = Author("")


Other = Autoscaler | Notes | ScaledEvent
"""What is listed beside namespaces and Deployments."""
Swapped = tuple[bool, Notes]
"""What came of putting one text of notes in the place of another: whether it was done, and the notes then."""
Object = Namespace | Deployment | Other


class PodFault(Struct, frozen=True, gc=False):
    """Why one pod does not run: `outcome` is what that comes to for its Deployment, in a word, empty for no such word.

    `said` is the cluster's own reason and words.
    """

    pod: str
    outcome: str
    said: str


class State(Struct, frozen=True, gc=False):
    """A Deployment as a write is judged on it; `replicas` is None where nobody needed to know."""

    uid: str
    replicas: int | None
    guards: Guards = Guards()


class Unreadable(Deployment, frozen=True, gc=False):
    """A Deployment that the cluster told of in a form that cannot be read: it is there, and its count is not known.

    `replicas` is -1, which no count is; `uid` and `resource_version` are empty where they could not be read either.
    `why` is half a sentence, for people.
    """

    replicas: int = -1
    why: str = ""


class Expected(Struct, frozen=True, gc=False):
    """What a write is for: a Deployment with this identity, and with this count, where None stands for any."""

    uid: str
    replicas: int | None = None

    def fits(self, state: State) -> bool:
        """Tell whether the Deployment is as expected."""
        return self.uid == state.uid and self.replicas in (None, state.replicas)


class Written(Struct, frozen=True):
    """A write that succeeded: the Deployment as the cluster then has it, and the values of its Warning fields."""

    deployment: Deployment
    warnings: Sequence[str] = ()


class Limit(Struct, frozen=True):
    """What a quota allows of one resource, such as `pods` or `requests.cpu`, and how much of that is used.

    `hard` and `used` are as the cluster writes them, `most` and `free` the numbers that they come to.
    """

    resource: str
    hard: str
    used: str
    most: Decimal
    free: Decimal


class Quota(Struct, frozen=True):
    """One ResourceQuota; `stands` is all that it allows, as text. It counts the pods of its `scopes`, or else all."""

    name: str
    stands: str
    limits: tuple[Limit, ...] = ()
    scopes: tuple[str, ...] = ()


class Budget(Struct, frozen=True):
    """One PodDisruptionBudget over the pods of a Deployment; of both bounds, counts or percentages, one is empty."""

    name: str
    min_available: str = ""
    max_unavailable: str = ""


class Surroundings(Struct, frozen=True):
    """What else in its namespace bears on the count of the Deployment `uid`, which has so many `pods`.

    `needs` is what one more pod takes of the resources that quotas name, as far as its template tells. Quotas and
    budgets are None where they are not known.
    """

    uid: str
    pods: int
    needs: Mapping[str, Decimal]
    quotas: tuple[Quota, ...] | None
    budgets: tuple[Budget, ...] | None
