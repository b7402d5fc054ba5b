"""The seam to twistd: the options, and the service that they make. Wiring, nothing else."""

import time
from collections.abc import Callable, Sequence
from typing import cast

from twisted.application.service import IService, Service
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReactorTCP, IStreamServerEndpoint
from twisted.web.resource import IResource

from sre_server.api.bodies import ListBodies, counts_in, names_in
from sre_server.api.deployments import DeploymentsAPI
from sre_server.api.gate import Gate
from sre_server.api.health import Health, HealthAPI
from sre_server.api.lane import FastLane
from sre_server.api.metrics import MetricsAPI
from sre_server.api.namespaces import NamespacesAPI
from sre_server.api.openapi import OpenAPI
from sre_server.api.routing import Root
from sre_server.api.statuses import FAMILY_A, FAMILY_B, StatusTable
from sre_server.api.writing import Writer
from sre_server.cache import ClusterCache
from sre_server.cluster.access import Credentials
from sre_server.cluster.connection import Connection
from sre_server.cluster.credentials import InCluster, Kubeconfig, Unauthenticated
from sre_server.cluster.events import EventService
from sre_server.cluster.feed import Cycle, Feed
from sre_server.cluster.polling import NamespacePoller
from sre_server.cluster.reviews import CONCURRENT_REVIEWS, ReviewService
from sre_server.cluster.scaling import CONCURRENT_WRITES, ScalingService
from sre_server.cluster.version import streams_lists
from sre_server.cluster.watching import Reflector
from sre_server.cluster.workers import DaemonThreadPool, IThreadingReactor
from sre_server.daemon.config import Authorization, ClusterKind, ServerConfig
from sre_server.daemon.lifecycle import OrderedServices, SiteService, Unreadiness
from sre_server.daemon.observing import CacheObserver, LogCounter, observe_trust
from sre_server.daemon.options import Options
from sre_server.daemon.resources import SettledHeap, room_for, share_time
from sre_server.model import Resource, Source
from sre_server.security.audit import AuditLog, open_audit_log
from sre_server.security.authorization import AnyClient, Authorizer, Verb
from sre_server.security.clients import CertificateClients
from sre_server.security.delegation import KubernetesAuthorizer, review_spec
from sre_server.security.guardrails import Guardrails, GuardrailsFile
from sre_server.security.limits import TokenBuckets
from sre_server.security.policy import PolicyFile
from sre_server.security.reloading import Reloading, Watched
from sre_server.security.tls import MutualTLSEndpoint, ServerTLS
from sre_server.telemetry.logs import StdlibLogs
from sre_server.telemetry.metrics import Metrics
from sre_server.web.site import APISite, ConnectionLimits

__all__ = ["Options", "makeService"]

Connect = Callable[[], Connection]
BACKLOG = 1024
"""Connections that may wait to be accepted; with Twisted's 50, a burst is lost in the kernel before our own limits."""


class IServerReactor(IThreadingReactor, IReactorTCP):
    """What the daemon needs of a reactor: time, TCP, and a way in from threads."""


def makeService(options: Options) -> IService:
    """Make the daemon's service from parsed options; nothing listens, and no thread runs, until it is started."""
    from twisted.internet import reactor  # noqa: PLC0415  # the one place that may, once twistd has chosen which

    share_time()
    return make_service(options.config, options.tls, cast("IServerReactor", reactor))


def make_service(config: ServerConfig, tls: ServerTLS, reactor: IServerReactor) -> Service:
    """Wire the rooms together: the feed fills the cache, the APIs read it, writes go through one scaler.

    Raises SystemExit with one line for an endpoint string that Twisted does not understand, or an audit log that
    cannot be opened.
    """
    metrics = Metrics()
    services: list[Service] = [StdlibLogs(), LogCounter(metrics)]
    watched = [Watched("TLS files", config.tls.paths(), tls.reload)]
    connect = _connect(config, reactor, metrics, services)
    audit = _audit_log(config)
    authorizer = _authorizer(config, reactor, connect, watched, services)
    guardrails = _guardrails(config, watched)
    reloading = Reloading(reactor, metrics, watched)

    sources = _sources(config)
    cache = ClusterCache(time.monotonic, sources, config.max_staleness)
    observer = CacheObserver(cache, metrics, time.monotonic)
    feed = Feed(
        reactor,
        DaemonThreadPool(len(sources), "watch"),
        _cycles(config, sources, connect),
        observer.apply,
        ended=lambda reason: metrics.watch_restarts.labels(reason).inc(),
    )
    scaling = ScalingService(reactor, DaemonThreadPool(CONCURRENT_WRITES, "write"), connect, observer.written)
    events = EventService(reactor, DaemonThreadPool(1, "event"), connect)

    limits = {
        Verb.READ: TokenBuckets(config.read_rate, time.monotonic),
        Verb.SCALE: TokenBuckets(config.write_rate, time.monotonic),
    }

    def gate(statuses: StatusTable) -> Gate:
        return Gate(authorizer, limits, audit, metrics, config.expiry_warning, statuses)

    def writer(statuses: StatusTable) -> Writer:
        return Writer(cache, scaling.scale, guardrails, audit, metrics, events.leave, statuses)

    metrics.max_staleness.set(config.max_staleness)

    def refresh() -> None:
        observer.refresh()
        observe_trust(metrics, tls)
        metrics.ready.set(health.ready)
        metrics.clients_connected.set(site.identities)

    health = Health(
        cache, lambda: feed.alive, lambda: reloading.warnings() + _expired_lists(tls), lambda: feed.troubles
    )
    health_api = HealthAPI(health).resource()
    gate_a = gate(FAMILY_A)
    names, counts = ListBodies(cache, names_in), ListBodies(cache, counts_in)
    family_a = DeploymentsAPI(cache, gate_a, writer(FAMILY_A), names)
    family_b = NamespacesAPI(cache, gate(FAMILY_B), writer(FAMILY_B), names, counts)
    deployments = family_a.resource()
    families = {
        b"deployments": deployments,
        b"namespaces": family_b.resource(),
        b"metrics": MetricsAPI(metrics, refresh, gate_a).resource(),
        b"openapi.json": OpenAPI().resource(),
        b"livez": health_api,
        b"readyz": health_api,
    }
    if config.ops_listen is not None:
        ops = {b"metrics": MetricsAPI(metrics, refresh).resource()}
        services.append(_ops_port(config.ops_listen, reactor, Root(ops, otherwise=health_api)))
    site = APISite(
        Root(families, otherwise=deployments),
        reactor,
        metrics,
        CertificateClients(tls.trust),
        ConnectionLimits(
            room_for(config.max_connections),
            config.max_connections_per_address,
            config.max_connections_per_identity,
            config.handshake_rate,
        ),
    )
    site.lane = FastLane([family_a, family_b], site.turns, site.access, metrics)
    endpoint = MutualTLSEndpoint(_endpoint(reactor, config.listen, "--listen"), tls, site.admits)
    services += [
        SettledHeap(reactor, lambda: health.ready),
        reloading,
        feed,
        scaling,
        events,
        SiteService(reactor, endpoint, site, "API"),
        Unreadiness(health),
    ]
    return OrderedServices(reactor, services)


def _expired_lists(tls: ServerTLS) -> list[str]:
    return [f"the revocation list of {issuer} is past its next update" for issuer in tls.trust().expired_revocations()]


def _audit_log(config: ServerConfig) -> AuditLog:
    try:
        return open_audit_log(config.audit_log)
    except OSError as error:
        raise SystemExit(f"sre-server: the audit log {config.audit_log} cannot be opened: {error.strerror}") from error


def _authorizer(
    config: ServerConfig,
    reactor: IServerReactor,
    connect: Connect,
    watched: list[Watched],
    services: list[Service],
) -> Authorizer:
    if config.authorization is Authorization.KUBERNETES:
        reviews = ReviewService(reactor, DaemonThreadPool(CONCURRENT_REVIEWS, "review"), connect)
        services.append(reviews)
        return KubernetesAuthorizer(lambda question: reviews.review(review_spec(question)), time.monotonic)
    if config.policy is not None:
        file = PolicyFile(config.policy)
        watched.append(Watched("policy", [config.policy], file.reload))
        return file.policy
    return AnyClient()


def _guardrails(config: ServerConfig, watched: list[Watched]) -> Callable[[], Guardrails]:
    if config.guardrails is None:
        return Guardrails
    file = GuardrailsFile(config.guardrails)
    watched.append(Watched("guardrails", [config.guardrails], file.reload))
    return file


def _ops_port(description: str, reactor: IServerReactor, resource: IResource) -> Service:
    return SiteService(reactor, _endpoint(reactor, description, "--ops-listen"), APISite(resource, reactor), "ops port")


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
        kubeconfig = Kubeconfig(config.kubeconfig, config.context)
        return lambda: kubeconfig  # one for all connections, so that its plugin runs once for all of them
    from sre_server.simulator.service import SimulatorService  # noqa: PLC0415  # production has no use for it
    from sre_server.simulator.store import SimulatedCluster  # noqa: PLC0415

    cluster = SimulatedCluster(reactor, deployments=config.simulated_deployments)
    simulator = SimulatorService(reactor, cluster)
    services.append(simulator)
    return lambda: Unauthenticated(lambda: simulator.url)


def _sources(config: ServerConfig) -> list[Source]:
    scopes = config.namespaces or (None,)
    return [Source(Resource.NAMESPACES), *(Source(Resource.DEPLOYMENTS, scope) for scope in scopes)]


def _cycles(config: ServerConfig, sources: Sequence[Source], connect: Connect) -> list[Cycle]:
    """Make one cycle for each source, each with a connection of its own."""
    if not config.namespaces:
        return [Reflector(source, connect(), streams=streams_lists) for source in sources]
    _, *deployments = sources
    reflectors = [Reflector(source, connect(), streams=streams_lists) for source in deployments]
    return [NamespacePoller(config.namespaces, connect()), *reflectors]
