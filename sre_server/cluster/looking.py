"""Looking one Deployment up, for a write that has to be judged on what it is now; no read of a client's comes here.

`get deployments` is all that this takes. Only where the count matters is the Deployment read whole: count, UID and
annotations are then of one state, which those of a Deployment and of its Scale, asked for one after the other, are not.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from sre_server.cluster.decoding import Status, decode_status
from sre_server.cluster.permissions import GET_DEPLOYMENTS
from sre_server.cluster.single import decode_state
from sre_server.cluster.transport import Transport
from sre_server.errors import BadAnswer, ClusterError, NotFound, Unavailable
from sre_server.model import State

READ_TIMEOUT: Final = 5.0
RETRY_SECONDS: Final = 2
KINDS: Final = ("deployments", "deployments/scale")
"""What a Status calls a Deployment, or its Scale."""
OBJECT_BYTES: Final = 16 * 2**20
"""1.5 MiB, the most that etcd takes, can be six times as much in JSON."""
_T = TypeVar("_T")
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"


def look(transport: Transport, namespace: str, name: str, *, count: bool) -> State:
    """Return what a Deployment is now, with its count if that matters; blocks, for a thread.

    Raises NotFound, or Unavailable if the cluster does not say.
    """

    def decode(body: bytes) -> State:
        state = decode_state(body)
        if count and state.replicas is None:
            raise BadAnswer("The cluster's answer is not a whole Deployment.")
        return state

    return get_deployment(transport, namespace, name, decode, {} if count else {"Accept": METADATA_ONLY})


def get_deployment(
    transport: Transport, namespace: str, name: str, decode: Callable[[bytes], _T], headers: Mapping[str, str]
) -> _T:
    """Get a Deployment and decode it; as `look` does, and raises."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
    # As for a write: what was idle may be dead, and there is no second attempt.
    sent = {"Connection": "close", **headers}
    try:
        with transport.request("GET", path, {}, headers=sent, read_timeout=READ_TIMEOUT) as reply:
            body = reply.read(OBJECT_BYTES, READ_TIMEOUT)
            if reply.status == 200:
                return decode(body)
    except ClusterError as error:
        raise unavailable(str(error)) from error
    said = decode_status(body)
    if reply.status == 404 and (missing := not_found(said, namespace, name)):
        raise missing
    refused = unavailable(f"the cluster refused ({reply.status}): {said.message or 'it gave no reason'}")
    if reply.status in (401, 403):
        refused.missing_right = GET_DEPLOYMENTS
    refused.retry_after = reply.retry_after() or RETRY_SECONDS
    raise refused


def not_found(said: Status, namespace: str, name: str) -> NotFound | None:
    """Make the error for a 404 that is about the Deployment or its namespace; None for one about anything else."""
    if said.names(namespace, "namespaces"):
        return NotFound(f"The namespace '{namespace}' does not exist.")
    if said.names(name, *KINDS):
        return NotFound(f"The Deployment '{name}' does not exist in the namespace '{namespace}'.")
    return None


def unavailable(why: str) -> Unavailable:
    """Make the error for a cluster that does not say."""
    return Unavailable(f"What the Deployment is now cannot be told, so nothing was changed: {why}", RETRY_SECONDS)
