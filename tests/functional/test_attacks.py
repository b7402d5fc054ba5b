"""What clients that mean no good can do: each is cut off within the time promised, and nothing of it stays behind.

After every attack the daemon holds as many descriptors as before, has logged no traceback, and serves a good client.
"""

import contextlib
import socket
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.daemon import Daemon
from tests.functional.load import (
    GOOD,
    End,
    client_hello,
    connect_tcp,
    connect_tls,
    converse,
    descriptors,
    metric,
    pause,
    report,
    statuses,
    together,
    wait_until_cut,
)
from tests.memory_client import read_answers
from tests.web.test_site_ambiguity import CHUNKS, CODINGS, HEADERS, LENGTHS, POST, REQUEST_LINES, WRITE

pytestmark = pytest.mark.xdist_group("load")

MARGIN = 10.0
"""Seconds that a busy machine may add to what is promised; how long it took is reported."""
PUT = b"PUT /deployments/shop/cart/replicas HTTP/1.1\r\nHost: localhost\r\n"
SLOWLY_READ = 1_600_000
"""Bytes: what takes a client longer than it would have for reading nothing, and for closing after that."""
LIST = b"GET /namespaces/ANY/deployments/ANY/replica_count HTTP/1.1\r\nHost: localhost\r\n"


class Attacks(SynchronousTestCase):
    """A daemon, and what is to be true of it after an attack."""

    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        """Start the daemon and see what it holds."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.daemon = Daemon(Path(folder.name), "--cluster=simulated", *self.options)
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.assertEqual(self.daemon.get("/deployments").status, 200)
        self.daemon.wait_for(self._is_alone, "rid of the first clients")
        self.baseline = descriptors(self.daemon)

    def _is_alone(self) -> bool:
        return metric(self.daemon, "sre_server_connections") == 0

    def assert_unharmed(self, what: str) -> None:
        """Check the three things that are promised of every attack."""
        self.daemon.wait_for(self._is_alone, f"rid of every connection after: {what}")
        self.daemon.wait_for(lambda: (descriptors(self.daemon) or 0) <= (self.baseline or 0), f"as before: {what}")
        self.assertNotIn("Traceback", self.daemon.said(), what)
        self.assertEqual(self.daemon.get("/deployments/shop").status, 200, what)


class SlowTests(Attacks):
    """Clients that take their time, all of them at once."""

    options = ("--simulated-deployments=20000",)

    def _reads_nothing(self) -> End:
        with connect_tls(self.daemon, receive_buffer=4096) as connection:
            connection.sendall((LIST + b"\r\n") * 5)
            return End(wait_until_cut(connection), b"")

    def _reads_next_to_nothing(self) -> End:
        with connect_tls(self.daemon, receive_buffer=4096) as connection:
            connection.sendall((LIST + b"\r\n") * 5)
            return End(wait_until_cut(connection, reads=100), b"")

    def _never_closes(self, request: bytes) -> End:
        with connect_tls(self.daemon) as connection:
            answered = converse(connection, request)
            return End(wait_until_cut(connection), answered.received)

    def _drips(self, first: bytes, drip: bytes) -> End:
        with connect_tls(self.daemon) as connection:
            return converse(connection, first, drip)

    def _stays_silent(self, first: bytes = b"", drip: bytes = b"") -> End:
        with connect_tcp(self.daemon.port) as connection:
            return converse(connection, first, drip, every=0.1)

    def test_slow_clients(self) -> None:
        """A handshake has 5 s, a request 10 s, an answer 10 s, the end of a connection 5 s, however lively it drips."""
        hello = client_hello(self.daemon)
        close = b"Connection: close\r\n\r\n"
        attacks: dict[str, tuple[Callable[[], End], float, list[int]]] = {
            "silent TCP": (self._stays_silent, 5, []),
            "dripped ClientHello": (partial(self._stays_silent, drip=hello), 5, []),
            "silent after ClientHello": (partial(self._stays_silent, first=hello), 5, []),
            "slow headers": (partial(self._drips, b"", GOOD), 10, [408]),
            "slow body": (partial(self._drips, PUT + b"Content-Length: 100\r\n\r\n", b" " * 100), 10, [408]),
            "slow chunks": (
                partial(self._drips, PUT + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * 9),
                10,
                [408],
            ),
            "reads nothing": (self._reads_nothing, 10, []),
            "reads next to nothing": (self._reads_next_to_nothing, 10, []),
            "never closes": (partial(self._never_closes, GOOD[:-2] + close), 5, [200]),
            "never closes after an error": (partial(self._never_closes, b"nonsense\r\n\r\n"), 5, [400]),
        }
        ends = together(*(job for job, *_ in attacks.values()))
        for (name, (_, bound, answered)), end in zip(attacks.items(), ends, strict=True):
            report(f"{name}: {end.seconds:.2f} s of {bound:.0f} s")
            self.assertEqual(statuses(end.received), answered, name)
            self.assertLess(end.seconds, bound + MARGIN, name)
            self.assertGreater(end.seconds, bound - 2, f"{name} was not cut off for being slow")
        self.assert_unharmed("slow clients")


class SlowLineTests(Attacks):
    """Clients that read all the time, 100 kB a second, and one that rests for a while."""

    options = ("--simulated-deployments=100000",)

    def _read(self, request: bytes) -> bytes:
        with connect_tls(self.daemon, receive_buffer=16384) as connection:
            connection.sendall(request)
            received = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(5_000 if len(received) < SLOWLY_READ else 1 << 16):
                    received += piece
                    if len(received) < SLOWLY_READ:
                        pause(0.05)
            return received

    def _read_after_a_rest(self, request: bytes) -> bytes:
        with connect_tls(self.daemon, receive_buffer=4096) as connection:
            connection.sendall(request)
            received = connection.recv(1 << 16)
            pause(4)
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(1 << 16):
                    received += piece
            return received

    def test_long_answers(self) -> None:
        """They are whole, of however much the kernel has taken what, and whoever is to close afterwards."""
        close = b"GET /deployments HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        reads = (partial(self._read, close), partial(self._read, LIST + b"Connection: close\r\n\r\n"))
        for received in together(*reads, partial(self._read_after_a_rest, close)):
            (answer,) = read_answers(received)
            self.assertGreater(len(answer.body), SLOWLY_READ)
        self.assert_unharmed("slow lines")


class BadBytesTests(Attacks):
    """Clients that send what nobody should."""

    def _over_tls(self, data: bytes) -> End:
        with connect_tls(self.daemon) as connection:
            return converse(connection, data)

    def test_garbage(self) -> None:
        """Bytes without form are refused at once, before TLS without a word of HTTP, within it with 400 or 414."""
        noise = b"\x00\xff" * 50_000
        with connect_tcp(self.daemon.port) as connection:
            before = converse(connection, noise)
        with connect_tcp(self.daemon.port) as connection:
            hurt = converse(connection, client_hello(self.daemon)[:100] + noise)
        with connect_tls(self.daemon) as secured, socket.socket(fileno=secured.detach()) as connection:
            records = converse(connection, b"\x17\x03\x03\x00\x20" + b"x" * 32)
        for end in (before, hurt, records):
            self.assertNotIn(b"HTTP", end.received)
            self.assertLess(end.seconds, MARGIN)
        self.assertEqual(statuses(self._over_tls(noise).received), [414])
        self.assertEqual(statuses(self._over_tls(b"\x00\xff\r\n" * 1000).received), [400])
        self.assert_unharmed("garbage")

    def test_ambiguous_requests(self) -> None:
        """Every row of the table is 400 and the end of the connection, and the write behind it never runs."""
        head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        rows = {**LENGTHS, **CODINGS, **HEADERS, **REQUEST_LINES}
        rows |= {f"chunk size, {name}": head + chunks for name, chunks in CHUNKS.items()}
        answered = {name: statuses(self._over_tls(row + WRITE).received) for name, row in rows.items()}
        self.assertEqual({name: found for name, found in answered.items() if found != [400]}, {})
        self.assert_unharmed("ambiguous requests")

    def test_pipelining(self) -> None:
        """A thousand requests in one write are answered one after the other, and so is a good client meanwhile."""
        last = GOOD[:-2] + b"Connection: close\r\n\r\n"
        ends = together(*[partial(self._over_tls, GOOD * 999 + last)] * 2, lambda: self._over_tls(last))
        for end, count in zip(ends, (1000, 1000, 1), strict=True):
            self.assertEqual(statuses(end.received), [200] * count)
        report(f"1,000 pipelined requests: {ends[0].seconds:.2f} s; one beside them: {ends[2].seconds:.2f} s")
        self.assert_unharmed("pipelining")

    def test_a_body_without_an_end(self) -> None:
        """A chunked body that goes on for ever is 413, and the connection is cut off 5 s after that at the latest."""
        with connect_tls(self.daemon) as connection:
            connection.sendall(PUT + b"Transfer-Encoding: chunked\r\n\r\n")
            sent = 0

            def send() -> None:
                nonlocal sent
                while True:
                    connection.sendall(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
                    sent += 0x4000

            self.assertRaises(OSError, send)
        report(f"a body without an end: cut off after {sent / 1e6:.0f} MB")
        self.assertEqual(metric(self.daemon, 'sre_server_http_refused_total{code="413"}'), 1)
        self.assert_unharmed("a body without an end")
