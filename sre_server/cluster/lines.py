"""A stream cut into lines, within bounds."""

from collections.abc import Iterator

from sre_server.errors import BadAnswer


def complete_lines(chunks: Iterator[bytes], limit: int) -> Iterator[list[bytes]]:
    """Cut a stream into lines, a list for each chunk that completes any; blank lines and a last half line are dropped.

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
