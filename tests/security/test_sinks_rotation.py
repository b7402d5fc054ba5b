"""The audit log in a file that others rename, delete or truncate while it is in use."""

import os
from unittest import mock

from msgspec.structs import replace

from tests.security.test_sinks import DONE, RECORD, FileTests, known_as


class RotationTests(FileTests):
    """A file that others rotate."""

    def test_renamed(self) -> None:
        """After a rename the next line begins a new file; the old one keeps what it had."""
        self.sink.write(RECORD)
        old = self.path.rename(self.path.with_suffix(".1"))
        self.sink.write(known_as("r-2"))
        self.assertEqual((self.told(old), self.told()), ([("r-1", "unknown")], [("r-2", "unknown")]))

    def test_deleted(self) -> None:
        """A file that was deleted is made anew."""
        self.sink.write(RECORD)
        self.path.unlink()
        self.sink.begin(known_as("r-2"))
        self.assertEqual(self.told(), [("r-2", "unknown")])

    def test_truncated(self) -> None:
        """After copytruncate lines begin at the beginning, without a hole."""
        for _ in range(5):
            self.sink.write(RECORD)
        self.path.write_bytes(b"")
        self.sink.write(known_as("r-2"))
        self.assertEqual(self.told(), [("r-2", "unknown")])

    def test_rotated_while_a_write_is_under_way(self) -> None:
        """The outcome comes after all others in the new file, and overwrites none of them."""
        slot = self.sink.begin(RECORD)
        old = self.path.rename(self.path.with_suffix(".1"))
        others = [self.sink.begin(known_as(f"r-{number}")) for number in (2, 3)]
        slot.put(DONE)
        others[0].put(replace(DONE, request_id="r-2"))
        self.assertEqual(self.told(old), [("r-1", "unknown")])
        self.assertEqual(self.told(), [("r-2", "changed"), ("r-3", "unknown"), ("r-1", "changed")])

    def test_truncated_while_a_write_is_under_way(self) -> None:
        """The same after copytruncate, whether the file has grown past the old place again or not."""
        for later in (0, 5):
            self.path.write_bytes(b"")
            self.sink.write(known_as("r-0"))
            slot = self.sink.begin(RECORD)
            self.path.write_bytes(b"")
            for number in range(later):
                self.sink.write(known_as(f"r-{number}"))
            slot.put(DONE)
            expected = [(f"r-{number}", "unknown") for number in range(later)]
            self.assertEqual(self.told(), [*expected, ("r-1", "changed")])

    def test_rotated_and_nobody_has_written_since(self) -> None:
        """The outcome is told in one of the two files, and the old line is not lost."""
        slot = self.sink.begin(RECORD)
        old = self.path.rename(self.path.with_suffix(".1"))
        slot.put(DONE)
        new = self.told() if self.path.exists() else []
        self.assertIn(("r-1", "changed"), [*self.told(old), *new])

    def test_deleted_while_a_write_is_under_way(self) -> None:
        """What came of it is told in a new file, though the old one can still be written, and nobody sees it."""
        slot = self.sink.begin(RECORD)
        self.path.unlink()
        slot.put(DONE)
        self.assertEqual(self.told(), [("r-1", "changed")])

    def test_deleted_at_the_last_moment(self) -> None:
        """The same if the file goes while the line is being completed."""
        slot = self.sink.begin(RECORD)
        real, unlinking = os.pwrite, [self.path.unlink]

        def late(descriptor: int, line: bytes, offset: int) -> int:
            for unlink in unlinking:
                unlink()
            unlinking.clear()
            return real(descriptor, line, offset)

        with mock.patch.object(os, "pwrite", side_effect=late):
            slot.put(DONE)
        self.assertEqual(self.told(), [("r-1", "changed")])

    def test_a_folder_that_is_gone_while_a_write_is_under_way(self) -> None:
        """Where no new file can be made, the old one is completed."""
        slot = self.sink.begin(RECORD)
        folder = self.path.parent
        moved = folder.rename(folder.with_name(folder.name + "-moved"))
        slot.put(DONE)
        moved.rename(folder)
        self.assertEqual(self.told(), [("r-1", "changed")])

    def test_an_outcome_that_comes_twice(self) -> None:
        """What was told as unknown is told anew in the same place."""
        slot = self.sink.begin(RECORD)
        for record in (RECORD, DONE):
            slot.put(record)
        self.assertEqual(self.told(), [("r-1", "changed")])
