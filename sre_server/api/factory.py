"""The one factory of this room: a cache and what guards it in, the sites that serve it out."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct
from twisted.internet.interfaces import IReactorTime

from sre_server.api.changes import ChangeBodies
from sre_server.api.deployments import DeploymentsAPI
from sre_server.api.ends import Ends
from sre_server.api.gate import Gate
from sre_server.api.health import Health, HealthAPI, Permissions
from sre_server.api.judging import Judge, Look
from sre_server.api.lane import FastLane
from sre_server.api.limiting import RateLimits
from sre_server.api.lists import ListBodies, counts_in, names_in
from sre_server.api.metrics import MetricsAPI
from sre_server.api.namespaces import NamespacesAPI
from sre_server.api.newness import Newness
from sre_server.api.noted import TemporaryBodies
from sre_server.api.openapi import OpenAPI
from sre_server.api.picture import Pictures
from sre_server.api.planning import Planner, Surveyor
from sre_server.api.routing import Root
from sre_server.api.slices import Slices
from sre_server.api.statuses import FAMILY_A, FAMILY_B, StatusTable
from sre_server.api.temporary import TemporaryCounts
from sre_server.api.waiting import Waiting
from sre_server.api.writing import Scaler, TellScaled, Writer
from sre_server.cache import ClusterCache
from sre_server.day.causes import LookAtPods
from sre_server.day.ending import Endings, Swap
from sre_server.day.factory import Day
from sre_server.day.returning import Returning
from sre_server.day.setting import Setting
from sre_server.model import Author, Deployment
from sre_server.security.audit import AuditLog
from sre_server.security.authorization import Authorizer, Verb
from sre_server.security.clients import Clients
from sre_server.security.guardrails import Guardrails
from sre_server.security.limits import Rate, TokenBuckets
from sre_server.security.stops import Stops
from sre_server.telemetry.metrics import Metrics
from sre_server.web.connections import ConnectionLimits
from sre_server.web.site import APISite

OPS_CONNECTIONS: Final = 256
"""So many the ops port has at a time: enough for probes and scrapes, too few to use up the process's descriptors."""


class Guards(Struct, frozen=True):
    """What stands between a client and the cache, or the cluster; `limits` is how often each client may."""

    clients: Clients
    authorizer: Authorizer
    limits: Mapping[Verb, Rate]
    guardrails: Callable[[], Guardrails]
    stops: Stops
    audit: AuditLog
    connections: ConnectionLimits
    expiry_warning: timedelta


class API(Struct, frozen=True):
    """What is served: to clients by `site`, to the platform by `ops_site`; and how well, as `health` knows.

    `returning` sets temporary counts back on time, where there are any.
    """

    site: APISite
    ops_site: APISite
    health: Health
    returning: Returning | None


def make_api(
    reactor: IReactorTime,
    cache: ClusterCache,
    metrics: Metrics,
    guards: Guards,
    day: Day,
    *,
    scale: Scaler,
    look: Look,
    tell: TellScaled,
    look_at_pods: LookAtPods | None,
    surveyor: Surveyor,
    permissions: Permissions,
    swap: Swap | None = None,
    wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    watching: Callable[[], bool] = lambda: True,
    warnings: Callable[[], list[str]] = list,
    troubles: Callable[[], list[str]] = list,
    awaited: Callable[[], Collection[object]] = tuple,
    refresh: Callable[[], None] = lambda: None,
) -> API:
    """Serve both families from the cache; `day` knows more of it.

    `scale` writes to the cluster, and `tell` leaves word of it there. `swap` changes the notes of temporary counts,
    where there are any; `wall` is the time of day.

    `look` asks the cluster for the one Deployment that is to be written, where the cache will not do; `surveyor`, for
    what plans need; `look_at_pods`, if there is one, what keeps pods from running that somebody waits for.
    `permissions` are the server's own in the cluster; `watching` tells whether the cache is still fed, `troubles` what
    keeps it from being so, `awaited` what of it may be read for the first time any moment, `warnings` what should be
    mended; `refresh` brings those metrics up to date that are read off something else.
    """
    limits = RateLimits({verb: TokenBuckets(rate, reactor.seconds) for verb, rate in guards.limits.items()}, metrics)

    def gate(statuses: StatusTable) -> Gate:
        return Gate(
            guards.authorizer,
            cache.names,
            limits,
            guards.audit,
            metrics,
            guards.expiry_warning,
            statuses,
            reactor.seconds,
        )

    def tell_all(deployment: Deployment, asked: int, author: Author) -> None:
        waiting.waits.touch((deployment.namespace, deployment.name))
        tell(deployment, asked, author)

    def writer(statuses: StatusTable, gate: Gate) -> Writer:
        return Writer(
            cache, judge, scale, guards.audit, metrics, told, statuses, temporary.overruled, planner, gate.permit_again
        )

    def refresh_all() -> None:
        refresh()
        metrics.ready.set(health.ready)
        metrics.temporary_active.set(day.temporaries.count)
        metrics.temporary_overdue.set(returning.overdue() if returning is not None else 0)
        metrics.clients_connected.set(site.connections.identities)
        metrics.waits.set(waiting.waits.count)

    judge = Judge(cache, look, guards.guardrails, day.autoscalers, guards.stops)
    told = day.changes.noting(tell_all)
    ends = Ends(cache, day.autoscalers, guards.audit, metrics, told)
    setting = returning = None
    if swap is not None:
        setting = Setting(day.temporaries, swap)
        endings = Endings(reactor, day.temporaries, swap, scale, look, wall)
        returning = Returning(reactor, day.temporaries, endings, ends.on_time, wall)
    noted = TemporaryBodies(cache, day.temporaries)
    temporary = TemporaryCounts(cache, day.temporaries, judge, ends, setting, returning, wall)
    planner = Planner(cache, day, judge, guards.guardrails, surveyor, noted.said)

    def all_warnings() -> list[str]:
        return [*warnings(), *day.temporaries.warnings()]

    health = Health(cache, permissions, watching, all_warnings, troubles, awaited)
    gate_a, gate_b = gate(FAMILY_A), gate(FAMILY_B)
    slices, newness = Slices(reactor), Newness(reactor, cache)
    names, counts = ListBodies(cache, names_in, slices), ListBodies(cache, counts_in, slices)
    pictures, changes = Pictures(cache, day), ChangeBodies(cache, day.changes, slices)
    waiting = Waiting(reactor, cache, day, metrics, look_at_pods)
    family_a = DeploymentsAPI(
        cache, gate_a, newness, writer(FAMILY_A, gate_a), names, pictures, waiting, noted, temporary, changes, planner
    )
    family_b = NamespacesAPI(cache, gate_b, newness, writer(FAMILY_B, gate_b), names, counts)
    deployments = family_a.resource()
    health_api = HealthAPI(health, gate_a).resource()
    resources = {
        b"deployments": deployments,
        b"changes": deployments,
        b"temporary": deployments,
        b"namespaces": family_b.resource(),
        b"metrics": MetricsAPI(metrics, refresh_all, gate_a).resource(),
        b"openapi.json": OpenAPI(gate_a).resource(),
        b"livez": health_api,
        b"readyz": health_api,
    }
    site = APISite(
        Root(resources, otherwise=deployments),
        reactor,
        metrics,
        guards.clients,
        guards.connections,
        FastLane([family_a, family_b], metrics),
    )
    metrics.connections.set_function(lambda: site.open)
    site.when_draining(waiting.waits.stop)
    return API(site, make_ops_site(reactor, metrics, health, refresh_all), health, returning)


def make_ops_site(reactor: IReactorTime, metrics: Metrics, health: Health, refresh: Callable[[], None]) -> APISite:
    """Serve the platform only; `refresh` brings those metrics up to date that are read off something else."""
    resources = {b"metrics": MetricsAPI(metrics, refresh).resource()}
    root = Root(resources, otherwise=HealthAPI(health).resource())
    return APISite(root, reactor, limits=ConnectionLimits(total=OPS_CONNECTIONS))
