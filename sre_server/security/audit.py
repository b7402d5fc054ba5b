"""The audit log: one JSON line for each write and each refusal, apart from every other log.

A write must not happen unnoticed. Into a regular file its line is written before the cluster is asked, with the outcome
"unknown" and padded to its full length, and completed in place afterwards: a full disk refuses the write, and a crash
leaves a line that tells the truth. Pipes and terminals cannot be written in place: there the line is written once,
after the fact, and a sink that has failed refuses further writes until it takes lines again.
"""

import os
import select
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Struct
from twisted.logger import Logger

from sre_server.errors import Unavailable

SCHEMA: Final = "sre-server/audit/v1"
RETRY_SECONDS: Final = 5
_ROOM_FOR_OUTCOME: Final = 256
_log: Final = Logger()


class Record(Struct, frozen=True, kw_only=True):
    """One line. Counts are replicas; what was not known when the line was written is null."""

    schema: str = SCHEMA
    time: str
    request_id: str
    identity: str | None
    groups: tuple[str, ...] = ()
    certificate_sha256: str | None
    address: str
    action: str
    namespace: str | None = None
    name: str | None = None
    uid: str | None = None
    old_replicas: int | None = None
    new_replicas: int | None = None
    reason: str | None = None
    outcome: str = "unknown"
    rule: str | None = None
    status: int | None = None


class Entry(Protocol):
    """A line that was begun."""

    def finish(self, record: Record) -> None:
        """Complete the line with what came of it; never raises."""


class AuditLog(Protocol):
    """Where lines go."""

    def begin(self, record: Record) -> Entry:
        """Begin the line of a write; raises Unavailable if it cannot be written, before anything was changed."""

    def write(self, record: Record) -> None:
        """Write the line of a refusal; never raises."""


def timestamp() -> str:
    """The time now as RFC 3339, UTC, in microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _line(record: Record, length: int = 0) -> bytes:
    text = msgspec.json.encode(record)
    return text.ljust(max(length - 1, len(text))) + b"\n"


class NoAuditLog:
    """No audit log was asked for."""

    def begin(self, record: Record) -> Entry:
        """See `AuditLog.begin`."""
        return self

    def write(self, record: Record) -> None:
        """See `AuditLog.write`."""

    def finish(self, record: Record) -> None:
        """See `Entry.finish`."""


class StreamAuditLog:
    """Writes to a descriptor that only takes lines one after the other: stdout, a pipe, a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._broken = False

    def begin(self, record: Record) -> Entry:
        """See `AuditLog.begin`."""
        _, writable, _ = select.select([], [self._descriptor], [], 0)
        if not writable or (self._broken and not self._put(b"")):
            raise _unavailable()
        return self

    def write(self, record: Record) -> None:
        """See `AuditLog.write`."""
        self._put(_line(record))

    def finish(self, record: Record) -> None:
        """See `Entry.finish`."""
        self.write(record)

    def _put(self, data: bytes) -> bool:
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            _log.critical("the audit log cannot be written: {error}", error=error)
            self._broken = True
            return False
        self._broken = written != len(data)
        return not self._broken


class FileAuditLog:
    """Writes to a regular file that is this process's alone; follows the path when somebody rotates it away."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = self._open()

    def _open(self) -> int:
        # Not O_APPEND: Linux would append what is meant to complete a line in place.
        return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def begin(self, record: Record) -> Entry:
        """See `AuditLog.begin`."""
        try:
            length = len(_line(record)) + _ROOM_FOR_OUTCOME
            return _FileEntry(self, self._append(_line(record, length)), length)
        except OSError as error:
            _log.critical("the audit log {path} cannot be written: {error}", path=self._path, error=error)
            raise _unavailable() from error

    def write(self, record: Record) -> None:
        """See `AuditLog.write`."""
        try:
            self._append(_line(record))
        except OSError as error:
            _log.critical("the audit log {path} cannot be written: {error}", path=self._path, error=error)

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

    def complete(self, offset: int, length: int, record: Record) -> None:
        """Write a begun line anew in its place; where the file is no longer the same, after all others."""
        line = _line(record, length)
        in_place = len(line) == length and os.fstat(self._descriptor).st_size >= offset + length
        try:
            if not (in_place and os.pwrite(self._descriptor, line, offset) == length):
                self._append(line)
        except OSError as error:
            _log.critical("the audit log {path} cannot be written: {error}", path=self._path, error=error)


class _FileEntry:
    def __init__(self, log: FileAuditLog, offset: int, length: int) -> None:
        self._log, self._offset, self._length = log, offset, length

    def finish(self, record: Record) -> None:
        """See `Entry.finish`."""
        self._log.complete(self._offset, self._length, record)


def open_audit_log(where: str | None) -> AuditLog:
    """Open what `--audit-log` names: a file, `-` for stdout, None for nothing; raises OSError."""
    if where is None:
        return NoAuditLog()
    if where == "-":
        return StreamAuditLog(1)
    path = Path(where)
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        return StreamAuditLog(os.open(path, os.O_WRONLY | os.O_CLOEXEC))
    return FileAuditLog(path)


def _unavailable() -> Unavailable:
    return Unavailable("The audit log cannot be written, so nothing was changed.", RETRY_SECONDS)
