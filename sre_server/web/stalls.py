"""Peers that do not take what they are sent: they are cut, and a peer on a slow line is not."""

from collections.abc import Callable
from functools import partial
from typing import Final

from twisted.internet.interfaces import ITCPTransport

from sre_server.web.clocks import Clocks

LOOK_SECONDS: Final = 1.0
TAKEN_BYTES: Final = 65_536
"""Less than this is no progress, so that nobody keeps a connection by reading a byte now and then."""
CLOSE_BYTES: Final = 64
"""What is no longer than this may be a close_notify, which is not an answer that somebody reads."""


def unacknowledged(transport: ITCPTransport) -> int | None:
    """Return how many bytes of what was written have yet to arrive; None where the transport cannot tell."""
    count: Callable[[], int] | None = getattr(transport, "unacknowledged", None)
    return count() if count is not None else None


def cut_when_stalled(
    clocks: Clocks, name: str, transport: ITCPTransport, seconds: float, then: float | None = None
) -> None:
    """Start a clock that cuts a connection whose peer takes next to nothing of what it was sent for so many seconds.

    Once it has taken all but the end it is cut after `then`, the same time unless given. What is written is in the
    kernel's hands long before a peer on a slow line has it; where the transport cannot tell how much that is, only
    `then` counts.
    """

    def limit(left: int) -> float:
        return seconds if then is None or left > CLOSE_BYTES else then

    def look(time: float, before: int) -> None:
        now = unacknowledged(transport) or 0
        if now <= before - TAKEN_BYTES or (before and not now):
            wait(limit(now), now)
        else:
            wait(time - LOOK_SECONDS, max(before, now))

    def wait(time: float, before: int) -> None:
        if time > 0:
            clocks.start(name, LOOK_SECONDS, partial(look, time, before))
        else:
            transport.abortConnection()

    if name in clocks:
        return
    before = unacknowledged(transport)
    if before is None:
        clocks.start(name, limit(0), transport.abortConnection)
    else:
        wait(limit(before), before)
