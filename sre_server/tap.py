"""The seam to twistd: the options, and the service that they make, of one factory for each room."""

import time
from collections.abc import Callable
from typing import cast

from twisted.application.service import IService, Service
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTCP, IStreamServerEndpoint

from sre_server.api.factory import Guards, make_api
from sre_server.cache import ClusterCache
from sre_server.cluster.credentials import Credentials, InCluster, Kubeconfig, Unauthenticated
from sre_server.cluster.factory import make_cluster
from sre_server.cluster.workers import IThreadingReactor
from sre_server.daemon.config import Authorization, ClusterKind, ServerConfig
from sre_server.daemon.lifecycle import OrderedServices, Unreadiness
from sre_server.daemon.observing import CacheObserver, LogCounter, observe_trust
from sre_server.daemon.options import Options
from sre_server.daemon.resources import SettledHeap, raise_descriptor_limit, shorten_switch_interval
from sre_server.model import sources_of
from sre_server.security.authorization import Verb
from sre_server.security.factory import make_security
from sre_server.security.tls import ServerTLS
from sre_server.telemetry.logs import StdlibLogs
from sre_server.telemetry.metrics import Metrics
from sre_server.web.connections import ConnectionLimits
from sre_server.web.service import SiteService
from sre_server.web.transport import MutualTLSEndpoint

__all__ = ["Options", "makeService"]

BACKLOG = 1024
"""Connections that may wait to be accepted; with Twisted's 50, a burst is lost in the kernel before our own limits."""


class IServerReactor(IThreadingReactor, IReactorTCP):
    """What the daemon needs of a reactor: time, TCP, and a way in from threads."""


def makeService(options: Options) -> IService:
    """Make the daemon's service from parsed options; nothing listens, and no thread runs, until it is started."""
    from twisted.internet import reactor  # noqa: PLC0415  # the one place that may, once twistd has chosen which

    shorten_switch_interval()
    return make_service(options.config, options.tls, cast("IServerReactor", reactor))


def make_service(config: ServerConfig, tls: ServerTLS, reactor: IServerReactor) -> Service:
    """Compose the rooms: the feed fills the cache, the APIs read it, writes go through one scaler.

    Raises SystemExit with one line for an endpoint string that Twisted does not understand, or an audit log that
    cannot be opened.
    """
    metrics = Metrics()
    metrics.max_staleness.set(config.max_staleness)
    services: list[Service] = [StdlibLogs(), LogCounter(metrics)]
    cache = ClusterCache(time.monotonic, sources_of(config.namespaces), config.max_staleness)
    observer = CacheObserver(cache, metrics, time.monotonic)

    def observe(method: str, status: int, seconds: float) -> None:
        metrics.kube_requests.labels(method, str(status)).inc()
        metrics.kube_request_seconds.labels(method).observe(seconds)

    cluster = make_cluster(
        reactor,
        _credentials(config, reactor, services),
        config.namespaces,
        cache.apply,
        observe=observe,
        cycle_ended=lambda reason: metrics.watch_restarts.labels(reason).inc(),
    )
    security = make_security(
        reactor,
        metrics,
        tls,
        policy=config.policy,
        review=cluster.reviews.review if config.authorization is Authorization.KUBERNETES else None,
        max_staleness=config.max_staleness,
        pass_system_names=config.pass_system_names,
        guardrails=config.guardrails,
        audit_log=config.audit_log,
    )

    def refresh() -> None:
        observer.refresh()
        observe_trust(metrics, tls)

    guards = Guards(
        clients=security.clients,
        authorizer=security.authorizer,
        limits={Verb.READ: config.read_rate, Verb.SCALE: config.write_rate},
        guardrails=security.guardrails,
        audit=security.audit,
        connections=ConnectionLimits(
            raise_descriptor_limit(config.max_connections),
            config.max_connections_per_address,
            config.max_connections_per_identity,
            config.handshake_rate,
        ),
        expiry_warning=config.expiry_warning,
    )
    api = make_api(
        reactor,
        cache,
        metrics,
        guards,
        scale=cluster.scaling.scale,
        tell=cluster.events.record,
        watching=lambda: cluster.feed.alive,
        warnings=security.warnings,
        refresh=refresh,
    )
    if config.ops_listen is not None:
        ops = _endpoint(reactor, config.ops_listen, "--ops-listen")
        services.append(SiteService(reactor, ops, api.ops_site, "ops port"))
    endpoint = MutualTLSEndpoint(_endpoint(reactor, config.listen, "--listen"), tls)
    services += [
        SettledHeap(reactor, lambda: api.health.ready),
        security.reloading,
        *cluster.services,
        SiteService(reactor, endpoint, api.site, "API"),
        Unreadiness(api.health),
    ]
    return OrderedServices(reactor, services)


def _endpoint(reactor: IServerReactor, description: str, option: str) -> IStreamServerEndpoint:
    backlog = f":backlog={BACKLOG}" if description.startswith("tcp:") and ":backlog=" not in description else ""
    try:
        return cast("IStreamServerEndpoint", serverFromString(reactor, description + backlog))
    except (ValueError, TypeError, LookupError, OSError) as error:
        raise SystemExit(f"sre-server: {option}: '{description}' is no endpoint such as tcp:8443 ({error})") from error


def _credentials(config: ServerConfig, reactor: IServerReactor, services: list[Service]) -> Callable[[], Credentials]:
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
