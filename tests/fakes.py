"""What stands in for threads, the network and the cluster in tests that run in memory.

Time moves only when a test advances it, and what a "thread" sent to the reactor arrives only then.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.http_headers import Headers
from zope.interface import implementer

from sre_server.api.app import Root
from sre_server.api.deployments import DeploymentsAPI
from sre_server.api.health import Health, HealthAPI
from sre_server.api.namespaces import NamespacesAPI
from sre_server.api.site import APISite
from sre_server.api.writing import Writer
from sre_server.cache import ClusterCache
from sre_server.cluster.threads import IThreadingReactor
from sre_server.errors import ClusterError
from sre_server.model import Deployment, Listed, Namespace, Resource, Source


def deployment(
    name: str = "web", namespace: str = "shop", *, replicas: int = 3, version: str = "10", uid: str = ""
) -> Deployment:
    """Make a Deployment; its UID follows from its name unless one is given."""
    return Deployment(namespace, name, uid or f"uid-{namespace}-{name}", version, replicas)


def namespace(name: str = "shop", *, version: str = "1", uid: str = "") -> Namespace:
    """Make a namespace; its UID follows from its name unless one is given."""
    return Namespace(name, uid or f"uid-{name}", version)


@implementer(IThreadingReactor)
class FakeReactor(MemoryReactorClock):
    """A Clock with ports in memory, whose `callFromThread` waits for the next `advance`."""

    def __init__(self) -> None:
        super().__init__()
        self._from_threads: deque[Callable[[], object]] = deque()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:  # noqa: A002
        """Queue a call as a thread would."""
        self._from_threads.append(lambda: callable(*args, **kwargs))

    def advance(self, amount: float) -> None:
        """Move time, then run what threads have queued, until nothing more is."""
        super().advance(amount)
        while self._from_threads:
            self._from_threads.popleft()()


class InlinePool(ThreadPool):
    """A pool without threads: work runs when the test says so, or at once with `inline=True`."""

    def __init__(self, *, inline: bool = True) -> None:
        super().__init__(0, 1)
        self.pending: deque[Callable[[], None]] = deque()
        self._inline = inline
        self.stopped = False

    def start(self) -> None:
        """Start no thread."""
        self.started = True

    def stop(self) -> None:
        """Note that the pool was stopped."""
        self.stopped = True

    def callInThreadWithCallback(
        self, onResult: Callable[[bool, Any], object] | None, func: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        """Run `func` now, or keep it for `run_one`."""

        def work() -> None:
            try:
                result, ok = func(*args, **kw), True
            except Exception:  # noqa: BLE001  # as a pool does
                result, ok = Failure(), False
            if onResult is not None:
                onResult(ok, result)

        if self._inline:
            work()
        else:
            self.pending.append(work)

    def run_one(self) -> None:
        """Run the oldest piece of work that waits."""
        self.pending.popleft()()


class FakeReply:
    """An answer of the cluster: a status, headers, and chunks; an exception among the chunks is raised in its turn."""

    def __init__(
        self, status: int = 200, chunks: Iterable[bytes | Exception] = (), retry_after: int | None = None
    ) -> None:
        self.status = status
        self._chunks = list(chunks)
        self._retry_after = retry_after
        self.closed = False

    def retry_after(self) -> int | None:
        """What the `Retry-After` header said."""
        return self._retry_after

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        for chunk in self._chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def read(self, limit: int, seconds: float) -> bytes:
        """Return the whole body."""
        return b"".join(self.chunks())

    def __enter__(self) -> Self:
        """Leave the reply open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Note that the reply was closed."""
        self.closed = True


class FakeTransport:
    """A connection that answers from a script, and remembers what it was asked."""

    def __init__(self, script: Sequence[FakeReply | ClusterError | Callable[[], FakeReply]] = ()) -> None:
        self.script = deque(script)
        self.requests: list[tuple[str, str, dict[str, str | int]]] = []
        self.bodies: list[bytes | None] = []
        self.headers: list[Mapping[str, str]] = []
        self.read_timeouts: list[float] = []
        self.interrupted = False

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        *,
        read_timeout: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Any:
        """Answer with the next entry of the script."""
        self.requests.append((method, path, dict(query)))
        self.bodies.append(body)
        self.headers.append(headers or {})
        self.read_timeouts.append(read_timeout)
        answer = self.script.popleft()
        if isinstance(answer, ClusterError):
            raise answer
        return answer if isinstance(answer, FakeReply) else answer()

    def interrupt(self) -> None:
        """Note the interruption."""
        self.interrupted = True


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
        """Return the answer if it keeps what api.md promises of every one: JSON, an id, and errors with a message."""
        assert self.header("Content-Type") == "application/json", self
        assert self.header("X-Request-Id"), self
        if not head:
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
        assert reason, status_line
        headers = Headers()
        for line in lines:
            name, colon, value = line.partition(": ")
            assert colon, f"no header: {line!r}"
            headers.addRawHeader(name, value)
        answer = Answer(int(status), headers, b"")
        if answer.status >= 200:
            length = 0 if head else int(answer.header("Content-Length") or "none")
            assert len(data) >= length, "the body is shorter than its Content-Length"
            answer, data = answer._replace(body=data[:length]), data[length:]
        answers.append(answer)
    return answers


class ClientTransport(StringTransport):
    """A transport that forgives, as real ones do, a second close and a resumption after it."""

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.7", 40000), lenient=True)

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

    def hang_up(self) -> None:
        """Be gone."""
        self._channel.connectionLost(Failure(ConnectionDone()))


class MemoryServer:
    """Everything that the API port serves, over one cache, and a cluster that does what `outcome` says of writes.

    `outcome` None lets a write succeed; an error or a Deferred is what it comes to.
    """

    def __init__(self, *, max_staleness: float = 120.0, namespaces: Sequence[str] = ()) -> None:
        self.clock = Clock()
        scopes = namespaces or (None,)
        self.sources = [Source(Resource.NAMESPACES), *(Source(Resource.DEPLOYMENTS, scope) for scope in scopes)]
        self.cache = ClusterCache(self.clock.seconds, self.sources, max_staleness)
        self.writes: list[tuple[str, str, int]] = []
        self.outcome: Exception | Deferred[Deployment] | None = None
        self.watching = True
        writer = Writer(self.cache, self._scale)
        self.health = Health(self.cache, lambda: self.watching)
        family_a, family_b = DeploymentsAPI(self.cache, writer).resource(), NamespacesAPI(self.cache, writer).resource()
        health = HealthAPI(self.health).resource()
        families = {b"deployments": family_a, b"namespaces": family_b, b"livez": health, b"readyz": health}
        self.site = APISite(Root(families, otherwise=family_a), self.clock)

    def _scale(self, namespace: str, name: str, replicas: int) -> Deferred[Deployment]:
        self.writes.append((namespace, name, replicas))
        if isinstance(self.outcome, Exception):
            return fail(self.outcome)
        if self.outcome is not None:
            return self.outcome
        written = deployment(name, namespace, replicas=replicas, version="1000")
        self.cache.written(written)
        return succeed(written)

    def sync(self, *objects: Deployment | Namespace) -> Self:
        """Apply a complete list of every source: these objects, and nothing else."""
        namespaces = {item.name: item for item in objects if isinstance(item, Namespace)}
        deployments: dict[str, dict[str, Deployment]] = {}
        for item in objects:
            if isinstance(item, Deployment):
                deployments.setdefault(item.namespace, {})[item.name] = item
        for source in self.sources:
            now = self.clock.seconds()
            if source.resource is Resource.NAMESPACES:
                self.cache.apply(Listed(source, "100", now, namespaces=namespaces))
            else:
                mine = {name: found for name, found in deployments.items() if source.namespace in (None, name)}
                self.cache.apply(Listed(source, "100", now, deployments=mine))
        return self

    @staticmethod
    def pending() -> Deferred[Deployment]:
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
