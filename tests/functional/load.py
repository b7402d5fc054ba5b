"""Clients by hand: sockets that do as no proper client would, many proper ones at once, and what the daemon holds."""

import re
import resource
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from select import POLLIN, poll
from typing import NamedTuple, TypeVar

from tests.certificates import Pair
from tests.functional.daemon import Daemon

T = TypeVar("T")
GOOD = b"GET /deployments/shop/cart/replicas HTTP/1.1\r\nHost: localhost\r\n\r\n"
SLICE_SECONDS = 0.05


class End(NamedTuple):
    """How a connection ended: seconds since the attack began, and what had been received."""

    seconds: float
    received: bytes


def together(*jobs: Callable[[], T]) -> list[T]:
    """Run all of the jobs at once, each in a thread, and return what they return."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def pause(seconds: float) -> None:
    """Let time pass that the daemon counts, too."""
    threading.Event().wait(seconds)


def connect_tcp(port: int, receive_buffer: int | None = None, host: str = "127.0.0.1") -> socket.socket:
    """Open a TCP connection, if need be one that takes in little."""
    connection = socket.socket()
    try:
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(60)
        connection.connect((host, port))
    except BaseException:
        connection.close()
        raise
    return connection


def connect_tls(daemon: Daemon, client: Pair | None = None, receive_buffer: int | None = None) -> ssl.SSLSocket:
    """Open a TLS connection, as Alice unless somebody else is given, and leave it to the caller."""
    connection = connect_tcp(daemon.port, receive_buffer, daemon.host)
    try:
        return daemon.context(client).wrap_socket(
            connection, server_hostname="localhost", suppress_ragged_eofs=True, do_handshake_on_connect=True
        )
    except BaseException:
        connection.close()
        raise


class Records:
    """A TLS connection whose records are made as the caller wants them; `data` is encrypted so many bytes at a time."""

    def __init__(self, daemon: Daemon, client: Pair | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = daemon.context(client)
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")
        self._socket = connect_tcp(daemon.port)
        self._wait_for(self._tls.do_handshake)

    def _wait_for(self, done: Callable[[], T]) -> T:
        while True:
            try:
                result = done()
            except ssl.SSLWantReadError:
                self._socket.sendall(self._outgoing.read())
                self._incoming.write(self._socket.recv(65536))
            else:
                self._socket.sendall(self._outgoing.read())
                return result

    def ask(self, data: bytes, size: int) -> bytes:
        """Send a request in records of so many bytes; return what comes first of the answer."""
        for at in range(0, len(data), size):
            self._tls.write(data[at : at + size])
        return self._wait_for(lambda: self._tls.read(65536))

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def connect_many(port: int, count: int, addresses: Sequence[str] = ("127.0.0.1",)) -> list[socket.socket]:
    """Begin so many TCP connections, from these addresses in turn, without waiting for any of them."""
    connections = []
    for number in range(count):
        connections.append(socket.socket())
        connections[-1].setblocking(False)
        connections[-1].bind((addresses[number % len(addresses)], 0))
        connections[-1].connect_ex(("127.0.0.1", port))
    return connections


def client_hello(daemon: Daemon) -> bytes:
    """Make the first flight of a client."""
    outgoing = ssl.MemoryBIO()
    client = daemon.context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def is_cut(connection: socket.socket) -> bool:
    """Tell whether the other side has reset the connection, without reading any of what it sent before."""
    poller = poll()
    poller.register(connection, 0)
    return bool(poller.poll(0))


def wait_until_cut(connection: socket.socket, limit: float = 60.0, reads: int = 0) -> float:
    """Wait for the other side to give the connection up, reading so many bytes a slice; return the seconds."""
    began = time.monotonic()
    while not is_cut(connection):
        if reads:
            connection.recv(reads)
        if time.monotonic() - began > limit:
            raise AssertionError(f"the connection was still there after {limit:.0f} s")
        pause(SLICE_SECONDS)
    return time.monotonic() - began


def converse(
    connection: socket.socket, first: bytes = b"", drip: bytes = b"", every: float = 1.0, limit: float = 60.0
) -> End:
    """Send `first`, then one byte of `drip` now and again, and read until the other side ends the connection."""
    began = time.monotonic()
    received = bytearray()
    connection.settimeout(SLICE_SECONDS)
    try:
        if first:
            connection.settimeout(10)
            connection.sendall(first)
            connection.settimeout(SLICE_SECONDS)
        for turn in range(int(limit / SLICE_SECONDS)):
            if turn % max(1, int(every / SLICE_SECONDS)) == 0 and drip:
                connection.sendall(drip[:1])
                drip = drip[1:]
            try:
                chunk = connection.recv(65536)
            except TimeoutError:
                continue
            if not chunk:
                return End(time.monotonic() - began, bytes(received))
            received += chunk
    except (ssl.SSLError, OSError):
        return End(time.monotonic() - began, bytes(received))
    raise AssertionError(f"the connection was still open after {limit:.0f} s")


def statuses(received: bytes) -> list[int]:
    """Return the statuses of the answers in a stream of them, none of whose bodies looks like a head."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


def has_ended(connection: socket.socket) -> bool:
    """Tell whether the other side, which never said a word, has ended the connection."""
    poller = poll()
    poller.register(connection, POLLIN)
    return bool(poller.poll(0))


def descriptors(daemon: Daemon) -> int | None:
    """Count the daemon's open descriptors; None where the system does not say."""
    folder = Path(f"/proc/{daemon.pid}/fd")
    return len(list(folder.iterdir())) if folder.exists() else None


def room_for_descriptors(count: int) -> None:
    """Let this process have so many descriptors, or as many as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def can_limit_descriptors() -> bool:
    """Tell whether this system has `prlimit`."""
    return sys.platform == "linux"


def limit_descriptors(pid: int, count: int) -> None:
    """Let another process have so many descriptors."""
    if sys.platform == "linux":
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (count, count))


def metrics(daemon: Daemon) -> str:
    """Read all that the ops port exposes."""
    connection = HTTPConnection("127.0.0.1", daemon.ops_port, timeout=60)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def metric(daemon: Daemon, sample: str) -> float:
    """Read one sample, labels and all, from the ops port; 0 if it was never counted."""
    values = [line.rpartition(" ")[2] for line in metrics(daemon).splitlines() if line.startswith(sample + " ")]
    return float(values[0]) if values else 0.0


def report(text: str) -> None:
    """Tell a figure to whoever reads the output of the tests."""
    sys.stdout.write(f"\n  measured: {text}")
    sys.stdout.flush()
