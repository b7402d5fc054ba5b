"""A stream cut into lines: any chunking of the same bytes gives the same lines."""

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.lines import Cut, complete_lines

NO_LIMIT = 2**20
_VISIBLE = bytes.maketrans(b" \t\r\x0b\x0c", b"-----")


@st.composite
def _cut(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Make some bytes with many newlines, and a way to cut them; empty chunks are possible too."""
    parts = draw(
        st.lists(st.sampled_from([b"\n", b"\n\n", b"a", b" ", b"\r", b"{}"]) | st.binary(max_size=6), max_size=20)
    )
    body = b"".join(parts)
    at = sorted(draw(st.lists(st.integers(0, len(body)), max_size=12)))
    return body, [body[start:end] for start, end in zip([0, *at], [*at, len(body)], strict=True)]


class CompleteLinesTests(SynchronousTestCase):
    """`complete_lines`, whatever the network does."""

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(_cut())
    def test_chunking_does_not_matter(self, case: tuple[bytes, list[bytes]]) -> None:
        """The lines are those of the bytes as a whole; blank ones and the unfinished last one are left out."""
        body, chunks = case
        batches = list(complete_lines(iter(chunks), NO_LIMIT, NO_LIMIT))
        expected = [line for line in body.split(b"\n")[:-1] if line.strip()]
        self.assertEqual([line for batch in batches for line in batch], expected)
        self.assertTrue(all(batches), "an empty batch")

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(_cut(), st.integers(0, 20), st.data())
    def test_memory_is_bounded(self, case: tuple[bytes, list[bytes]], limit: int, data: st.DataObject) -> None:
        """Of a line that is longer than the limit, its head is given in its place; the others are as ever."""
        head = data.draw(st.integers(0, limit))
        body, *chunks = (part.translate(_VISIBLE) for part in (case[0], *case[1]))
        whole = [line for line in body.split(b"\n")[:-1] if line]
        seen = [line for batch in complete_lines(iter(chunks), limit, head) for line in batch]
        self.assertEqual(len(seen), len(whole))
        for line, expected in zip(seen, whole, strict=True):
            if isinstance(line, Cut):
                self.assertGreater(len(expected), limit)
                self.assertEqual(line.head, expected[:head])
            else:
                self.assertEqual(line, expected)

    def test_lines_are_given_as_they_come(self) -> None:
        """A line is given as soon as its newline is there, not when the stream goes on."""
        seen: list[object] = []
        lines = complete_lines(self.counted(seen, [b"a\nb", b"c\n", b"d\n"]), NO_LIMIT, NO_LIMIT)
        self.assertEqual((next(lines), seen), ([b"a"], [1]))
        self.assertEqual((next(lines), seen), ([b"bc"], [1, 2]))

    def test_long_line_is_passed_over(self) -> None:
        """A line past the limit is cut at the chunk that exceeds it, whatever follows; the next line is whole again."""
        chunks = [b"head" + b"x" * 7, b"x" * 10**6, b"x\nnext\nlast", b"\n"]
        batches = list(complete_lines(iter(chunks), 10, 4))
        self.assertEqual(batches, [[Cut(b"head"), b"next"], [b"last"]])

    def test_rest_of_a_chunk_counts(self) -> None:
        """What follows the last newline of a chunk counts towards the limit, and what came before it does not."""
        lines = complete_lines(iter([b"x" * 9, b"\n" + b"y" * 8, b"y" * 8 + b"\n"]), 10, 2)
        self.assertEqual(list(lines), [[b"x" * 9], [Cut(b"yy")]])

    @staticmethod
    def counted(seen: list[object], chunks: list[bytes]) -> Iterator[bytes]:
        """Yield chunks, and note the number of each when it is asked for."""
        for number, chunk in enumerate(chunks, 1):
            seen.append(number)
            yield chunk
