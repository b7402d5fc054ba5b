"""The seam to twistd: the options, and the service that they make. Wiring, nothing else."""

import time
from collections.abc import Callable, Sequence
from typing import cast

from twisted.application.service import IService, Service
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTCP, IStreamServerEndpoint
from twisted.internet.ssl import CertificateOptions

from sre_server.api.app import Root
from sre_server.api.deployments import DeploymentsAPI
from sre_server.api.health import Health, HealthAPI
from sre_server.api.namespaces import NamespacesAPI
from sre_server.api.site import APISite
from sre_server.api.writing import Writer
from sre_server.cache import ClusterCache
from sre_server.cluster.connection import Connection
from sre_server.cluster.credentials import Credentials, InCluster, Kubeconfig, Unauthenticated
from sre_server.cluster.feed import Cycle, Feed
from sre_server.cluster.polling import NamespacePoller
from sre_server.cluster.scaling import CONCURRENT_WRITES, ScalingService
from sre_server.cluster.threads import DaemonThreadPool, IThreadingReactor
from sre_server.cluster.watching import Reflector
from sre_server.config import ClusterKind, ServerConfig
from sre_server.lifecycle import OrderedServices, SiteService, Unreadiness
from sre_server.logs import StdlibLogs
from sre_server.model import Resource, Source
from sre_server.options import Options
from sre_server.security.tls import MutualTLSEndpoint

__all__ = ["Options", "makeService"]


class IServerReactor(IThreadingReactor, IReactorTCP):
    """What the daemon needs of a reactor: time, TCP, and a way in from threads."""


def makeService(options: Options) -> IService:
    """Make the daemon's service from parsed options; nothing listens, and no thread runs, until it is started."""
    from twisted.internet import reactor  # noqa: PLC0415  # the one place that may, once twistd has chosen which

    return make_service(options.config, options.tls, cast("IServerReactor", reactor))


def make_service(config: ServerConfig, tls: CertificateOptions, reactor: IServerReactor) -> Service:
    """Wire the rooms together: the feed fills the cache, the APIs read it, writes go through one scaler.

    Raises SystemExit with one line for an endpoint string that Twisted does not understand.
    """
    services: list[Service] = [StdlibLogs()]
    credentials = _credentials(config, reactor, services)
    sources = _sources(config)
    cache = ClusterCache(time.monotonic, sources, config.max_staleness)
    feed = Feed(reactor, DaemonThreadPool(len(sources), "watch"), _cycles(config, sources, credentials), cache.apply)
    scaling = ScalingService(
        reactor, DaemonThreadPool(CONCURRENT_WRITES, "write"), lambda: Connection(credentials()), cache.written
    )
    health = Health(cache, lambda: feed.alive)
    health_api = HealthAPI(health).resource()
    if config.ops_listen is not None:
        endpoint = _endpoint(reactor, config.ops_listen, "--ops-listen")
        services.append(SiteService(reactor, endpoint, APISite(health_api, reactor), "ops port"))
    writer = Writer(cache, scaling.scale)
    deployments = DeploymentsAPI(cache, writer).resource()
    families = {
        b"deployments": deployments,
        b"namespaces": NamespacesAPI(cache, writer).resource(),
        b"livez": health_api,
        b"readyz": health_api,
    }
    endpoint = MutualTLSEndpoint(_endpoint(reactor, config.listen, "--listen"), tls)
    site = APISite(Root(families, otherwise=deployments), reactor)
    services += [feed, scaling, SiteService(reactor, endpoint, site, "API"), Unreadiness(health)]
    return OrderedServices(reactor, services)


def _endpoint(reactor: IServerReactor, description: str, option: str) -> IStreamServerEndpoint:
    try:
        return cast("IStreamServerEndpoint", serverFromString(reactor, description))
    except (ValueError, TypeError, LookupError, OSError) as error:
        raise SystemExit(f"sre-server: {option}: '{description}' is no endpoint such as tcp:8443 ({error})") from error


def _credentials(config: ServerConfig, reactor: IServerReactor, services: list[Service]) -> Callable[[], Credentials]:
    """Return what makes credentials for one connection; for the simulated cluster, add it to the services first."""
    if config.cluster is ClusterKind.IN_CLUSTER:
        return InCluster
    if config.cluster is ClusterKind.KUBECONFIG:
        return lambda: Kubeconfig(config.kubeconfig, config.context)
    from sre_server.simulator.service import SimulatorService  # noqa: PLC0415  # production has no use for it
    from sre_server.simulator.store import SimulatedCluster  # noqa: PLC0415

    cluster = SimulatedCluster(reactor, deployments=config.simulated_deployments)
    simulator = SimulatorService(reactor, cluster)
    services.append(simulator)
    return lambda: Unauthenticated(lambda: simulator.url)


def _sources(config: ServerConfig) -> list[Source]:
    scopes = config.namespaces or (None,)
    return [Source(Resource.NAMESPACES), *(Source(Resource.DEPLOYMENTS, scope) for scope in scopes)]


def _cycles(config: ServerConfig, sources: Sequence[Source], credentials: Callable[[], Credentials]) -> list[Cycle]:
    """Make one cycle for each source, each with a connection of its own."""
    if not config.namespaces:
        return [Reflector(source, Connection(credentials())) for source in sources]
    _, *deployments = sources
    poller = NamespacePoller(config.namespaces, Connection(credentials()))
    return [poller, *(Reflector(source, Connection(credentials())) for source in deployments)]
