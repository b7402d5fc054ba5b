"""docs/api.md, table by table, beside the tables of the code and the document that the answers are held to."""

import re
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from sre_server.api.openapi import document
from sre_server.api.statuses import FAMILY_A, FAMILY_B
from sre_server.web.bounded import HEADER_BYTES, REQUEST_LINE_BYTES
from sre_server.web.channel import CLOSE_SECONDS, HANDSHAKE_SECONDS, REQUEST_SECONDS, WRITE_SECONDS
from sre_server.web.request import BODY_BYTES
from sre_server.web.site import IDLE_SECONDS

PAGE: Final = (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8")
DOCUMENT: Final = document()
OPERATIONS: Final = {
    (method.upper(), path): operation
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if method != "parameters"
}


def rows(first: str) -> list[list[str]]:
    """Return the cells of every table of the page whose first column is called so, without the head; at least one."""
    found = []
    for table in re.findall(r"(?:^\|.*\|\n)+", PAGE, re.MULTILINE):
        head, _, *lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        if head[0] == first:
            found += lines
    if not found:
        raise AssertionError(f"docs/api.md has no table of {first}")
    return found


def in_words(error: type[Exception]) -> str:
    """Return what the page calls an error: `NotFound` is a thing not found."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", error.__name__).lower()


class ContractTests(SynchronousTestCase):
    """The page says what the code does; `test_openapi` holds the document to routes and answers."""

    def test_calls(self) -> None:
        """Every call of the page is one of the document, and the other way round."""
        told = {tuple(re.sub(r"{\w+}", "{}", cells[0]).strip("`").split(" ")) for cells in rows("call")}
        served = {(method, re.sub(r"{\w+}", "{}", path)) for method, path in OPERATIONS}
        self.assertEqual(told, served)

    def test_statuses_of_the_families(self) -> None:
        """Each row has what the two tables have for that error, and every error of theirs has a row."""
        told = {cells[0]: (int(cells[1]), int(cells[2])) for cells in rows("situation")}
        self.assertEqual(FAMILY_A.keys(), FAMILY_B.keys())
        self.assertEqual(told, {in_words(error): (FAMILY_A[error], FAMILY_B[error]) for error in FAMILY_A})

    def test_statuses(self) -> None:
        """The page has every status that an answer can have, and no other."""
        told = {status for cells in rows("situation") for status in cells[1:3]} | {cells[0] for cells in rows("status")}
        self.assertEqual(told, {status for operation in OPERATIONS.values() for status in operation["responses"]})

    def test_fields(self) -> None:
        """Every header field and query parameter of the document is on the page."""
        components = DOCUMENT["components"]
        asked = {name for cells in rows("a request may have") for name in re.findall(r"`\??([\w-]+)`", cells[0])}
        parameters = [*components["parameters"].values(), *OPERATIONS["GET", "/readyz"]["parameters"]]
        known = {parameter["name"] for parameter in parameters if parameter.get("in") in ("header", "query")}
        self.assertEqual(known - asked, set())
        answered = {name for cells in rows("an answer may have") for name in re.findall(r"`([\w-]+)`", cells[0])}
        shown = {name for response in components["responses"].values() for name in response["headers"]}
        self.assertEqual(shown - answered, set())

    def test_limits(self) -> None:
        """The bounds of the page are those of the code, in bytes and in seconds."""
        told = [cells[1] for cells in rows("what")]
        sizes = (REQUEST_LINE_BYTES, HEADER_BYTES, BODY_BYTES)
        times = (HANDSHAKE_SECONDS, REQUEST_SECONDS, WRITE_SECONDS, IDLE_SECONDS, CLOSE_SECONDS)
        self.assertEqual([bound for bound in told if bound.endswith(" bytes")], [f"{size} bytes" for size in sizes])
        self.assertEqual([bound for bound in told if bound.endswith(" s")], [f"{time:g} s" for time in times])
