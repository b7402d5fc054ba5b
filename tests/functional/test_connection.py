"""Connections to a cluster over real sockets on loopback: every fault an error that says what is known."""

import gzip
import socket
import threading
import time

from sre_server.errors import ClusterBroke, ClusterTimedOut, ClusterUnreachable, SreServerError
from tests.functional.cluster import Act, ConnectionTestCase, answer, hang, reset, send_and_hang


class FaultTests(ConnectionTestCase):
    """What may go wrong with a request, for reads and writes alike: one attempt, and an error of ours."""

    def check(self, kind: type[SreServerError], *script: Act, read_timeout: float = 5) -> None:
        """Check that GET, PUT and PATCH each fail so, after exactly one request."""
        for method in ("GET", "PUT", "PATCH"):
            cluster = self.cluster(*script)
            with (
                self.assertRaises(kind) as raised,
                self.connect(cluster.url).request(method, "/x", {}, body=b"{}", read_timeout=read_timeout) as reply,
            ):
                reply.read(1000, 5)
            cluster.accepted.wait(60)
            self.assertIs(type(raised.exception), kind)
            self.assertNotIn("\n", str(raised.exception))
            self.assertEqual(len(cluster.requests), 1)

    def test_refused(self) -> None:
        """Where nobody listens the request was never sent."""
        bound = socket.socket()
        self.addCleanup(bound.close)
        bound.bind(("127.0.0.1", 0))
        with self.assertRaises(ClusterUnreachable) as raised:
            self.get(self.connect(f"http://127.0.0.1:{bound.getsockname()[1]}"))
        self.assertIn("cannot be reached", str(raised.exception))

    def test_unknown_host(self) -> None:
        """Where the name leads nowhere the request was never sent."""
        self.assertRaises(ClusterUnreachable, self.get, self.connect("http://cluster.invalid"))

    def test_broken_handshake(self) -> None:
        """Where the TLS handshake breaks, the request was never sent, and the error says so."""
        for act in (lambda client: None, lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")):
            for method in ("GET", "PATCH"):
                cluster = self.cluster(act)
                connection = self.connect(cluster.url.replace("http:", "https:"))
                error = self.assertRaises(ClusterUnreachable, connection.request, method, "/x", {}, read_timeout=5)
                self.assertIn("cannot be reached", str(error))

    def test_reset_before_the_answer(self) -> None:
        """A connection that is reset, or closed, instead of an answer leaves the outcome unknown; no retry."""
        self.check(ClusterBroke, reset)
        self.check(ClusterBroke, lambda client: None)

    def test_no_answer(self) -> None:
        """A cluster that says nothing is given up after the read timeout."""
        self.check(ClusterTimedOut, hang, read_timeout=0.5)

    def test_silence_within_the_body(self) -> None:
        """A cluster that stops in the middle of a body is given up after the read timeout."""
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
        self.check(ClusterTimedOut, send_and_hang(half), read_timeout=0.5)

    def test_half_body(self) -> None:
        """A body that ends before its announced length, or before its last chunk, is never taken for a whole one."""
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
        self.check(ClusterBroke, lambda client: client.sendall(half))
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
        self.check(ClusterBroke, lambda client: client.sendall(chunked))

    def test_no_http(self) -> None:
        """What does not speak HTTP broke the connection."""
        self.check(ClusterBroke, lambda client: client.sendall(b"SSH-2.0-OpenSSH_9.9\r\n"))

    def test_redirects_are_not_followed(self) -> None:
        """A redirect is an answer like any other: credentials go to no host that the operator did not name."""
        other = self.cluster(answer())
        cluster = self.cluster(answer(b"", "302 Found", f"Location: {other.url}/"))
        with self.connect(cluster.url).request("GET", "/x", {}, read_timeout=5) as reply:
            self.assertEqual(reply.status, 302)
        self.assertEqual(other.requests, [])


class ReplyTests(ConnectionTestCase):
    """What arrives."""

    def test_request_line_and_headers(self) -> None:
        """The query is encoded, JSON is asked for, and the server says who it is."""
        cluster = self.cluster(answer())
        with self.connect(cluster.url).request(
            "GET", "/api", {"limit": 500, "continue": "a/b="}, read_timeout=5
        ) as reply:
            self.assertEqual(reply.status, 200)
        self.assertTrue(cluster.requests[0].startswith(b"GET /api?limit=500&continue=a%2Fb%3D HTTP/1.1\r\n"))
        self.assertEqual(cluster.header("Accept"), "application/json")
        self.assertTrue((cluster.header("User-Agent") or "").startswith("sre-server/"))

    def test_gzip_in_small_pieces(self) -> None:
        """A compressed, chunked body is whole, however small the pieces in which it arrives."""
        body = b"".join(b"%d," % number for number in range(200))

        def drip(client: socket.socket) -> None:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
            for byte in gzip.compress(body):
                client.sendall(b"1\r\n%c\r\n" % byte)
            client.sendall(b"0\r\n\r\n")

        self.assertEqual(self.get(self.connect(self.cluster(drip).url)), body)

    def test_lines_arrive_as_they_are_sent(self) -> None:
        """A chunk of a watch is there at once, while the cluster keeps the connection and says no more."""
        line = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nline\n\r\n"
        cluster = self.cluster(send_and_hang(line))
        with self.connect(cluster.url).request("GET", "/x", {}, read_timeout=3) as reply:
            chunks = reply.chunks()
            self.assertEqual(next(chunks), b"line\n")
            self.assertRaises(ClusterTimedOut, next, chunks)

    def test_retry_after(self) -> None:
        """How long the cluster asks us to wait is read from a refusal."""
        cluster = self.cluster(answer(b"{}", "429 Too Many Requests", "Retry-After: 7"))
        with self.connect(cluster.url).request("GET", "/x", {}, read_timeout=5) as reply:
            self.assertEqual((reply.status, reply.retry_after()), (429, 7))


class InterruptTests(ConnectionTestCase):
    """A server that stops ends its requests from another thread."""

    def test_blocked_read_ends(self) -> None:
        """A read that waits for the cluster ends when it is interrupted, and later requests fail at once."""
        cluster = self.cluster(hang, answer())
        connection = self.connect(cluster.url)

        def interrupt() -> None:
            cluster.accepted.wait(60)
            connection.interrupt()

        other = threading.Thread(target=interrupt, daemon=True)
        other.start()
        started = time.monotonic()
        self.assertRaises((ClusterBroke, ClusterTimedOut), self.get, connection, 100)
        self.assertLess(time.monotonic() - started, 50)
        other.join(60)
        with self.assertRaises(ClusterUnreachable) as raised:
            self.get(connection)
        self.assertIn("shutting down", str(raised.exception))
        self.assertEqual(len(cluster.requests), 1)

    def test_interrupted_while_connecting(self) -> None:
        """An interrupt that comes while the connection is being made is not lost."""
        connection = self.connect(self.cluster(hang).url)
        connected = connection._connected

        def interrupted_first(made: socket.socket) -> None:
            connection.interrupt()
            connected(made)

        self.patch(connection, "_connected", interrupted_first)
        self.assertRaises(ClusterBroke, self.get, connection, 10)
