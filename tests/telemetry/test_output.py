"""Standard output, which two share: no line is torn, whoever writes, and however slowly it is taken."""

import errno
import os
import select
import threading
from typing import Final
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from sre_server.telemetry.output import Output

LONG: Final = b"a" * (3 * select.PIPE_BUF) + b"\n"
FULL: Final = OSError(errno.ENOSPC, "No space left on device")


class OutputTests(SynchronousTestCase):
    """A pipe; the test is at its other end."""

    def setUp(self) -> None:
        """Open the pipe."""
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.addCleanup(os.close, self.writer)
        self.output = Output(self.writer)

    def fill(self, *, but: int = 0) -> int:
        """Fill the pipe, leaving this much of it; return how much there is in it."""
        os.set_blocking(self.writer, False)
        filled = 0
        try:
            while True:
                filled += os.write(self.writer, b"." * select.PIPE_BUF)
        except BlockingIOError:
            os.set_blocking(self.writer, True)
        return filled - len(os.read(self.reader, but)) if but else filled

    def take(self, size: int) -> bytes:
        """Read exactly so much."""
        data = b""
        while len(data) < size:
            data += os.read(self.reader, size - len(data))
        return data

    def test_lines_in_turn(self) -> None:
        """What either writes comes in order, and at once; text is UTF-8, whatever is in it."""
        self.output.write("log ü\n")
        self.assertTrue(self.output.offer(b"audit\n"))
        self.output.write("log \udcff\n")
        self.output.flush()
        expected = "log ü\naudit\nlog \\udcff\n".encode()
        self.assertEqual(self.take(len(expected)), expected)

    def test_a_full_pipe_takes_no_line(self) -> None:
        """A line that would have to wait is not begun, not a byte of it, and nobody waits."""
        filled = self.fill()
        self.assertFalse(self.output.is_ready())
        self.assertFalse(self.output.offer(b"audit\n"))
        self.take(filled)
        self.assertTrue(self.output.offer(b"audit\n"))
        self.assertEqual(self.take(6), b"audit\n")

    def test_a_line_that_fits_in_one_piece(self) -> None:
        """Up to PIPE_BUF bytes go in at once or not at all, so that no other process writes into them."""
        with mock.patch.object(os, "write", side_effect=os.write) as write:
            self.assertTrue(self.output.offer(b"a" * (select.PIPE_BUF - 1) + b"\n"))
        self.assertEqual(write.call_count, 1)

    def test_the_rest_of_a_line_comes_before_the_log(self) -> None:
        """A longer line that was begun is finished by the log, before its own line."""
        filled = self.fill(but=select.PIPE_BUF)
        self.assertTrue(self.output.offer(LONG))
        self.assertFalse(self.output.offer(b"audit\n"))
        writing = threading.Thread(target=self.output.write, args=("log\n",))
        writing.start()
        self.take(filled)
        self.assertEqual(self.take(len(LONG) + 4), LONG + b"log\n")
        writing.join()

    def test_the_rest_of_a_line_comes_before_the_next(self) -> None:
        """So it is by the next line that is offered, once there is room."""
        filled = self.fill(but=select.PIPE_BUF)
        self.assertTrue(self.output.offer(LONG))
        self.take(filled)
        self.assertTrue(self.output.offer(b"audit\n"))
        self.assertEqual(self.take(len(LONG) + 6), LONG + b"audit\n")

    def test_while_a_thread_waits_to_write(self) -> None:
        """A line is not offered into what another thread is writing."""
        filled = self.fill(but=select.PIPE_BUF)
        blocked = threading.Event()
        real = os.write

        def write(descriptor: int, data: bytes) -> int:
            blocked.set()
            return real(descriptor, data)

        with mock.patch.object(os, "write", side_effect=write):
            writing = threading.Thread(target=self.output.write, args=(LONG.decode(),))
            writing.start()
            blocked.wait()
            self.assertFalse(self.output.offer(b"audit\n"))
            self.take(filled)
            self.assertEqual(self.take(len(LONG)), LONG)
            writing.join()
        self.assertTrue(self.output.offer(b"audit\n"))

    def test_a_disk_that_is_full_in_a_line(self) -> None:
        """What a full disk has cut off is finished before anything else, when there is room again."""
        real = os.write

        def some(descriptor: int, data: bytes) -> int:
            if rooms:
                return real(descriptor, bytes(data[: rooms.pop(0)]))
            raise FULL

        for write, cut in ((self.output.write, "one\ntwo\nthree\n"), (self.output.offer, b"two\n")):
            rooms = [6] if write == self.output.write else [2]
            with mock.patch.object(os, "write", side_effect=some):
                try:
                    self.assertTrue(write(cut))  # type: ignore[arg-type]
                except OSError as error:
                    self.assertIs(error, FULL)
                self.assertRaises(OSError, self.output.write, "lost\n")
                self.assertRaises(OSError, self.output.offer, b"lost\n")
            self.output.write("log\n")
            expected = b"one\ntwo\nlog\n" if write == self.output.write else b"two\nlog\n"
            self.assertEqual(self.take(len(expected)), expected)

    def test_a_descriptor_that_does_not_block(self) -> None:
        """The log waits for room all the same, should somebody who shares the descriptor have set O_NONBLOCK."""
        filled = self.fill()
        os.set_blocking(self.writer, False)
        self.assertFalse(self.output.offer(b"audit\n"))
        writing = threading.Thread(target=self.output.write, args=("log\n",))
        writing.start()
        self.take(filled)
        self.assertEqual(self.take(4), b"log\n")
        writing.join()

    def test_who_logs_while_a_line_is_written(self) -> None:
        """A line that comes of writing a line, as from the garbage collector, comes after it, and blocks nothing."""
        real = os.write
        nested = ["nested\n"]

        def write(descriptor: int, data: bytes) -> int:
            while nested:
                self.output.write(nested.pop())
                self.assertFalse(self.output.offer(b"audit\n"))
            return real(descriptor, data)

        with mock.patch.object(os, "write", side_effect=write):
            self.output.write("outer\n")
        self.assertEqual(self.take(13), b"outer\nnested\n")

    def test_a_reader_that_is_gone(self) -> None:
        """Neither is a line begun, nor does the log end the process."""
        reader, writer = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, writer)
        output = Output(writer)
        self.assertEqual((output.is_ready(), output.offer(b"audit\n")), (False, False))
        self.assertRaises(BrokenPipeError, output.write, "log\n")
