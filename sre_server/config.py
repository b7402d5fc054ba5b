"""The server's configuration as one frozen value; made once from the options, passed on, never changed."""

from enum import Enum
from pathlib import Path

from msgspec import Struct


class ClusterKind(Enum):
    """Where the cluster's address and credentials come from; `auto` is settled before this is made."""

    IN_CLUSTER = "in-cluster"
    KUBECONFIG = "kubeconfig"
    SIMULATED = "simulated"


class ServerConfig(Struct, frozen=True, kw_only=True):
    """Everything that an operator can decide. Endpoints are Twisted endpoint strings; `max_staleness` is in seconds."""

    listen: str
    ops_listen: str | None
    tls_certificate: Path
    tls_private_key: Path
    tls_client_ca: Path
    cluster: ClusterKind
    kubeconfig: str
    context: str | None
    namespaces: tuple[str, ...]
    max_staleness: float
    simulated_deployments: int
