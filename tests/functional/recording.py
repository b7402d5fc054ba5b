"""An API server that answers anybody, and proxies that lead to it whatever they are asked for; both take notes."""

import json
import socket
import ssl
import threading
from base64 import b64decode
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple

VERSION: Final = {
    "major": "1",
    "minor": "34",
    "gitVersion": "v1.34.0",
    "goVersion": "go1.24",
    "platform": "linux/amd64",
}


class Arrival(NamedTuple):
    """What is worth comparing of a request."""

    method: str
    path: str
    authorization: str | None
    impersonation: tuple[tuple[str, str], ...]
    gzip: bool
    certificate: str | None
    """The CN of the client certificate."""
    server_name: str | None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "RecordingCluster"

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()  # of TLS, what was wrapped; the server closes what it accepted

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        impersonation = [(name, value) for name, value in self.headers.items() if name.startswith("Impersonate-")]
        self.server.arrivals.append(
            Arrival(
                self.command,
                self.path.partition("?")[0],
                self.headers["Authorization"],
                tuple(sorted((name.title(), value.encode("latin-1").decode()) for name, value in impersonation)),
                "gzip" in self.headers.get("Accept-Encoding", ""),
                _common_name(self.request),
                getattr(self.request, "asked_for", None),
            )
        )
        body = json.dumps(VERSION).encode()
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PATCH = _answer

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _common_name(connection: object) -> str | None:
    shown = connection.getpeercert() if isinstance(connection, ssl.SSLSocket) else None
    subject: Any = (shown or {}).get("subject", ())
    return next((value for ((key, value),) in subject if key == "commonName"), None)


def _note_name(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
    connection.asked_for = name  # type: ignore[attr-defined]


class RecordingCluster(ThreadingHTTPServer):
    """An API server on loopback; `statuses` are the next answers', which are 200 otherwise."""

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tls = tls
        if tls is not None:
            tls.sni_callback = _note_name
        self.arrivals: list[Arrival] = []
        self.statuses: list[int] = []
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def handle_error(self, *_: object) -> None:
        """Clients may leave."""

    def close(self) -> None:
        """Be gone."""
        self.shutdown()
        self._thread.join(5)
        self.server_close()


class RecordingProxy:
    """A proxy for HTTP or, with `socks`, SOCKS 5; every tunnel ends at `cluster`, all else at `plain`."""

    def __init__(
        self,
        cluster: RecordingCluster,
        plain: RecordingCluster,
        *,
        tls: ssl.SSLContext | None = None,
        socks: bool = False,
    ) -> None:
        self._cluster = cluster.server_port
        self._plain = plain.server_port
        self._tls = tls
        self._serve = self._serve_socks if socks else self._serve_http
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.asked: list[str] = []
        """Each destination, behind who asked for it."""
        scheme = "socks5" if socks else "https" if tls else "http"
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"{scheme}://{self.address}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._handle, args=(client,), daemon=True).start()

    def _handle(self, client: socket.socket) -> None:
        with suppress(OSError, ValueError):
            client = self._tls.wrap_socket(client, server_side=True) if self._tls else client
            self._serve(client)
        client.close()

    def _serve_http(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            received = client.recv(65536)
            if not received:
                return
            head += received
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ")
        proof = next((line.split(" ")[2] for line in lines if line.lower().startswith("proxy-authorization:")), "")
        self._note(target.partition("?")[0], b64decode(proof).decode(), client)
        if method == "CONNECT":
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self._splice(client, self._cluster)
        else:
            self._splice(client, self._plain, head)

    def _serve_socks(self, client: socket.socket) -> None:
        def read(size: int) -> bytes:
            received = b""
            while len(received) < size:
                if not (more := client.recv(size - len(received))):
                    raise ValueError("too short")
                received += more
            return received

        user = ""
        if 2 in read(read(2)[1]):
            client.sendall(b"\x05\x02")
            read(1)
            user = read(read(1)[0]).decode() + ":" + read(read(1)[0]).decode()
            client.sendall(b"\x01\x00")
        else:
            client.sendall(b"\x05\x00")
        kind = read(4)[3]
        host = socket.inet_ntoa(read(4)) if kind == 1 else read(read(1)[0]).decode()
        self._note(f"{host}:{int.from_bytes(read(2), 'big')}", user, client)
        client.sendall(b"\x05\x00\x00\x01" + bytes(6))
        self._splice(client, self._cluster)

    def _note(self, destination: str, user: str, client: socket.socket) -> None:
        who = user or _common_name(client)
        self.asked.append(f"{who}@{destination}" if who else destination)

    @staticmethod
    def _splice(client: socket.socket, port: int, first: bytes = b"") -> None:
        with socket.create_connection(("127.0.0.1", port)) as server:
            server.sendall(first)

            def copy(source: socket.socket, sink: socket.socket) -> None:
                with suppress(OSError):
                    while received := source.recv(65536):
                        sink.sendall(received)
                for end in (source, sink):
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

            back = threading.Thread(target=copy, args=(server, client), daemon=True)
            back.start()
            copy(client, server)
            back.join(5)

    def close(self) -> None:
        """Be gone."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
