"""A stub of the Kubernetes API that serves canned Deployments faster than anybody can read them, and storms on demand.

`python -m tests.benchmarks.stub COUNT KUBECONFIG [--gzip] [--held]` says its URL and serves until its input ends. Each
line of input is an order; see `Stub`, which is the other end of it.
"""

import argparse
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Final
from urllib.parse import parse_qs, urlsplit
from zlib import compressobj

import msgspec
from msgspec import Struct

from sre_server.simulator.__main__ import kubeconfig
from tests.benchmarks.objects import Objects, half
from tests.benchmarks.stubbed import REVIEWED, Emitted, Reviewed, Storm

FIRST_VERSION: Final = 1_000_000
FOCUS_EVERY: Final = 20
"""Every so many events of a storm, the first Deployment changes, the one that the bench follows."""
_EMPTY: Final = b'{"kind":"List","metadata":{"resourceVersion":"%d"},"items":[]}\n' % FIRST_VERSION
_GZIP_LEVEL: Final = 1  # as kube-apiserver compresses


class _Where(Struct):
    namespace: str = ""
    name: str = ""


class _Spec(Struct, rename="camel"):
    user: str
    resource_attributes: _Where


class _Asked(Struct):
    spec: _Spec


class Cluster:
    """The objects, and the watches of Deployments that are open."""

    def __init__(self, count: int, *, compress: bool, held: bool) -> None:
        self.objects = Objects(count)
        self.compress = compress
        self.version = FIRST_VERSION
        self.permits = threading.Semaphore(0) if held else None
        self.watches: set[Queue[bytes]] = set()
        self.reviewed: list[Reviewed] = []
        self._pages: dict[tuple[int, int], bytes] = {}

    def page(self, start: int, limit: int) -> bytes:
        """Return one page of Deployments, made when it is first asked for; the first of a list may have to wait."""
        if self.permits is not None and not start:
            self.permits.acquire()
        if (start, limit) not in self._pages:
            self._pages[start, limit] = self._packed(b"".join(self._pieces(start, limit)))
        return self._pages[start, limit]

    def _packed(self, content: bytes) -> bytes:
        if not self.compress:
            return content
        packer = compressobj(_GZIP_LEVEL, wbits=31)
        return packer.compress(content) + packer.flush()

    def _pieces(self, start: int, limit: int) -> Iterator[bytes]:
        end = start + limit if limit else len(self.objects.inhabitants)
        metadata: dict[str, object] = {"resourceVersion": str(FIRST_VERSION)}
        if end < len(self.objects.inhabitants):
            metadata |= {"continue": str(end), "remainingItemCount": len(self.objects.inhabitants) - end}
        yield b'{"kind":"DeploymentList","apiVersion":"apps/v1","metadata":%b,"items":[' % msgspec.json.encode(metadata)
        yield b",".join(self.objects.deployments(start, end, FIRST_VERSION))
        yield b"]}\n"

    def namespaces(self) -> bytes:
        """Return the list of namespaces."""
        items = b",".join(self.objects.namespace(name, FIRST_VERSION) for name in self.objects.namespaces)
        start = (
            b'{"kind":"NamespaceList","apiVersion":"v1","metadata":{"resourceVersion":"%d"},"items":[' % FIRST_VERSION
        )
        return start + items + b"]}\n"

    def review(self, asked: bytes) -> bytes:
        """Answer a SubjectAccessReview: whoever asks may read half of the namespaces, each as a whole."""
        spec = msgspec.json.decode(asked, type=_Asked).spec
        where = spec.resource_attributes
        self.reviewed.append(Reviewed(time.monotonic(), spec.user, where.namespace, where.name))
        allowed = where.namespace in half(self.objects.namespaces)
        return b'{"kind":"SubjectAccessReview","status":{"allowed":%b}}' % str(allowed).lower().encode()

    def storm(self, order: Storm) -> list[Emitted]:
        """Modify Deployments at a steady rate; return the count that each event of the focus had, and when it left."""
        emitted = []
        started = time.monotonic()
        for number in range(int(order.rate * order.seconds)):
            wait = started + number / order.rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            focus = number % FOCUS_EVERY == 0
            self.version += 1
            count = self.version - FIRST_VERSION
            index = 0 if focus else 1 + number * 7919 % (len(self.objects.inhabitants) - 1)
            item = self.objects.deployment(index, self.version, count)
            line = b'{"type":"MODIFIED","object":{"kind":"Deployment","apiVersion":"apps/v1",%b}\n' % item[1:]
            if focus:
                emitted.append(Emitted(count, time.time_ns()))
            for watch in list(self.watches):
                watch.put(line)
        return emitted


class Handler(BaseHTTPRequestHandler):
    """One connection of the server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    cluster: Cluster

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer a list, a watch or, of namespaces, a single one; or what reviews there were."""
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        deployments = url.path.endswith("/deployments")
        if "sendInitialEvents" in query:
            self._send(422, b'{"kind":"Status","status":"Failure","reason":"Invalid","code":422}')
        elif query.get("watch"):
            self._watch(deployments)
        elif url.path == REVIEWED:
            self._send(200, msgspec.json.encode(self.cluster.reviewed))
        elif deployments:
            page = self.cluster.page(int(query.get("continue", 0)), int(query.get("limit", 0)))
            self._send(200, page, "gzip" if self.cluster.compress else "")
        elif url.path.endswith("/namespaces"):
            self._send(200, self.cluster.namespaces())
        elif url.path.startswith("/api/v1/namespaces/"):
            self._send(200, self.cluster.objects.namespace(url.path.rpartition("/")[2], FIRST_VERSION))
        else:
            self._send(200, _EMPTY)

    def do_POST(self) -> None:
        """Review; refuse all else politely."""
        if self.path.endswith("/subjectaccessreviews"):
            self._send(201, self.cluster.review(self.rfile.read(int(self.headers["Content-Length"]))))
            return
        self._send(404, b'{"kind":"Status","status":"Failure","reason":"NotFound","code":404}')

    do_PATCH = do_POST

    def _send(self, status: int, content: bytes, encoding: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _watch(self, deployments: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        lines: Queue[bytes] = Queue()
        if deployments:
            self.cluster.watches.add(lines)
        while True:
            line = lines.get()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))


class Listener(ThreadingHTTPServer):
    """Accepts connections, each in a thread that dies with the process."""

    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that go away."""


def main() -> None:
    """Serve, and follow orders."""
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int)
    parser.add_argument("kubeconfig", type=Path)
    parser.add_argument("--gzip", action="store_true")
    parser.add_argument("--held", action="store_true")
    options = parser.parse_args()
    cluster = Cluster(options.count, compress=options.gzip, held=options.held)
    listener = Listener(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"cluster": cluster}))
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{listener.server_address[1]}"
    options.kubeconfig.write_bytes(msgspec.json.encode(kubeconfig(url)))
    print(url, flush=True)  # noqa: T201
    for line in sys.stdin:
        order = msgspec.json.decode(line, type=Storm | None)
        if order is None:
            if cluster.permits is not None:
                cluster.permits.release()
        else:
            print(msgspec.json.encode(cluster.storm(order)).decode(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
