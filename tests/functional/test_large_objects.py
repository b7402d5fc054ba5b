"""A cluster with objects as large as etcd takes them: the daemon serves all of it, and does not grow with them."""

import json
import sys
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import deployment, namespace, temporary_folder
from tests.functional.daemon import Daemon
from tests.wire import bookmark_line, event_line, list_page

LARGE: Final = 24
ROOM: Final = 64 * 2**20
_ARGUMENT: Final = b"\\u003c" * 1_400_000
"""1.4 MB of `<`, which Go's JSON makes six times as long."""
_HUGE: Final = 2
"""The argument so many times is more than is read of any object."""


def _grown(drawn: bytes, times: int = 1) -> Iterator[bytes]:
    before, after = drawn.split(b'"image": "nginx"', 1)
    yield before + b'"args": ["'
    for _ in range(times):
        yield _ARGUMENT
    yield b'"], "image": "nginx"' + after


def _page(first: int, last: int, total: int) -> Iterator[bytes]:
    """Draw the page of the large Deployments of these numbers."""
    token = str(last) if last < total else ""
    start, end = list_page(version="100", next_token=token).rsplit(b"[]", 1)
    yield start + b"["
    for number in range(first, last):
        yield b"," if number > first else b""
        yield from _grown(list_page(deployment(f"large{number}")).split(b'"items": [', 1)[1][:-2])
    yield b"]" + end


class LargeCluster(ThreadingHTTPServer):
    """A Kubernetes API that has a namespace, and so many large Deployments in it; lists are streamed, or in pages."""

    daemon_threads = True

    def __init__(self, folder: Path, large: int, *, streams: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.large = large
        self.minor = "36" if streams else "30"
        self.limits: list[int] = []
        self.release = threading.Event()
        self.kubeconfig = folder / "kubeconfig"
        url = f"http://127.0.0.1:{self.server_address[1]}"
        entry = {
            "clusters": [{"name": "a", "cluster": {"server": url}}],
            "users": [{"name": "a", "user": {}}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "current-context": "a",
        }
        self.kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **entry}))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def initial(self, plural: str) -> Iterator[bytes]:
        """Draw the events that a streamed list consists of."""
        if plural == "namespaces":
            yield event_line("ADDED", namespace())
        elif plural == "deployments":
            for number in range(self.large):
                yield from _grown(event_line("ADDED", deployment(f"large{number}")))
        yield bookmark_line("100", initial_events_end=True)

    def changes(self, plural: str) -> Iterator[bytes]:
        """Draw what a watch tells once it may: of a huge Deployment, and of a small one."""
        if plural == "deployments":
            self.release.wait()
            yield from _grown(event_line("ADDED", deployment("huge", version="101")), _HUGE)
            yield event_line("ADDED", deployment("small", version="102", replicas=7))
        threading.Event().wait()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LargeCluster

    def log_message(self, *_: Any) -> None:
        """Be quiet."""

    def do_GET(self) -> None:
        """Answer whatever is asked."""
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        plural = url.path.rpartition("/")[2]
        if plural == "version":
            self._send(iter([json.dumps({"major": "1", "minor": self.server.minor}).encode()]))
        elif "watch" in query:
            self._watch(plural, streamed="sendInitialEvents" in query)
        elif plural != "deployments":
            self._send(iter([list_page(*([namespace()] if plural == "namespaces" else []))]))
        else:
            first, limit = int(query.get("continue", 0)), int(query["limit"])
            self.server.limits.append(limit)
            self._send(_page(first, min(first + limit, self.server.large), self.server.large), gzip=True)

    def _watch(self, plural: str, *, streamed: bool) -> None:
        self._send(
            piece
            for source in (self.server.initial(plural) if streamed else (), self.server.changes(plural))
            for piece in source
        )

    def _send(self, pieces: Iterator[bytes], *, gzip: bool = False) -> None:
        compressor = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        if gzip:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        try:
            for piece in pieces:
                self._chunk(compressor.compress(piece) if gzip else piece)
            self._chunk(compressor.flush() if gzip else b"")
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()


class LargeObjectTests(SynchronousTestCase):
    """Daemons of such clusters."""

    def setUp(self) -> None:
        """Look whether memory can be looked at."""
        if sys.platform != "linux":
            raise SkipTest("/proc is Linux's")

    def serve(self, large: int, *, streams: bool) -> tuple[LargeCluster, Daemon]:
        """Start a cluster and a daemon, and wait until that has read it."""
        folder = temporary_folder(self)
        cluster = LargeCluster(folder, large, streams=streams)
        self.addCleanup(cluster.server_close)
        self.addCleanup(cluster.shutdown)
        daemon = Daemon(folder, f"--kubeconfig={cluster.kubeconfig}", "--cluster=kubeconfig")
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        return cluster, daemon

    @staticmethod
    def peak(daemon: Daemon) -> int:
        """Return the largest size in bytes that a daemon has had."""
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def check(self, *, streams: bool) -> None:
        """Check that a cluster with large objects is read and followed in little more memory than one without."""
        _, other = self.serve(0, streams=streams)
        floor = self.peak(other)
        cluster, daemon = self.serve(LARGE, streams=streams)
        self.assertEqual(len(daemon.get("/deployments/shop").json[0]["deployments"]), LARGE)
        self.assertEqual(daemon.get("/deployments/shop/large1/replicas").json["replicas"], 3)
        cluster.release.set()
        daemon.wait_for(lambda: daemon.get("/deployments/shop/small/replicas").status == 200, "showing what came later")
        huge = daemon.get("/deployments/shop/huge/replicas")
        self.assertEqual((huge.status, "larger" in huge.json["message"]), (503, True))
        self.assertIn("shop/huge", daemon.get("/deployments").headers["warning"])
        self.assertEqual(daemon.ops("/readyz").status, 200)
        self.assertLess(self.peak(daemon) - floor, ROOM)
        self.assertEqual(min(cluster.limits, default=1), 1)

    def test_pages(self) -> None:
        """Pages become so small that the large objects fit, one by one."""
        self.check(streams=False)

    def test_streamed(self) -> None:
        """A streamed list takes the place of one object at a time."""
        self.check(streams=True)
