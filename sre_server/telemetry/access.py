"""The access log: one line an answer, noted on the way and formatted later, many at a time.

A log event of Twisted costs more than the answer that it tells of, so what is noted within a tenth of a second goes out
as one event. `sre_server.telemetry.logs` writes it as a line each, in the form of all the others.
"""

from functools import lru_cache
from time import time
from typing import Final
from urllib.parse import quote

from msgspec import Struct
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

FLUSH_SECONDS: Final = 0.1
LOGGER: Final = "sre_server.access"
"""The name that access lines are logged under."""


class AccessLine(Struct, frozen=True, gc=False):
    """What is known of one answer: `at` in seconds since the epoch, `size` in bytes, how long it took in seconds.

    The status is `left` where the client went away before the answer; there is no method or path where what came was
    too broken to have any. As text, a line is eight fields, whatever a client calls itself or its method.
    """

    at: float
    address: str
    status: int | str
    request_id: str
    identity: str | None = None
    method: str = ""
    path: str = ""
    size: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        """Return the line as the log shows it, without its time."""
        return (
            f"{self.address} {_as_field(self.identity)} {_as_field(self.method)} {self.path or '-'} {self.status} "
            f"{self.size}B {self.seconds * 1000:.1f}ms {self.request_id}"
        )


@lru_cache(1024)
def _as_field(text: str | None) -> str:
    """Return text without white space, percent-encoded where need be; `-` stands for nothing, and for that alone."""
    if not text:
        return "-"
    if text == "-":
        return "%2D"
    return "".join(each if each.isprintable() and each not in " %" else quote(each) for each in text)


class AccessLines(list[AccessLine]):
    """Lines that one log event tells of; each is one line of the log."""

    def __str__(self) -> str:
        """Return them for observers that know nothing of access lines."""
        return "\n".join(map(str, self))


class AccessLog:
    """Collects lines, and hands them on to the log ten times a second at most."""

    log = Logger(namespace=LOGGER)

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._lines = AccessLines()
        self._flush: IDelayedCall | None = None

    def note(
        self,
        address: str,
        status: int | str,
        request_id: str,
        identity: str | None = None,
        method: str = "",
        path: str = "",
        size: int = 0,
        seconds: float = 0.0,
    ) -> None:
        """Note one answer, of now; see `AccessLine`."""
        self._lines.append(AccessLine(time(), address, status, request_id, identity, method, path, size, seconds))
        if self._flush is None:
            self._flush = self._reactor.callLater(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Hand on what was noted, now."""
        if self._flush is not None and self._flush.active():
            self._flush.cancel()
        self._flush = None
        if lines := self._lines:
            self._lines = AccessLines()
            self.log.info("{access_lines}", access_lines=lines)
