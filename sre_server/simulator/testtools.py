"""The simulated API without a network: requests go in as bytes, answers come out as bytes, time is a Clock."""

from collections.abc import Mapping
from typing import Any

import msgspec
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from sre_server.simulator.api import KubernetesAPI
from sre_server.simulator.control import ControlAPI
from sre_server.simulator.faults import Fault, Faults
from sre_server.simulator.kinds import Object
from sre_server.simulator.service import Channel, LoopbackSite, Root
from sre_server.simulator.store import SimulatedCluster

NOON = 1_767_268_800.0
"""When the clock of an in-memory simulator starts: 2026-01-01, noon."""


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
        self._told = 0

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

    def json(self) -> Any:  # noqa: ANN401 - what the server said
        """Return the decoded body."""
        return msgspec.json.decode(self.body)

    def lines(self) -> list[bytes]:
        """Return the complete lines of a stream that were not returned before."""
        whole = self.body.split(b"\n")[:-1]
        told, self._told = self._told, len(whole)
        return whole[told:]

    def events(self) -> list[Object]:
        """Return the events of a stream that were not returned before."""
        return [msgspec.json.decode(line) for line in self.lines()]

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
    """A simulated cluster with its API, spoken to in memory; `unplugged` tells what its control door was asked."""

    def __init__(
        self, *, deployments: int = 12, history: int = 1000, token: str | None = None, control: bool = False
    ) -> None:
        self.clock = Clock()
        self.clock.advance(NOON)
        self.faults = Faults()
        self.cluster = SimulatedCluster(self.clock, deployments=deployments, history=history)
        self.api = KubernetesAPI(self.cluster, self.clock, faults=self.faults, token=token)
        self.unplugged: list[float] = []
        door = ControlAPI(self.cluster, self.faults, self.clock, self).resource() if control else None
        self._site = LoopbackSite(Root(self.api.resource(), door), self.clock)

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
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

    def get(self, path: str, **headers: str) -> Exchange:
        """Send a GET."""
        return self.request("GET", path, headers=headers)

    def patch(self, path: str, body: object, form: str = "merge-patch+json") -> Exchange:
        """Send a PATCH in one of the patch formats."""
        return self.request("PATCH", path, body, headers={"Content-Type": f"application/{form}"})

    def unplug_for(self, seconds: float) -> None:
        """Remember for how long the API was to be taken away."""
        self.unplugged.append(seconds)

    def go_wrong(self, fault: Fault) -> None:
        """Switch a fault on."""
        self.faults.add(fault)
