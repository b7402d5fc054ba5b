"""`Prefer: wait=N`, read as RFC 7240 has it."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.api.preferences import wait_in


class PreferTests(SynchronousTestCase):
    """One field, of which one preference is known."""

    def test_understood(self) -> None:
        """The preference is found among others, however it is spelled; more than can be done is cut to that."""
        for field, seconds in (
            (b"wait=10", 10),
            (b"WAIT = 10", 10),
            (b'wait="10"', 10),
            (b"respond-async, wait=10", 10),
            (b"wait=10; some=thing, handling=lenient", 10),
            (b'foo="a, wait=1", wait=10', 10),
            (b"wait=0", 0),
            (b"wait=300", 300),
            (b"wait=301", 300),
            (b"wait=99999999999999999999", 300),
            (b"wait=007", 7),
            (b"wait=0000000000000000000007", 7),
        ):
            with self.subTest(field):
                self.assertEqual(wait_in(field), seconds)

    def test_the_first_one_counts(self) -> None:
        """A preference that is there twice is what it was first, and nothing if that makes no sense (section 2)."""
        self.assertEqual(wait_in(b"wait=10, wait=20"), 10)
        self.assertIsNone(wait_in(b"wait=soon, wait=20"))

    def test_ignored(self) -> None:
        """What is not understood is as if it were not there."""
        for field in (
            None,
            b"",
            b",",
            b"wait",
            b"wait=",
            b"wait=-1",
            b"wait=1.5",
            b"wait=1s",
            b"wait=\xb2",
            b"wait=\xd9\xa1",
            b"waiting=10",
            b"return=minimal",
            b"foo; wait=10",
            b'"wait=10"; x',
            b"=10",
        ):
            with self.subTest(field):
                self.assertIsNone(wait_in(field))
