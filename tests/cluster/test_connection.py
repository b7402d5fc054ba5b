"""Replies of the cluster, read within bounds; what needs a socket is tested in `tests.functional.test_connection`."""

import errno
import gzip
import os
from collections.abc import Iterator
from io import BytesIO

from twisted.trial.unittest import SynchronousTestCase
from urllib3 import HTTPHeaderDict, HTTPResponse

from sre_server.cluster import connection
from sre_server.cluster.connection import HTTPReply
from sre_server.cluster.transport import refusal
from sre_server.errors import BadAnswer, ClusterBroke, ClusterTimedOut, SreServerError


def reply(body: bytes = b"", status: int = 200, **headers: str) -> HTTPReply:
    """Make a reply that was received already; underscores in header names stand for dashes."""
    named = HTTPHeaderDict({name.replace("_", "-"): value for name, value in headers.items()})
    return HTTPReply(HTTPResponse(BytesIO(body), named, status, preload_content=False))


class ReadTests(SynchronousTestCase):
    """Bodies, whole and in chunks."""

    def test_whole(self) -> None:
        """A body up to the limit is returned as it is."""
        self.assertEqual(reply(b"x" * 1000).read(1000, 5), b"x" * 1000)
        self.assertEqual(reply().read(0, 5), b"")

    def test_too_large(self) -> None:
        """A body past the limit is refused, without reading on to its end."""
        body = BytesIO(b"x" * 10_000_000)
        response = HTTPReply(HTTPResponse(body, preload_content=False))
        self.assertRaises(BadAnswer, response.read, 1000, 5)
        self.assertLess(body.tell(), 1_000_000)

    def test_compressed(self) -> None:
        """A compressed body is decompressed, and the limit counts what comes out of it: no bomb fits in."""
        packed = gzip.compress(b"x" * 10_000_000)
        self.assertEqual(len(reply(packed, Content_Encoding="gzip").read(10_000_000, 5)), 10_000_000)
        self.assertRaises(BadAnswer, reply(packed, Content_Encoding="gzip").read, 1000, 5)

    def test_whose_patience(self) -> None:
        """That we waited long enough is a timeout; that the system gave the connection up means that it is broken."""

        class Failing(BytesIO):
            def __init__(self, error: Exception) -> None:
                super().__init__()
                self._error = error

            def read(self, size: int | None = -1) -> bytes:
                raise self._error

            read1 = read

        for error, kind in (
            (TimeoutError("timed out"), ClusterTimedOut),
            (TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)), ClusterBroke),
        ):
            body = HTTPResponse(Failing(error), preload_content=False)
            self.assertIs(type(self.assertRaises(SreServerError, HTTPReply(body).read, 1000, 5)), kind)

    def test_badly_compressed(self) -> None:
        """A body that is not compressed as it says is a broken one."""
        self.assertRaises(ClusterBroke, reply(b"hello", Content_Encoding="gzip").read, 1000, 5)

    def test_slow(self) -> None:
        """A body that goes on arriving is given up at a deadline, however short each single wait was."""

        class Time:
            now = 0.0

            @classmethod
            def monotonic(cls) -> float:
                cls.now += 1
                return cls.now

        class Trickle(HTTPReply):
            def chunks(self) -> Iterator[bytes]:
                while True:
                    yield b"x"

        self.patch(connection, "time", Time)
        trickle = Trickle(HTTPResponse(BytesIO(), preload_content=False))
        self.assertRaises(ClusterTimedOut, trickle.read, 1000, 10)
        self.assertLess(Time.now, 20)


class RetryAfterTests(SynchronousTestCase):
    """How long the cluster asks us to wait."""

    def test_seconds(self) -> None:
        """A number of seconds is taken, up to a minute: nobody may put the server to sleep for a day."""
        for value, seconds in (("0", 0), ("1", 1), ("60", 60), ("61", 60), ("86400", 60)):
            with self.subTest(value):
                self.assertEqual(reply(Retry_After=value).retry_after(), seconds)

    def test_anything_else_is_none(self) -> None:
        """No header, a date, or nonsense is no wish."""
        self.assertIsNone(reply().retry_after())
        for value in ("", "-1", "1.5", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", "\xb2"):
            with self.subTest(value):
                self.assertIsNone(reply(Retry_After=value).retry_after())

    def test_absurdly_long_number(self) -> None:
        """A number with thousands of digits is a long wait like any other, not an error of ours."""
        self.assertEqual(reply(Retry_After="9" * 5000).retry_after(), 60)


class RefusalTests(SynchronousTestCase):
    """Refusals, in one sentence."""

    def test_refusal(self) -> None:
        """A refusal has the status, what the cluster said, and how long to wait."""
        error = refusal(reply(status=429, Retry_After="7"), "too many requests")
        self.assertEqual(str(error), "The cluster refused (429): too many requests")
        self.assertEqual((error.status, error.retry_after), (429, 7))

    def test_silent_refusal(self) -> None:
        """A refusal without a word says that there was none."""
        self.assertEqual(str(refusal(reply(status=403), "")), "The cluster refused (403): it gave no reason")
