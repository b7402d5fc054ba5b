"""The commands of the guides in docs/: which of them a test runs, and which need more than a test has."""

import re
from pathlib import Path
from typing import Final, NamedTuple

DOCS: Final = Path(__file__).parents[1] / "docs"
_BLOCK: Final = re.compile(
    r"(?:^<!-- needs (?P<needs>[^\n]+) -->\n)?^```shell\n(?P<commands>.*?)^```$", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A block of commands; `needs` says what it takes to run them, if that is more than a control plane."""

    commands: str
    needs: str | None


def blocks(guide: str) -> list[Block]:
    """Return the shell blocks of a guide, in their order."""
    text = (DOCS / guide).read_text(encoding="utf-8")
    return [Block(found["commands"], found["needs"]) for found in _BLOCK.finditer(text)]


def runnable(guide: str) -> str:
    """Return, as one script, the commands of a guide that need no more than a control plane."""
    return "\n".join(block.commands for block in blocks(guide) if block.needs is None)
