"""Peers that do not take what they are sent: they are cut, and a peer on a slow line is not."""

from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.internet.interfaces import ITCPTransport

from sre_server.web.clocks import Clocks

LOOK_SECONDS: Final = 1.0
TAKEN_BYTES: Final = 65_536
"""Less than this is no progress, so that nobody keeps a connection by reading a byte now and then."""


def unacknowledged(transport: ITCPTransport) -> int | None:
    """Return how many bytes of what was written have yet to arrive; None where the transport cannot tell."""
    count: Callable[[], int] | None = getattr(transport, "unacknowledged", None)
    return count() if count is not None else None


def cut_when_stalled(clocks: Clocks, name: str, seconds: float, transport: ITCPTransport) -> None:
    """Start a clock that cuts a connection whose peer takes next to nothing of what it was sent for so many seconds.

    What is written is in the kernel's hands long before a peer on a slow line has it. Where the transport cannot tell
    how much that is, time is all that counts.
    """

    def look(left: float, before: int) -> None:
        now = unacknowledged(transport) or 0
        if before and now <= max(0, before - TAKEN_BYTES):
            left, before = seconds, now  # since some moment after the last look
        wait(left - LOOK_SECONDS, before)

    def wait(left: float, before: int) -> None:
        if left > 0:
            clocks.start(name, LOOK_SECONDS, partial(look, left, before))
        else:
            transport.abortConnection()

    if name in clocks:
        return
    before = unacknowledged(transport)
    if before is None:
        clocks.start(name, seconds, transport.abortConnection)
    else:
        wait(seconds, before)
