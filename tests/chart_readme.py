"""Writes the table of values in the chart's README from the comments in its values.yaml.

`python -m tests.chart_readme` writes it anew; a test fails when that would change anything. A value is a line of the
table if a comment that begins with `# --` stands above it; a comment goes on until the key that it is about.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import yaml

CHART: Final = Path(__file__).parents[1] / "helm/sre-server"
BEGIN: Final = "<!-- values: written by `python -m tests.chart_readme` -->\n"
END: Final = "<!-- end of values -->\n"
MARK: Final = "# -- "


class Value(NamedTuple):
    """One value of the chart: where it is, what it is by default, and what it means."""

    path: str
    default: object
    text: str


def values(text: str) -> list[Value]:
    """Return every value of a values.yaml, in its order; one without a comment of its own has an empty text."""
    comments: dict[int, str] = {}
    gathered: list[str] = []
    for number, line in enumerate(text.splitlines()):
        stripped = line.strip()
        if stripped.startswith(MARK):
            gathered = [stripped.removeprefix(MARK)]
        elif stripped.startswith("# ") and gathered:
            gathered.append(stripped.removeprefix("# "))
        else:
            comments[number] = " ".join(gathered)
            gathered = []
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return list(_values(node, "", comments)) if node else []


def _values(node: yaml.Node, path: str, comments: dict[int, str]) -> Iterator[Value]:
    if not isinstance(node, yaml.MappingNode):
        raise TypeError(f"{path or 'values.yaml'} is no map")
    for key, value in node.value:
        name = f"{path}.{key.value}" if path else key.value
        text = comments[key.start_mark.line]
        if text or not isinstance(value, yaml.MappingNode) or not value.value:
            yield Value(name, yaml.SafeLoader("").construct_document(value), text)
        else:
            yield from _values(value, name, comments)


def table(text: str) -> str:
    """Return the table for a values.yaml."""
    lines = ["| value | default | meaning |", "| --- | --- | --- |"]
    for value in values(text):
        default = json.dumps(value.default).replace("|", "\\|")
        lines.append(f"| `{value.path}` | `{default}` | {value.text.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def readme(chart: Path = CHART) -> str:
    """Return the README as it should be: its text, with a new table."""
    old = (chart / "README.md").read_text(encoding="utf-8")
    before, _, rest = old.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table((chart / 'values.yaml').read_text(encoding='utf-8'))}\n{END}{after}"


def main() -> int:
    """Write the README."""
    (CHART / "README.md").write_text(readme(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
