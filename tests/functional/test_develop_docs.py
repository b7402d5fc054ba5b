"""docs/develop.md and docs/release.md, command by command: run in a copy of the checkout, or known to exist."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import temporary_folder

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs/develop.md", ROOT / "docs/release.md"]
BLOCKS = re.compile(r"^```shell *(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Run here; run here once what was said so far is committed; run by CI; too long to run; in need of GitHub or a cluster.
KINDS = ("", "commit", "ci", "dry", "cloud")
# A version that follows whatever was released when the tests run, in place of the one in the text.
DOCUMENTED, USED = "0.2.0", "9999.2.0"


def documented(page: Path) -> list[tuple[str, str]]:
    """Return the commands of a page in its order, each with its block's kind."""
    blocks = BLOCKS.findall(page.read_text(encoding="utf-8"))
    return [(kind, line) for kind, block in blocks for line in block.splitlines() if line.strip()]


class PageTests(SynchronousTestCase):
    """The pages for those who work on the server."""

    def setUp(self) -> None:
        """Copy the checkout into a repository of its own, whose `.venv` is the environment that runs this test."""
        for tool in ("bash", "git", "make"):
            if shutil.which(tool) is None:
                raise SkipTest(f"{tool} is not installed")
        self.folder = temporary_folder(self) / "checkout"
        made = (".git", ".venv*", ".tox", ".*_cache", "__pycache__", "dist", "*.egg-info", "_trial*")
        left_out = shutil.ignore_patterns(*made, ".hypothesis", "dropin.cache*")
        shutil.copytree(ROOT, self.folder, ignore=left_out)
        (self.folder / ".venv").symlink_to(sys.prefix)
        changelog = self.folder / "CHANGELOG.md"
        text = changelog.read_text(encoding="utf-8")
        if re.search(r"## \[Unreleased\]\s+## ", text):
            text = text.replace("## [Unreleased]", "## [Unreleased]\n\n### Added\n\n- Something.")
        changelog.write_text(text, encoding="utf-8")
        for command in (
            "git init --quiet --initial-branch=main",
            "git add --all",
            "git commit --quiet --message=Checkout",
            "git update-ref refs/remotes/origin/main HEAD",
        ):
            self._bash(command)

    def _bash(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy, as somebody with a name and without settings of their own; fail if it fails."""
        names = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in
                 (("NAME", "Test"), ("EMAIL", "test@example.org"))}  # fmt: skip
        settings = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "GIT_PAGER": "cat"}
        env = {
            name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "PYTHONPATH")
        }
        ended = subprocess.run(
            ["bash", "-e", "-c", command], cwd=self.folder, env={**env, **names, **settings}, capture_output=True,
            text=True, timeout=300, check=False,
        )  # fmt: skip
        self.assertEqual(ended.returncode, 0, f"{command}\n{ended.stdout}\n{ended.stderr}")
        return ended

    def _follow(self, page: Path) -> list[str]:
        """Run the commands of a page that can be run here; return what they printed."""
        printed = []
        for kind, line in documented(page):
            if kind == "commit":
                self._bash("git add --all && git commit --quiet --allow-empty --message=Release")
            if kind in ("", "commit"):
                printed.append(self._bash(line.replace(DOCUMENTED, USED)).stdout)
        return printed

    def test_develop(self) -> None:
        """Every command of develop.md that is not marked works in a fresh checkout."""
        printed = "".join(self._follow(PAGES[0]))
        self.assertIn("make test", printed)
        self.assertIn(" passed", printed)
        self.assertIn("PASSED", printed)

    def test_release(self) -> None:
        """The commands of release.md cut a version, show its notes, pass the check, and name the commit that has it."""
        printed = "".join(self._follow(PAGES[1]))
        self.assertIn("### Added", printed)
        self.assertIn(f'+__version__ = "{USED}"', printed)
        commit = self._bash("git rev-parse HEAD").stdout.strip()
        self.assertIn(f"version={USED}\ncommit={commit}\n", printed)

    def test_kinds(self) -> None:
        """Each block is of a known kind, and none of these pages has shell that hides in another form."""
        for page in PAGES:
            text = page.read_text(encoding="utf-8")
            self.assertEqual(text.count("```"), 2 * len(BLOCKS.findall(text)), page.name)
            for kind, line in documented(page):
                self.assertIn(kind, KINDS, (page.name, line))

    def test_run_by_ci(self) -> None:
        """What is said to be run by CI is run by `.ci/run`, line for line, and that by a workflow."""
        script = [line.strip() for line in (ROOT / ".ci/run").read_text(encoding="utf-8").splitlines()]
        found = [line for page in PAGES for kind, line in documented(page) if kind == "ci"]
        self.assertGreaterEqual(len(found), 4)
        self.assertEqual([line for line in found if line not in script], [])
        self.assertIn("run: .ci/run\n", (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))

    def test_make_targets(self) -> None:
        """`make -n` knows what each documented `make` would do, with what is said to be set."""
        lines = [line for page in PAGES for _, line in documented(page) if re.search(r"(^| )make ", line)]
        self.assertGreaterEqual(len(lines), 8)
        for line in lines:
            self._bash(line.replace("make ", "make -n "))

    def test_scripts(self) -> None:
        """Each step of a script that is documented is one that the script has."""
        usage = (ROOT / ".ci/publish").read_text(encoding="utf-8")
        for page in PAGES:
            for _, line in documented(page):
                if line.startswith(".ci/"):
                    program, *arguments = line.split()
                    self.assertTrue(os.access(ROOT / program, os.X_OK), line)
                    if program == ".ci/publish":
                        self.assertIn(f"|{arguments[0]}", usage.replace("publish plan", "publish |plan"), line)

    def test_references(self) -> None:
        """Files and folders that the pages speak of are there."""
        pages = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
        for page in pages:
            text = page.read_text(encoding="utf-8")
            for path in re.findall(r"`((?:sre_server|tests|helm|\.ci|\.github|docs)/[\w./-]*)`", text):
                self.assertTrue((ROOT / path).exists(), (page.name, path))
