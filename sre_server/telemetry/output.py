"""Standard output, which the log and the audit log may share: nothing is written into a line that is not finished.

The log writes and waits for as long as it takes. The audit log writes only what the other end takes now, so that a sink
that stalls refuses writes instead of stopping the server. A pipe takes up to PIPE_BUF bytes in one piece; the rest of a
longer line stays here until the next one who writes finishes it.
"""

import os
import select
from collections import deque
from threading import RLock


class Output:
    """Writes whole lines to a descriptor, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._lock = RLock()
        self._writing = False
        self._texts: deque[bytes] = deque()
        self._rest = b""

    def write(self, text: str, /) -> None:
        """Write lines, however long that takes; raises OSError if they are not taken. For observers of the log.

        The garbage collector may let somebody log while a line is being written, in the same thread: that line comes
        afterwards.
        """
        with self._lock:
            self._texts.append(text.encode("utf-8", "backslashreplace"))
            if self._writing:
                return
            self._writing = True
            try:
                while self._texts:
                    self._write_all(self._texts.popleft())
            finally:
                self._writing = False

    def flush(self) -> None:
        """Do nothing: what was written is not held back."""

    def offer(self, line: bytes) -> bool:
        """Write one line if it can be begun without waiting, and tell whether it was; raises OSError."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return not self._writing and self._begin(line)
        finally:
            self._lock.release()

    def is_ready(self) -> bool:
        """Tell whether a write would neither wait nor fail for want of a reader."""
        return self._poll(0) == [(self.descriptor, select.POLLOUT)]

    def _poll(self, milliseconds: int | None) -> list[tuple[int, int]]:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLOUT)
        return poll.poll(milliseconds)

    def _begin(self, line: bytes) -> bool:
        self._writing = True
        try:
            if not self._write_now():
                return False
            self._rest = line
            try:
                self._write_now()
            except OSError:
                if self._rest is line:
                    raise
            return self._rest is not line
        finally:
            self._writing = False
            if self._rest is line:
                self._rest = b""

    def _write_now(self) -> bool:
        """Write as much of the unfinished line as is taken now; tell whether that was all of it."""
        while self._rest and self.is_ready():
            try:
                self._rest = self._rest[os.write(self.descriptor, self._rest[: select.PIPE_BUF]) :]
            except BlockingIOError:  # the descriptor is shared with somebody who has set O_NONBLOCK
                break
        return not self._rest

    def _write_all(self, data: bytes) -> None:
        unfinished = bool(self._rest)
        view = memoryview(self._rest + data)
        written = 0
        try:
            while written < len(view):
                try:
                    written += os.write(self.descriptor, view[written:])
                except BlockingIOError:
                    self._poll(None)
        finally:
            whole = bytes(view)
            in_line = (unfinished or written) and whole[written - 1 : written] != b"\n"
            self._rest = whole[written : whole.find(b"\n", written) + 1] if in_line else b""
