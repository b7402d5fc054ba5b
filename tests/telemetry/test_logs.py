"""Log lines: JSON that stays one line whatever is in it, and stdlib loggers that speak through Twisted."""

import json
import logging
import signal
from collections.abc import Callable
from http import HTTPStatus
from io import StringIO
from typing import Any

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, capturedLogs, formatEvent, textFileLogObserver
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.trial.unittest import SynchronousTestCase

from sre_server.telemetry.access import AccessLine, AccessLines
from sre_server.telemetry.logs import (
    StdlibLogs,
    TextStream,
    as_json,
    as_json_line,
    bridge_stdlib,
    json_observer,
    observer_factory,
    text_observer,
)
from tests.fakes import temporary_folder

HOSTILE = (
    "two\nlines",
    "\r\n{}",
    "{level} {0} {",
    '"quoted" \\ back',
    "\x00\x1b[31m\x7f",
    "ünïcode ☃ 😀",
    "\u2028\u2029\x85",
    '{"level": "critical"}',
)


def events_of(log: Callable[[Logger], object]) -> list[LogEvent]:
    """The events that something logs."""
    with capturedLogs() as events:
        log(Logger(namespace="sre_server.test"))
    return list(events)


def lines_of(log: Callable[[Logger], object]) -> list[dict[str, Any]]:
    """The JSON lines of what something logs, decoded."""
    stream = StringIO()
    observer = json_observer(stream)
    for event in events_of(log):
        observer(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class LargeNumber(int):
    """A number as some libraries have it."""


class JSONLineTests(SynchronousTestCase):
    """One object per event."""

    def test_what_is_hard_to_encode(self) -> None:
        """Half a character, a character that ends lines for some readers, and odd numbers: one line, in ASCII."""
        for value in ("\ud800", "a\u2028b", 2**70, HTTPStatus.OK, LargeNumber(7)):
            event = {"log_time": 0.0, "log_namespace": "a", "log_format": "{path}", "path": value}
            line = as_json_line(event)
            self.assertTrue(line.isascii())
            self.assertEqual((json.loads(line)["path"], line.count("\n")), (value, 1))

    def test_what_a_line_has(self) -> None:
        """Time as RFC 3339 in UTC, level, logger and message."""
        event = {"log_time": 1767225600.25, "log_level": LogLevel.warn, "log_namespace": "a.b", "log_format": "{x}!"}
        expected = '{"time":"2026-01-01T00:00:00.250+00:00","level":"warn","logger":"a.b","message":"1!"}\n'
        self.assertEqual(as_json_line(event | {"x": 1}), expected)

    def test_hostile_text_stays_in_its_field(self) -> None:
        """Whatever a message holds, the line is one line of valid ASCII JSON, and the text comes back whole."""
        for text in HOSTILE:
            (event,) = events_of(lambda log, text=text: log.info("{text}", text=text))  # type: ignore[misc]
            line = as_json_line(event)
            self.assertEqual((line.count("\n"), line.isascii()), (1, True), repr(text))
            self.assertTrue(line[:-1].isprintable() or "\x7f" in line, repr(text))
            self.assertEqual(json.loads(line)["message"], text)

    def test_half_a_surrogate(self) -> None:
        """What UTF-8 cannot say, the line can."""
        line = as_json_line({"log_format": "{text}", "text": "\udcff"})
        self.assertEqual((line.isascii(), json.loads(line)["message"]), (True, "\udcff"))

    def test_the_fields_of_an_access_line(self) -> None:
        """What a machine wants to select by is a field of its own: numbers as numbers, all else as text."""
        (line,) = lines_of(
            lambda log: log.info(
                "{method}", method="GET", status=200, milliseconds=1.5, size=3, request_id="r", path="/a\n", other=7
            )
        )
        fields = {name: line[name] for name in ("method", "status", "milliseconds", "size", "request_id", "path")}
        expected = {"method": "GET", "status": 200, "milliseconds": 1.5, "size": 3, "request_id": "r", "path": "/a\n"}
        self.assertEqual(fields, expected)
        self.assertNotIn("other", line)

    def test_access_lines(self) -> None:
        """One event of many access lines is a line each, with its own time, in JSON and in Twisted's own form."""
        lines = AccessLines(
            [
                AccessLine(1767225600.25, "192.0.2.7", 200, "r-1", "alice", "GET", "/deployments", 45, 0.0015),
                AccessLine(1767225601.5, "192.0.2.8", 400, "r-2"),
            ]
        )
        (event,) = events_of(lambda log: log.info("{access_lines}", access_lines=lines))
        first, second = (json.loads(line) for line in as_json(event).splitlines())
        expected = {
            "time": "2026-01-01T00:00:00.250+00:00",
            "level": "info",
            "logger": "sre_server.access",
            "message": "192.0.2.7 alice GET /deployments 200 45B 1.5ms r-1",
            "request_id": "r-1",
            "address": "192.0.2.7",
            "status": 200,
            "identity": "alice",
            "method": "GET",
            "path": "/deployments",
            "size": 45,
            "milliseconds": 1.5,
        }
        self.assertEqual(first, expected)
        self.assertEqual((second["message"], "path" in second), ("192.0.2.8 - - - 400 0B 0.0ms r-2", False))
        stream = StringIO()
        text_observer(stream)(event)
        first_line, second_line = stream.getvalue().splitlines()
        self.assertRegex(
            first_line, r"\A20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[sre_server\.access#info\] 192\.0\.2\.7 "
        )
        self.assertTrue(second_line.endswith("[sre_server.access#info] 192.0.2.8 - - - 400 0B 0.0ms r-2"))
        self.assertEqual(formatEvent(event), "\n".join(map(str, lines)))

    def test_text_is_twisteds(self) -> None:
        """Every other event is written as Twisted writes it, and events that say nothing not at all."""
        ours, theirs = StringIO(), StringIO()
        for event in [*events_of(lambda log: log.warn("two\n{x}", x="lines")), {}]:
            text_observer(ours)(event)
            textFileLogObserver(theirs)(event)
        self.assertEqual(ours.getvalue(), theirs.getvalue())

    def test_a_new_file_on_a_signal(self) -> None:
        """SIGUSR1 begins a new file at the next line, as it does with twistd's own log."""
        before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)
        path = temporary_folder(self) / "sre-server.log"

        def closing(stream: TextStream) -> ILogObserver:
            assert isinstance(stream, LogFile)
            self.addCleanup(stream.close)
            return text_observer(stream)

        observer = observer_factory(closing, str(path), StringIO(), nodaemon=True)()
        (event,) = events_of(lambda log: log.info("one line"))
        observer(event)
        signal.raise_signal(signal.SIGUSR1)
        observer(event)
        observer(event)
        counts = {file.name: file.read_text().count("one line") for file in path.parent.iterdir()}
        self.assertEqual(counts, {"sre-server.log.1": 1, "sre-server.log": 2})

    def test_levels(self) -> None:
        """Each level is told by its name."""
        lines = lines_of(lambda log: [log.emit(level, "a") for level in LogLevel.iterconstants()])  # type: ignore[func-returns-value]
        self.assertEqual([line["level"] for line in lines], ["debug", "info", "warn", "error", "critical"])

    def test_a_traceback_is_a_field(self) -> None:
        """A failure is one line, too: its message as it is, its traceback in a field."""
        (line,) = lines_of(lambda log: log.failure("it broke", failure=Failure(ValueError("two\nlines"))))
        self.assertEqual((line["level"], line["message"]), ("critical", "it broke"))
        self.assertIn("two\nlines", line["traceback"])
        self.flushLoggedErrors(ValueError)

    def test_events_of_the_old_kind(self) -> None:
        """Events without a format, level or namespace are lines all the same."""
        for event in ({}, {"log_time": 1.0}, {"message": ("old",), "log_format": "{log_text}", "log_text": "old"}):
            self.assertEqual(set(json.loads(as_json_line(event))), {"time", "level", "logger", "message"})

    def test_a_format_that_does_not_fit(self) -> None:
        """A mistake in a format is a line that says so, not the end of the log."""
        (line,) = lines_of(lambda log: log.info("{missing} {"))
        self.assertIn("missing", line["message"])


class StdlibBridgeTests(SynchronousTestCase):
    """What `kubernetes` and `urllib3` log."""

    def setUp(self) -> None:
        """Bridge until the test ends."""
        self.logger = logging.getLogger("urllib3.connectionpool")
        self.addCleanup(bridge_stdlib())

    def bridged(self, log: Callable[[], object]) -> list[LogEvent]:
        """The Twisted events of what something logs."""
        return events_of(lambda _: log())

    def test_level_name_and_text(self) -> None:
        """Level and logger name are kept; arguments are filled in."""
        for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            (event,) = self.bridged(lambda level=level: self.logger.log(level, "retry %s of %d", "a", 3))  # type: ignore[misc]
            name = logging.getLevelName(level).lower().replace("warning", "warn")
            self.assertEqual((event["log_level"].name, event["log_namespace"]), (name, "urllib3.connectionpool"))
            self.assertEqual(formatEvent(event), "retry a of 3")

    def test_text_is_not_a_format(self) -> None:
        """Braces in a message are braces."""
        for text in HOSTILE:
            (event,) = self.bridged(lambda text=text: self.logger.info("%s", text))  # type: ignore[misc]
            self.assertEqual(formatEvent(event), text)

    def test_debug_is_left_out(self) -> None:
        """INFO is where the bridge begins."""
        self.assertEqual(self.bridged(lambda: self.logger.debug("headers with secrets")), [])

    def test_a_level_of_its_own_making(self) -> None:
        """A level that Twisted has no name for is a line all the same, never an exception in the caller."""
        (event,) = self.bridged(lambda: self.logger.log(25, "between"))
        self.assertEqual(formatEvent(event), "between")

    def test_a_traceback_is_kept(self) -> None:
        """What a library logs with a traceback has it in our log, too."""

        def fails() -> None:
            try:
                int("inner")
            except ValueError:
                self.logger.exception("outer")

        (event,) = self.bridged(fails)
        line = json.loads(as_json_line(event))
        self.assertIn("outer", line["message"])
        self.assertIn("inner", line["message"] + line.get("traceback", ""))
        self.flushLoggedErrors(ValueError)

    def test_nothing_else_is_bridged(self) -> None:
        """Other loggers go their own way."""
        self.assertEqual(self.bridged(lambda: logging.getLogger("hypothesis").info("x")), [])


class UndoTests(SynchronousTestCase):
    """Leaving things as they were."""

    def setUp(self) -> None:
        """Have a logger that somebody has configured."""
        self.logger = logging.getLogger("urllib3")
        for name in ("level", "propagate", "handlers"):
            self.patch(self.logger, name, getattr(self.logger, name))
        self.logger.handlers = []
        self.logger.setLevel(logging.ERROR)

    def state(self) -> tuple[int, bool, int]:
        """What the bridge touches."""
        return self.logger.level, self.logger.propagate, len(self.logger.handlers)

    def test_undo(self) -> None:
        """Handlers, levels and propagation are what they were before."""
        for propagate in (True, False):
            self.logger.propagate = propagate
            undo = bridge_stdlib()
            self.assertEqual(self.state(), (logging.INFO, False, 1))
            undo()
            self.assertEqual(self.state(), (logging.ERROR, propagate, 0))

    def test_the_service_bridges_while_it_runs(self) -> None:
        """The bridge is there from start to stop, and stopping what was never started is harmless."""
        service = StdlibLogs()
        service.stopService()
        service.startService()
        self.assertEqual(len(self.logger.handlers), 1)
        service.stopService()
        self.assertEqual(len(self.logger.handlers), 0)
