"""What all rows share: options, a folder, certificates, the load generator, and ways to start what is measured."""

import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from sre_server.simulator.population import inhabitants
from tests.benchmarks.load import BenchError, Load, Target
from tests.benchmarks.processes import DaemonProcess, Floor, Identities, Server
from tests.benchmarks.report import Result
from tests.benchmarks.rounds import Contestant
from tests.benchmarks.stubbed import Stub

TARGETS: Final = 500
"""How many different Deployments single reads go to."""


class Effort(Struct, frozen=True):
    """How long to measure: rounds, seconds of each, and what to divide the sizes of clusters by."""

    rounds: int = 25
    seconds: float = 0.35
    shrink: int = 1
    settle: float = 2.5
    """Seconds after which a server that is ready has settled its heap, which it looks to once a second."""

    @property
    def starts(self) -> int:
        """How often to measure what takes new processes each time."""
        return min(self.rounds, 5)


class Bench(Struct, frozen=True):
    """Where and how to measure. `binary` is the load generator's, None where it cannot be built."""

    folder: Path
    effort: Effort
    identities: Identities
    binary: Path | None
    control_plane: bool = True

    def size(self, deployments: int) -> int:
        """Return how large a cluster is to be."""
        return max(100, deployments // self.effort.shrink)

    def generator(self) -> Path:
        """Return the load generator; raises BenchError where there is none."""
        if self.binary is None:
            raise BenchError("the load generator is not there")
        return self.binary

    def server(self, stack: ExitStack, cluster: Stub | int, *options: str, log: str = "server.log") -> Server:
        """Start the product in front of a stub, or a new one with so many Deployments, and wait until it is ready."""
        stub = stack.enter_context(Stub(self.folder, cluster)) if isinstance(cluster, int) else cluster
        server = stack.enter_context(self.starting(stub.kubeconfig, *options, log=log))
        server.wait_until_ready()
        return server

    def starting(self, kubeconfig: Path, *options: str, log: str, noted: Path | None = None) -> Server:
        """Start the product in front of the cluster of a kubeconfig; it listens, and may not be ready yet."""
        return Server(self.folder, self.identities, kubeconfig, *options, log=log, noted=noted)

    def floor(self, stack: ExitStack, answer: bytes) -> Floor:
        """Start the floor with this answer."""
        return stack.enter_context(Floor(self.folder, self.identities, answer))

    def contestant(
        self,
        stack: ExitStack,
        process: DaemonProcess,
        target: Target,
        paths: Sequence[str],
        *,
        headers: Sequence[str] = (),
        connections: int = 16,
        connect: bool = False,
        in_turn: bool = False,
        statuses: tuple[int, ...] = (200,),
    ) -> Contestant:
        """Connect a load generator to a process."""
        load = Load(
            self.generator(),
            target,
            paths,
            headers=headers,
            connections=connections,
            connect=connect,
            in_turn=in_turn,
        )
        return Contestant(stack.enter_context(load), (process.pid,), statuses)


Row = Callable[[Bench], list[Result]]


def single_reads(deployments: int, count: int = TARGETS) -> list[str]:
    """Return the paths of some Deployments' replica counts, spread over the whole cluster."""
    everybody = list(inhabitants(deployments))
    step = max(1, len(everybody) // count)
    return [f"/deployments/{one.namespace}/{one.name}/replicas" for one in everybody[::step][:count]]


def exchange(target: Target, path: str, *headers: str) -> bytes:
    """Send one GET and return the whole answer as it came, byte for byte."""
    host, _, port = target.address.partition(":")
    lines = [f"GET {path} HTTP/1.1", f"Host: {target.name}", *headers]
    with ExitStack() as stack:
        connection: socket.socket = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
        if target.ca and target.client:
            context = ssl.create_default_context(cafile=str(target.ca))
            context.load_cert_chain(*target.client)
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname=target.name))
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = bytearray()
        while not is_whole(bytes(answer)):
            received = connection.recv(1 << 20)
            if not received:
                raise BenchError(f"GET {path}: the connection ended within the answer")
            answer += received
        return bytes(answer)


def is_whole(answer: bytes) -> bool:
    """Tell whether an answer is there to its end; one without Content-Length ends with its head, or its last chunk."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    length = header(head, "content-length")
    if length:
        return int(length) <= len(body) or status_of(head) == 304
    return body.endswith(b"0\r\n\r\n") if header(head, "transfer-encoding") else True


def status_of(answer: bytes) -> int:
    """Return an answer's status."""
    return int(answer[9:12])


def header(answer: bytes, name: str) -> str:
    """Return the value of one of an answer's headers, or ''."""
    head = answer.partition(b"\r\n\r\n")[0].decode("latin-1")
    for line in head.split("\r\n")[1:]:
        given, _, value = line.partition(":")
        if given.lower() == name:
            return value.strip()
    return ""
