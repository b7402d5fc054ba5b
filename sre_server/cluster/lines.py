"""Splitting a stream into lines, within bounds."""

from collections.abc import Iterator

from msgspec import Struct


class Cut(Struct, frozen=True):
    """A line that is longer than the bound, of which only the beginning was kept."""

    head: bytes


Line = bytes | bytearray | Cut


def complete_lines(chunks: Iterator[bytes], limit: int, head: int) -> Iterator[list[Line]]:
    """Split a stream into lines: yield a list for each chunk that completes some, without blank lines.

    A last line without its end is dropped.

    Of a line that is longer than `limit` bytes the first `head` are kept, and the rest is passed over as it arrives.
    """
    pending = bytearray()
    cut = False
    for chunk in chunks:
        first, *rest = chunk.split(b"\n")
        if not cut:
            pending += first
            if len(pending) > limit:
                pending, cut = pending[:head], True
        if rest:
            ended: Line = Cut(bytes(pending)) if cut else pending
            *lines, last = rest
            pending, cut = bytearray(last), False
            if whole := [line for line in (ended, *lines) if isinstance(line, Cut) or (line and not line.isspace())]:
                yield whole
