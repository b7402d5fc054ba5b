"""KeyUpdates of TLS 1.3 by the thousand, as a client may send them that means no good.

No TLS library sends many, so the records are sealed here, by RFC 8446, 4.6.3, 5.2 and 7.2, from the secret that
Python's ssl logs after its handshake. They are sealed before any is sent: a sender costs nothing but its writes.
"""

import hmac
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.benchmarks.load import BenchError, Target

KEY_BYTES: Final = {"sha256": 16, "sha384": 32}
_HASHES: Final = {"TLS_AES_128_GCM_SHA256": "sha256", "TLS_AES_256_GCM_SHA384": "sha384"}
_KEY_UPDATE: Final = b"\x18\x00\x00\x01"
_HANDSHAKE, _DATA = 22, 23


class Sender:
    """A connection whose client has KeyUpdates ready, and a request that proves that all of them were taken in."""

    def __init__(self, folder: Path, target: Target, path: str, updates: int, *, answered: bool) -> None:
        """Connect and seal; with `answered`, each asks for one in return."""
        host, _, port = target.address.partition(":")
        context = ssl.create_default_context(cafile=str(target.ca))
        keys = folder / "keys"
        keys.unlink(missing_ok=True)
        context.keylog_filename = str(keys)
        if target.client is not None:
            context.load_cert_chain(*target.client)
        with ExitStack() as stack:
            plain = stack.enter_context(socket.create_connection((host, int(port)), timeout=30))
            self._secured = stack.enter_context(context.wrap_socket(plain, server_hostname=target.name))
            self._raw = stack.enter_context(socket.socket(fileno=os.dup(self._secured.fileno())))
            self._raw.settimeout(30)
            cipher = self._secured.cipher()
            request = f"GET {path} HTTP/1.1\r\nHost: {target.name}\r\n\r\n".encode()
            secret = logged_secret(keys.read_text(), "CLIENT_TRAFFIC_SECRET_0")
            self._records = b"".join(
                sealed(_HASHES[cipher[0] if cipher else ""], secret, updates, request, answered=answered)
            )
            self._stack = stack.pop_all()

    def send(self) -> None:
        """Send all, and wait for the answer; raises BenchError unless there is a good one."""
        self._raw.sendall(self._records)
        answer = self._secured.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise BenchError(f"after its KeyUpdates a client was answered {answer[:40]!r}")

    def close(self) -> None:
        """Close the connection."""
        self._stack.close()

    def __enter__(self) -> Self:
        """Leave it connected."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self.close()


def logged_secret(log: str, label: str) -> bytes:
    """Return a secret from a key log with one connection."""
    return next(bytes.fromhex(line.split()[2]) for line in log.splitlines() if line.startswith(f"{label} "))


def sealed(digest: str, secret: bytes, updates: int, request: bytes, *, answered: bool) -> Iterator[bytes]:
    """Return the records of so many KeyUpdates, and of a request after them, from a client that has sent no other."""
    for _ in range(updates):
        yield _record(digest, secret, _HANDSHAKE, _KEY_UPDATE + bytes([answered]))
        secret = expand(digest, secret, b"traffic upd", len(secret))
    yield _record(digest, secret, _DATA, request)


def _record(digest: str, secret: bytes, kind: int, content: bytes) -> bytes:
    """Seal the first record of a secret, whose nonce is the IV itself."""
    head = bytes([_DATA, 3, 3]) + (len(content) + 1 + 16).to_bytes(2, "big")
    key, nonce = expand(digest, secret, b"key", KEY_BYTES[digest]), expand(digest, secret, b"iv", 12)
    return head + AESGCM(key).encrypt(nonce, content + bytes([kind]), head)


def expand(digest: str, secret: bytes, label: bytes, length: int) -> bytes:
    """Return HKDF-Expand-Label with no context, which here never takes more than one block."""
    full = b"tls13 " + label
    info = length.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0\x01"
    return hmac.digest(secret, info, digest)[:length]
