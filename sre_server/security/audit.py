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
_OWED_BYTES: Final = 2**20
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
    requested_replicas: int | None = None
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
        self._owed = b""

    def begin(self, record: Record) -> Entry:
        """See `AuditLog.begin`."""
        if not self._takes_lines() or not self._pay():
            raise _unavailable()
        return self

    def write(self, record: Record) -> None:
        """See `AuditLog.write`."""
        if len(self._owed) < _OWED_BYTES:
            self._owed += _line(record)
        if self._takes_lines():
            self._pay()

    def finish(self, record: Record) -> None:
        """See `Entry.finish`."""
        self.write(record)

    def _takes_lines(self) -> bool:
        """Tell whether a write would neither block nor fail for want of a reader."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if poll.poll(0) == [(self._descriptor, select.POLLOUT)]:
            return True
        _log.critical("the audit log cannot be written: it takes nothing now")
        return False

    def _pay(self) -> bool:
        """Write what is owed, in order; keep what the sink does not take, so that no line is lost or torn."""
        try:
            while self._owed:
                self._owed = self._owed[os.write(self._descriptor, self._owed[: select.PIPE_BUF]) :]
                if self._owed and not self._takes_lines():
                    return False
        except OSError as error:
            _log.critical("the audit log cannot be written: {error}", error=error)
            return False
        return True


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
            begun = _line(record, length)
            return _FileEntry(self, self._append(begun), begun)
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

    def complete(self, offset: int, begun: bytes, record: Record) -> None:
        """Write a begun line anew in its place; where it no longer stands there, after all others."""
        length = len(begun)
        line = _line(record, length)
        try:
            in_place = len(line) == length and os.pread(self._descriptor, length, offset) == begun
            if not (in_place and os.pwrite(self._descriptor, line, offset) == length):
                self._append(line)
        except OSError as error:
            _log.critical("the audit log {path} cannot be written: {error}", path=self._path, error=error)


class _FileEntry:
    def __init__(self, log: FileAuditLog, offset: int, begun: bytes) -> None:
        self._log, self._offset, self._begun = log, offset, begun

    def finish(self, record: Record) -> None:
        """See `Entry.finish`."""
        self._log.complete(self._offset, self._begun, record)


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
