"""The audit log on a pipe or a terminal: lines one after the other, and no write that nobody would hear of."""

import json
import os
from unittest import mock

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import Unavailable
from sre_server.security.audit import StreamAuditLog, open_audit_log
from tests.fakes import temporary_folder
from tests.security.test_audit import DONE, FULL, RECORD, known_as


class PipeTests(SynchronousTestCase):
    """A log that is a pipe; the test is at its other end."""

    def setUp(self) -> None:
        """Open the pipe."""
        self.reader, self.writer = os.pipe()
        self.addCleanup(lambda: os.close(self.writer))
        self.addCleanup(self.close_reader)
        self.log = StreamAuditLog(self.writer)

    def close_reader(self) -> None:
        """Be gone."""
        if self.reader >= 0:
            os.close(self.reader)
        self.reader = -1

    def told(self) -> list[tuple[str, str]]:
        """The request and the outcome of every line that has come since, each whole."""
        os.set_blocking(self.reader, False)
        data = b""
        while True:
            try:
                data += os.read(self.reader, 1 << 16)
            except BlockingIOError:
                break
        self.assertTrue(not data or data.endswith(b"\n"), data[-80:])
        lines = [json.loads(line) for line in data.splitlines()]
        return [(line["request_id"], line["outcome"]) for line in lines]

    def fill(self) -> int:
        """Fill the pipe; return how much it holds."""
        os.set_blocking(self.writer, False)
        filled = 0
        while True:
            try:
                filled += os.write(self.writer, b" " * 4096)
            except BlockingIOError:
                os.set_blocking(self.writer, True)
                return filled

    def test_one_line_after_the_fact(self) -> None:
        """A write is told once, when its outcome is known; a refusal at once."""
        entry = self.log.begin(RECORD)
        self.assertEqual(self.told(), [])
        self.log.write(known_as("r-2"))
        entry.finish(DONE)
        self.assertEqual(self.told(), [("r-2", "unknown"), ("r-1", "changed")])

    def test_a_pipe_that_nobody_reads_any_more(self) -> None:
        """From then on no write is begun, not the first and not any other."""
        self.close_reader()
        for _ in range(3):
            self.assertRaises(Unavailable, self.log.begin, RECORD)
        self.log.write(RECORD)
        self.assertRaises(Unavailable, self.log.begin, RECORD)

    def test_a_pipe_that_breaks_during_a_write(self) -> None:
        """The write's own line is lost to nobody's fault, without an error; no further write is begun."""
        entry = self.log.begin(RECORD)
        self.close_reader()
        entry.finish(DONE)
        for _ in range(3):
            self.assertRaises(Unavailable, self.log.begin, RECORD)

    def test_a_full_pipe(self) -> None:
        """A reader that sleeps makes writes wait, and blocks nobody; nothing is lost when it wakes."""
        filled = self.fill()
        self.assertRaises(Unavailable, self.log.begin, RECORD)
        with mock.patch.object(os, "write", side_effect=AssertionError("this would block")):
            self.log.write(known_as("r-2"))
            self.assertRaises(Unavailable, self.log.begin, RECORD)
        while filled:
            filled -= len(os.read(self.reader, filled))
        self.log.begin(RECORD).finish(DONE)
        self.assertEqual(self.told(), [("r-2", "unknown"), ("r-1", "changed")])

    def test_a_sink_that_fails_and_recovers(self) -> None:
        """While it takes nothing writes are refused; then they are let through, behind the line that was owed."""
        entry = self.log.begin(RECORD)
        with mock.patch.object(os, "write", side_effect=FULL):
            entry.finish(DONE)
            for _ in range(2):
                self.assertRaises(Unavailable, self.log.begin, known_as("r-2"))
        self.log.begin(known_as("r-3"))
        self.assertEqual(self.told(), [("r-1", "changed")])

    def test_a_sink_that_takes_half_a_line(self) -> None:
        """The other half follows before anything else."""
        entry = self.log.begin(RECORD)
        real = os.write
        rooms = [100, 0]

        def write(descriptor: int, data: bytes) -> int:
            if not (room := rooms.pop(0)):
                raise FULL
            return real(descriptor, data[:room])

        with mock.patch.object(os, "write", side_effect=write):
            entry.finish(DONE)
        self.log.write(known_as("r-2"))
        self.assertEqual(self.told(), [("r-1", "changed"), ("r-2", "unknown")])

    def test_what_is_owed_is_bounded(self) -> None:
        """Refusals that nobody can be told of take bounded room."""
        self.close_reader()
        long = replace(RECORD, reason="x" * 100_000)
        for _ in range(200):
            self.log.write(long)
        self.assertLess(len(self.log._owed), 2**21)


class OpenTests(SynchronousTestCase):
    """What `--audit-log` names."""

    def test_a_dash_is_stdout(self) -> None:
        """The process's own standard output."""
        log = open_audit_log("-")
        assert isinstance(log, StreamAuditLog)
        self.assertEqual(log._descriptor, 1)

    def test_what_is_no_regular_file(self) -> None:
        """A device or a named pipe is written as a stream."""
        log = open_audit_log(os.devnull)
        assert isinstance(log, StreamAuditLog)
        self.addCleanup(os.close, log._descriptor)
        log.begin(RECORD).finish(DONE)

    def test_a_descriptor_that_is_closed(self) -> None:
        """A closed standard output refuses writes."""
        reader, writer = os.pipe()
        os.close(reader)
        os.close(writer)
        self.assertRaises(Unavailable, StreamAuditLog(writer).begin, RECORD)

    def test_what_cannot_be_opened(self) -> None:
        """A folder, or a file in a folder that does not exist, is an OSError."""
        folder = temporary_folder(self)
        self.assertRaises(OSError, open_audit_log, str(folder))
        self.assertRaises(OSError, open_audit_log, str(folder / "nowhere" / "audit.log"))
