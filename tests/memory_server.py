"""The whole HTTP side of the server in memory: bytes in, parsed answers out, no socket and no thread."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple, Self

from msgspec.structs import replace
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from sre_server.api import factory
from sre_server.api.factory import make_api
from sre_server.api.writing import Scaler
from sre_server.cache import ClusterCache
from sre_server.day.factory import make_day
from sre_server.day.returning import Swap
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
from sre_server.web.site import APISite
from tests.fakes import deployment

_RESOURCES: Mapping[type[Object], Resource] = {
    Namespace: Resource.NAMESPACES,
    Deployment: Resource.DEPLOYMENTS,
    Autoscaler: Resource.AUTOSCALERS,
    Notes: Resource.TEMPORARY,
    ScaledEvent: Resource.SCALINGS,
}


class Answer(NamedTuple):
    """A response as a client reads it."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """The one value of a header, or None; a header that is there twice is an error."""
        values = self.headers.getRawHeaders(name) or []
        if len(values) > 1:
            raise AssertionError(f"{name} stands there {len(values)} times")
        return values[0] if values else None

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    def check(self, *, head: bool = False) -> Self:
        """Return the answer if it keeps what is promised of every one: JSON, an id, and errors with a message."""
        assert self.header("X-Request-Id"), self
        if self.status == 304:
            assert (self.body, self.header("Content-Type"), self.header("Content-Length")) == (b"", None, None), self
            return self
        assert self.header("Content-Type") == "application/json", self
        if not head and self.header("Content-Encoding") is None:
            value = self.json()
            if self.status >= 400:
                assert list(value) == ["message"], self
                assert isinstance(value["message"], str), self
        if self.status >= 400:
            assert self.header("Cache-Control") == "no-store", self
        return self


def read_answers(data: bytes, *, head: bool = False) -> list[Answer]:
    """Take a stream of responses apart, strictly; `head` tells that the requests were HEAD, so that no body follows."""
    answers = []
    while data:
        top, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"a response without an end: {top!r}"
        status_line, *lines = top.decode("latin-1").split("\r\n")
        version, status, reason = status_line.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), status_line
        assert reason == HTTPStatus(int(status)).phrase, status_line
        headers = Headers()
        for line in lines:
            name, colon, value = line.partition(": ")
            assert colon, f"no header: {line!r}"
            headers.addRawHeader(name, value)
        answer = Answer(int(status), headers, b"")
        if answer.status >= 200:
            length = 0 if head or answer.status == 304 else int(answer.header("Content-Length") or "none")
            assert len(data) >= length, "the body is shorter than its Content-Length"
            answer, data = answer._replace(body=data[:length]), data[length:]
        answers.append(answer)
    return answers


class ClientTransport(StringTransport):
    """A transport that forgives, as real ones do, a second close and a resumption after it."""

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.7", 40000), lenient=True)
        self.full = False

    def write(self, data: bytes) -> None:
        """Take data; where there is too much of it, say so to the producer at once, as real transports do."""
        super().write(data)
        if self.full and self.producer is not None:
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Take data in pieces."""
        self.write(b"".join(data))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Delay nothing anyway."""

    def unregisterProducer(self) -> None:
        """Forget the producer, if there is one."""
        self.producer = None


class Wire:
    """A client's connection to a site: bytes in, responses out, and nothing closes unless the test says so."""

    def __init__(self, site: APISite) -> None:
        self._transport = ClientTransport()
        channel = site.buildProtocol(self._transport.getPeer())
        assert channel is not None
        self._channel = channel
        channel.makeConnection(self._transport)
        if site.clients is not None:
            channel.handshakeCompleted()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._channel.dataReceived(data)

    def send(self, data: bytes) -> list[Answer]:
        """Send bytes; return all the responses so far."""
        self.write(data)
        return self.answers()

    def answers(self, *, head: bool = False) -> list[Answer]:
        """The responses so far."""
        return read_answers(self._transport.value(), head=head)

    @property
    def closing(self) -> bool:
        """Whether the server has closed its side."""
        return self._transport.disconnecting

    @property
    def aborted(self) -> bool:
        """Whether the server has cut the connection by force."""
        return self._transport.disconnected

    @property
    def paused(self) -> bool:
        """Whether the server has stopped reading for now."""
        return self._transport.producerState == "paused"

    def fill_up(self) -> None:
        """Take no more answers than the next one, which the server's transport has no room for."""
        self._transport.full = True

    def stop_reading(self) -> None:
        """Take no more answers, so that the server's transport is full."""
        self._channel.pauseProducing()

    def read_on(self) -> None:
        """Take answers again."""
        self._transport.full = False
        self._channel.resumeProducing()

    def hang_up(self) -> None:
        """Be gone."""
        self._channel.connectionLost(Failure(ConnectionDone()))


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
        self.watching = True
        self.warnings: list[str] = []
        self.troubles: list[str] = []
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
        return self.swap(client, key, before, after, empty=empty)

    def survey(self, client: str, namespace: str, name: str) -> Deferred[Surroundings | None]:
        """See `Surveyor.survey`."""
        self.surveyed.append((client, namespace, name))
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

    def call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str | bytes] | None = None
    ) -> Answer:
        """Make one request on a connection of its own, and check what is promised of every answer."""
        all_headers: dict[str, str | bytes] = {"Host": "localhost"}
        if body is not None:
            all_headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
        all_headers |= headers or {}
        lines = [f"{method} {path} HTTP/1.1".encode()]
        for name, value in all_headers.items():
            lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
        wire = self.connect()
        wire.write(b"\r\n".join([*lines, b"", body or b""]))
        (answer,) = wire.answers(head=method == "HEAD")
        wire.hang_up()
        return answer.check(head=method == "HEAD")

    def get(self, path: str, headers: Mapping[str, str | bytes] | None = None) -> Answer:
        """Make a GET request."""
        return self.call("GET", path, headers=headers)
