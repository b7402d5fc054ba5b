"""Which cluster there is to serve: the one that the process runs in, that of a kubeconfig, or a simulated one."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTCP
from twisted.python.usage import UsageError

from sre_server.cluster.access import Credentials
from sre_server.cluster.credentials import DEFAULT_KUBECONFIG, InCluster, Kubeconfig, Unauthenticated
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


def choose_cluster(asked: str, kubeconfig: str | None, context: str | None, environ: Mapping[str, str]) -> ClusterKind:
    """Read `--cluster`, and settle `auto`; raises UsageError, also where there is none."""
    if asked != "auto":
        try:
            return ClusterKind(asked)
        except ValueError:
            raise UsageError(f"--cluster is auto, in-cluster, kubeconfig or simulated, not '{asked}'") from None
    if kubeconfig or context:
        return ClusterKind.KUBECONFIG
    if InCluster(environ).present():
        return ClusterKind.IN_CLUSTER
    paths = kubeconfig_paths(kubeconfig, environ)
    if any(Path(path).exists() for path in paths.split(os.pathsep)):
        return ClusterKind.KUBECONFIG
    raise UsageError(
        f"no cluster: this is not a pod, and {paths} does not exist; "
        "name one with --kubeconfig, or try --cluster=simulated"
    )


def kubeconfig_paths(given: str | None, environ: Mapping[str, str]) -> str:
    """Return where kubeconfigs may be, as kubectl reads `$KUBECONFIG`: absolute paths with colons between them."""
    where = given or environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
    paths = (Path(path).expanduser().absolute() for path in where.split(os.pathsep) if path)
    return os.pathsep.join(str(path) for path in paths)
