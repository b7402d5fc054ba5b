"""Chunked bodies taken apart in bulk: any framing and any cut of the same content gives the same content."""

from http.client import HTTPException, IncompleteRead
from io import BytesIO

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.chunked import BulkResponse, Unchunker


def framed(parts: list[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    """Frame each part as one chunk, and end the body."""
    chunks = b"".join(b"%X%s\r\n%s\r\n" % (len(part), extension, part) for part in parts if part)
    return chunks + b"0\r\n" + trailers + b"\r\n"


@st.composite
def _cut(draw: st.DrawFn) -> tuple[list[bytes], list[bytes]]:
    """Make a body's parts, and its framed bytes cut anywhere."""
    parts = draw(st.lists(st.binary(max_size=40), max_size=8))
    extension = draw(st.sampled_from([b"", b";name=value", b" "]))
    trailers = draw(st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]))
    body = framed(parts, extension, trailers)
    at = sorted(draw(st.lists(st.integers(0, len(body)), max_size=12)))
    return parts, [body[start:end] for start, end in zip([0, *at], [*at, len(body)], strict=True)]


class UnchunkerTests(SynchronousTestCase):
    """`Unchunker`, whatever the network does."""

    @settings(derandomize=True, deadline=None, max_examples=500)
    @given(_cut())
    def test_cuts_do_not_matter(self, case: tuple[list[bytes], list[bytes]]) -> None:
        """The content is that of all the chunks, and the end is seen when it is there, not before."""
        parts, pieces = case
        unchunker = Unchunker()
        content = b""
        for number, piece in enumerate(pieces, 1):
            content += unchunker.decode(piece)
            if any(pieces[number:]):
                self.assertFalse(unchunker.ended)
        self.assertTrue(unchunker.ended)
        self.assertEqual(content, b"".join(parts))

    def test_content_at_once(self) -> None:
        """Content is given as it comes, in the middle of its chunk too."""
        unchunker = Unchunker()
        self.assertEqual(
            [unchunker.decode(piece) for piece in (b"5\r", b"\nab", b"c", b"de\r\n")], [b"", b"ab", b"c", b"de"]
        )

    def test_what_is_not_chunked(self) -> None:
        """A length that is none, content past its length and bytes past the end are errors that say so."""
        no_length = (b"\r\n", b"-1\r\n", b"+1\r\na\r\n", b"1_0\r\n", b"0x1\r\na\r\n", b"hello\r\n")
        broken = dict.fromkeys(no_length, "a chunk does not say how long it is") | {
            b"1\r\nabc\r\n": "a chunk is longer than it says",
            b"0\r\n\r\nmore": "something follows the end of the body",
            b"1" * 5000: "a line of the chunked framing is too long",
            b"1;" + b"x" * 5000 + b"\r\n": "a line of the chunked framing is too long",
        }
        for body, said in broken.items():
            with self.subTest(body[:20]):
                self.assertEqual(str(self.assertRaises(HTTPException, Unchunker().decode, body)), said)


class _Socket(BytesIO):
    """A connection from which an answer is read."""

    def makefile(self, _: str) -> BytesIO:
        """Read from here."""
        return self


class BulkResponseTests(SynchronousTestCase):
    """`BulkResponse`, in the place of http.client's."""

    def response(self, field: bytes, body: bytes, method: str = "GET") -> BulkResponse:
        """Return an answer whose header section has been read."""
        response = BulkResponse(_Socket(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n%s" % (field, body)), method=method)
        self.addCleanup(response.close)
        response.begin()
        return response

    def test_chunked(self) -> None:
        """Each read gives what there is of all chunks, in no more bytes than were asked for; at the end, nothing."""
        response = self.response(b"Transfer-Encoding: chunked", framed([b"ab", b"cde"]))
        self.assertEqual([response.read1(each) for each in (5, 99, 99)], [b"ab", b"cde", b""])

    def test_cut(self) -> None:
        """An answer that is cut off is incomplete."""
        response = self.response(b"Transfer-Encoding: chunked", b"2\r\nab\r\n")
        self.assertEqual(response.read1(), b"ab")
        self.assertEqual(self.assertRaises(IncompleteRead, response.read1).partial, b"")

    def test_of_a_length(self) -> None:
        """A body of a length is read as ever."""
        response = self.response(b"Content-Length: 5", b"abcde")
        self.assertEqual([response.read1(2), response.read1(), response.read1()], [b"ab", b"cde", b""])

    def test_to_head(self) -> None:
        """An answer to HEAD has no body, whatever length it tells: what follows is no part of it."""
        self.assertEqual(self.response(b"Content-Length: 5", b"abcde", "HEAD").read1(), b"")
