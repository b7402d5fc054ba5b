"""The write path: one PATCH of one Deployment's `scale` subresource, exactly one attempt.

Nothing is queued: when every thread is busy with a slow cluster, a further write is refused at once, so that no write
happens later than its caller believes. An unknown outcome is said to be unknown (client-go rest/request.go never
repeats a write on a connection error either).
"""

from collections.abc import Callable
from contextlib import suppress
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
from sre_server.cluster.transport import STATUS_BYTES, Transport
from sre_server.cluster.workers import IThreadingReactor
from sre_server.errors import (
    BadAnswer,
    ClusterBroke,
    ClusterError,
    ClusterTimedOut,
    Conflict,
    NotFound,
    PreconditionFailed,
    Unavailable,
)
from sre_server.model import Deployment, Expected

FIELD_MANAGER: Final = "sre-server"
READ_TIMEOUT: Final = 10.0
CONCURRENT_WRITES: Final = 16
BUSY_RETRY_SECONDS: Final = 1
_UNKNOWN: Final = "Whether the count was changed is unknown: read it back before trying again."

_MERGE_PATCH: Final = "application/merge-patch+json"
_WHATEVER: Final = Expected()

Done = Callable[[Deployment | Failure], object]


def set_replicas(
    transport: Transport, namespace: str, name: str, replicas: int, expected: Expected = _WHATEVER
) -> Deployment:
    """Set the desired count and return the Deployment as the cluster then has it; blocks, for a thread.

    The cluster itself compares the Deployment with what is `expected`, in the same step. Raises NotFound,
    PreconditionFailed, Conflict or ClusterRefused (nothing was changed), ClusterUnreachable (never sent),
    ClusterTimedOut or ClusterBroke (outcome unknown).
    """
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
    form, body = _patch(replicas, expected)
    # A connection that has idled may be dead already, and a write must not find that out: a fresh one each time.
    headers = {"Content-Type": form, "Connection": "close"}
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
    if reply.status == 422 and expected != _WHATEVER:
        _check_expected(transport, path, expected)
    if reply.status == 504:
        raise ClusterTimedOut(f"The cluster did not answer in time. {_UNKNOWN}")
    if reply.status in (500, 502):
        raise ClusterBroke(f"The cluster failed ({reply.status}): {message or 'it gave no reason'}. {_UNKNOWN}")
    raise refusal(reply, message)


def _patch(replicas: int, expected: Expected) -> tuple[str, bytes]:
    """Return a patch and its media type: one that sets the count, and where something is expected, tests that first.

    A Scale leaves out a count of 0, so that this is what null, or nothing, stands for in a JSON patch of it.
    """
    if expected == _WHATEVER:
        return _MERGE_PATCH, msgspec.json.encode({"spec": {"replicas": replicas}})
    steps: list[dict[str, object]] = [{"op": "add", "path": "/spec/replicas", "value": replicas}]
    if expected.replicas is not None:
        steps.insert(0, {"op": "test", "path": "/spec/replicas", "value": expected.replicas or None})
    if expected.uid is not None:
        steps.insert(0, {"op": "test", "path": "/metadata/uid", "value": expected.uid})
    return "application/json-patch+json", msgspec.json.encode(steps)


def _check_expected(transport: Transport, path: str, expected: Expected) -> None:
    """Raise PreconditionFailed if the Deployment is another than expected; 422 may mean something else as well.

    It is read by a patch that patches nothing, dry-run, for which the permission to write is enough.
    """
    headers = {"Content-Type": _MERGE_PATCH, "Connection": "close"}
    query = {"fieldManager": FIELD_MANAGER, "dryRun": "All"}
    current = None
    with (
        suppress(ClusterError),
        transport.request("PATCH", path, query, headers=headers, body=b"{}", read_timeout=READ_TIMEOUT) as reply,
    ):
        answer = reply.read(STATUS_BYTES, READ_TIMEOUT)
        current = decode_scale(answer) if reply.status == 200 else None
    if current is None:
        raise PreconditionFailed("The Deployment is not, or may not be, as If-Match has it; nothing was changed.")
    if (current.replicas, current.uid) != (expected.replicas, expected.uid):
        raise PreconditionFailed(
            f"The Deployment is not as If-Match has it: its count is {current.replicas} now. Nothing was changed.",
            current.replicas,
            current.uid,
        )


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

    def scale(
        self, namespace: str, name: str, replicas: int, done: Done, expected: Expected = _WHATEVER
    ) -> Deferred[Deployment]:
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

        write = deferToThreadPool(
            self._reactor, self._pool, set_replicas, transport, namespace, name, replicas, expected
        )
        write.addBoth(finished).addErrback(lambda failure: self.log.failure("a write was not noted", failure=failure))
        return outcome

    def stopService(self) -> None:
        """Let the idle threads go; a write that still hangs is left to die with the process."""
        super().stopService()
        if not self._busy:
            self._pool.stop()
