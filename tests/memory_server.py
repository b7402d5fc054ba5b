"""The whole HTTP side of the server in memory, without a socket and without a thread; see also `memory_client`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from sre_server.api import factory
from sre_server.api.factory import make_api
from sre_server.api.writing import Scaler
from sre_server.cache import ClusterCache
from sre_server.day.ending import Swap
from sre_server.day.factory import make_day
from sre_server.errors import SreServerError, Unavailable
from sre_server.model import (
    Author,
    Autoscaler,
    Deployment,
    Expected,
    Guards,
    Namespace,
    Notes,
    Object,
    PodFault,
    Quota,
    ScaledEvent,
    State,
    Surroundings,
    Swapped,
    Written,
)
from sre_server.news import Changed, Listed, Put, Resource, Source, sources_beside, sources_of
from sre_server.security.audit import Record
from sre_server.security.authorization import AnyClient, Authorizer, Verb
from sre_server.security.guardrails import Guardrails
from sre_server.security.identity import Identity
from sre_server.security.limits import Rate
from sre_server.security.stops import Stops
from sre_server.telemetry.metrics import Metrics
from sre_server.web.connections import ConnectionLimits
from tests.fakes import deployment
from tests.memory_client import Answer, Wire

_RESOURCES: Mapping[type[Object], Resource] = {
    Namespace: Resource.NAMESPACES,
    Deployment: Resource.DEPLOYMENTS,
    Autoscaler: Resource.AUTOSCALERS,
    Notes: Resource.TEMPORARY,
    ScaledEvent: Resource.SCALINGS,
}


START = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
"""The time of day at which a server starts."""
ALICE = Identity("alice", ("sre",), "ab" * 32, datetime(2100, 1, 1, tzinfo=UTC))


class KnownClients:
    """Every connection's client is `who`; an error instead of an identity is raised."""

    def __init__(self, who: Identity | SreServerError = ALICE) -> None:
        self.who = who

    def accepted(self) -> Self:
        """See `Clients.accepted`."""
        return self

    def identity(self, transport: object) -> Identity:
        """See `Client.identity`."""
        if isinstance(self.who, SreServerError):
            raise self.who
        return self.who


class MemoryAuditLog:
    """Keeps its records: those begun, and all that were written or completed; may be told to fail."""

    def __init__(self) -> None:
        self.begun: list[Record] = []
        self.records: list[Record] = []
        self.broken = False

    def begin(self, record: Record) -> Self:
        """See `AuditLog.begin`."""
        if self.broken:
            raise Unavailable("The audit log cannot be written, so nothing was changed.", 5)
        self.begun.append(record)
        return self

    def write(self, record: Record) -> None:
        """See `AuditLog.write`."""
        self.records.append(record)

    def finish(self, record: Record) -> None:
        """See `Entry.finish`."""
        self.records.append(record)


class MissingPermissions:
    """What the cluster refused the server, and whether it needs that to serve anybody; nothing at first."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.needed = False

    def warnings(self) -> list[str]:
        """See `Permissions.warnings`."""
        return self.said

    def check_needed(self) -> None:
        """See `Permissions.check_needed`."""
        if self.needed:
            raise Unavailable(self.said[0], 5)


class MemoryServer:
    """Everything that the API port serves, over one cache, and a cluster that does what `outcome` says of writes.

    `outcome` None lets a write succeed; an error or a Deferred is what it comes to. Plain reads take the fast lane from
    the first one on, as they do on a real connection from the second one on; with `lane=False` there is none.
    """

    def __init__(
        self,
        *,
        max_staleness: float = 120.0,
        namespaces: Sequence[str] = (),
        authorizer: Authorizer | None = None,
        limits: Mapping[Verb, Rate] | None = None,
        guardrails: Guardrails = Guardrails(),  # noqa: B008  # frozen
        connections: ConnectionLimits = ConnectionLimits(),  # noqa: B008  # frozen
        lane: bool = True,
        store: Source | None = None,
    ) -> None:
        self.clock = Clock()
        self.sources, self.beside = sources_of(namespaces), sources_beside(namespaces)
        if store is not None:
            self.beside.append(store)
        self.swap: Swap | None = None
        """What changes notes of temporary counts, where there is a `store` for them."""
        self.cache = ClusterCache(self.clock.seconds, self.sources, max_staleness)
        self.writes: list[tuple[str, str, int]] = []
        self.scaler: Scaler | None = None
        """What writes instead, if there is one."""
        self.expected: Expected | None = None
        """What the last write was bound to."""
        self.outcome: Exception | Deferred[Written | State] | Written | State | None = None
        self.present: dict[tuple[str, str], State | Exception | Deferred[State]] = {}
        """What the cluster has where that is looked up, if that is not what the cache knows, or a new Deployment."""
        self.looked: list[tuple[str, str, bool]] = []
        self.faults: list[PodFault] | Exception = []
        """What keeps pods from running, of any Deployment, or why that cannot be told."""
        self.looked_at_pods: list[tuple[str, str]] = []
        self.around: Surroundings | Exception | None = None
        """What plans find around a Deployment."""
        self.surveyed: list[tuple[str, str, str]] = []
        self.behind: set[str] = set()
        """For which clients the cluster was asked for something: each can have so many threads."""
        self.watching = True
        self.warnings: list[str] = []
        self.troubles: list[str] = []
        self.awaited: Collection[object] = ()
        self.permissions = MissingPermissions()
        self.metrics = Metrics()
        self.audit = MemoryAuditLog()
        self.clients = KnownClients()
        self.told: list[tuple[Deployment, int, Author]] = []
        guards = factory.Guards(
            clients=self.clients,
            authorizer=authorizer or AnyClient(),
            limits=limits or {},
            guardrails=lambda: guardrails,
            stops=Stops(self.clock.seconds),
            audit=self.audit,
            connections=connections,
            expiry_warning=timedelta(days=7),
        )
        api = make_api(
            self.clock,
            self.cache,
            self.metrics,
            guards,
            make_day(
                self.cache,
                self.clock.seconds,
                self.beside,
                max_staleness,
                wall=lambda: self.wall().timestamp(),
            ),
            scale=self._scale,
            look=self._look,
            tell=self._tell,
            look_at_pods=self._look_at_pods,
            surveyor=self,
            permissions=self.permissions,
            watching=lambda: self.watching,
            warnings=lambda: self.warnings,
            troubles=lambda: self.troubles,
            awaited=lambda: self.awaited,
            swap=self._swap if store is not None else None,
            wall=self.wall,
        )
        self.site, self.health, self.returning = api.site, api.health, api.returning
        if not lane:
            self.site.lane = None

    def wall(self) -> datetime:
        """Return the time of day."""
        return START + timedelta(seconds=self.clock.seconds())

    def _swap(self, client: str, key: str, before: str | None, after: str | None, *, empty: bool) -> Deferred[Swapped]:
        assert self.swap is not None, "no test said what changes notes"
        self.behind.add(client)
        return self.swap(client, key, before, after, empty=empty)

    def survey(self, client: str, namespace: str, name: str) -> Deferred[Surroundings | None]:
        """See `Surveyor.survey`."""
        self.surveyed.append((client, namespace, name))
        self.behind.add(client)
        return fail(self.around) if isinstance(self.around, Exception) else succeed(self.around)

    def quotas(self, client: str, namespace: str) -> Deferred[tuple[Quota, ...] | None]:
        """See `Surveyor.quotas`."""

        def quotas_in(around: Surroundings | None) -> tuple[Quota, ...] | None:
            return around.quotas if around else None

        return self.survey(client, namespace, "").addCallback(quotas_in)

    def _tell(self, deployment: Deployment, asked: int, author: Author) -> None:
        self.told.append((deployment, asked, author))

    def _look(self, client: str, namespace: str, name: str, *, count: bool) -> Deferred[State]:
        self.looked.append((namespace, name, count))
        self.behind.add(client)
        known = self.cache.find(namespace, name) or deployment(name, namespace)
        found = self.present.get((namespace, name), State(known.uid, known.replicas, known.guards or Guards()))
        if isinstance(found, Exception):
            return fail(found)
        if isinstance(found, Deferred):
            return found
        return succeed(found if count else replace(found, replicas=None))

    def _look_at_pods(self, namespace: str, name: str) -> Deferred[Sequence[PodFault]]:
        self.looked_at_pods.append((namespace, name))
        return fail(self.faults) if isinstance(self.faults, Exception) else succeed(self.faults)

    def _scale(
        self,
        client: str,
        namespace: str,
        name: str,
        replicas: int,
        expected: Expected,
    ) -> Deferred[Written | State]:
        self.expected = expected
        self.behind.add(client)
        if self.scaler is not None:
            return self.scaler(client, namespace, name, replicas, expected)
        self.writes.append((namespace, name, replicas))
        if isinstance(self.outcome, Exception):
            return fail(self.outcome)
        if isinstance(self.outcome, Deferred):
            return self.outcome
        return succeed(self.outcome or Written(deployment(name, namespace, replicas=replicas, version="1000")))

    def sync(self, *objects: Deployment | Namespace, sources: Sequence[Source] = ()) -> Self:
        """Apply a complete list of every source, or of some of them: these objects, and nothing else."""
        namespaces = {item.name: item for item in objects if isinstance(item, Namespace)}
        deployments: dict[str, dict[str, Deployment]] = {}
        for item in objects:
            if isinstance(item, Deployment):
                deployments.setdefault(item.namespace, {})[item.name] = item
        for source in sources or self.sources:
            now = self.clock.seconds()
            if source.resource is Resource.NAMESPACES:
                named = {name: found for name, found in namespaces.items() if source.namespace in (None, name)}
                self.cache.apply(Listed(source, "100", now, namespaces=named))
            else:
                mine = {name: found for name, found in deployments.items() if source.namespace in (None, name)}
                self.cache.apply(Listed(source, "100", now, deployments=mine))
        return self

    def tell(self, *objects: Object) -> Self:
        """Apply changes, as the watches tell them: these objects are so now."""
        for item in objects:
            resource = _RESOURCES[type(item)]
            source = next(each for each in (*self.sources, *self.beside) if each.resource is resource)
            self.cache.apply(Changed(source, self.clock.seconds(), [Put(item)]))
        return self

    def tell_at_once(self, *deployments: Deployment) -> Self:
        """Apply changes of Deployments that the watch tells in one go."""
        source = next(each for each in self.sources if each.resource is Resource.DEPLOYMENTS)
        self.cache.apply(Changed(source, self.clock.seconds(), [Put(item) for item in deployments]))
        return self

    def put(self, path: str, replicas: int, headers: Mapping[str, str | bytes] | None = None) -> Answer:
        """Set a count, as family A does."""
        return self.call("PUT", path, b'{"replicas":%d}' % replicas, headers)

    @staticmethod
    def pending() -> Deferred[Written | State]:
        """Make an outcome that has yet to come."""
        return Deferred()

    def connect(self) -> Wire:
        """Open a connection."""
        return Wire(self.site)

    def send(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str | bytes] | None = None
    ) -> Wire:
        """Make one request on a connection of its own; return that, on which it is answered now or later."""
        all_headers: dict[str, str | bytes] = {"Host": "localhost"}
        if body is not None:
            all_headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        all_headers |= headers or {}
        lines = [f"{method} {path} HTTP/1.1".encode()]
        for name, value in all_headers.items():
            lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
        wire = self.connect()
        wire.write(b"\r\n".join([*lines, b"", body or b""]))
        return wire

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str | bytes] | None = None
    ) -> Answer:
        """Make one request on a connection of its own, and check what is promised of every answer."""
        wire = self.send(method, path, body, headers)
        (answer,) = wire.answers(head=method == "HEAD")
        wire.hang_up()
        return answer.check(head=method == "HEAD")

    def get(self, path: str, headers: Mapping[str, str | bytes] | None = None) -> Answer:
        """Make a GET request."""
        return self.call("GET", path, headers=headers)
