"""Peers that do not take what they are sent: they are cut, and a peer on a slow line is not."""

from functools import partial
from typing import Final, Protocol, cast

from twisted.internet.interfaces import ITCPTransport

from sre_server.web.clocks import Clocks

LOOK_SECONDS: Final = 1.0
TAKEN_BYTES: Final = 65_536
"""Less than this is no progress, so that nobody keeps a connection by reading a byte now and then."""


class Sending(Protocol):
    """A transport that knows how much of what was written is still to arrive."""

    def unacknowledged(self) -> int:
        """Return how many bytes the peer has not acknowledged yet."""

    def abortConnection(self) -> None:
        """Cut the connection."""


def cut_when_stalled(clocks: Clocks, name: str, seconds: float, transport: ITCPTransport) -> None:
    """Start a clock that cuts a connection whose peer takes next to nothing of what it was sent for so many seconds.

    What is written is in the kernel's hands long before a peer on a slow line has it. Where the transport cannot tell
    how much that is, time is all that counts.
    """
    if not hasattr(transport, "unacknowledged"):
        clocks.start(name, seconds, transport.abortConnection)
    elif name not in clocks:
        sending = cast("Sending", transport)
        _look(clocks, name, seconds, sending, seconds, sending.unacknowledged())


def _look(clocks: Clocks, name: str, seconds: float, sending: Sending, left: float, before: int) -> None:
    now = sending.unacknowledged()
    if before and now <= max(0, before - TAKEN_BYTES):
        left, before = seconds - LOOK_SECONDS, now  # that was some time since the last look
    if left > 0:
        clocks.start(name, LOOK_SECONDS, partial(_look, clocks, name, seconds, sending, left - LOOK_SECONDS, before))
    else:
        sending.abortConnection()
