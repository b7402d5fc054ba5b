"""The audit log in a file that others rename, delete or truncate while it is in use."""

from msgspec.structs import replace

from tests.security.test_audit import DONE, RECORD, FileTests, known_as


class RotationTests(FileTests):
    """A file that others rotate."""

    def test_renamed(self) -> None:
        """After a rename the next line begins a new file; the old one keeps what it had."""
        self.log.write(RECORD)
        old = self.path.rename(self.path.with_suffix(".1"))
        self.log.write(known_as("r-2"))
        self.assertEqual((self.told(old), self.told()), ([("r-1", "unknown")], [("r-2", "unknown")]))

    def test_deleted(self) -> None:
        """A file that was deleted is made anew."""
        self.log.write(RECORD)
        self.path.unlink()
        self.log.begin(known_as("r-2"))
        self.assertEqual(self.told(), [("r-2", "unknown")])

    def test_truncated(self) -> None:
        """After copytruncate lines begin at the beginning, without a hole."""
        for _ in range(5):
            self.log.write(RECORD)
        self.path.write_bytes(b"")
        self.log.write(known_as("r-2"))
        self.assertEqual(self.told(), [("r-2", "unknown")])

    def test_rotated_while_a_write_is_under_way(self) -> None:
        """The outcome comes after all others in the new file, and overwrites none of them."""
        entry = self.log.begin(RECORD)
        old = self.path.rename(self.path.with_suffix(".1"))
        others = [self.log.begin(known_as(f"r-{number}")) for number in (2, 3)]
        entry.finish(DONE)
        others[0].finish(replace(DONE, request_id="r-2"))
        self.assertEqual(self.told(old), [("r-1", "unknown")])
        self.assertEqual(self.told(), [("r-2", "changed"), ("r-3", "unknown"), ("r-1", "changed")])

    def test_truncated_while_a_write_is_under_way(self) -> None:
        """The same after copytruncate, whether the file has grown past the old place again or not."""
        for later in (0, 5):
            self.path.write_bytes(b"")
            self.log.write(known_as("r-0"))
            entry = self.log.begin(RECORD)
            self.path.write_bytes(b"")
            for number in range(later):
                self.log.write(known_as(f"r-{number}"))
            entry.finish(DONE)
            expected = [(f"r-{number}", "unknown") for number in range(later)]
            self.assertEqual(self.told(), [*expected, ("r-1", "changed")])

    def test_rotated_and_nobody_has_written_since(self) -> None:
        """The outcome is told in one of the two files, and the old line is not lost."""
        entry = self.log.begin(RECORD)
        old = self.path.rename(self.path.with_suffix(".1"))
        entry.finish(DONE)
        new = self.told() if self.path.exists() else []
        self.assertIn(("r-1", "changed"), [*self.told(old), *new])
