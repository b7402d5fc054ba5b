"""The simulated API in memory: requests go in as bytes, answers come out as bytes, time is a Clock."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator import objects
from sre_server.simulator.api import KubernetesAPI
from sre_server.simulator.control import ControlAPI
from sre_server.simulator.faults import Faults
from sre_server.simulator.kinds import DEPLOYMENTS, Kind, Object
from sre_server.simulator.service import Channel, LoopbackSite
from sre_server.simulator.store import SimulatedCluster

NOON: Final = 1_767_268_800.0
"""When the clock of an in-memory simulator starts: 2026-01-01, noon."""

ALL: Final = "/apis/apps/v1/deployments"
SHOP: Final = "/apis/apps/v1/namespaces/shop/deployments"
CART: Final = f"{SHOP}/cart"
SCALE: Final = f"{CART}/scale"
NAMESPACES: Final = "/api/v1/namespaces"
EVENTS: Final = f"{NAMESPACES}/shop/events"


class _Transport(StringTransport):
    """Breaks the connection on demand of either side, as TCP would; `aborting` says that it was reset."""

    protocol: Channel
    clock: Clock
    aborting = False

    def loseConnection(self) -> None:
        """Close properly."""
        self._lose(ConnectionDone())

    def abortConnection(self) -> None:
        """Reset."""
        self.aborting = True
        self._lose(ConnectionAborted())

    def _lose(self, reason: Exception) -> None:
        if not self.disconnecting:
            self.disconnecting = True
            self.clock.callLater(0, self.protocol.connectionLost, Failure(reason))


class Exchange:
    """One connection with one request on it, and whatever has come back so far."""

    def __init__(self, channel: Channel, transport: _Transport) -> None:
        self._channel = channel
        self._transport = transport
        self._read = 0

    @property
    def raw(self) -> bytes:
        """Return every byte that came back."""
        value: bytes = self._transport.value()
        return value

    @property
    def closed(self) -> bool:
        """Tell whether the server closed the connection."""
        return bool(self._transport.disconnecting)

    @property
    def reset(self) -> bool:
        """Tell whether the server closed the connection by a reset."""
        return self._transport.aborting

    @property
    def status(self) -> int:
        """Return the status code."""
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers, by their names in lower case."""
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        pairs = (line.partition(": ") for line in lines)
        return {name.lower(): value for name, _, value in pairs}

    @property
    def body(self) -> bytes:
        """Return the body so far, chunks joined."""
        return self._body()[0]

    @property
    def complete(self) -> bool:
        """Tell whether the answer has come to its proper end."""
        return b"\r\n\r\n" in self.raw and self._body()[1]

    def json(self) -> Any:
        """Return the decoded body."""
        return msgspec.json.decode(self.body)

    def events(self) -> list[Object]:
        """Return the events of a stream that were not returned before."""
        whole = self.body.split(b"\n")[:-1]
        read, self._read = self._read, len(whole)
        return [msgspec.json.decode(line) for line in whole[read:]]

    def hang_up(self) -> None:
        """Close the connection from the client's side."""
        self._transport.loseConnection()
        self._transport.clock.advance(0)

    def stall(self) -> None:
        """Read no more, so that the server's side of the connection is full."""
        self._channel.pauseProducing()

    def drain(self) -> None:
        """Read again."""
        self._channel.resumeProducing()

    def _body(self) -> tuple[bytes, bool]:
        body = self.raw.partition(b"\r\n\r\n")[2]
        if "chunked" not in self.headers.get("transfer-encoding", ""):
            return body, len(body) == int(self.headers.get("content-length", -1))
        joined = b""
        while body:
            size, _, rest = body.partition(b"\r\n")
            length = int(size, 16)
            if length == 0:
                return joined, True
            joined, body = joined + rest[:length], rest[length + 2 :]
        return joined, False


class Wire:
    """A simulated cluster with its API and its control API, spoken to in memory."""

    def __init__(self, *, deployments: int = 12, history: int = 1000) -> None:
        self.clock = Clock()
        self.clock.advance(NOON)
        self.faults = Faults()
        self.cluster = SimulatedCluster(self.clock, deployments=deployments, history=history)
        self.api = KubernetesAPI(self.cluster, self.clock, self.faults)
        self.unplugged: list[float] = []
        control = ControlAPI(self.cluster, self.faults, self.clock, self.unplugged.append)
        self._site = LoopbackSite(self.api.resource(), control.resource(), self.clock)

    def request(
        self, method: str, path: str, body: object = None, *, headers: Mapping[str, str] | None = None
    ) -> Exchange:
        """Send a request on a connection of its own; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        sent = {"Host": "127.0.0.1", "Content-Length": str(len(data)), **(headers or {})}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        channel = self._site.buildProtocol(None)
        transport = _Transport()
        transport.protocol = channel
        transport.clock = self.clock
        channel.makeConnection(transport)
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)
        self.clock.advance(0)
        return Exchange(channel, transport)

    def get(self, path: str) -> Exchange:
        """Send a GET."""
        return self.request("GET", path)

    def patch(self, path: str, body: object, form: str = "merge-patch+json") -> Exchange:
        """Send a PATCH in one of the patch formats."""
        return self.request("PATCH", path, body, headers={"Content-Type": f"application/{form}"})

    # From within, where no fault strikes and no request is counted.

    def objects(self, kind: Kind = DEPLOYMENTS) -> list[Object]:
        """Return every object of a kind, in the order of a list."""
        return [stored.decoded() for stored in self.cluster.collection(kind).items(self.cluster.version)]

    def deployment(self, namespace: str, name: str) -> Object:
        """Return a Deployment."""
        return self.cluster.get(DEPLOYMENTS, namespace, name).decoded()

    def create(self, namespace: str, name: str, replicas: int = 1) -> Object:
        """Create a Deployment."""
        written = objects.deployment(namespace, name, replicas=replicas)
        return self.cluster.create(DEPLOYMENTS, namespace, written).decoded()

    def scale(self, namespace: str, name: str, replicas: int, **metadata: str) -> Object:
        """Scale a Deployment, on conditions if there is metadata, and return it."""
        written = {"metadata": metadata, "spec": {"replicas": replicas}}
        return self.cluster.scale(namespace, name, lambda _: written).decoded()


class SimulatorTestCase(SynchronousTestCase):
    """A simulated cluster in memory. This has no tests of its own."""

    def setUp(self) -> None:
        """Start a cluster."""
        self.wire = Wire()
        self.cluster = self.wire.cluster
        self.go_wrong = self.wire.faults.replace

    def watch(self, query: str = "", path: str = ALL, *, version: int | None = None) -> Exchange:
        """Open a watch from a version, the present one unless told otherwise."""
        start = self.cluster.version if version is None else version
        return self.wire.get(f"{path}?watch=1&resourceVersion={start}&{query}")

    def names(self, path: str) -> list[str]:
        """Return the names in a list."""
        return [item["metadata"]["name"] for item in self.wire.get(path).json()["items"]]

    def assert_status(self, exchange: Exchange, code: int, reason: str) -> Object:
        """Return the Status of a refused request, complete in every field that clients read."""
        status: Object = exchange.json()
        self.assertEqual(
            (exchange.status, status["kind"], status["apiVersion"], status["status"], status["code"], status["reason"]),
            (code, "Status", "v1", "Failure", code, reason),
        )
        self.assertEqual(exchange.headers["content-type"], "application/json")
        self.assertIn("metadata", status)
        self.assertTrue(status["message"])
        return status
