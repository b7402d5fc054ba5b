"""One connection to the server, as any client makes it: mutual TLS 1.3, verified as curl does, in bounded time."""

import json
import socket
import ssl
import threading
import time
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self
from urllib.parse import urlsplit

MAX_BODY: Final = 64 * 2**20


class Trouble(Exception):
    """What stands between a client and its answer, in a sentence."""


class Answer(NamedTuple):
    """A status, and the body as parsed JSON."""

    status: int
    json: Any


class Address(NamedTuple):
    """Where the server is."""

    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Self:
        """Read it from a URL; raises ValueError for anything but an https URL without a path."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/") or parts.query:
            raise ValueError(f"'{url}' is no URL such as https://sre-server:8443")
        return cls(parts.hostname, parts.port or 443)


def tls_context(certificate: Path, private_key: Path, server_ca: Path) -> ssl.SSLContext:
    """Make the client's side of mutual TLS 1.3; raises OSError (ssl.SSLError is one) for files that cannot be used.

    From Python 3.13 on it would refuse certificates that other clients accept; docs/security.md says why it must not.
    """
    context = ssl.create_default_context(cafile=str(server_ca))
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, private_key)
    return context


class Client:
    """Asks one server; when `seconds` are over, whatever it waits for fails."""

    def __init__(self, address: Address, context: ssl.SSLContext, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._connection = HTTPSConnection(address.host, address.port, context=context, timeout=seconds)
        self._watchdog = threading.Timer(seconds, self._give_up)
        self._watchdog.daemon = True
        self._watchdog.start()

    def connect(self) -> float:
        """Connect, and return when the server's certificate ends, in seconds since the epoch; raises Trouble."""
        try:
            self._connection.timeout = self._remaining()
            self._connection.connect()
            certificate = self._connection.sock.getpeercert()
        except (OSError, HTTPException) as error:
            raise self._trouble(error) from error
        return float(ssl.cert_time_to_seconds(str((certificate or {})["notAfter"])))

    def get(self, path: str) -> Answer:
        """Make a GET request; raises Trouble if no JSON comes back."""
        try:
            self._connection.timeout = self._remaining()
            self._connection.request("GET", path, headers={"Accept": "application/json"})
            response = self._connection.getresponse()
            body = response.read(MAX_BODY)
            self._remaining()
        except (OSError, HTTPException) as error:
            self._connection.close()
            raise self._trouble(error) from error
        try:
            return Answer(response.status, json.loads(body))
        except ValueError as error:
            raise Trouble(f"GET {path} was answered {response.status}, with a body that is no JSON") from error

    def _remaining(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def _trouble(self, error: Exception) -> Trouble:
        if isinstance(error, TimeoutError) or self._deadline <= time.monotonic():
            return Trouble(f"not done within {self._seconds:g} s")
        if isinstance(error, ssl.SSLCertVerificationError):
            return Trouble(f"the server's certificate is not trusted: {error.verify_message}")
        if isinstance(error, ssl.SSLError):
            return Trouble(f"TLS: {(error.reason or str(error)).lower().replace('_', ' ')}")
        if isinstance(error, OSError):
            return Trouble(f"no connection: {error.strerror or error}")
        return Trouble(f"the answer is broken: {error!r}")

    def _give_up(self) -> None:
        """Cut the connection: a peer that sends a byte now and then would keep every single read within its time."""
        connected: socket.socket | None = self._connection.sock
        if connected is not None:
            try:
                socket.socket.shutdown(connected, socket.SHUT_RDWR)  # SSLSocket's own would go on in plain text
            except OSError:
                return

    def __enter__(self) -> Self:
        """Not connect yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Close the connection."""
        self._watchdog.cancel()
        self._connection.close()
