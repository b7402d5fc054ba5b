"""Looking at the pods of one Deployment, to tell what keeps them from running; for as long as somebody waits for that.

Pods show what is in their environment, secrets too where somebody put them there; nothing of that is decoded.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred, fail

from sre_server.cluster.decoding import NOT_JSON, clean
from sre_server.cluster.looking import OBJECT_BYTES
from sre_server.cluster.permissions import GET_DEPLOYMENTS, LIST_PODS, Pauses, Told, check_permitted, never, untold
from sre_server.cluster.transport import Transport
from sre_server.cluster.workers import Bounds, ConnectedWorkers
from sre_server.errors import BadAnswer, Unavailable
from sre_server.model import PodFault

READ_TIMEOUT: Final = 5.0
RETRY_SECONDS: Final = 5
BOUNDS: Final = Bounds(running=2, running_per_client=1, queued=64, queued_per_client=1)
"""A Deployment is its own client here, whoever waits for it."""
PHASES: Final = {"Pending": 100, "Running": 200}
"""So many pods of each phase are looked at; the others are over."""
TEXT_LENGTH: Final = 256
UNSCHEDULABLE: Final = "unschedulable"
IMAGE: Final = "image"
CRASHING: Final = "crashing"
_OUTCOMES: Final = {
    "ErrImagePull": IMAGE,
    "ImagePullBackOff": IMAGE,
    "ErrImageNeverPull": IMAGE,
    "InvalidImageName": IMAGE,
    "ImageInspectError": IMAGE,
    "RegistryUnavailable": IMAGE,
    "SignatureValidationFailed": IMAGE,
    "CrashLoopBackOff": CRASHING,
}
"""Reasons for which the kubelet has a container wait (kubernetes/pkg/kubelet/images, and kubelet_pods)."""
_HARMLESS: Final = frozenset({"", "ContainerCreating", "PodInitializing"})


class _Requirement(Struct, frozen=True):
    key: str
    operator: str
    values: tuple[str, ...] = ()


class _Selector(Struct, frozen=True):
    matchLabels: dict[str, str] = {}
    matchExpressions: tuple[_Requirement, ...] = ()


class _Spec(Struct, frozen=True):
    selector: _Selector


class _Deployment(Struct, frozen=True):
    spec: _Spec


class _State(Struct, frozen=True):
    reason: str = ""
    message: str = ""
    exitCode: int | None = None


class _States(Struct, frozen=True):
    waiting: _State | None = None
    terminated: _State | None = None


class _Container(Struct, frozen=True):
    name: str = ""
    state: _States = _States()
    lastState: _States = _States()


class _Condition(Struct, frozen=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Status(Struct, frozen=True):
    conditions: tuple[_Condition, ...] = ()
    initContainerStatuses: tuple[_Container, ...] = ()
    containerStatuses: tuple[_Container, ...] = ()


class _Metadata(Struct, frozen=True):
    name: str
    deletionTimestamp: str | None = None


class _Pod(Struct, frozen=True):
    metadata: _Metadata
    status: _Status = _Status()


class _PodList(Struct, frozen=True):
    items: list[_Pod] | None = None


_deployment_decoder: Final = msgspec.json.Decoder(_Deployment)
_list_decoder: Final = msgspec.json.Decoder(_PodList)


def look_at_pods(transport: Transport, namespace: str, name: str, told: Told = untold) -> Sequence[PodFault]:
    """Return what keeps pods of a Deployment from running, the worst of each pod; blocks. Raises ClusterError."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    body = _answer(transport, path, {}, GET_DEPLOYMENTS, told)
    try:
        selector = selector_of(_deployment_decoder.decode(body).spec.selector)
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a whole Deployment: {error}.") from error
    faults: list[PodFault] = []
    for phase, limit in PHASES.items():
        query: dict[str, str | int] = {
            "labelSelector": selector,
            "fieldSelector": f"status.phase={phase}",
            "limit": limit,
        }
        body = _answer(transport, f"/api/v1/namespaces/{namespace}/pods", query, LIST_PODS, told)
        try:
            faults += faults_in(body)
        except NOT_JSON as error:
            raise BadAnswer(f"The cluster's answer is not a list of pods: {error}.") from error
    return faults


def _answer(transport: Transport, path: str, query: dict[str, str | int], what: str, told: Told) -> bytes:
    with transport.request("GET", path, query, read_timeout=READ_TIMEOUT) as reply:
        check_permitted(reply, what, told)
        return reply.read(OBJECT_BYTES, READ_TIMEOUT)


def selector_of(selector: _Selector) -> str:
    """Return a label selector as a query has it; raises BadAnswer for one that selects all pods there are."""
    operators = {"In": "in", "NotIn": "notin"}
    terms = [f"{key}={value}" for key, value in selector.matchLabels.items()]
    for each in selector.matchExpressions:
        if each.operator in operators:
            terms.append(f"{each.key} {operators[each.operator]} ({','.join(each.values)})")
        else:
            terms.append(each.key if each.operator == "Exists" else f"!{each.key}")
    if not terms:
        raise BadAnswer("The Deployment's selector is empty.")
    return ",".join(terms)


def faults_in(body: bytes) -> list[PodFault]:
    """Decode a list of pods into what keeps each of them from running; those that are about to end do not count."""
    pods = [pod for pod in _list_decoder.decode(body).items or () if pod.metadata.deletionTimestamp is None]
    return [fault for pod in pods if (fault := _fault(pod)) is not None]


def _fault(pod: _Pod) -> PodFault | None:
    for condition in pod.status.conditions:
        if (condition.type, condition.status, condition.reason) == ("PodScheduled", "False", "Unschedulable"):
            return _made(pod, UNSCHEDULABLE, f"Unschedulable: {condition.message}")
    found = None
    for container in (*pod.status.initContainerStatuses, *pod.status.containerStatuses):
        waiting = container.state.waiting
        if waiting is None or waiting.reason in _HARMLESS:
            continue
        outcome = _OUTCOMES.get(waiting.reason, "")
        ended = container.lastState.terminated if outcome == CRASHING else None
        code = f" (it ended with {ended.exitCode}, {ended.reason or 'for no reason given'})" if ended else ""
        fault = _made(pod, outcome, f"container '{container.name}': {waiting.reason}{code}: {waiting.message}")
        if outcome:
            return fault
        found = found or fault
    return found


def _made(pod: _Pod, outcome: str, said: str) -> PodFault:
    return PodFault(clean(pod.metadata.name, TEXT_LENGTH), outcome, clean(said.removesuffix(": "), TEXT_LENGTH))


class Pods:
    """Looks at pods in threads; `told` is told what of that the cluster permits, and none is done while it `pauses`."""

    def __init__(self, workers: ConnectedWorkers, told: Told = untold, pauses: Pauses = never) -> None:
        self._workers = workers
        self._told = told
        self._pauses = pauses

    def look(self, namespace: str, name: str) -> Deferred[Sequence[PodFault]]:
        """Look at the pods of a Deployment as `look_at_pods` does; fails with Unavailable if nothing can be said."""
        if self._pauses(LIST_PODS):
            return fail(Unavailable(f"the server lacks the permission to {LIST_PODS}", RETRY_SECONDS))
        return self._workers.call(
            lambda transport: look_at_pods(transport, namespace, name, self._told), (namespace, name)
        )
