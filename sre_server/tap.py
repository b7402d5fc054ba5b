"""The seam to twistd: the options, and the service that they make, of one factory for each room."""

import time
from collections.abc import Callable
from functools import partial
from typing import cast

from twisted.application.service import IService, Service
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTCP, IStreamServerEndpoint

from sre_server.api.factory import Guards, make_api
from sre_server.cache import ClusterCache
from sre_server.cluster.connection import Connection
from sre_server.cluster.credentials import Credentials, InCluster, Kubeconfig, Unauthenticated
from sre_server.cluster.events import EventService
from sre_server.cluster.feed import Cycle, Feed
from sre_server.cluster.permissions import CREATE_REVIEWS, Permissions, Told
from sre_server.cluster.polling import NamespacePoller
from sre_server.cluster.probing import ReviewProbe
from sre_server.cluster.reviews import CONCURRENT_REVIEWS, ReviewService
from sre_server.cluster.scaling import CONCURRENT_WRITES, ScalingService
from sre_server.cluster.version import streams_lists
from sre_server.cluster.watching import Reflector
from sre_server.cluster.workers import DaemonThreadPool, IThreadingReactor
from sre_server.daemon.config import Authorization, ClusterKind, ServerConfig
from sre_server.daemon.lifecycle import OrderedServices, Unreadiness
from sre_server.daemon.observing import CacheObserver, LogCounter, observe_trust
from sre_server.daemon.options import Options
from sre_server.daemon.resources import SettledHeap, raise_descriptor_limit, shorten_switch_interval
from sre_server.model import Resource, Source, sources_of
from sre_server.security.authorization import Verb
from sre_server.security.factory import make_security
from sre_server.security.tls import MutualTLSEndpoint, ServerTLS
from sre_server.telemetry.logs import StdlibLogs
from sre_server.telemetry.metrics import Metrics
from sre_server.web.connections import ConnectionLimits
from sre_server.web.service import SiteService

__all__ = ["Options", "makeService"]

Connect = Callable[[], Connection]
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
    connect = _connect(config, reactor, metrics, services)
    permissions = Permissions(
        [CREATE_REVIEWS] if config.authorization is Authorization.KUBERNETES else [],
        lambda what, missing: metrics.permission_missing.labels(what).set(missing),
    )
    reviews = ReviewService(reactor, DaemonThreadPool(CONCURRENT_REVIEWS, "review"), connect)
    security = make_security(
        reactor,
        metrics,
        tls,
        policy=config.policy,
        review=reviews.review if config.authorization is Authorization.KUBERNETES else None,
        guardrails=config.guardrails,
        audit_log=config.audit_log,
    )

    sources = sources_of(config.namespaces)
    cache = ClusterCache(time.monotonic, sources, config.max_staleness)
    observer = CacheObserver(cache, metrics, time.monotonic)
    feed = Feed(
        reactor,
        DaemonThreadPool(len(sources), "watch"),
        [_cycle(source, connect(), permissions.told) for source in sources],
        cache.apply,
        ended=lambda reason: metrics.watch_restarts.labels(reason).inc(),
    )
    scaling = ScalingService(reactor, DaemonThreadPool(CONCURRENT_WRITES, "write"), connect, cache.written)
    events = EventService(reactor, DaemonThreadPool(1, "event"), connect)

    probes: list[Service] = []
    if config.authorization is Authorization.KUBERNETES:
        probes.append(ReviewProbe(reactor, DaemonThreadPool(1, "probe"), connect, permissions))

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
        scale=scaling.scale,
        tell=events.leave,
        permissions=permissions,
        watching=lambda: feed.alive,
        warnings=security.warnings,
        refresh=refresh,
    )
    if config.ops_listen is not None:
        ops = _endpoint(reactor, config.ops_listen, "--ops-listen")
        services.append(SiteService(reactor, ops, api.ops_site, "ops port"))
    endpoint = MutualTLSEndpoint(_endpoint(reactor, config.listen, "--listen"), tls, api.site.admits)
    services += [
        SettledHeap(reactor, lambda: api.health.ready),
        security.reloading,
        feed,
        reviews,
        scaling,
        events,
        *probes,
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


def _connect(config: ServerConfig, reactor: IServerReactor, metrics: Metrics, services: list[Service]) -> Connect:
    """Return what makes one connection to the cluster; a simulated cluster is added to the services first."""

    def observe(method: str, status: int, seconds: float) -> None:
        metrics.kube_requests.labels(method, str(status)).inc()
        metrics.kube_request_seconds.labels(method).observe(seconds)

    credentials = _credentials(config, reactor, services)
    return lambda: Connection(credentials(), observe)


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


def _cycle(source: Source, connection: Connection, told: Told) -> Cycle:
    """Make what keeps up with a source: no Role can grant a watch of the Namespace object that it is in."""
    if source.resource is Resource.NAMESPACES and source.namespace:
        return NamespacePoller(source, connection, told=told)
    return Reflector(source, connection, streams=partial(streams_lists, told=told), told=told)
