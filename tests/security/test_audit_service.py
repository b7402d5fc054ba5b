"""The audit log at work: no write without a line, none lost at the end, and nothing said twice otherwise."""

import os
from typing import Any
from unittest import mock

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import Unavailable
from sre_server.security.audit import Record
from sre_server.security.audit_service import (
    RETRY_SECONDS,
    SILENT_SECONDS,
    STOP_SECONDS,
    SUM_SECONDS,
    AuditLogService,
)
from sre_server.security.sinks import FileSink, Sink, StreamSink
from sre_server.telemetry.output import Output
from tests.security.test_refusals import REFUSED
from tests.security.test_sinks import DONE, FULL, RECORD, FileTests, known_as
from tests.security.test_sinks_streams import PipeTests


class Serving(SynchronousTestCase):
    """What a service is asked, told and says."""

    def serve(self, sink: Sink) -> AuditLogService:
        """Start the service, and stop it at the end."""
        self.clock = Clock()
        self.failures = 0
        self.abandoned: list[Record] = []
        log = AuditLogService(self.clock, sink, self.fail_once, self.abandoned.append)
        log.startService()
        self.addCleanup(lambda: log.running and log.stopService())
        return log

    def fail_once(self) -> None:
        """Count a failure."""
        self.failures += 1


class FileServiceTests(Serving, FileTests):
    """A service over a file."""

    def setUp(self) -> None:
        """Start it."""
        FileTests.setUp(self)
        assert isinstance(self.sink, FileSink)
        self.log = self.serve(self.sink)

    def test_a_write(self) -> None:
        """Its line is there before the cluster is asked, and one line after."""
        entry = self.log.begin(RECORD)
        self.assertEqual(self.told(), [("r-1", "unknown")])
        entry.finish(DONE)
        self.successResultOf(self.log.stopService())
        self.assertEqual((self.told(), self.abandoned, self.failures), ([("r-1", "changed")], [], 0))

    def test_a_write_that_cannot_be_told_of(self) -> None:
        """It is refused, for a while; each is counted, and the log complains once a minute."""
        with mock.patch.object(os, "pwrite", side_effect=FULL), capturedLogs() as events:
            for _ in range(5):
                error = self.assertRaises(Unavailable, self.log.begin, RECORD)
                self.log.write(REFUSED)
            self.assertEqual((error.retry_after, self.failures), (RETRY_SECONDS, 6))
            self.assertIn("nothing was changed", str(error))
            self.clock.advance(SILENT_SECONDS)
            self.assertRaises(Unavailable, self.log.begin, RECORD)
        critical = [event for event in events if event["log_level"] is LogLevel.critical]
        self.assertEqual(len(critical), 2)
        self.log.begin(RECORD)
        self.assertEqual(self.told(), [("r-1", "unknown")])

    def test_an_outcome_that_cannot_be_told_of(self) -> None:
        """Who waits for the write is not troubled; it is counted once, and told as soon as it can be."""
        entry = self.log.begin(RECORD)
        with mock.patch.object(os, "pwrite", side_effect=FULL):
            entry.finish(DONE)
            self.clock.advance(1)
        self.assertEqual((self.told(), self.failures), ([("r-1", "unknown")], 1))
        self.clock.advance(1)
        self.assertEqual((self.told(), self.failures), ([("r-1", "changed")], 1))

    def test_a_folder_that_goes_while_writes_are_under_way(self) -> None:
        """Their lines are in the file that is made once there is a folder again, each once, and at the end as well."""
        entries = [self.log.begin(known_as(f"r-{number}")) for number in range(2)]
        self.path.unlink()
        self.path.parent.rmdir()
        entries[0].finish(replace(DONE, request_id="r-0"))
        stopped = self.log.stopService()
        self.assertNoResult(stopped)
        self.path.parent.mkdir()
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(self.told(), [("r-0", "changed"), ("r-1", "unknown")])

    def test_repeated_refusals(self) -> None:
        """The first at once, and then a line a minute, at the end too; no refusal is in none."""
        for _ in range(100):
            self.log.write(REFUSED)
        self.assertEqual([line["count"] for line in self.lines()], [1])
        self.clock.advance(SUM_SECONDS)
        self.log.write(REFUSED)
        self.successResultOf(self.log.stopService())
        self.log.write(REFUSED)
        self.log.write(REFUSED)
        self.assertEqual([line["count"] for line in self.lines()], [1, 99, 1, 1, 1])

    def test_the_end_of_a_write_under_way(self) -> None:
        """The line that says unknown is made sure of, and there is one of it, whatever comes then."""
        entry = self.log.begin(RECORD)
        self.path.unlink()
        self.successResultOf(self.log.stopService())
        self.assertEqual((self.told(), self.abandoned), ([("r-1", "unknown")], [RECORD]))
        entry.finish(DONE)
        self.assertEqual(self.told()[-1], ("r-1", "changed"))

    def test_no_write_begins_at_the_end(self) -> None:
        """A write that comes after the end was told of is refused."""
        self.successResultOf(self.log.stopService())
        self.assertRaises(Unavailable, self.log.begin, RECORD)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StreamServiceTests(Serving, PipeTests):
    """A service over a pipe."""

    def setUp(self) -> None:
        """Start it."""
        PipeTests.setUp(self)
        self.log = self.serve(StreamSink(Output(self.writer)))

    def stop(self) -> Deferred[None]:
        """Stop the service."""
        return self.log.stopService()

    def test_the_end_of_writes_under_way(self) -> None:
        """Each gets one line before the end, which says unknown; an outcome that still comes is a second one."""
        entries = [self.log.begin(known_as(f"r-{number}")) for number in range(3)]
        entries[1].finish(replace(DONE, request_id="r-1"))
        self.successResultOf(self.stop())
        told = self.told()
        self.assertEqual(told[0], ("r-1", "changed"))
        self.assertEqual(sorted(told[1:]), [("r-0", "unknown"), ("r-2", "unknown")])
        self.assertEqual(sorted(record.request_id for record in self.abandoned), ["r-0", "r-2"])
        entries[2].finish(replace(DONE, request_id="r-2"))
        self.assertEqual(self.told(), [("r-2", "changed")])

    def test_a_slow_reader_at_the_end(self) -> None:
        """It is waited for, for 2 s."""
        self.log.begin(RECORD)
        filled = self.fill()
        stopped = self.stop()
        self.clock.advance(STOP_SECONDS / 2)
        self.assertNoResult(stopped)
        while filled:
            filled -= len(os.read(self.reader, filled))
        self.clock.advance(STOP_SECONDS / 4)
        self.successResultOf(stopped)
        self.assertEqual((self.told(), self.failures), ([("r-1", "unknown")], 0))

    def test_a_reader_that_sleeps_at_the_end(self) -> None:
        """No longer; what is lost is counted, and complained of."""
        self.log.begin(RECORD)
        self.fill()
        stopped = self.stop()
        with capturedLogs() as events:
            self.clock.pump([STOP_SECONDS / 10] * 12)
        self.successResultOf(stopped)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.critical])
        self.assertEqual(self.failures, 1)

    def test_a_reader_that_wakes(self) -> None:
        """What it did not take is written soon after, though nothing else happens."""
        filled = self.fill()
        self.log.write(REFUSED)
        while filled:
            filled -= len(os.read(self.reader, filled))
        self.clock.advance(1)
        self.assertEqual(self.told(), [("r-1", "not permitted")])

    def test_a_sink_that_fails_in_between(self) -> None:
        """A bug or an error in it does not end the writing of what waits."""
        filled = self.fill()
        self.log.write(REFUSED)
        while filled:
            filled -= len(os.read(self.reader, filled))
        failing: dict[str, Any] = {"side_effect": FULL}
        with mock.patch.object(os, "write", **failing):
            self.clock.advance(1)
        self.clock.advance(1)
        self.assertEqual(self.told(), [("r-1", "not permitted")])
