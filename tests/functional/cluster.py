"""A cluster that misbehaves on purpose: a thread that does to each connection, in turn, what a script says."""

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.connection import Connection
from sre_server.cluster.credentials import Unauthenticated

Act = Callable[[socket.socket], object]
KEEP: Final = "keep"
"""What an act returns that leaves the connection open."""


def answer(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> Act:
    """Answer a request in full, and close."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return lambda client: client.sendall("\r\n".join(lines).encode() + body)


def reset(client: socket.socket) -> None:
    """Break the connection without a word."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


def hang(client: socket.socket) -> str:
    """Say nothing, and keep the connection."""
    return KEEP


def send_and_hang(data: bytes) -> Act:
    """Say this and no more, and keep the connection."""

    def act(client: socket.socket) -> str:
        client.sendall(data)
        return KEEP

    return act


class Cluster:
    """A server that reads a request from each connection, keeps it, and acts."""

    def __init__(self, *script: Act, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._script = list(script)
        self._tls = tls
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._clients: list[socket.socket] = []
        self.accepted = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()
        scheme = "https" if tls else "http"
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            try:
                if self._tls:
                    client = self._tls.wrap_socket(client, server_side=True)
                self._clients.append(client)
                request = self._read(client)
                self.requests.append(request)
                self.accepted.set()
                act = self._script.pop(0) if self._script else reset
                if act(client) is not KEEP:
                    client.close()
            except OSError:
                client.close()

    @staticmethod
    def _read(client: socket.socket) -> bytes:
        """Read a request with its body: closing a connection with bytes unread would reset it."""
        request = b""
        while b"\r\n\r\n" not in request:
            if not (data := client.recv(65536)):
                return request
            request += data
        head, _, body = request.partition(b"\r\n\r\n")
        match = re.search(rb"(?i)content-length: *(\d+)", head)
        while len(body) < (int(match[1]) if match else 0):
            body += client.recv(65536)
        return head + b"\r\n\r\n" + body

    def header(self, name: str, request: int = -1) -> str | None:
        """A header of a request."""
        for line in self.requests[request].decode("latin-1").split("\r\n")[1:]:
            if line.lower().startswith(name.lower() + ":"):
                return line.partition(":")[2].strip()
        return None

    def close(self) -> None:
        """Be gone."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for client in self._clients:
            client.close()


class ConnectionTestCase(SynchronousTestCase):
    """A cluster and a connection to it."""

    def cluster(self, *script: Act, tls: ssl.SSLContext | None = None) -> Cluster:
        """Start a cluster that acts so."""
        cluster = Cluster(*script, tls=tls)
        self.addCleanup(cluster.close)
        return cluster

    def connect(self, url: str) -> Connection:
        """Make a connection without credentials."""
        return Connection(Unauthenticated(lambda: url))

    def get(self, connection: Connection, read_timeout: float = 5) -> bytes:
        """Read one resource."""
        with connection.request("GET", "/api", {}, read_timeout=read_timeout) as reply:
            return reply.read(10_000_000, 5)
