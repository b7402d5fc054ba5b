"""Splitting a stream into lines, within bounds."""

from collections.abc import Iterator

from sre_server.errors import BadAnswer


def complete_lines(chunks: Iterator[bytes], limit: int) -> Iterator[list[bytes]]:
    """Split a stream into lines: yield a list for each chunk that completes some, without blank lines.

    A last line without its end is dropped.

    Raises BadAnswer as soon as an unfinished line is longer than `limit` bytes.
    """
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        head, *rest = chunk.split(b"\n")
        pending.append(head)
        size += len(head)
        if size > limit:
            raise BadAnswer(f"The cluster sent a line of more than {limit} bytes.")
        if rest:
            lines = [b"".join(pending), *rest[:-1]]
            pending, size = [rest[-1]], len(rest[-1])
            if whole := [line for line in lines if line.strip()]:
                yield whole
