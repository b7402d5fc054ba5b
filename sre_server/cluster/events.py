"""Leaving a Kubernetes Event on a Deployment that was scaled, so that `kubectl describe` tells who did it."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004  # not Python's own
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from sre_server.cluster.connection import refusal
from sre_server.cluster.decoding import decode_status
from sre_server.cluster.transport import STATUS_BYTES, Transport
from sre_server.cluster.workers import IThreadingReactor
from sre_server.model import Deployment

READ_TIMEOUT: Final = 5.0
WAITING_EVENTS: Final = 100
STOP_SECONDS: Final = 1.5
COMPONENT: Final = "sre-server"
MESSAGE_LENGTH: Final = 1024  # Kubernetes' own limit (core/v1 Event validation)
IDENTITY_LENGTH: Final = 512
"""So much of an identity is told, so that counts and reason fit beside it; a SPIFFE ID may be four times as long."""


class Scaled(Struct, frozen=True):
    """What an Event tells: the Deployment as it now is, the count before (None if unknown), who did it, and why.

    Where it is not `certain`, the Deployment is as somebody wanted it to be.
    """

    deployment: Deployment
    before: int | None
    identity: str
    reason: str | None
    certain: bool = True


def leave_event(transport: Transport, scaled: Scaled, at: datetime) -> None:
    """Create the Event; blocks. Raises ClusterError."""
    deployment = scaled.deployment
    time = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    was = "" if scaled.before is None else f" from {scaled.before}"
    why = f": {scaled.reason}" if scaled.reason else ""
    did, unless = ("scaled this", "") if scaled.certain else ("asked to scale this", ", with an unknown outcome")
    who = scaled.identity[:IDENTITY_LENGTH]
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{deployment.name[:200]}.", "namespace": deployment.namespace},
        "involvedObject": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "namespace": deployment.namespace,
            "name": deployment.name,
            "uid": deployment.uid,
            "resourceVersion": deployment.resource_version,
        },
        "type": "Normal" if scaled.certain else "Warning",
        "reason": "ScaledOnRequest" if scaled.certain else "ScaleOutcomeUnknown",
        "message": f"{who} {did}{was} to {deployment.replicas}{unless}{why}"[:MESSAGE_LENGTH],
        "source": {"component": COMPONENT},
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
    path = f"/api/v1/namespaces/{deployment.namespace}/events"
    body, headers = msgspec.json.encode(event), {"Content-Type": "application/json"}
    with transport.request("POST", path, {}, headers=headers, body=body, read_timeout=READ_TIMEOUT) as reply:
        answer = reply.read(STATUS_BYTES, READ_TIMEOUT)
        if reply.status != 201:
            raise refusal(reply, decode_status(answer).message)


class EventService(Service):
    """Leaves Events one after the other, in a thread; one that cannot be left is logged, as the write has happened."""

    log = Logger()

    def __init__(self, reactor: IThreadingReactor, pool: ThreadPool, connect: Callable[[], Transport]) -> None:
        self._reactor = reactor
        self._pool = pool
        self._connect = connect
        self._transport: Transport | None = None
        self._waiting = 0
        self._all_left: Deferred[None] = Deferred()

    def startService(self) -> None:
        """Start the pool, which has one thread."""
        super().startService()
        self._pool.start()

    def leave(
        self, deployment: Deployment, before: int | None, identity: str, reason: str | None, *, certain: bool = True
    ) -> None:
        """Leave an Event soon; when too many wait for a slow cluster, this one is only logged."""
        scaled = Scaled(deployment, before, identity, reason, certain)
        if self._waiting >= WAITING_EVENTS:
            self.log.warn("no Event was left for {scaled}: too many wait", scaled=scaled)
            return
        self._waiting += 1
        deferToThreadPool(self._reactor, self._pool, self._leave, scaled, datetime.now(UTC)).addBoth(self._left)

    def _leave(self, scaled: Scaled, at: datetime) -> None:
        if self._transport is None:
            self._transport = self._connect()
        leave_event(self._transport, scaled, at)

    def _left(self, result: Failure | None) -> None:
        self._waiting -= 1
        if isinstance(result, Failure):
            self.log.warn("an Event could not be left: {error}", error=result.getErrorMessage())
        if not (self._waiting or self.running or self._all_left.called):
            self._all_left.callback(None)

    def stopService(self) -> Deferred[None]:
        """Let what waits be left, for 1.5 s, and the thread go; one that hangs is left to die with the process."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._waiting:
            try:
                await self._all_left.addTimeout(STOP_SECONDS, self._reactor)
            except TimeoutError:
                return
        self._pool.stop()
