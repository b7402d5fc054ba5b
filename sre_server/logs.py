"""What goes to the log and in which form: Twisted's text, or one JSON object per line; stdlib loggers bridged in."""

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Final, Protocol, cast

from twisted.application.service import Service
from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    eventAsText,
    formatEvent,
)

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
)


class TextStream(Protocol):
    """Where log lines go: stdout, or a rotating `twisted.python.logfile.LogFile`."""

    def write(self, text: str, /) -> object:
        """Write."""

    def flush(self) -> object:
        """Make it seen."""


def json_observer(stream: TextStream) -> ILogObserver:
    """Make an observer that writes a JSON object per event: time (RFC 3339, UTC), level, logger, message, fields."""
    return FileLogObserver(cast("IO[str]", stream), as_json_line)


def as_json_line(event: LogEvent) -> str:
    """Format one event; a traceback is a field of its own, and no line is ever broken in two."""
    failed = event.get("log_failure") is not None
    record: dict[str, object] = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds"),
        "level": getattr(event.get("log_level"), "name", "info"),
        "logger": event.get("log_namespace", "-"),
        "message": formatEvent(event),
    }
    if failed:
        record["traceback"] = eventAsText(event, includeTimestamp=False, includeSystem=False)
    for field in _OWN_FIELDS:
        if field in event:
            value = event[field]
            record[field] = value if isinstance(value, int | float) else str(value)
    return json.dumps(record) + "\n"


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
