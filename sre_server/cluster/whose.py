"""Which cluster is this? Its name for itself is the UID of the namespace that every cluster has and none can lose."""

from sre_server.cluster.decoding import decode_namespace
from sre_server.cluster.permissions import GET_EVERYWHERE, Told, check_permitted, untold
from sre_server.cluster.transport import PAGE_SECONDS, STATUS_BYTES, Transport

READ_TIMEOUT = 10.0
EVERYWHERE = "kube-system"


def cluster_uid(transport: Transport, told: Told = untold) -> str:
    """Ask the cluster; blocks. Raises ClusterError; `told` is told whether that was permitted."""
    with transport.request("GET", f"/api/v1/namespaces/{EVERYWHERE}", {}, read_timeout=READ_TIMEOUT) as reply:
        check_permitted(reply, GET_EVERYWHERE, told)
        return decode_namespace(reply.read(STATUS_BYTES, PAGE_SECONDS)).uid
