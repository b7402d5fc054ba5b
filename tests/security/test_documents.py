"""YAML that operators write by hand: every mistake is one line that names the file, the line and what is wrong."""

from collections.abc import Iterator
from typing import Annotated, Literal
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security import documents
from sre_server.security.documents import MAX_BYTES, DocumentError, Mistake, load, parse
from tests.fakes import temporary_folder

Kind = Literal["small", "large"]


class Item(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the document."""

    names: tuple[str, ...] = ()
    count: Annotated[int, Meta(ge=0, le=9)] = 0
    kind: Kind | bool = "small"


class Document(Struct, frozen=True, forbid_unknown_fields=True):
    """A document of the tests' own."""

    items: tuple[Item, ...] = ()
    limits: dict[str, int] = {}
    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1)] = ("small",)
    by_name: dict[str, Kind] = {}


class DocumentTests(SynchronousTestCase):
    """Documents, good and bad."""

    def mistake(self, text: str | bytes) -> tuple[int, str]:
        """The line that is named, and what is said of it."""
        raw = text if isinstance(text, bytes) else text.encode()
        said = str(self.assertRaises(DocumentError, parse, raw, Document, "f.yaml"))
        self.assertEqual(len(said.splitlines()), 1, said)
        name, line, what = said.split(":", 2)
        self.assertEqual(name, "f.yaml")
        return int(line), what.strip()

    def test_a_good_document(self) -> None:
        """Block style, flow style, JSON, comments, anchors and a BOM are all YAML."""
        expected = Document((Item(("a", "b"), 3), Item()))
        for text in (
            "items:\n- names: [a, b]\n  count: 3\n- {}\n",
            '{"items": [{"names": ["a", "b"], "count": 3}, {}]}',
            "# two\nitems: # of them\n- {count: 3, names: &n [a, b]}\n- {}\n",
            "\ufeffitems: [{names: [a, b], count: 3}, {}]",
        ):
            self.assertEqual(parse(text.encode(), Document, "f.yaml"), expected)
        shared = parse(b"items: [{names: &n [a]}, {names: *n}]", Document, "f.yaml")
        self.assertEqual(shared.items, (Item(("a",)), Item(("a",))))

    def test_an_empty_file(self) -> None:
        """A file that is not written yet, or was emptied, is a mistake; `{}` leaves every default that there is."""
        for text in ("", "\n\n", "# nothing yet\n", "---\n", "null"):
            self.assertEqual(self.mistake(text), (1, "says nothing; what leaves every default is {}"))
        self.assertEqual(parse(b"{}", Document, "f.yaml"), Document())

    def test_a_wrong_type_deep_inside(self) -> None:
        """The line is that of the value, however deep it stands."""
        text = "items:\n- names: [a]\n- names:\n  - b\n  - [c]\n  - d\n  count: 3\n"
        line, what = self.mistake(text)
        self.assertEqual(line, 5)
        self.assertEqual(what, "items #2.names #2: Expected `str`, got `array`")
        self.assertEqual(self.mistake("items:\n- count: 1\n- count: 2\n- count: three\n")[0], 4)
        self.assertEqual(self.mistake("items:\n- count: 1\n-\n  count:\n    12\n")[0], 5)
        self.assertEqual(self.mistake("items: 3\n")[0], 1)
        self.assertEqual(self.mistake("\n\n- a list\n")[0], 3)
        self.assertEqual(self.mistake("limits:\n  a: 1\n  b: x\n")[0] in (2, 3), True)

    def test_an_unknown_key(self) -> None:
        """A key that nobody reads is a mistake, at its own line: what it was to say would be lost."""
        line, what = self.mistake("items:\n- names: [a]\n  count: 1\n  colour: red\n- {}\n")
        self.assertEqual(what, "items #1: Object contains unknown field `colour`; known are 'names', 'count', 'kind'")
        self.assertEqual(line, 4)
        self.assertEqual(self.mistake("items: []\nitem: []\n")[0], 2)

    def test_a_value_that_is_none_of_a_few(self) -> None:
        """What may stand there is told, wherever that is: in an object, a list, a mapping, or beside other types."""
        few = "known are 'large', 'small'"
        for text, what in {
            "items: [{kind: huge}]": f"items #1.kind: Invalid enum value 'huge'; {few}",
            "items: [{kind: 3}]": f"items #1.kind: Expected `bool | str`, got `int`; {few}",
            "kinds: [small, huge]": f"kinds #2: Invalid enum value 'huge'; {few}",
            "by_name: {a: huge}": f"by_name[...]: Invalid enum value 'huge'; {few}",
            "limits: {a: x}": "limits[...]: Expected `int`, got `str`",
            "itmes: []": "Object contains unknown field `itmes`; known are 'items', 'limits', 'kinds', 'by_name'",
        }.items():
            self.assertEqual(self.mistake(text), (1, what))

    def test_a_repeated_key(self) -> None:
        """YAML would keep the last of two in silence; the line is that of the second, at any depth."""
        line, what = self.mistake("items:\n- count: 1\n  names: [a]\n  count: 2\n")
        self.assertEqual((line, "'count' stands here twice" in what), (4, True))
        self.assertEqual(self.mistake("items: []\nlimits: {}\n'items': []\n")[0], 3)
        self.assertEqual(self.mistake("limits: {a: 1,\n  b: 2, a: 1}\n")[0], 2)

    def test_what_is_no_yaml(self) -> None:
        """The line is the one where the reader gave up."""
        for line, text in {
            2: "items:\n\t- count: 1\n",
            3: "items:\n- count: 1\n: : :\n  - ]",
            1: "items: [",
        }.items():
            self.assertLessEqual(self.mistake(text)[0], line + 1)
        for text in ("items: *nothing", "a: b: c", "%YAML 9.9\n---\n", "items: []\n---\nitems: []\n", "items: !!set {"):
            self.mistake(text)
        for raw in (b"\xff\xfe\x00", b"items: \xe9", b"items: \0", b"\x80", "items: []".encode("utf-32")):
            self.mistake(raw)

    def test_a_star_without_quotes(self) -> None:
        """What a glob begins with begins an alias, too, which is nothing that whoever writes `*` has in mind."""
        for glob in ("[*]", "[a, *]", "[*-prod]", "[*.example]", "\n  - *", "*"):
            self.assertIn("; a '*' needs quotes", self.mistake(f"items:\n- names: {glob}\n")[1], glob)
        self.assertNotIn("quotes", self.mistake("items: [")[1])

    def test_tags_make_nothing(self) -> None:
        """A tag that would make a Python object is a mistake, and makes none."""
        for tag in ("!!python/object/apply:os.getcwd []", "!!python/name:os.system", "!custom x"):
            self.assertIn("could not determine a constructor", self.mistake(f"items:\n- names: {tag}\n")[1])

    def test_keys_that_are_no_text(self) -> None:
        """A list or a mapping as a key is a mistake like any other."""
        self.assertEqual(self.mistake("items: []\n? [a, b]\n: c\n")[0], 2)
        self.assertEqual(self.mistake("{{a: b}: c}\n")[0], 1)

    def test_values_that_python_cannot_hold(self) -> None:
        """Dates that are none, and numbers of thousands of digits, are mistakes."""
        self.mistake("items:\n- names: [2026-99-99]\n")
        self.mistake("items:\n- count: " + "9" * 5000)

    def test_a_huge_file(self) -> None:
        """A file of more than a mebibyte is refused before it is read as YAML."""
        said = str(self.assertRaises(DocumentError, parse, b"#" * (MAX_BYTES + 1), Document, "f.yaml"))
        self.assertIn("larger than", said)
        self.assertEqual(parse(b"{}".ljust(MAX_BYTES), Document, "f.yaml"), Document())

    def test_deep_nesting(self) -> None:
        """Nesting without end is a mistake, not a crash."""
        self.mistake("[" * 5000)
        self.mistake("items: &a [*a]")

    def test_aliases_without_end(self) -> None:
        """A few lines of aliases that stand for billions of values are read in a few steps."""
        lines = ["a: &a0 [x, x]", *(f"b{depth}: &a{depth} [*a{depth - 1}, *a{depth - 1}]" for depth in range(1, 12))]
        walk = mock.Mock(wraps=documents._refuse_repeated_keys)
        with mock.patch.object(documents, "_refuse_repeated_keys", walk):
            self.mistake("\n".join(lines))
        self.assertLess(walk.call_count, 100)

    def test_numbers_that_are_not_what_they_look_like(self) -> None:
        """Octal, hexadecimal, binary, sexagesimal ones, with underscores or a plus, are mistakes at their own line."""
        for number in ("010", "00", "0x1", "0b1", "1_0", "1:30", "+5", "-010"):
            for text in (f"items:\n- names: [a]\n  count: {number}\n", f"items:\n-\n  names: [{number}]\n"):
                line, what = self.mistake(text)
                self.assertEqual((line, "is not read as it looks" in what), (3, True), text)
        for number in ("1e3", "1.0", "1.0e+3", "0o10", "09", ".5", "yes", "no", "on", "~", "2024-01-01"):
            self.assertEqual(self.mistake(f"items:\n- count: {number}\n")[0], 2, number)
        for name in ("yes", "no", "on", "10", "1.5", "~", "null", "2024-01-01"):
            self.assertEqual(self.mistake(f"items:\n- names: [a,\n   {name}]\n")[0], 3, name)
        quoted = parse(b"items: [{names: ['010', \"no\"]}]", Document, "f.yaml")
        self.assertEqual(quoted.items, (Item(("010", "no")),))

    def test_what_makes_no_sense(self) -> None:
        """What the shape has no word for is a mistake at the line of its path; the first is told."""

        def mistakes(document: Document) -> Iterator[Mistake]:
            for number, item in enumerate(document.items):
                if item.count > 3:
                    yield f".items[{number}].count", f"{item.count} is too many"

        raw = b"items:\n- count: 3\n- names: [a]\n  count: 4\n- count: 5\n"
        said = str(self.assertRaises(DocumentError, parse, raw, Document, "f.yaml", mistakes))
        self.assertEqual(said, "f.yaml:4: items #2.count: 4 is too many")
        self.assertEqual(len(parse(raw[:18], Document, "f.yaml", mistakes).items), 1)

    def test_files(self) -> None:
        """A file is named by its path; one that cannot be read, with the system's reason."""
        folder = temporary_folder(self)
        path = folder / "f.yaml"
        self.assertIn("No such file", str(self.assertRaises(DocumentError, load, path, Document)))
        self.assertIn("directory", str(self.assertRaises(DocumentError, load, folder, Document)))
        path.write_text("items: []\nother: 1\n")
        self.assertTrue(str(self.assertRaises(DocumentError, load, path, Document)).startswith(f"{path}:2: "))

    @settings(deadline=None)
    @given(st.one_of(st.binary(max_size=40), st.text("ab:-[]{}&*!|>'\"\n \t?#%@,1", max_size=40).map(str.encode)))
    def test_anything_at_all(self, raw: bytes) -> None:
        """Whatever the file holds, there is a document or a DocumentError of one line."""
        try:
            parse(raw, Document, "f.yaml")
        except DocumentError as error:
            self.assertEqual(len(str(error).splitlines()), 1)
