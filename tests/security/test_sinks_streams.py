"""The audit log on a pipe or a terminal: lines one after the other, and no write that nobody would hear of."""

import json
import os
from unittest import mock

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.sinks import UNWRITTEN_BYTES, FileSink, StreamSink, open_sink
from sre_server.telemetry.output import Output
from tests.fakes import temporary_folder
from tests.security.test_sinks import DONE, FULL, RECORD, known_as


class PipeTests(SynchronousTestCase):
    """A log that is a pipe; the test is at its other end."""

    def setUp(self) -> None:
        """Open the pipe."""
        self.reader, self.writer = os.pipe()
        self.addCleanup(lambda: os.close(self.writer))
        self.addCleanup(self.close_reader)
        self.sink = StreamSink(Output(self.writer))

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


class StreamTests(PipeTests):
    """Lines one after the other."""

    def test_one_line_after_the_fact(self) -> None:
        """A write is told once, when its outcome is known; a refusal at once."""
        slot = self.sink.begin(RECORD)
        self.assertEqual(self.told(), [])
        self.sink.write(known_as("r-2"))
        slot.put(DONE)
        self.assertEqual(self.told(), [("r-2", "unknown"), ("r-1", "changed")])

    def test_a_pipe_that_nobody_reads_any_more(self) -> None:
        """From then on no write is begun, not the first and not any other."""
        self.close_reader()
        for _ in range(3):
            self.assertRaises(OSError, self.sink.begin, RECORD)
        self.sink.write(RECORD)
        self.assertRaises(OSError, self.sink.begin, RECORD)

    def test_a_pipe_that_breaks_during_a_write(self) -> None:
        """The write's own line is lost to nobody's fault, without an error; no further write is begun."""
        slot = self.sink.begin(RECORD)
        self.close_reader()
        slot.put(DONE)
        for _ in range(3):
            self.assertRaises(OSError, self.sink.begin, RECORD)

    def test_a_full_pipe(self) -> None:
        """A reader that sleeps makes writes wait, and blocks nobody; nothing is lost when it wakes."""
        filled = self.fill()
        self.assertRaises(OSError, self.sink.begin, RECORD)
        with mock.patch.object(os, "write", side_effect=AssertionError("this would block")):
            self.sink.write(known_as("r-2"))
            self.assertRaises(OSError, self.sink.begin, RECORD)
        while filled:
            filled -= len(os.read(self.reader, filled))
        self.sink.begin(RECORD).put(DONE)
        self.assertEqual(self.told(), [("r-2", "unknown"), ("r-1", "changed")])

    def test_a_sink_that_fails_and_recovers(self) -> None:
        """While it takes nothing writes are refused; then they are let through, behind the line that waited."""
        slot = self.sink.begin(RECORD)
        with mock.patch.object(os, "write", side_effect=FULL):
            slot.put(DONE)
            for _ in range(2):
                self.assertRaises(OSError, self.sink.begin, known_as("r-2"))
        self.sink.begin(known_as("r-3"))
        self.assertEqual(self.told(), [("r-1", "changed")])

    def test_a_sink_that_takes_half_a_line(self) -> None:
        """The other half follows before anything else."""
        slot = self.sink.begin(RECORD)
        real = os.write
        rooms = [100, 0]

        def write(descriptor: int, data: bytes) -> int:
            if not (room := rooms.pop(0)):
                raise FULL
            return real(descriptor, data[:room])

        with mock.patch.object(os, "write", side_effect=write):
            slot.put(DONE)
        self.sink.write(known_as("r-2"))
        self.assertEqual(self.told(), [("r-1", "changed"), ("r-2", "unknown")])

    def test_what_waits_is_bounded(self) -> None:
        """Refusals that nobody can be told of take bounded room; the line of a write that has begun always has some."""
        slots = [self.sink.begin(known_as(f"r-{number}")) for number in range(20)]
        filled = self.fill()
        refusal = replace(RECORD, request_id="no", reason="x" * 1000)
        with mock.patch.object(os, "write", side_effect=AssertionError("this would block")):
            taken = 0
            while True:
                try:
                    self.sink.write(refusal)
                except BlockingIOError:
                    break
                taken += 1
            for number, slot in enumerate(slots):
                slot.put(replace(DONE, request_id=f"r-{number}"))
        self.assertLess(taken * 1000, UNWRITTEN_BYTES)
        while filled:
            filled -= len(os.read(self.reader, filled))
        told = []
        while not self.sink.flush():
            told += self.told()
        told += self.told()
        self.assertEqual(told[:taken], [("no", "unknown")] * taken)
        self.assertEqual(told[taken:], [(f"r-{number}", "changed") for number in range(20)])


class OpenTests(SynchronousTestCase):
    """What `--audit-log` names."""

    def setUp(self) -> None:
        """Have a standard output, which is a pipe."""
        reader, self.writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, self.writer)
        self.stdout = Output(self.writer)

    def test_standard_output(self) -> None:
        """A dash is the output that the log has, too; so is every other name of it, a file included."""
        self.assertIs(self.output("-"), self.stdout)
        self.assertIs(self.output(f"/dev/fd/{self.writer}"), self.stdout)
        path = temporary_folder(self) / "out.log"
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        self.addCleanup(os.close, file)
        self.stdout = Output(file)
        self.assertIs(self.output(str(path)), self.stdout)

    def output(self, where: str) -> Output:
        """Where the lines of a stream go."""
        sink = open_sink(where, self.stdout)
        assert isinstance(sink, StreamSink)
        return sink._output

    def test_what_is_no_regular_file(self) -> None:
        """A device or a named pipe is written as a stream."""
        sink = open_sink(os.devnull, self.stdout)
        assert isinstance(sink, StreamSink)
        self.addCleanup(os.close, sink._output.descriptor)
        sink.begin(RECORD).put(DONE)
        self.assertIsNot(sink._output, self.stdout)

    def test_a_descriptor_that_is_closed(self) -> None:
        """A closed standard output refuses writes."""
        reader, writer = os.pipe()
        os.close(reader)
        os.close(writer)
        self.assertRaises(OSError, StreamSink(Output(writer)).begin, RECORD)
        self.assertIsInstance(open_sink(str(temporary_folder(self) / "audit.log"), Output(writer)), FileSink)

    def test_what_cannot_be_opened(self) -> None:
        """A folder, or a file in a folder that does not exist, is an OSError."""
        folder = temporary_folder(self)
        for where in (folder, folder / "nowhere" / "audit.log"):
            self.assertRaises(OSError, open_sink, str(where), self.stdout)
