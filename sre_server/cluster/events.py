"""Recording a Kubernetes Event for a Deployment that was scaled, so that `kubectl describe` tells who did it."""

from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from sre_server.cluster.permissions import CREATE_EVENTS, Pauses, Told, is_refusal, never, untold
from sre_server.cluster.scalings import COMPONENT, SCALED, annotations_of
from sre_server.cluster.transport import Transport, read_answer
from sre_server.cluster.workers import Bounds, ConnectedWorkers
from sre_server.model import Author, Deployment

READ_TIMEOUT: Final = 5.0
BOUNDS: Final = Bounds(running=1, running_per_client=1, queued=100, queued_per_client=50)
STOP_SECONDS: Final = 1.5
"""So long, stopping waits for Events that are still to be recorded."""
MESSAGE_LENGTH: Final = 1024  # Kubernetes' own limit (core/v1 Event validation)
IDENTITY_LENGTH: Final = 512
"""So much of an identity is told, so that counts and reason fit beside it; a SPIFFE ID may be four times as long."""


class Scaled(Struct, frozen=True):
    """What an Event says: the Deployment as it now is, the count asked for, and who did it.

    Where it is not `certain`, the Deployment is as somebody wanted it to be.
    """

    deployment: Deployment
    asked: int
    author: Author
    certain: bool = True


def create_event(transport: Transport, scaled: Scaled, at: datetime) -> None:
    """Create the Event; blocks. Raises ClusterError."""
    deployment, author = scaled.deployment, scaled.author
    time = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    was = "" if author.before is None else f" from {author.before}"
    asked = "" if scaled.asked == deployment.replicas else f" ({scaled.asked} was asked for, admission made it that)"
    why = f": {author.reason}" if author.reason else ""
    did, unless = ("scaled this", "") if scaled.certain else ("asked to scale this", ", with an unknown outcome")
    who = author.identity[:IDENTITY_LENGTH]
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "generateName": f"{deployment.name[:200]}.",
            "namespace": deployment.namespace,
            "annotations": annotations_of(author),
        },
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "namespace": deployment.namespace,
            "name": deployment.name,
            "uid": deployment.uid,
            "resourceVersion": deployment.resource_version,
        },
        "type": "Normal" if scaled.certain else "Warning",
        "reason": SCALED if scaled.certain else "ScaleOutcomeUnknown",
        "message": f"{who} {did}{was} to {deployment.replicas}{asked}{unless}{why}"[:MESSAGE_LENGTH],
        "source": {"component": COMPONENT},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
    path = f"/api/v1/namespaces/{deployment.namespace}/events"
    body, headers = msgspec.json.encode(event), {"Content-Type": "application/json"}
    with transport.request("POST", path, {}, headers=headers, body=body, read_timeout=READ_TIMEOUT) as reply:
        read_answer(reply, READ_TIMEOUT, expected=201)


class EventRecorder:
    """Records Events one after the other; one that cannot be recorded is logged, as the write has happened.

    `told` is told whether the cluster lets the server create them: for want of that permission, each is no news.
    """

    log = Logger()

    def __init__(self, workers: ConnectedWorkers, told: Told = untold, pauses: Pauses = never) -> None:
        self._workers = workers
        self._told = told
        self._pauses = pauses

    def record(self, deployment: Deployment, asked: int, author: Author, *, certain: bool = True) -> None:
        """Record an Event soon; when too many wait for a slow cluster, this one is only logged.

        While the cluster is known to refuse them, none is tried.
        """
        if self._pauses(CREATE_EVENTS):
            return
        scaled, at = Scaled(deployment, asked, author, certain), datetime.now(UTC)
        recorded = self._workers.call(lambda transport: create_event(transport, scaled, at), author.identity)
        recorded.addCallbacks(lambda _: self._told(CREATE_EVENTS, None), self._failed, errbackArgs=(scaled,))

    def _failed(self, failure: Failure, scaled: Scaled) -> None:
        self._told(CREATE_EVENTS, failure.value)
        level = LogLevel.debug if is_refusal(CREATE_EVENTS, failure.value) else LogLevel.warn
        self.log.emit(
            level, "no Event was recorded for {scaled}: {error}", scaled=scaled, error=failure.getErrorMessage()
        )
