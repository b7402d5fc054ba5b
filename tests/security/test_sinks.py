"""The audit log in a file: lines of writes and refusals, which nothing loses, tears or overwrites."""

import errno
import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security import sinks
from sre_server.security.audit import Record, timestamp
from sre_server.security.sinks import FileSink, NoSink, open_sink
from sre_server.telemetry.output import Output
from tests.fakes import temporary_folder

RECORD = Record(
    time="2026-05-04T10:00:00.000000Z",
    request_id="r-1",
    identity="alice",
    groups=("sre",),
    certificate_sha256="ab" * 32,
    address="192.0.2.7",
    action="scale",
    namespace="shop",
    name="web",
    old_replicas=3,
    new_replicas=20,
)
DONE = replace(RECORD, outcome="changed", status=200, uid="8f14e45f-ceea-467f-9575-1d7e3a1c0b8e")
FULL = OSError(errno.ENOSPC, "No space left on device")


def known_as(name: str) -> Record:
    """The record of another request."""
    return replace(RECORD, request_id=name)


class FileTests(SynchronousTestCase):
    """A log in a file."""

    def setUp(self) -> None:
        """Open it."""
        self.path = temporary_folder(self) / "audit.log"
        self.sink = self.open()

    def open(self) -> FileSink:
        """Open the log."""
        sink = open_sink(str(self.path), Output(1))
        assert isinstance(sink, FileSink)
        self.addCleanup(lambda: os.close(sink._descriptor))
        return sink

    def lines(self, path: Path | None = None) -> list[dict[str, Any]]:
        """Every line of the file, decoded; each is whole, and ended."""
        text = (path or self.path).read_bytes()
        self.assertTrue(not text or text.endswith(b"\n"), text)
        return [json.loads(line) for line in text.splitlines()]

    def told(self, path: Path | None = None) -> list[tuple[str, str]]:
        """The request and the outcome of every line."""
        return [(line["request_id"], line["outcome"]) for line in self.lines(path)]


class LineTests(FileTests):
    """What a line says."""

    def test_the_fields(self) -> None:
        """Exactly these, in this order, whatever is known of them."""
        self.sink.begin(RECORD).put(DONE)
        (line,) = self.lines()
        expected = {
            "schema": "sre-server/audit/v1",
            "time": "2026-05-04T10:00:00.000000Z",
            "request_id": "r-1",
            "identity": "alice",
            "groups": ["sre"],
            "certificate_sha256": "ab" * 32,
            "address": "192.0.2.7",
            "action": "scale",
            "namespace": "shop",
            "name": "web",
            "uid": "8f14e45f-ceea-467f-9575-1d7e3a1c0b8e",
            "old_replicas": 3,
            "new_replicas": 20,
            "requested_replicas": None,
            "reason": None,
            "outcome": "changed",
            "rule": None,
            "status": 200,
            "count": 1,
        }
        self.assertEqual(list(line.items()), list(expected.items()))

    def test_the_time(self) -> None:
        """RFC 3339, UTC, microseconds, always of the same length."""
        for _ in range(20):
            self.assertRegex(timestamp(), r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")

    def test_hostile_text_stays_one_line(self) -> None:
        """Whatever a client or a cluster calls itself, a line is a line, and says just that."""
        for text in (
            'a"b',
            "a\\b",
            "a\nb",
            "a\r\nb",
            "a\0b",
            "a\u2028b\u2029",
            "\x1b[2J",
            "\x85",
            "ü",
            "😀" * 256,
            "'}\n{",
        ):
            self.path.write_bytes(b"")
            hostile = replace(RECORD, identity=text, reason=text, name=text)
            self.sink.write(hostile)
            self.sink.begin(hostile).put(replace(hostile, outcome="changed", status=200))
            self.assertEqual(self.path.read_bytes().count(b"\n"), 2, text)
            self.assertEqual([line["reason"] for line in self.lines()], [text, text])

    def test_its_mode(self) -> None:
        """A new file is the server's alone."""
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_no_log(self) -> None:
        """Where none was asked for, nothing is written, and nothing is refused."""
        sink = open_sink(None, Output(1))
        self.assertIsInstance(sink, NoSink)
        sink.write(RECORD)
        sink.begin(RECORD).put(DONE)
        self.assertTrue(sink.flush())


class WriteTests(FileTests):
    """The line of a write, from its beginning to its end."""

    def test_a_write_is_one_line(self) -> None:
        """Begun before the cluster is asked, completed in its place."""
        slot = self.sink.begin(RECORD)
        before = self.path.stat().st_size
        self.assertEqual(self.told(), [("r-1", "unknown")])
        slot.put(DONE)
        self.assertEqual((self.told(), self.path.stat().st_size), ([("r-1", "changed")], before))

    def test_a_crash_leaves_what_is_known(self) -> None:
        """A line that nobody completes says `unknown`, and the next server writes on behind it."""
        self.sink.begin(RECORD)
        self.open().write(known_as("r-2"))
        self.assertEqual(self.told(), [("r-1", "unknown"), ("r-2", "unknown")])

    def test_several_at_a_time(self) -> None:
        """Each is completed in its own place, in whatever order they end, with refusals between them."""
        slots = []
        for number in range(6):
            slots.append(self.sink.begin(known_as(f"r-{number}")))
            self.sink.write(replace(RECORD, request_id=f"no-{number}", outcome="refused"))
        for number in (3, 0, 5, 1):
            slots[number].put(replace(DONE, request_id=f"r-{number}"))
        expected = []
        for number in range(6):
            outcome = "changed" if number in (3, 0, 5, 1) else "unknown"
            expected += [(f"r-{number}", outcome), (f"no-{number}", "refused")]
        self.assertEqual(self.told(), expected)

    def test_an_outcome_longer_than_its_room(self) -> None:
        """It becomes a line of its own, after all others; the begun one stays as it was."""
        slot = self.sink.begin(RECORD)
        self.sink.write(known_as("r-2"))
        slot.put(replace(DONE, outcome="x" * 5000))
        self.assertEqual(self.told(), [("r-1", "unknown"), ("r-2", "unknown"), ("r-1", "x" * 5000)])


class FullDiskTests(FileTests):
    """A disk that takes no more."""

    def refuse(self, **how: Any) -> None:
        """Fail to begin a write, with `os.pwrite` doing this."""
        before = self.path.read_bytes()
        with mock.patch.object(os, "pwrite", **how):
            self.assertRaises(OSError, self.sink.begin, known_as("r-2"))
            self.assertRaises(OSError, self.sink.write, known_as("r-3"))
        self.assertEqual(self.path.read_bytes(), before)

    def test_a_full_disk_refuses_the_write(self) -> None:
        """No line, no write; what the file holds is left as it is, and the next write is let through again."""
        self.sink.begin(RECORD).put(DONE)
        self.refuse(side_effect=FULL)
        self.sink.begin(known_as("r-4"))
        self.assertEqual(self.told(), [("r-1", "changed"), ("r-4", "unknown")])

    def test_a_disk_that_is_full_in_the_middle(self) -> None:
        """Half a line is taken back."""
        self.sink.begin(RECORD)
        real = os.pwrite
        self.refuse(side_effect=lambda descriptor, line, offset: real(descriptor, line[: len(line) // 2], offset))
        self.assertEqual(self.told(), [("r-1", "unknown")])

    def test_a_disk_that_fails_later(self) -> None:
        """A line that cannot be completed says `unknown`."""
        slot = self.sink.begin(RECORD)
        with mock.patch.object(os, "pwrite", side_effect=FULL):
            self.assertRaises(OSError, slot.put, DONE)
        self.assertEqual(self.told(), [("r-1", "unknown")])

    def test_the_last_of_a_disk_is_for_writes(self) -> None:
        """Refusals, however many, leave room for the lines of writes: 16 MiB, or a tenth of a small disk."""
        block = 4096
        for blocks, kept in ((2**20, sinks.KEPT_BYTES // block), (100, 10)):
            for free, taken in ((kept, True), (kept - 1, False)):
                self.path.write_bytes(b"")
                disk = mock.Mock(f_frsize=block, f_blocks=blocks, f_bavail=free)
                with mock.patch.object(os, "fstatvfs", return_value=disk):
                    if taken:
                        self.sink.write(known_as("r-2"))
                    else:
                        self.assertRaises(OSError, self.sink.write, known_as("r-2"))
                    self.sink.begin(RECORD).put(DONE)
                self.assertEqual(self.told(), [("r-2", "unknown")] * taken + [("r-1", "changed")])

    def test_a_line_that_was_never_ended(self) -> None:
        """Whoever wrote before ended in the middle of it: what is written now is lines of its own."""
        self.path.write_bytes(b'{"schema":')
        self.open().begin(RECORD).put(DONE)
        first, second, rest = self.path.read_bytes().split(b"\n")
        self.assertEqual((first, json.loads(second)["outcome"], rest), (b'{"schema":', "changed", b""))

    def test_a_folder_that_is_gone(self) -> None:
        """A log that can be opened no more refuses writes, until it can."""
        folder = self.path.parent
        moved = folder.with_name(folder.name + "-moved")
        folder.rename(moved)
        self.assertRaises(OSError, self.sink.begin, RECORD)
        moved.rename(folder)
        self.sink.begin(RECORD)
        self.assertEqual(self.told(), [("r-1", "unknown")])
