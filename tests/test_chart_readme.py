"""The chart's values, its README and its schema say the same."""

import json
from collections.abc import Iterator
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.chart_readme import CHART, readme, table, values

VALUES = (CHART / "values.yaml").read_text(encoding="utf-8")
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
# Maps whose keys are anybody's, and what other charts share.
FREE = {"#/definitions/labels", "#/definitions/quantities", "#/definitions/object", "#/definitions/named"}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference into the definitions."""
    reference = schema.get("$ref")
    return SCHEMA["definitions"][reference.rpartition("/")[2]] if reference else schema


def closed_objects(schema: Any, path: str) -> Iterator[tuple[str, bool]]:
    """Yield every schema of an object, and whether it refuses what it does not name."""
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield path, schema.get("additionalProperties") is False
        for key, inner in schema.items():
            yield from closed_objects(inner, f"{path}/{key}")
    elif isinstance(schema, list):
        for number, inner in enumerate(schema):
            yield from closed_objects(inner, f"{path}/{number}")


class DocumentationTests(SynchronousTestCase):
    """values.yaml is the source."""

    def test_readme(self) -> None:
        """The README's table is the one that values.yaml gives: `python -m tests.chart_readme` writes it."""
        self.assertEqual((CHART / "README.md").read_text(encoding="utf-8"), readme())

    def test_every_value_is_explained(self) -> None:
        """No value is without a comment, and no comment is lost."""
        found = values(VALUES)
        self.assertEqual([value.path for value in found if not value.text], [])
        self.assertEqual(len(found), VALUES.count("# -- "))

    def test_table(self) -> None:
        """Nested values have their whole path; a comment may go on; a map with a comment of its own is one value."""
        text = "a:\n  # -- One,\n  # and a | half.\n  b: 1\n# -- A map.\nc: {d: e}\n# not a value's\n"
        rows = table(text).splitlines()[2:]
        self.assertEqual(rows, ["| `a.b` | `1` | One, and a \\| half. |", '| `c` | `{"d": "e"}` | A map. |'])


class SchemaTests(SynchronousTestCase):
    """The schema knows every value, and nothing that is none."""

    def test_closed(self) -> None:
        """Every object refuses keys that it does not name, but for maps whose keys are the user's, and `global`."""
        opened = {path for path, closed in closed_objects(SCHEMA, "#") if not closed}
        self.assertEqual(opened, FREE | {"#/properties/global"})

    def test_same_values(self) -> None:
        """At every level of values.yaml the schema has the same keys, one for one."""
        self._compare(yaml.safe_load(VALUES), SCHEMA, "")

    def _compare(self, value: object, schema: dict[str, Any], path: str) -> None:
        schema = resolved(schema)
        known = schema.get("properties")
        if not isinstance(value, dict) or known is None:
            return
        self.assertLessEqual(set(value), set(known), path)
        documented = {entry.path for entry in values(VALUES)}
        if path not in documented and path not in ("tls.certManager.privateKey", "strategy"):
            self.assertEqual(set(value), set(known), path)
        for key, inner in value.items():
            self._compare(inner, known[key], f"{path}.{key}" if path else key)
