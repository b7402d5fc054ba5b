"""Chunked bodies, many chunks at a time.

The API server sends every object of a large list, and every event of a watch, as a chunk of its own. `http.client`
reads each with three calls into its buffer; here, whatever one `recv` returned is decoded in one go.
"""

import re
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import Any, Final

_LINE_BYTES: Final = 4096
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})\s*(?:;.*)?")


class BulkResponse(HTTPResponse):
    """A response whose `read1` returns the content of all chunks received so far; all else is as in `http.client`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unchunker = Unchunker()

    def read1(self, n: int = -1) -> bytes:
        """Return some content, or b"" at the end; `n` bounds each read from the socket."""
        if not self.chunked or not self.fp:
            return super().read1(n)
        content = b""
        while not content and not self._unchunker.ended:
            received = self.fp.read1(n)
            if not received:
                raise IncompleteRead(b"")
            content = self._unchunker.decode(received)
        return content


class Unchunker:
    """Decodes a chunked body (RFC 9112, section 7.1) as it arrives; extensions and trailers are dropped."""

    def __init__(self) -> None:
        self.ended = False
        self._left = 0
        self._line = b""
        self._after_content = False
        self._in_trailers = False

    def decode(self, received: bytes) -> bytes:
        """Return the content of the bytes received; raises HTTPException if they are not chunked."""
        parts, at = [], 0
        while at < len(received):
            if self._left:
                part = received[at : at + self._left]
                parts.append(part)
                self._left -= len(part)
                at += len(part)
            elif self.ended:
                raise HTTPException("something follows the end of the body")
            else:
                at = self._take_line(received, at)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take_line(self, received: bytes, at: int) -> int:
        """Read a line of the framing, or the part of it that is there; return the offset after it."""
        end = received.find(b"\n", at) + 1
        line = received[at : end or len(received)]
        if self._line:
            line = self._line + line
        if len(line) > _LINE_BYTES:
            raise HTTPException("a line of the chunked framing is too long")
        if not end:
            self._line = line
            return len(received)
        self._line = b""
        self._line_ended(line.rstrip(b"\r\n"))
        return end

    def _line_ended(self, line: bytes) -> None:
        if self._in_trailers:
            self.ended = not line
        elif self._after_content:
            if line:
                raise HTTPException("a chunk is longer than it says")
            self._after_content = False
        else:
            size = _SIZE.fullmatch(line)
            if not size:
                raise HTTPException("a chunk does not say how long it is")
            self._left = int(size[1], 16)
            self._after_content = True
            self._in_trailers = not self._left
