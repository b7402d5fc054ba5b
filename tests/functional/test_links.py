"""Links between pages: none leads nowhere, be it to a file or to a heading."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]


def pages() -> list[Path]:
    """Return every page of the repository."""
    found = [page for folder in ("docs", "helm", "tests", ".github") for page in (ROOT / folder).rglob("*.md")]
    return [*ROOT.glob("*.md"), *found]


def anchors(text: str) -> set[str]:
    """Return what the headings of a page are called in links, as GitHub makes it of them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


class LinksTests(SynchronousTestCase):
    """Links within the repository."""

    def test_anchors(self) -> None:
        """A heading is known by its words, without their punctuation."""
        self.assertEqual(anchors("# A `b`, c-d?\n```sh\n# no\n```\n## 2. E\n"), {"a-b-c-d", "2-e"})

    def test_every_link(self) -> None:
        """It leads to a file that is there, and to a heading that this has."""
        checked = 0
        for page in pages():
            text = page.read_text(encoding="utf-8")
            for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)]+))?\)", text):
                there = page.parent / target if target else page
                self.assertTrue(there.exists(), f"{page}: {target}")
                if anchor:
                    self.assertIn(anchor, anchors(there.read_text(encoding="utf-8")), f"{page}: {target}")
                checked += 1
        self.assertGreater(checked, 100)
