"""Writing: one PATCH of one Deployment's `scale` subresource, exactly one attempt.

Nothing is queued: when every thread is busy with a slow cluster, a further write is refused at once, so that no write
happens later than its caller believes. An outcome that is not known is called unknown, and the write is not repeated
(nor does client-go's rest/request.go repeat a write after a connection error).
"""

from contextlib import suppress
from typing import Final

import msgspec
from twisted.internet.defer import Deferred

from sre_server.cluster.decoding import decode_scale, decode_status
from sre_server.cluster.transport import STATUS_BYTES, Transport, refusal
from sre_server.cluster.workers import Bounds, ConnectedWorkers
from sre_server.errors import (
    BadAnswer,
    ClusterBroke,
    ClusterError,
    ClusterTimedOut,
    Conflict,
    NotFound,
    PreconditionFailed,
)
from sre_server.model import Deployment, Expected

FIELD_MANAGER: Final = "sre-server"
READ_TIMEOUT: Final = 10.0
BOUNDS: Final = Bounds(running=16, running_per_client=8)
"""Half for one client: it cannot hold up the others by itself, and a burst of its own still goes through."""
_UNKNOWN: Final = "Whether the count was changed is unknown: read it back before trying again."

_MERGE_PATCH: Final = "application/merge-patch+json"
_WHATEVER: Final = Expected()


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
    # A connection that was idle may be dead already, and its first request has to find out: no write is that request.
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
    """Return a patch and its media type: it sets the count, after testing what is `expected`, if anything is.

    A Scale omits a count of 0, so that a JSON patch has to test for null to find it.
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
    """After a 422, raise PreconditionFailed if the Deployment is not as expected: a 422 may have another reason.

    The Deployment is read by an empty patch, a dry run, which takes no permission but that to write.
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


class Scaling:
    """Runs writes in threads; each of `workers` makes one write at a time, and none is queued."""

    def __init__(self, workers: ConnectedWorkers) -> None:
        self._workers = workers

    def scale(
        self, client: str, namespace: str, name: str, replicas: int, expected: Expected = _WHATEVER
    ) -> Deferred[Deployment]:
        """Set the desired count for a client; fires with the Deployment as it then is, or fails as `set_replicas` does.

        Cancelling the Deferred stops the waiting, not the write. Fails with Unavailable when too many are under way.
        """
        return self._workers.call(
            lambda transport: set_replicas(transport, namespace, name, replicas, expected), client
        )
