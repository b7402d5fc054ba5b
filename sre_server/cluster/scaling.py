"""The write path: one PATCH of one Deployment's `scale` subresource, exactly one attempt.

Nothing is queued: when every thread is busy with a slow cluster, a further write is refused at once, so that no write
happens later than its caller believes. An unknown outcome is said to be unknown (client-go rest/request.go never
repeats a write on a connection error either).
"""

from collections.abc import Callable
from typing import Final

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from sre_server.cluster.connection import refusal
from sre_server.cluster.decoding import decode_scale, decode_status
from sre_server.cluster.threads import IThreadingReactor
from sre_server.cluster.transport import STATUS_BYTES, Transport
from sre_server.errors import BadAnswer, ClusterBroke, ClusterTimedOut, Conflict, NotFound, Unavailable
from sre_server.model import Deployment

FIELD_MANAGER: Final = "sre-server"
READ_TIMEOUT: Final = 10.0
CONCURRENT_WRITES: Final = 16
BUSY_RETRY_SECONDS: Final = 1
_UNKNOWN: Final = "Whether the count was changed is unknown: read it back before trying again."

Done = Callable[[Deployment | Failure], object]


def set_replicas(transport: Transport, namespace: str, name: str, replicas: int) -> Deployment:
    """Set the desired count and return the Deployment as the cluster then has it; blocks, for a thread.

    Raises NotFound, Conflict or ClusterRefused (nothing was changed), ClusterUnreachable (never sent), ClusterTimedOut
    or ClusterBroke (outcome unknown).
    """
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
    # A connection that has idled may be dead already, and a write must not find that out: a fresh one each time.
    headers = {"Content-Type": "application/merge-patch+json", "Connection": "close"}
    body = msgspec.json.encode({"spec": {"replicas": replicas}})
    query = {"fieldManager": FIELD_MANAGER}
    try:
        with transport.request("PATCH", path, query, headers=headers, body=body, read_timeout=READ_TIMEOUT) as reply:
            answer = reply.read(STATUS_BYTES, READ_TIMEOUT)
            if reply.status == 200:
                return decode_scale(answer)
            message = decode_status(answer).message
    except ClusterTimedOut as error:
        raise ClusterTimedOut(f"{error} {_UNKNOWN}") from error
    except (ClusterBroke, BadAnswer) as error:
        raise ClusterBroke(f"{error} {_UNKNOWN}") from error
    if reply.status == 404:
        raise NotFound(f"The Deployment '{name}' does not exist in the namespace '{namespace}'.")
    if reply.status == 409:
        raise Conflict(f"The Deployment was changed by somebody else at the same time: {message}", reply.status)
    if reply.status == 504:
        raise ClusterTimedOut(f"The cluster did not answer in time. {_UNKNOWN}")
    if reply.status in (500, 502):
        raise ClusterBroke(f"The cluster failed ({reply.status}): {message or 'it gave no reason'}. {_UNKNOWN}")
    raise refusal(reply, message)


class ScalingService(Service):
    """Runs writes in a pool of its own and tells `written` of each that succeeded, even if its caller has left."""

    log = Logger()

    def __init__(
        self,
        reactor: IThreadingReactor,
        pool: ThreadPool,
        connect: Callable[[], Transport],
        written: Callable[[Deployment], object],
    ) -> None:
        self._reactor = reactor
        self._pool = pool
        self._connect = connect
        self._written = written
        self._idle: list[Transport] = []
        self._busy = 0

    def startService(self) -> None:
        """Start the pool."""
        super().startService()
        self._pool.start()

    def scale(self, namespace: str, name: str, replicas: int, done: Done) -> Deferred[Deployment]:
        """Set the desired count; fires with the Deployment as it then is, or fails as `set_replicas` does.

        Cancelling the Deferred stops the waiting, not the write: `done` is told of the outcome in any case. Fails with
        Unavailable when too many are under way.
        """
        if self._busy >= CONCURRENT_WRITES:
            refused = Failure(Unavailable("Too many writes are waiting for the cluster.", BUSY_RETRY_SECONDS))
            done(refused)
            return fail(refused)
        outcome: Deferred[Deployment] = Deferred()
        transport = self._idle.pop() if self._idle else self._connect()
        self._busy += 1

        def finished(result: Deployment | Failure) -> None:
            self._busy -= 1
            self._idle.append(transport)
            try:
                if isinstance(result, Deployment):
                    self._written(result)
                done(result)
            finally:
                if not outcome.called:
                    outcome.callback(result)

        write = deferToThreadPool(self._reactor, self._pool, set_replicas, transport, namespace, name, replicas)
        write.addBoth(finished).addErrback(lambda failure: self.log.failure("a write was not noted", failure=failure))
        return outcome

    def stopService(self) -> None:
        """Let the idle threads go; a write that still hangs is left to die with the process."""
        super().stopService()
        if not self._busy:
            self._pool.stop()
