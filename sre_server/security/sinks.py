"""Where audit lines go: a regular file, or a stream that takes lines one after the other.

In a regular file, the line of a write is there before the cluster is asked, with the outcome "unknown" and padded to
its full length, and is completed in place afterwards: a full disk refuses the write, and a crash leaves a line that is
true. Streams cannot be written in place: there the line of a write is written once its outcome is known.
"""

import os
import stat
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from sre_server.security.audit import Record
from sre_server.telemetry.output import Output

UNWRITTEN_BYTES: Final = 2**20
"""How much of refusals is kept for a stream that takes nothing; lines of writes that have begun are always kept."""
KEPT_BYTES: Final = 2**24
"""How much of a disk, or a tenth of a small one, is kept for the lines of writes."""
_ROOM_FOR_OUTCOME: Final = 256


class Slot(Protocol):
    """The place of a line that was begun."""

    def put(self, record: Record) -> None:
        """Write the line, now with this record; raises OSError."""


class Sink(Protocol):
    """Takes lines."""

    def begin(self, record: Record) -> Slot:
        """Reserve the place of the line of a write; raises OSError if there is no room for it."""

    def write(self, record: Record) -> None:
        """Write the line of a refusal, which must not take the room of writes; raises OSError if it is not taken."""

    def flush(self) -> bool:
        """Write what could not be written at first; tell whether nothing is left unwritten. Raises OSError."""


def _line(record: Record, length: int = 0) -> bytes:
    text = msgspec.json.encode(record)
    return text.ljust(max(length - 1, len(text))) + b"\n"


class NoSink:
    """No audit log was asked for."""

    def begin(self, record: Record) -> Slot:
        """See `Sink.begin`."""
        return self

    def write(self, record: Record) -> None:
        """See `Sink.write`."""

    def flush(self) -> bool:
        """See `Sink.flush`."""
        return True

    def put(self, record: Record) -> None:
        """See `Slot.put`."""


class StreamSink:
    """Writes to standard output, a pipe or a terminal, and keeps the lines that it does not take yet, in order."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._unwritten: deque[bytes] = deque()
        self._waiting = 0

    def begin(self, record: Record) -> Slot:
        """See `Sink.begin`: nothing may be left unwritten, and the stream has to take lines at this moment."""
        if not (self.flush() and self._output.is_ready()):
            raise BlockingIOError("it takes nothing now")
        return self

    def write(self, record: Record) -> None:
        """See `Sink.write`."""
        line = _line(record)
        if self._waiting + len(line) > UNWRITTEN_BYTES:
            raise BlockingIOError("it has taken nothing for too long")
        self._append(line)

    def put(self, record: Record) -> None:
        """See `Slot.put`; there is room for each write that has begun."""
        self._append(_line(record))

    def _append(self, line: bytes) -> None:
        self._unwritten.append(line)
        self._waiting += len(line)
        with suppress(OSError):  # the line waits, and whoever begins another one is told
            self.flush()

    def flush(self) -> bool:
        """See `Sink.flush`."""
        while self._unwritten and self._output.offer(self._unwritten[0]):
            self._waiting -= len(self._unwritten.popleft())
        return not self._unwritten


class FileSink:
    """Writes to a regular file that is this process's alone; follows the path when somebody rotates it away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = 0
        self._descriptor = self._open()

    def _open(self) -> int:
        # Not O_APPEND: Linux would append what is meant to complete a line in place.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":  # somebody ended in the middle of a line
                os.pwrite(descriptor, b"\n", size)
        except OSError:
            os.close(descriptor)
            raise
        self._opened += 1
        return descriptor

    def begin(self, record: Record) -> Slot:
        """See `Sink.begin`: the line is in the file when this returns."""
        begun = _line(record, len(_line(record)) + _ROOM_FOR_OUTCOME)
        return _FileSlot(self, self._append(begun), self._opened, begun)

    def write(self, record: Record) -> None:
        """See `Sink.write`."""
        disk = os.fstatvfs(self._descriptor)
        if disk.f_bavail * disk.f_frsize < min(KEPT_BYTES, disk.f_blocks * disk.f_frsize // 10):
            raise OSError("what is left of the disk is kept for writes")
        self._append(_line(record))

    def flush(self) -> bool:
        """See `Sink.flush`: everything was written at once."""
        return True

    def complete(self, slot: "_FileSlot", record: Record) -> None:
        """Write a begun line anew in its place, or at the end if the file is no longer the one that it was begun in."""
        line = _line(record, len(slot.begun))
        try:
            in_place = self._is_current(slot) and len(line) == len(slot.begun)
        except OSError:  # there will be no other file, so what there is of the old one has to do
            in_place = len(line) == len(slot.begun)
        if in_place and self._holds(slot):
            whole = os.pwrite(self._descriptor, line, slot.offset) == len(line)
            if whole and os.fstat(self._descriptor).st_nlink:
                slot.begun = line
                return
        self._append(line)

    def _is_current(self, slot: "_FileSlot") -> bool:
        self._follow_rotation()
        return slot.opened == self._opened

    def _holds(self, slot: "_FileSlot") -> bool:
        return os.pread(self._descriptor, len(slot.begun), slot.offset) == slot.begun

    def _append(self, line: bytes) -> int:
        """Write a whole line at the end, or nothing; return the offset at which it begins."""
        self._follow_rotation()
        offset = os.lseek(self._descriptor, 0, os.SEEK_END)
        if os.pwrite(self._descriptor, line, offset) != len(line):
            os.ftruncate(self._descriptor, offset)
            raise OSError("the disk is full")
        return offset

    def _follow_rotation(self) -> None:
        ours = os.fstat(self._descriptor)
        try:
            theirs = self._path.stat()
        except FileNotFoundError:
            theirs = None
        if theirs is None or (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            opened = self._open()
            os.close(self._descriptor)
            self._descriptor = opened


class _FileSlot:
    def __init__(self, sink: FileSink, offset: int, opened: int, begun: bytes) -> None:
        self._sink = sink
        self.offset, self.opened, self.begun = offset, opened, begun

    def put(self, record: Record) -> None:
        """See `Slot.put`."""
        self._sink.complete(self, record)


def open_sink(where: str | None, stdout: Output) -> Sink:
    """Open what `--audit-log` names: a file, `-` for stdout, None for nothing; raises OSError."""
    if where is None:
        return NoSink()
    path = Path(where)
    if where == "-" or _is_open_as(path, stdout.descriptor):
        return StreamSink(stdout)
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        return StreamSink(Output(os.open(path, os.O_WRONLY | os.O_CLOEXEC)))
    return FileSink(path)


def _is_open_as(path: Path, descriptor: int) -> bool:
    """Tell whether a path, such as /dev/stdout, leads to where a descriptor of ours does."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False
