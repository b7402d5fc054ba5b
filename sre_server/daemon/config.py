"""The server's configuration as one frozen value; made once from the options, passed on, never changed."""

from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from msgspec import Struct

from sre_server.daemon.sharing import Sharing
from sre_server.news import Resource, Source, sources_beside, sources_of
from sre_server.security.limits import Rate
from sre_server.security.tls import TLSFiles


class ClusterKind(Enum):
    """Where the cluster's address and credentials come from; `auto` is settled before this is made."""

    IN_CLUSTER = "in-cluster"
    KUBECONFIG = "kubeconfig"
    SIMULATED = "simulated"


OPTIONAL: Final[Mapping[str, Resource]] = {
    "autoscalers": Resource.AUTOSCALERS,
    "authors": Resource.SCALINGS,
    "quotas": Resource.QUOTAS,
    "pods": Resource.PODS,
}
"""What an operator may do without, for want of the right to list it."""


class Authorization(Enum):
    """Who decides what a client may do."""

    ANY = "any"
    POLICY = "policy"
    KUBERNETES = "kubernetes"


class ServerConfig(Struct, frozen=True, kw_only=True):
    """Everything that an operator can decide. Endpoints are Twisted endpoint strings; `max_staleness` is in seconds.

    A watcher has no `tls`, as it serves no clients; `sharing` is a process's part in a shared cache, if it has any.
    `without` is what is not asked of the cluster; `temporary_store` is where temporary counts are noted, if anywhere.
    """

    listen: str
    ops_listen: str | None
    tls: TLSFiles | None
    authorization: Authorization
    policy: Path | None
    pass_system_names: bool
    guardrails: Path | None
    audit_log: str | None
    read_rate: Rate
    write_rate: Rate
    handshake_rate: Rate
    max_connections: int
    max_connections_per_address: int
    max_connections_per_identity: int
    expiry_warning: timedelta
    cluster: ClusterKind
    kubeconfig: str
    context: str | None
    namespaces: tuple[str, ...]
    max_staleness: float
    simulated_deployments: int
    sharing: Sharing | None = None
    without: frozenset[Resource] = frozenset()
    temporary_store: Source | None = None

    @property
    def sources(self) -> list[Source]:
        """What has to be listed before anything is served."""
        return sources_of(self.namespaces)

    @property
    def beside(self) -> list[Source]:
        """What is listed beside that."""
        beside = [source for source in sources_beside(self.namespaces) if source.resource not in self.without]
        return [*beside, *self._store]

    @property
    def _store(self) -> list[Source]:
        return [self.temporary_store] if self.temporary_store else []

    @property
    def shared(self) -> list[Source]:
        """What a shared cache has places for: the same for all processes, whatever each is without.

        The temporary counts come last, as not every process has to know of them.
        """
        return [*self.sources, *sources_beside(self.namespaces), *self._store]
