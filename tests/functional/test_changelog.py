"""What CHANGELOG.md decides: whether a change may be merged, what a version is, and which commit is its release."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import temporary_folder

CI = Path(__file__).parents[2] / ".ci"
UNRELEASED = """\
# Changelog

## [Unreleased]

### Added

- A new thing,
  told on two lines.
"""
RELEASED = f"""\
{UNRELEASED}
## [1.1.0] - 2026-03-02

### Fixed

- A bug.
"""


class ChangelogTests(SynchronousTestCase):
    """A repository whose main branch has version 1.1.0, and a branch of it."""

    def setUp(self) -> None:
        """Make the repository."""
        if shutil.which("git") is None:
            raise SkipTest("git is not installed")
        self.root = temporary_folder(self) / "checkout"
        for script in ("changelog.py", "publish", "release.py"):
            self._write({f".ci/{script}": (CI / script).read_text(encoding="utf-8")})
        self._git("init", "--quiet", "--initial-branch=main")
        self.first = self._commit(self._version("1.1.0", RELEASED))
        self._git("checkout", "--quiet", "-b", "topic")

    def _version(self, version: str, changelog: str) -> dict[str, str]:
        """Return every file that has the version."""
        image = f"annotations:\n  artifacthub.io/images: |\n    - name: sre-server\n      image: sre-server:{version}\n"
        chart = f"apiVersion: v2\nname: sre-server\nversion: {version}\nappVersion: {version}\n{image}"
        package = f'"""Docstring."""\n\n__version__ = "{version}"\n'
        return {
            "CHANGELOG.md": changelog,
            "sre_server/__init__.py": package,
            "helm/sre-server/Chart.yaml": chart,
        }

    def _write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _read(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")

    def _git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.root, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout

    def _commit(self, files: dict[str, str]) -> str:
        self._write(files)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message=A change")
        return self._git("rev-parse", "HEAD").strip()

    def _refusal(self, *arguments: str) -> str:
        """Call the script, and return the line that it ends with; nothing if all is well."""
        command = [sys.executable, str(self.root / ".ci/changelog.py"), *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual((bool(ended.returncode), ended.stdout), (bool(ended.stderr), ""))
        self.assertNotIn("Traceback", ended.stderr)
        return ended.stderr

    def _notes(self, version: str) -> str:
        """Return what `make release` would publish as the text of a version."""
        command = [sys.executable, str(self.root / ".ci/release.py"), "notes", "--version", version]
        env = {**os.environ, "SOURCE_DATE_EPOCH": "0"}
        subprocess.run(command, env=env, capture_output=True, timeout=60, check=True)
        return self._read(f"dist/sre-server-{version}-notes.md")

    def _plan(self) -> str:
        ended = subprocess.run(
            ["bash", ".ci/publish", "plan"], cwd=self.root, capture_output=True, text=True, check=True
        )
        return ended.stdout

    def test_a_change_without_an_entry(self) -> None:
        """Whatever is shipped needs an entry, a moved dependency too; tests and documents need none."""
        self._commit({"tests/test_x.py": "x = 1\n", "docs/x.md": "x\n"})
        self.assertEqual(self._refusal("check", "main"), "")
        for name in ("sre_server/x.py", "helm/sre-server/values.yaml", "setup.py", "requirements/image.txt"):
            self._git("checkout", "--quiet", "-B", "topic", "main")
            self._commit({name: "x = 2\n"})
            self.assertIn(f"{name} changed", self._refusal("check", "main"))

    def test_a_change_with_an_entry(self) -> None:
        """A new line under [Unreleased] will do, one under a version that is out already will not."""
        self._commit({"sre_server/x.py": "x = 1\n"})
        self._write({"CHANGELOG.md": RELEASED.replace("- A bug.", "- A bug.\n- X.")})
        self.assertIn("changed", self._refusal("check", "main"))
        self._write({"CHANGELOG.md": RELEASED.replace("- A new", "- X.\n- A new")})
        self.assertEqual(self._refusal("check", "main"), "")

    def test_what_others_merged(self) -> None:
        """What came to the base meanwhile is not this branch's to tell of, nor does its entry help this branch."""
        self._git("checkout", "--quiet", "main")
        self._commit({"sre_server/y.py": "y = 1\n", "CHANGELOG.md": RELEASED.replace("- A new", "- Y.\n- A new")})
        self._git("checkout", "--quiet", "topic")
        self.assertEqual(self._refusal("check", "main"), "")
        self._commit({"sre_server/x.py": "x = 1\n"})
        self.assertIn("changed", self._refusal("check", "main"))

    def test_release(self) -> None:
        """A release moves the entries under its version, whose number is in all three files, and passes the check."""
        self.assertEqual(self._refusal("release", "1.2.0-rc.1"), "")
        self.assertRegex(self._read("CHANGELOG.md"), r"\[Unreleased\]\n\n## \[1\.2\.0-rc\.1\] - [\d-]+\n\n### Added\n")
        expected = self._version("1.2.0-rc.1", self._read("CHANGELOG.md"))
        self.assertEqual({name: self._read(name) for name in expected}, expected)
        self.assertEqual(self._refusal("check", "main"), "")
        self.assertEqual(self._notes("1.2.0-rc.1"), "### Added\n- A new thing,\n  told on two lines.\n")
        self._write({"sre_server/__init__.py": '__version__ = "1.2.0"\n'})
        self.assertIn("1.2.0-rc.1 as its newest version", self._refusal("check", "main"))

    def test_no_release(self) -> None:
        """A version that is none, or does not follow, and one without entries are refused, and nothing is changed."""
        for version in ("v1.2.0", "1.2", "1.2.0-x.1", "1.1.0", "1.1.0-rc.1"):
            self.assertIn(version, self._refusal("release", version))
        self.assertEqual(self._git("status", "--porcelain"), "")
        self.assertEqual(self._refusal("release", "1.2.0"), "")
        self.assertIn("nothing to release", self._refusal("release", "1.10.0"))

    def test_the_commit_of_a_version(self) -> None:
        """A version is released from the first commit of the branch that has it: the merge that brought it."""
        self._commit(self._version("1.2.0", RELEASED.replace("## [1.1.0]", "## [1.2.0] - 2026-05-01\n\n## [1.1.0]")))
        self._git("checkout", "--quiet", "main")
        self._commit({"docs/x.md": "x\n"})
        self.assertEqual(self._plan(), f"version=1.1.0\ncommit={self.first}\n")
        self._git("merge", "--quiet", "--no-ff", "--message=Merge", "topic")
        merge = self._git("rev-parse", "HEAD").strip()
        self._commit({"CHANGELOG.md": self._read("CHANGELOG.md").replace("- A new", "- Another.\n- A new")})
        self.assertEqual(self._plan(), f"version=1.2.0\ncommit={merge}\n")

    def test_no_version(self) -> None:
        """Before the first version there is nothing to release, and that is no error."""
        self._commit({"CHANGELOG.md": UNRELEASED})
        self.assertEqual(self._plan(), "version=\ncommit=\n")

    def test_a_shallow_checkout(self) -> None:
        """Without the history the commit could be the wrong one, so none is named."""
        self._commit({"docs/x.md": "x\n"})
        clone = self.root.with_name("clone")
        self._git("clone", "--quiet", "--depth=1", self.root.as_uri(), str(clone))
        self.root = clone
        self.assertRaises(subprocess.CalledProcessError, self._plan)
