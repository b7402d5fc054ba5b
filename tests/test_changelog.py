"""`.ci/changelog.py`: what it reads, refuses and cuts, and which commit it calls a release."""

import datetime
import importlib.util
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import temporary_folder

SCRIPT = Path(__file__).parents[1] / ".ci/changelog.py"

UNRELEASED = """\
# Changelog

Prose that nobody parses.

## [Unreleased]

### Added

- A new thing,
  told on two lines.
"""
RELEASED = (
    UNRELEASED
    + """
## [1.1.0] - 2026-03-02

Prose about this version.

### Fixed

- A bug.

### Security

- A hole.

## [1.0.0] - 2026-02-01 [YANKED]

### Added

- Everything.

[1.0.0]: https://example.org/1.0.0
"""
)


def _load() -> ModuleType:
    """Import the script, which is in no package."""
    spec = importlib.util.spec_from_file_location("changelog", SCRIPT)
    if spec is None or spec.loader is None:
        raise AssertionError(f"{SCRIPT} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


changelog = _load()


class ReadingTests(SynchronousTestCase):
    """What is in a changelog."""

    def test_sections(self) -> None:
        """Sections come in the file's order, each with its entries, however many lines an entry takes."""
        sections = changelog.parse(RELEASED)
        self.assertEqual([section.version for section in sections], [None, "1.1.0", "1.0.0"])
        self.assertEqual(sections[0].entries, ("A new thing, told on two lines.",))
        self.assertEqual(sections[1].date, datetime.date(2026, 3, 2))

    def test_newest(self) -> None:
        """The newest version is the topmost, and there may be none."""
        self.assertEqual(changelog.newest(changelog.parse(RELEASED)), "1.1.0")
        nothing = self.assertRaises(changelog.ChangelogError, changelog.newest, changelog.parse(UNRELEASED))
        self.assertIn("no released version", str(nothing))

    def test_notes(self) -> None:
        """The notes are the section without its heading and without the file's link targets."""
        sections = changelog.parse(RELEASED)
        expected = "Prose about this version.\n\n### Fixed\n\n- A bug.\n\n### Security\n\n- A hole.\n"
        self.assertEqual(changelog.notes(sections, "1.1.0"), expected)
        self.assertEqual(changelog.notes(sections, "1.0.0"), "### Added\n\n- Everything.\n")
        unknown = self.assertRaises(changelog.ChangelogError, changelog.notes, sections, "2.0.0")
        self.assertIn("no version 2.0.0", str(unknown))

    def test_fenced(self) -> None:
        """What looks like a heading or an entry inside a code block is neither."""
        text = UNRELEASED + "\n```\n## [9.9.9] - 2026-01-01\n### Nonsense\n- not an entry\n```\n"
        (section,) = changelog.parse(text)
        self.assertEqual(len(section.entries), 1)

    def test_malformed(self) -> None:
        """Each departure from the form is refused with the number of its line and a sentence."""
        cases = {
            "empty": ("", 1, "has to be `## [Unreleased]`"),
            "no unreleased": (RELEASED.replace("## [Unreleased]", "## Unreleased"), 5, "has to be `## [Unreleased]`"),
            "twice unreleased": (UNRELEASED + "\n## [Unreleased]\n", 12, "is not of the form"),
            "no brackets": (RELEASED.replace("## [1.1.0]", "## 1.1.0"), 12, "is not of the form"),
            "not SemVer": (RELEASED.replace("[1.1.0]", "[1.1]"), 12, "is not of the form"),
            "leading zero": (RELEASED.replace("[1.1.0]", "[1.01.0]"), 12, "is not of the form"),
            "no prerelease of Python's": (RELEASED.replace("[1.1.0]", "[1.1.0-x.7]"), 12, "is not of the form"),
            "no date": (RELEASED.replace(" - 2026-03-02", ""), 12, "is not of the form"),
            "no such day": (RELEASED.replace("2026-03-02", "2026-02-30"), 12, "2026-02-30 is not a date"),
            "unknown kind": (RELEASED.replace("### Security", "### Safety"), 20, "'Safety' is not one of"),
            "kind twice": (RELEASED.replace("### Security", "### Fixed"), 20, "'Fixed' stands twice"),
            "no kind": (UNRELEASED.replace("### Added\n", ""), 8, "belongs under one of"),
            "empty kind": (RELEASED.replace("- A hole.\n", ""), 12, "'Security' is empty"),
            "empty version": (UNRELEASED + "\n## [1.0.0] - 2026-01-01\n", 12, "version 1.0.0 has no entries"),
            "wrong order": (RELEASED.replace("[1.0.0] -", "[1.2.0] -"), 24, "version 1.2.0 stands below 1.1.0"),
            "same twice": (RELEASED.replace("[1.0.0] -", "[1.1.0] -"), 24, "version 1.1.0 stands below 1.1.0"),
            "dates out of order": (RELEASED.replace("2026-02-01", "2026-04-01"), 24, "is dated after version 1.1.0"),
        }
        for name, (text, line, message) in cases.items():
            said = str(self.assertRaises(changelog.ChangelogError, changelog.parse, text))
            self.assertTrue(said.startswith(f"CHANGELOG.md:{line}: "), (name, said))
            self.assertIn(message, said, name)

    def test_precedence(self) -> None:
        """Versions sort as in SemVer 2.0.0: prereleases before their release, numbers as numbers."""
        ordered = ["1.0.0-alpha.2", "1.0.0-beta.1", "1.0.0-rc.2", "1.0.0-rc.10", "1.0.0", "1.9.0", "1.10.0"]
        shuffled = ordered[1::2] + ordered[::2]
        self.assertEqual(sorted(shuffled, key=changelog.precedence), ordered)

    def test_own(self) -> None:
        """The project's own changelog has the form."""
        changelog.parse(SCRIPT.parents[1].joinpath("CHANGELOG.md").read_text(encoding="utf-8"))


class CuttingTests(SynchronousTestCase):
    """[Unreleased] made a version."""

    def test_cut(self) -> None:
        """The entries move under the version, and an empty [Unreleased] stands above them."""
        done = changelog.cut(RELEASED, "1.2.0", datetime.date(2026, 5, 1))
        self.assertIn("## [Unreleased]\n\n## [1.2.0] - 2026-05-01\n\n### Added\n\n- A new thing,\n", done)
        self.assertEqual(changelog.parse(done)[0].entries, ())

    def test_refused(self) -> None:
        """A version that is none, that does not follow, or that has nothing in it is not cut."""
        nothing = changelog.cut(RELEASED, "1.2.0", datetime.date(2026, 5, 1))
        cases = [
            (RELEASED, "v1.2.0", "is not a version"),
            (RELEASED, "1.2", "is not a version"),
            (RELEASED, "1.1.0", "does not follow 1.1.0"),
            (RELEASED, "1.1.0-rc.1", "does not follow 1.1.0"),
            (nothing, "1.3.0", "nothing to release"),
        ]
        for text, version, message in cases:
            args = (text, version, datetime.date(2026, 5, 1))
            self.assertIn(message, str(self.assertRaises(changelog.ChangelogError, changelog.cut, *args)))
        early = (RELEASED, "1.2.0", datetime.date(2026, 1, 1))
        self.assertIn("dated after", str(self.assertRaises(changelog.ChangelogError, changelog.cut, *early)))


class RepositoryTests(SynchronousTestCase):
    """The subcommands that look at git."""

    def setUp(self) -> None:
        """Make a repository whose main branch has version 1.1.0."""
        if shutil.which("git") is None:
            raise SkipTest("git is not installed")
        self.root = temporary_folder(self) / "checkout"
        self.root.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")
        self._commit(self._files("1.1.0", RELEASED))

    def _files(self, version: str, text: str, *, chart: str | None = None) -> dict[str, str]:
        chart = chart or version
        images = f"annotations:\n  artifacthub.io/images: |\n    - name: sre-server\n      image: sre-server:{chart}\n"
        chart_text = f"apiVersion: v2\nname: sre-server\nversion: {chart}\nappVersion: {chart}\n{images}"
        return {
            "CHANGELOG.md": text,
            "sre_server/__init__.py": f'"""Docstring."""\n\n__version__ = "{version}"\n',
            "helm/sre-server/Chart.yaml": chart_text,
        }

    def _write(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def _git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.root, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout

    def _commit(self, files: dict[str, str]) -> str:
        self._write(files)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--allow-empty", "--message=A change")
        return self._git("rev-parse", "HEAD").strip()

    def _call(self, *arguments: str) -> tuple[int, str, str]:
        out, errors = io.StringIO(), io.StringIO()
        status = changelog.main(arguments, self.root, out, errors)
        return status, out.getvalue().strip(), errors.getvalue().strip()

    def _refusal(self, *arguments: str) -> str:
        status, out, errors = self._call(*arguments)
        self.assertEqual((status, out, len(errors.splitlines())), (1, "", 1), errors)
        return errors

    def test_version_and_notes(self) -> None:
        """`version` and `notes` print what is in the file."""
        self.assertEqual(self._call("version"), (0, "1.1.0", ""))
        self.assertIn("- A bug.", self._call("notes", "1.1.0")[1])
        self.assertIn("no version 3.0.0", self._refusal("notes", "3.0.0"))

    def test_check_without_entry(self) -> None:
        """A change of anything that is shipped needs an entry; a changed test or document needs none."""
        self._git("checkout", "--quiet", "-b", "topic")
        self._commit({"tests/test_x.py": "x = 1\n", "docs/x.md": "x\n"})
        self.assertEqual(self._call("check", "main")[0], 0)
        for name in (
            "sre_server/x.py",
            "twisted/plugins/x.py",
            "helm/sre-server/values.yaml",
            "setup.py",
            "Dockerfile",
        ):
            self._git("checkout", "--quiet", "-B", "topic", "main")
            self._commit({name: "x = 2\n"})
            self.assertIn(f"{name} changed, and CHANGELOG.md says nothing", self._refusal("check", "main"))

    def test_check_with_entry(self) -> None:
        """A new line under [Unreleased] will do, and so will one in a new version's section."""
        self._git("checkout", "--quiet", "-b", "topic")
        self._commit({"sre_server/x.py": "x = 1\n"})
        self._write({"CHANGELOG.md": RELEASED.replace("### Added\n\n", "### Added\n\n- X.\n", 1)})
        self.assertEqual(self._call("check", "main"), (0, "1 shipped files changed, 1 new entries or versions", ""))
        self.assertEqual(self._call("release", "1.2.0")[0], 0)
        self.assertEqual(self._call("check", "main")[0], 0)

    def test_check_rewrapped(self) -> None:
        """An old entry that is moved or wrapped anew is no news."""
        self._commit({"sre_server/x.py": "x = 1\n"})
        moved = RELEASED.replace("- A new thing,\n  told on two lines.", "- A new thing, told on\n  two lines.")
        self._write({"CHANGELOG.md": moved})
        self.assertIn("says nothing of it", self._refusal("check", "HEAD^"))

    def test_check_looks_from_where_the_branch_left(self) -> None:
        """What others merged into the base meanwhile is not this branch's to tell of, nor does their entry help it."""
        self._git("checkout", "--quiet", "-b", "topic")
        self._commit({"docs/x.md": "x\n"})
        self._git("checkout", "--quiet", "main")
        self._commit(
            {"sre_server/y.py": "y = 1\n", "CHANGELOG.md": RELEASED.replace("### Added\n\n", "### Added\n\n- Y.\n", 1)}
        )
        self._git("checkout", "--quiet", "topic")
        self.assertEqual(self._call("check", "main")[0], 0)
        self._commit({"sre_server/x.py": "x = 1\n"})
        self.assertIn("says nothing of it", self._refusal("check", "main"))

    def test_check_mends(self) -> None:
        """A changelog that was malformed on the base can be mended; one that is malformed now is refused."""
        self._commit({"CHANGELOG.md": RELEASED.replace("### Security", "### Safety")})
        self._write({"CHANGELOG.md": RELEASED})
        self.assertEqual(self._call("check", "HEAD")[0], 0)
        self._write({"CHANGELOG.md": RELEASED.replace("### Security", "### Safety")})
        self.assertIn("'Safety' is not one of", self._refusal("check", "HEAD"))

    def test_check_versions(self) -> None:
        """The newest version has to be the package's and the chart's."""
        for files, name in (
            (self._files("1.1.1", RELEASED, chart="1.1.0"), "__version__ in sre_server/__init__.py is 1.1.1"),
            (self._files("1.1.0", RELEASED, chart="1.0.0"), "version in helm/sre-server/Chart.yaml is 1.0.0"),
        ):
            self._write(files)
            self.assertIn(name, self._refusal("check", "HEAD"))
        self.root.joinpath("helm/sre-server/Chart.yaml").unlink()
        self.assertIn("Chart.yaml is missing", self._refusal("check", "HEAD"))

    def test_check_unknown_base(self) -> None:
        """A base that is no commit, or that looks like an option, is refused in git's words."""
        for base in ("no-such-branch", "--all"):
            self.assertIn("git rev-parse:", self._refusal("check", *(["--", base] if base.startswith("-") else [base])))

    def test_release(self) -> None:
        """`release` writes the number into all three files, and what it wrote passes the check."""
        self.assertEqual(self._call("release", "1.2.0-rc.1", "--date=2026-06-01")[0], 0)
        self.assertIn("## [1.2.0-rc.1] - 2026-06-01", self.root.joinpath("CHANGELOG.md").read_text())
        self.assertIn('__version__ = "1.2.0-rc.1"', self.root.joinpath("sre_server/__init__.py").read_text())
        chart = self.root.joinpath("helm/sre-server/Chart.yaml").read_text()
        self.assertEqual(chart, self._files("1.2.0-rc.1", "")["helm/sre-server/Chart.yaml"])
        self.assertEqual(self._call("check", "HEAD")[0], 0)

    def test_release_is_all_or_nothing(self) -> None:
        """Where one of the files cannot be changed, none is."""
        self._write({"helm/sre-server/Chart.yaml": "name: sre-server\n"})
        self.assertIn("Chart.yaml is missing", self._refusal("release", "1.2.0"))
        self.assertEqual(self.root.joinpath("CHANGELOG.md").read_text(), RELEASED)
        self.assertIn("1.1.0", self.root.joinpath("sre_server/__init__.py").read_text())

    def test_plan(self) -> None:
        """The release is the first commit with the version, whatever was committed after it."""
        first = self._git("rev-parse", "HEAD").strip()
        self._commit({"CHANGELOG.md": RELEASED.replace("- A new", "- Another.\n- A new"), "sre_server/x.py": "x = 1\n"})
        self.assertEqual(self._call("plan"), (0, f"version=1.1.0\ncommit={first}", ""))
        second = self._commit(self._files("1.2.0", changelog.cut(RELEASED, "1.2.0", datetime.date(2026, 5, 1))))
        self.assertEqual(self._call("plan"), (0, f"version=1.2.0\ncommit={second}", ""))

    def test_plan_merge(self) -> None:
        """A version that a branch brought is the merge's, not the branch's own commit."""
        self._git("checkout", "--quiet", "-b", "topic")
        self._commit(self._files("1.2.0", changelog.cut(RELEASED, "1.2.0", datetime.date(2026, 5, 1))))
        self._git("checkout", "--quiet", "main")
        self._commit({"docs/x.md": "x\n"})
        self._git("merge", "--quiet", "--no-ff", "--message=Merge", "topic")
        merge = self._git("rev-parse", "HEAD").strip()
        self._commit({"docs/y.md": "y\n"})
        self.assertEqual(self._call("plan")[1], f"version=1.2.0\ncommit={merge}")

    def test_plan_mended(self) -> None:
        """A version that came without the package's number is released by the commit that brings it."""
        text = changelog.cut(RELEASED, "1.2.0", datetime.date(2026, 5, 1))
        self._commit({"CHANGELOG.md": text})
        self.assertIn("1.2.0 as its newest version", self._refusal("plan"))
        mended = self._commit(self._files("1.2.0", text))
        self.assertEqual(self._call("plan")[1], f"version=1.2.0\ncommit={mended}")

    def test_plan_nothing(self) -> None:
        """Before the first version there is nothing to release, and that is no error."""
        self._commit({"CHANGELOG.md": UNRELEASED})
        self.assertEqual(self._call("plan"), (0, "version=\ncommit=", ""))

    def test_plan_shallow(self) -> None:
        """In a shallow checkout the commit could be the wrong one, so none is named."""
        self._commit({"docs/x.md": "x\n"})
        clone = self.root.with_name("clone")
        self._git("clone", "--quiet", "--depth=1", self.root.as_uri(), str(clone))
        self.root = clone
        self.assertIn("shallow", self._refusal("plan"))

    def test_script(self) -> None:
        """Run as a file, it works in the checkout that it is part of; a wrong call is told what calls there are."""
        self._write({".ci/changelog.py": SCRIPT.read_text(encoding="utf-8")})
        script = [sys.executable, str(self.root / ".ci/changelog.py")]
        done = subprocess.run([*script, "version"], cwd="/", capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stdout), (0, "1.1.0\n"), done.stderr)
        wrong = subprocess.run([*script, "nonsense"], capture_output=True, text=True, check=False)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn("notes", wrong.stderr)
