"""The seam to twistd: the options, and the service that they make, of one factory for each room."""

import time
from typing import cast

from twisted.application.service import IService, Service
from twisted.logger import Logger

from sre_server import __version__
from sre_server.api.factory import Guards, make_api, make_ops_site
from sre_server.api.health import Health
from sre_server.api.writing import author_of
from sre_server.cache import ClusterCache
from sre_server.cluster.factory import identify, make_cluster, make_feed, make_lease, make_watches
from sre_server.cluster.permissions import CREATE_REVIEWS, GET_EVERYWHERE, GET_LEASES, Permissions
from sre_server.daemon.clusters import IServerReactor, find_cluster
from sre_server.daemon.config import Authorization, ServerConfig
from sre_server.daemon.lifecycle import OrderedServices, Unreadiness
from sre_server.daemon.observing import CacheObserver, LogCounter, observe_trust
from sre_server.daemon.options import Options
from sre_server.daemon.resources import SettledHeap, raise_descriptor_limit, shorten_switch_interval
from sre_server.daemon.sharing import Role, Sharing
from sre_server.day.factory import make_changes, make_day
from sre_server.day.telling import ChangeLog
from sre_server.model import Deployment
from sre_server.news import Resource
from sre_server.security.audit import Record
from sre_server.security.authorization import Verb
from sre_server.security.factory import make_security
from sre_server.security.stops import Stops
from sre_server.security.tls import ServerTLS
from sre_server.store.factory import make_follower, make_publisher
from sre_server.telemetry.logs import StdlibLogs
from sre_server.telemetry.metrics import Metrics
from sre_server.telemetry.output import Output
from sre_server.web.connections import ConnectionLimits
from sre_server.web.service import SiteService, endpoint_of
from sre_server.web.site import APISite
from sre_server.web.transport import MutualTLSEndpoint

__all__ = ["Options", "makeService"]
log = Logger()


def makeService(options: Options) -> IService:
    """Make the daemon's service from parsed options; nothing listens, and no thread runs, until it is started."""
    from twisted.internet import reactor  # noqa: PLC0415  # the one place that may, once twistd has chosen which

    shorten_switch_interval()
    serving = cast("IServerReactor", reactor)
    sharing = options.config.sharing
    if options.tls is not None:
        return make_service(options.config, options.tls, serving, options.stdout)
    if sharing is None:
        raise SystemExit("sre-server: only a watcher does without --tls-certificate")
    return make_watcher(options.config, sharing, serving)


def make_service(config: ServerConfig, tls: ServerTLS, reactor: IServerReactor, stdout: Output) -> Service:
    """Compose the rooms: the feed fills the cache, the API reads it, writes go through one scaler.

    Raises SystemExit with one line for an endpoint string that Twisted does not understand, or an audit log that
    cannot be opened.
    """
    role = Role.API if config.sharing else Role.ALL
    _announce(config, role)
    metrics = Metrics(role.value)
    metrics.max_staleness.set(config.max_staleness)
    sources = [*config.sources, *config.beside]
    cache = ClusterCache(time.monotonic, config.sources, config.max_staleness)
    # With a shared cache the watchers log what changes, and not fifty pods that hear it from them.
    change_log = ChangeLog(reactor, metrics, logs=config.sharing is None)
    day = make_day(cache, time.monotonic, config.beside, config.max_staleness, change_log.note)
    observer = CacheObserver(cache, metrics, time.monotonic)
    credentials, beside = find_cluster(config, reactor)
    asks_reviews = config.authorization is Authorization.KUBERNETES
    permissions = Permissions(
        [CREATE_REVIEWS] if asks_reviews else [],
        lambda what, missing: metrics.permission_missing.labels(what).set(missing),
    )
    follow = None
    if config.sharing is not None:
        whose = identify(credentials, metrics.kube_request, permissions.told)
        follow = make_follower(config.sharing.store, config.shared, whose, metrics)
    cluster = make_cluster(
        reactor,
        credentials,
        sources,
        cache.apply,
        observe=metrics.kube_request,
        cycle_ended=metrics.store_ended if follow else metrics.watch_ended,
        permissions=permissions,
        probe=asks_reviews,
        quotas=Resource.QUOTAS not in config.without,
        follow=follow,
    )

    def abandoned(record: Record) -> None:
        asked = record.new_replicas or 0
        wanted = Deployment(record.namespace or "", record.name or "", record.uid or "", "", asked)
        cluster.events.record(wanted, asked, author_of(record), certain=False)

    security = make_security(
        reactor,
        metrics,
        tls,
        policy=config.policy,
        review=cluster.reviews.review if asks_reviews else None,
        max_staleness=config.max_staleness,
        pass_system_names=config.pass_system_names,
        guardrails=config.guardrails,
        audit_log=config.audit_log,
        stdout=stdout,
        abandoned=abandoned,
    )

    def refresh() -> None:
        observer.refresh()
        observe_trust(metrics, tls)

    room = raise_descriptor_limit(config.max_connections)
    if room < config.max_connections:
        log.warn("the limit on file descriptors leaves room for {room} connections at a time", room=room)
    connections = ConnectionLimits(
        room,
        config.max_connections_per_address,
        config.max_connections_per_identity,
        config.handshake_rate,
    )
    guards = Guards(
        clients=security.clients,
        authorizer=security.authorizer,
        limits={Verb.READ: config.read_rate, Verb.SCALE: config.write_rate},
        guardrails=security.guardrails,
        stops=Stops(time.monotonic),
        audit=security.audit,
        connections=connections,
        expiry_warning=config.expiry_warning,
    )
    api = make_api(
        reactor,
        cache,
        metrics,
        guards,
        day,
        scale=observer.noting(cluster.scaling.scale),
        look=cluster.scaling.look,
        tell=cluster.events.record,
        look_at_pods=None if Resource.PODS in config.without else cluster.pods.look,
        surveyor=cluster.surveys,
        permissions=permissions,
        swap=cluster.notebook.swap if cluster.notebook is not None else None,
        watching=lambda: cluster.feed.alive,
        warnings=security.warnings,
        troubles=lambda: [*cluster.feed.troubles, *(follow.troubles if follow else [])],
        awaited=lambda: cluster.feed.awaited,
        refresh=refresh,
    )
    endpoint = MutualTLSEndpoint(endpoint_of(reactor, config.listen, "--listen"), tls)
    services: list[Service] = [
        StdlibLogs(),
        LogCounter(metrics),
        *beside,
        *_ops_port(config, reactor, api.ops_site),
        SettledHeap(reactor, lambda: api.health.ready),
        security.reloading,
        change_log,
        *cluster.services,
        security.audit,
        *([api.returning] if api.returning is not None else []),
        SiteService(reactor, endpoint, api.site, "API", f"--listen: '{config.listen}'"),
        Unreadiness(api.health),
    ]
    return OrderedServices(reactor, services)


def make_watcher(config: ServerConfig, sharing: Sharing, reactor: IServerReactor) -> Service:
    """Compose a watcher: the feed fills a cache, whose news the publisher shares while the Lease is this process's."""
    _announce(config, Role.WATCHER)
    metrics, sources = Metrics(Role.WATCHER.value), [*config.sources, *config.beside]
    metrics.max_staleness.set(config.max_staleness)
    cache = ClusterCache(time.monotonic, config.sources, config.max_staleness)
    observer = CacheObserver(cache, metrics, time.monotonic)
    credentials, beside = find_cluster(config, reactor)
    observe = metrics.kube_request
    permissions = Permissions(
        [GET_EVERYWHERE, GET_LEASES] if sharing.lease else [GET_EVERYWHERE],
        lambda what, missing: metrics.permission_missing.labels(what).set(missing),
    )
    lease = None
    if sharing.lease is not None:
        lease = make_lease(credentials, sharing.lease.namespace, sharing.lease.name, observe, permissions.told)
    else:
        log.warn("without --lease this watcher takes itself for the only one")
    whose = identify(credentials, observe, permissions.told)
    publisher = make_publisher(sharing.store, config.shared, whose, lease, metrics, lambda: watches.awaited)
    cache.subscribe(publisher)
    change_log = ChangeLog(reactor, metrics)
    make_changes(cache, time.monotonic, change_log.note)
    watches = make_watches(
        reactor,
        credentials,
        sources,
        cache.apply,
        observe=observe,
        cycle_ended=metrics.watch_ended,
        permissions=permissions,
    )
    # The Lease is let go once nothing is published any more, so that the next watcher begins after that.
    leading = [make_feed(reactor, "Leases", [lease], cache.apply, metrics.watch_ended)] if lease else []
    publishing = make_feed(reactor, "publishers", [publisher], cache.apply, metrics.store_ended)
    feeds = [watches, *leading, publishing]
    health = Health(
        cache,
        permissions,
        lambda: all(feed.alive for feed in feeds),
        troubles=lambda: [trouble for feed in feeds for trouble in feed.troubles],
        awaited=lambda: watches.awaited,
    )

    def refresh() -> None:
        observer.refresh()
        metrics.ready.set(health.ready)

    services: list[Service] = [
        StdlibLogs(),
        LogCounter(metrics),
        *beside,
        *_ops_port(config, reactor, make_ops_site(reactor, metrics, health, refresh)),
        SettledHeap(reactor, lambda: health.ready),
        change_log,
        *feeds,
        Unreadiness(health),
    ]
    return OrderedServices(reactor, services)


def _announce(config: ServerConfig, role: Role) -> None:
    """Say in the log what this is, and of which cluster."""
    log.info(
        "sre-server {version}: role {role}, cluster {cluster}, {namespaces}, authorization {authorization}",
        version=__version__,
        role=role.value,
        cluster=" ".join(filter(None, [config.cluster.value, config.context])),
        namespaces=f"namespaces {', '.join(config.namespaces)}" if config.namespaces else "all namespaces",
        authorization="none, as no client is served" if role is Role.WATCHER else config.authorization.value,
    )


def _ops_port(config: ServerConfig, reactor: IServerReactor, site: APISite) -> list[Service]:
    if config.ops_listen is None:
        return []
    endpoint = endpoint_of(reactor, config.ops_listen, "--ops-listen")
    return [SiteService(reactor, endpoint, site, "ops port", f"--ops-listen: '{config.ops_listen}'")]
