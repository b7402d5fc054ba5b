"""What goes to the log and in which form: Twisted's text, or one JSON object per line; stdlib loggers bridged in."""

import json
import logging
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import IO, Final, Protocol, cast

import msgspec
from twisted.application.service import Service
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    eventAsText,
    formatEvent,
    formatEventAsClassicLogText,
    formatTime,
)
from twisted.python.logfile import LogFile

from sre_server.telemetry.access import LOGGER as ACCESS_LOGGER
from sre_server.telemetry.access import AccessLine, AccessLines

_BRIDGED: Final = ("kubernetes", "urllib3", "client")
_OWN_FIELDS: Final = (
    "request_id",
    "identity",
    "address",
    "method",
    "path",
    "status",
    "size",
    "milliseconds",
    "source",
    "delay",
    "event",
    "namespace",
    "deployment",
    "before",
    "after",
    "by",
    "program",
    "because",
    "gap",
)


class TextStream(Protocol):
    """Where log lines go: stdout, or a rotating `twisted.python.logfile.LogFile`."""

    def write(self, text: str, /) -> object:
        """Write."""

    def flush(self) -> object:
        """Make it seen."""


def json_observer(stream: TextStream) -> ILogObserver:
    """Make an observer that writes a JSON object per event: time (RFC 3339, UTC), level, logger, message, fields."""
    return FileLogObserver(cast("IO[str]", stream), as_json)


def text_observer(stream: TextStream) -> ILogObserver:
    """Make an observer that writes as Twisted's own does."""
    return FileLogObserver(cast("IO[str]", stream), as_text)


def as_text(event: LogEvent) -> str | None:
    """Format one event as Twisted does, and access lines as a line each."""
    lines = event.get("access_lines")
    if not isinstance(lines, AccessLines):
        return formatEventAsClassicLogText(event)
    text: list[str] = []
    second, start = -1, ""
    for line in lines:
        if int(line.at) != second:
            second = int(line.at)
            start = f"{formatTime(second)} [{ACCESS_LOGGER}#info] "
        text += (start, str(line), "\n")
    return "".join(text)


def as_json(event: LogEvent) -> str:
    """Format one event, and access lines as a line each."""
    lines = event.get("access_lines")
    return "".join(map(_access_line, lines)) if isinstance(lines, AccessLines) else as_json_line(event)


def _access_line(line: AccessLine) -> str:
    record = _record(line.at, "info", ACCESS_LOGGER, str(line))
    record |= {"request_id": line.request_id, "address": line.address, "status": line.status}
    if line.path:
        record |= {"identity": line.identity, "method": line.method, "path": line.path}
        record |= {"size": line.size, "milliseconds": round(line.seconds * 1000, 3)}
    return _as_line(record)


def _record(at: float, level: str, logger: str, message: str | None) -> dict[str, object]:
    """Begin a line with what each has; `at` is in seconds since the epoch."""
    time = f"{_until_seconds(int(at))}.{int(at % 1 * 1000):03}+00:00"
    return {"time": time, "level": level, "logger": logger, "message": message}


@lru_cache(4)
def _until_seconds(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _as_line(record: Mapping[str, object]) -> str:
    """Encode a line in ASCII, so that no reader takes any character in it for the end of a line."""
    with suppress(UnicodeEncodeError, TypeError):  # of half a character, which `json` escapes, or of a subclass
        text = msgspec.json.encode(record).decode("utf-8")
        if text.isascii():
            return text + "\n"
    return json.dumps(record, separators=(",", ":")) + "\n"


def as_json_line(event: LogEvent) -> str:
    """Format one event; a traceback is a field of its own, and no line is ever broken in two."""
    level = getattr(event.get("log_level"), "name", "info")
    record = _record(event.get("log_time", 0.0), level, event.get("log_namespace", "-"), formatEvent(event))
    if event.get("log_failure") is not None:
        record["traceback"] = eventAsText(event, includeTimestamp=False, includeSystem=False)
    for field in _OWN_FIELDS:
        if field in event:
            value = event[field]
            record[field] = value if isinstance(value, int | float | None) else str(value)
    return _as_line(record)


def observer_factory(
    make: Callable[[TextStream], ILogObserver], logfile: str, stdout: TextStream, *, nodaemon: bool
) -> Callable[[], ILogObserver]:
    """Return what twistd calls to make its observer, writing to where its own would have written."""

    def observer() -> ILogObserver:
        if logfile == "-" or (nodaemon and not logfile):
            return make(stdout)
        return make(_RotatedOnSignal.fromFullPath(logfile or "twistd.log"))

    return observer


class _RotatedOnSignal(LogFile):
    """Begins a new file at the first line after SIGUSR1, as twistd's own logs do, unless that has a handler already."""

    _asked = False

    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        if not signal.getsignal(signal.SIGUSR1):
            signal.signal(signal.SIGUSR1, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True

    def shouldRotate(self) -> bool:
        """Tell whether the file is too large, or a new one was asked for."""
        asked, self._asked = self._asked, False
        return asked or bool(super().shouldRotate())


_LEVELS: Final = (
    (logging.CRITICAL, LogLevel.critical),
    (logging.ERROR, LogLevel.error),
    (logging.WARNING, LogLevel.warn),
    (logging.INFO, LogLevel.info),
)


class TwistedHandler(logging.Handler):
    """Hands stdlib log records to Twisted, with their level and logger name."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record; its text is not a format string of ours."""
        level = next((ours for floor, ours in _LEVELS if record.levelno >= floor), LogLevel.debug)
        text = self.format(record)  # with the traceback, if the record has one
        Logger(namespace=record.name).emit(level, "{text}", text=text)


def bridge_stdlib(handler: logging.Handler | None = None) -> Callable[[], None]:
    """Send what the Kubernetes client and urllib3 log from INFO up to Twisted; returns a function that undoes it."""
    bridge = handler or TwistedHandler(logging.INFO)
    loggers = [logging.getLogger(name) for name in _BRIDGED]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(bridge)
        logger.setLevel(logging.INFO)
        logger.propagate = False

    def undo() -> None:
        for logger, level, propagate in before:
            logger.removeHandler(bridge)
            logger.setLevel(level)
            logger.propagate = propagate

    return undo


class StdlibLogs(Service):
    """Bridges the stdlib loggers while the daemon runs."""

    def __init__(self) -> None:
        self._undo: Callable[[], None] | None = None

    def startService(self) -> None:
        """Bridge them."""
        super().startService()
        self._undo = bridge_stdlib()

    def stopService(self) -> None:
        """Leave them as they were."""
        super().stopService()
        if self._undo is not None:
            self._undo()
