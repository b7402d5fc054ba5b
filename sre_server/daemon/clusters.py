"""Which cluster there is to serve: the one that the process runs in, that of a kubeconfig, or a simulated one."""

from collections.abc import Callable

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTCP

from sre_server.cluster.access import Credentials
from sre_server.cluster.credentials import InCluster, Kubeconfig, Unauthenticated
from sre_server.cluster.workers import IThreadingReactor
from sre_server.daemon.config import ClusterKind, ServerConfig


class IServerReactor(IThreadingReactor, IReactorTCP):
    """What the daemon needs of a reactor: time, TCP, and a way in from threads."""


def find_cluster(config: ServerConfig, reactor: IServerReactor) -> tuple[Callable[[], Credentials], list[Service]]:
    """Return what makes credentials for the cluster, and the services that it needs, as only a simulated one does."""
    if config.cluster is ClusterKind.IN_CLUSTER:
        return InCluster, []
    if config.cluster is ClusterKind.KUBECONFIG:
        kubeconfig = Kubeconfig(config.kubeconfig, config.context)
        return lambda: kubeconfig, []  # one for all connections, so that its plugin runs once for all of them
    from sre_server.simulator.service import SimulatorService  # noqa: PLC0415  # production has no use for it
    from sre_server.simulator.store import SimulatedCluster  # noqa: PLC0415

    simulator = SimulatorService(reactor, SimulatedCluster(reactor, deployments=config.simulated_deployments))
    return lambda: Unauthenticated(lambda: simulator.url), [simulator]
