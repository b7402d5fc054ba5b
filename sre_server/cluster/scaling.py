"""Writing: one PATCH of one Deployment's `scale` subresource, and another one only where the cluster changed nothing.

Nothing is queued: when every thread is busy with a slow cluster, a further write is refused at once, so that no write
happens later than its caller believes. An outcome that is not known is called unknown, and the write is not repeated
(nor does client-go's rest/request.go repeat a write after a connection error).
"""

import time
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sre_server.cluster.decoding import decode_status
from sre_server.cluster.looking import look
from sre_server.cluster.permissions import GET_DEPLOYMENTS, PATCH_SCALE, Told, untold
from sre_server.cluster.refusals import UNKNOWN, explain
from sre_server.cluster.single import decode_scale
from sre_server.cluster.transport import STATUS_BYTES, Transport
from sre_server.cluster.workers import Bounds, ConnectedWorkers
from sre_server.errors import (
    AdmissionRefused,
    BadAnswer,
    ClusterBroke,
    ClusterTimedOut,
    ClusterUnreachable,
    SreServerError,
)
from sre_server.model import Expected, State, Written

FIELD_MANAGER: Final = "sre-server"
READ_TIMEOUT: Final = 10.0
AGAIN_SECONDS: Final = 1.0
"""Later than this nothing is sent for the second time: callers rely on how long a write takes at most."""
BOUNDS: Final = Bounds(running=16, running_per_client=8)
"""Half for one client: it cannot hold up the others by itself, and a burst of its own still goes through."""
_T = TypeVar("_T")


def set_replicas(
    transport: Transport, namespace: str, name: str, replicas: int, expected: Expected, *, again: bool = True
) -> Written | State:
    """Set the desired count if the Deployment is as `expected`; blocks, for a thread.

    The cluster itself compares, in the same step. Returns what it then has, or, where the Deployment was not as
    expected and nothing was changed, what that is instead. One that is as expected `again` by the time that it is
    looked at is written once more: what refuses that as well is no comparison.

    Raises NotFound, Conflict, AdmissionRefused, ClusterThrottled, Unavailable or ClusterRefused (nothing was changed),
    ClusterUnreachable (never sent), ClusterTimedOut or ClusterBroke (outcome unknown).
    """
    began = time.monotonic()
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
    # A connection that was idle may be dead already, and its first request has to find out: no write is that request.
    headers = {"Content-Type": "application/json-patch+json", "Connection": "close"}
    query, body = {"fieldManager": FIELD_MANAGER}, _patch(replicas, expected)
    try:
        with transport.request("PATCH", path, query, headers=headers, body=body, read_timeout=READ_TIMEOUT) as reply:
            answer, warnings = reply.read(STATUS_BYTES, READ_TIMEOUT), reply.warnings()
            if reply.status == 200:
                return Written(decode_scale(answer), warnings)
            said = decode_status(answer)
    except ClusterUnreachable as error:
        raise type(error)(f"{error} Nothing was changed.") from error
    except ClusterTimedOut as error:
        raise ClusterTimedOut(f"{error} {UNKNOWN}") from error
    except (ClusterBroke, BadAnswer) as error:
        raise ClusterBroke(f"{error} {UNKNOWN}") from error
    refusal = explain(transport, reply, said, warnings, namespace, name)
    # A test that fails is a 422 that is about no object, and so may be what a webhook says: only the state can tell.
    if isinstance(refusal, AdmissionRefused) and refusal.status == 422 and not said.names_something:
        state = look(transport, namespace, name, count=expected.replicas is not None)
        if not expected.fits(state):
            return state
        if again and expected.replicas is not None and time.monotonic() - began < AGAIN_SECONDS:
            return set_replicas(transport, namespace, name, replicas, expected, again=False)
    raise refusal


def _patch(replicas: int, expected: Expected) -> bytes:
    """Return a JSON patch (RFC 6902) that sets the count, after testing what is `expected`.

    A Scale omits a count of 0, so that one has to test for null to find it.
    """
    steps: list[dict[str, object]] = [{"op": "test", "path": "/metadata/uid", "value": expected.uid}]
    if expected.replicas is not None:
        steps.append({"op": "test", "path": "/spec/replicas", "value": expected.replicas or None})
    return msgspec.json.encode([*steps, {"op": "add", "path": "/spec/replicas", "value": replicas}])


class Scaling:
    """Runs writes, and what has to be looked up for them, in threads; each of `workers` does one, none is queued.

    `told` is told, in the reactor thread, of what the cluster permits the server itself, or does not.
    """

    def __init__(self, workers: ConnectedWorkers, told: Told = untold) -> None:
        self._workers = workers
        self._told = told

    def scale(
        self, client: str, namespace: str, name: str, replicas: int, expected: Expected
    ) -> Deferred[Written | State]:
        """Set the desired count for a client, as `set_replicas` does.

        Cancelling the Deferred stops the waiting, not the write. Fails with Unavailable when too many are under way.
        """
        return self._run(
            PATCH_SCALE, lambda transport: set_replicas(transport, namespace, name, replicas, expected), client
        )

    def look(self, client: str, namespace: str, name: str, *, count: bool) -> Deferred[State]:
        """Look a Deployment up for a client's write; see `sre_server.cluster.looking.look`."""
        return self._run(GET_DEPLOYMENTS, lambda transport: look(transport, namespace, name, count=count), client)

    def _run(self, what: str, work: Callable[[Transport], _T], client: str) -> Deferred[_T]:
        return self._workers.call(work, client).addCallbacks(self._succeeded, self._failed, callbackArgs=(what,))

    def _succeeded(self, outcome: _T, what: str) -> _T:
        self._told(what, None)
        return outcome

    def _failed(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, SreServerError) and error.missing_right:
            self._told(error.missing_right, error)
        return failure
