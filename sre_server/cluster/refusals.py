"""What an answer to a write that is not 200 means: whose fault it is, and whether anything can have been changed.

Told by what the answer is and what it is about, not by its wording, which any webhook chooses.
"""

from collections.abc import Sequence
from typing import Final

from sre_server.cluster.decoding import Status
from sre_server.cluster.looking import KINDS, not_found
from sre_server.cluster.permissions import PATCH_SCALE
from sre_server.cluster.reviews import may_scale
from sre_server.cluster.transport import Reply, Transport
from sre_server.errors import (
    AdmissionRefused,
    ClusterBroke,
    ClusterError,
    ClusterRefused,
    ClusterThrottled,
    ClusterTimedOut,
    Conflict,
    SreServerError,
)

RETRY_SECONDS: Final = 1
_BETWEEN: Final = frozenset({408, 499})
"""What a proxy answers that has waited for the API server in vain, or says of its own client."""
UNKNOWN: Final = "Whether the count was changed is unknown: read it back before trying again."


def explain(
    transport: Transport, reply: Reply, said: Status, warnings: Sequence[str], namespace: str, name: str
) -> SreServerError:
    """Return the error that a refusal of the write of a Deployment's scale comes to; may ask the cluster, and blocks.

    A 404 or 409 counts as such only if it names the Deployment, or its namespace: admission may choose any code. A 401
    or 403 is the server's own missing right unless the cluster says that it has that right.
    """
    status, message = reply.status, said.message or "it gave no reason"
    if not said.is_status and (status < 300 or status in _BETWEEN or status >= 500) and status != 504:
        return _unknown(status, message)
    # The API server gives a reason with every failure of its own; admission that fails a request often gives none.
    if status >= 500 and not (said.is_status and not said.reason):
        return _failed(reply, message)
    if status == 404 and (missing := not_found(said, namespace, name)):
        return missing
    if status == 409 and said.names(name, *KINDS):
        return Conflict(f"The Deployment was changed by somebody else at the same time: {message}")
    if status == 429:
        wait = reply.retry_after() or RETRY_SECONDS
        return ClusterThrottled(f"The cluster takes no more writes now: {message}", status, wait)
    refused = ClusterRefused(f"The cluster refused ({status}): {message}", status, reply.retry_after())
    if not said.is_status:
        return refused
    if status in (401, 403):
        try:
            permitted = may_scale(transport, namespace, name)
        except ClusterError:
            return refused
        if not permitted:
            refused.missing_right = PATCH_SCALE
            return refused
    return AdmissionRefused(f"The cluster refused the write ({status}): {message}", status, warnings=warnings)


def _unknown(status: int, message: str) -> ClusterBroke:
    return ClusterBroke(f"The cluster failed ({status}): {message.rstrip('.')}. {UNKNOWN}")


def _failed(reply: Reply, message: str) -> ClusterError:
    if reply.status == 504:
        return ClusterTimedOut(f"The cluster did not answer in time. {UNKNOWN}")
    if reply.status in (500, 502):
        return _unknown(reply.status, message)
    return ClusterRefused(f"The cluster refused ({reply.status}): {message}", reply.status, reply.retry_after())
