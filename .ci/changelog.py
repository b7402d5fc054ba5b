#!/usr/bin/env python3
"""Reads, checks and cuts CHANGELOG.md, in the form of Keep a Changelog 1.1.0: `.ci/changelog.py --help`.

It needs nothing but Python and git, so that it runs before anything is installed.
"""

import argparse
import datetime
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TextIO

CHANGELOG: Final = "CHANGELOG.md"
PACKAGE: Final = "sre_server/__init__.py"
CHART: Final = "helm/sre-server/Chart.yaml"
KINDS: Final = ("Added", "Changed", "Deprecated", "Removed", "Fixed", "Security")
SHIPPED: Final = ("sre_server/", "twisted/", "helm/", "setup.py", "Dockerfile", "requirements/image.txt")

_NUMBER: Final = r"(?:0|[1-9]\d*)"
# Of SemVer's prereleases, those that Python's packages can have, too.
_SEMVER: Final = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-(?:alpha|beta|rc)\.{_NUMBER})?"
_RELEASE: Final = re.compile(rf"## \[({_SEMVER})\] - (\d{{4}}-\d{{2}}-\d{{2}})( \[YANKED\])?")
_LINK: Final = re.compile(r"\[[^\]]+\]: \S+")


class ChangelogError(Exception):
    """What is wrong, in one sentence for the person who has to mend it."""


class Section(NamedTuple):
    """One `##` section: its version (None for [Unreleased]), its date, its lines, and its entries as single lines."""

    version: str | None
    date: datetime.date | None
    lines: tuple[str, ...]
    entries: tuple[str, ...]


def precedence(version: str) -> tuple[tuple[int, ...], bool, str, int]:
    """Return what versions sort by, as SemVer 2.0.0 orders them."""
    core, _, prerelease = version.partition("-")
    kind, _, number = prerelease.partition(".")
    return tuple(int(part) for part in core.split(".")), not prerelease, kind, int(number or 0)


def parse(text: str) -> list[Section]:
    """Return the sections, [Unreleased] first; raises ChangelogError with the line that is wrong."""
    lines = text.splitlines()
    heads = _heads(lines)
    if not heads or lines[heads[0]] != "## [Unreleased]":
        raise _wrong(heads[0] if heads else 0, "the first section has to be `## [Unreleased]`")
    sections: list[Section] = []
    for head, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        version, date = (None, None) if head == heads[0] else _release(lines[head], head)
        entries = _entries(lines, head + 1, end)
        if version and not entries:
            raise _wrong(head, f"version {version} has no entries")
        if version and date:
            _ordered(sections[-1], version, date, head)
        body = [line for line in lines[head + 1 : end] if not _LINK.fullmatch(line)]
        sections.append(Section(version, date, tuple(body), entries))
    return sections


def _wrong(line: int, message: str) -> ChangelogError:
    return ChangelogError(f"{CHANGELOG}:{line + 1}: {message}")


def _heads(lines: Sequence[str]) -> list[int]:
    """Return where the sections begin, not counting what looks like a heading inside a code block."""
    heads, fenced = [], False
    for number, line in enumerate(lines):
        fenced ^= line.lstrip().startswith("```")
        if line.startswith("## ") and not fenced:
            heads.append(number)
    return heads


def _release(line: str, number: int) -> tuple[str, datetime.date]:
    found = _RELEASE.fullmatch(line)
    if found is None:
        raise _wrong(number, f"{line!r} is not of the form `## [1.2.3] - 2026-01-31`")
    try:
        return found[1], datetime.date.fromisoformat(found[2])
    except ValueError as error:
        raise _wrong(number, f"{found[2]} is not a date") from error


def _ordered(newer: Section, version: str, date: datetime.date, number: int) -> None:
    if newer.version is None or newer.date is None:
        return
    if precedence(version) >= precedence(newer.version):
        raise _wrong(number, f"version {version} stands below {newer.version}; newer versions stand above older ones")
    if date > newer.date:
        raise _wrong(number, f"version {version} is dated after version {newer.version}, which stands above it")


def _entries(lines: Sequence[str], start: int, end: int) -> tuple[str, ...]:
    """Return the list items of one section, each joined to one line; every item belongs to one of the six kinds."""
    entries: list[str] = []
    counts: dict[str, int] = {}
    kind, fenced = "", False
    for number in range(start, end):
        line = lines[number]
        fenced ^= line.lstrip().startswith("```")
        if fenced:
            continue
        if line.startswith("### "):
            kind = line.removeprefix("### ")
            if kind not in KINDS:
                raise _wrong(number, f"{kind!r} is not one of {', '.join(KINDS)}")
            if kind in counts:
                raise _wrong(number, f"{kind!r} stands twice in one section")
            counts[kind] = 0
        elif line.startswith(("- ", "* ")):
            if not kind:
                raise _wrong(number, f"this entry belongs under one of {', '.join(KINDS)}")
            entries.append(line[2:].strip())
            counts[kind] += 1
        elif entries and kind and line.startswith("  ") and line.strip():
            entries[-1] += f" {line.strip()}"
    if empty := [kind for kind, count in counts.items() if not count]:
        raise _wrong(start - 1, f"{empty[0]!r} is empty in this section")
    return tuple(entries)


def newest(sections: Sequence[Section]) -> str:
    """Return the newest version; raises ChangelogError if none was released yet."""
    for section in sections:
        if section.version:
            return section.version
    raise ChangelogError(f"{CHANGELOG} has no released version yet, only [Unreleased]")


def notes(sections: Sequence[Section], version: str) -> str:
    """Return what the changelog says of one version."""
    for section in sections:
        if section.version == version:
            return "\n".join(section.lines).strip() + "\n"
    raise ChangelogError(f"{CHANGELOG} has no version {version}")


def cut(text: str, version: str, date: datetime.date) -> str:
    """Return the text with [Unreleased] made the section of a version, and an empty [Unreleased] above it."""
    if not re.fullmatch(_SEMVER, version):
        raise ChangelogError(f"{version!r} is not a version of the form 1.2.3 or 1.2.3-rc.1")
    unreleased, *released = parse(text)
    if not unreleased.entries:
        raise ChangelogError("[Unreleased] has no entries: there is nothing to release")
    if released and precedence(version) <= precedence(newest(released)):
        raise ChangelogError(f"version {version} does not follow {newest(released)}")
    head = "## [Unreleased]\n"
    done = text.replace(head, f"{head}\n## [{version}] - {date.isoformat()}\n", 1)
    parse(done)
    return done


def disagreement(version: str, package: str, chart: str) -> str | None:
    """Say which of the two files, given as text, does not have the version that the changelog has as its newest."""
    said = {
        f"__version__ in {PACKAGE}": re.search(r'^__version__ = "(.+)"$', package, re.MULTILINE),
        f"version in {CHART}": re.search(r"""^version: ["']?([^"'\s]+)""", chart, re.MULTILINE),
        f"appVersion in {CHART}": re.search(r"""^appVersion: ["']?([^"'\s]+)""", chart, re.MULTILINE),
    }
    for name, found in said.items():
        if found is None or found[1] != version:
            return f"{CHANGELOG} has {version} as its newest version, but {name} is {found[1] if found else 'missing'}"
    return None


class Repository:
    """The checkout that the changelog is in."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str) -> str:
        """Return a file's text, empty if there is none."""
        path = self._root / name
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def read_at(self, commit: str, name: str) -> str:
        """Return a file's text as of a commit, empty if it had none."""
        return self.git("show", f"{commit}:{name}") if self.git("ls-tree", commit, "--", name) else ""

    def write(self, name: str, text: str) -> None:
        """Replace a file's text."""
        (self._root / name).write_text(text, encoding="utf-8")

    def git(self, *arguments: str) -> str:
        """Return what git prints; raises ChangelogError with what it complains of."""
        program = shutil.which("git")
        if program is None:
            raise ChangelogError("git is not installed")
        ended = subprocess.run(  # noqa: S603  # fixed commands; a base is checked to be a commit before it is used
            [program, *arguments], cwd=self._root, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            raise ChangelogError(f"git {arguments[0]}: {ended.stderr.strip() or 'failed'}")
        return ended.stdout

    def check(self, base: str) -> str:
        """Say what the change since it left `base` did to the changelog; raises ChangelogError if too little."""
        sections = parse(self.read(CHANGELOG))
        if any(section.version for section in sections):
            wrong = disagreement(newest(sections), self.read(PACKAGE), self.read(CHART))
            if wrong:
                raise ChangelogError(f"{wrong}; `.ci/changelog.py release VERSION` changes all of them")
        commit = self.git("rev-parse", "--verify", "--end-of-options", f"{base}^{{commit}}").strip()
        start = self.git("merge-base", commit, "HEAD").strip()
        changed = self.git("diff", "--name-only", "--no-renames", start).splitlines()
        shipped = [name for name in changed if name.startswith(SHIPPED)]
        # The old text is not parsed: a form that was wrong there must not keep anybody from mending it.
        before = self.read_at(start, CHANGELOG)
        known = {" ".join(item.split()) for item in _items(before)}
        fresh = [entry for section in sections for entry in section.entries if " ".join(entry.split()) not in known]
        fresh += [
            section.version for section in sections if section.version and f"## [{section.version}]" not in before
        ]
        if shipped and not fresh:
            raise ChangelogError(
                f"{shipped[0]} changed, and {CHANGELOG} says nothing of it: "
                "add a line under [Unreleased] that tells users what is different for them"
            )
        return f"{len(shipped)} shipped files changed, {len(fresh)} new entries or versions"

    def release(self, version: str, date: datetime.date) -> str:
        """Cut a version in the changelog and write its number into the package and the chart."""
        changelog, package, chart = self.read(CHANGELOG), self.read(PACKAGE), self.read(CHART)
        done = cut(changelog, version, date)
        package = re.sub(r'^__version__ = ".+"$', f'__version__ = "{version}"', package, flags=re.MULTILINE)
        chart = re.sub(r"^version: .+$", f"version: {version}", chart, flags=re.MULTILINE)
        chart = re.sub(r"^appVersion: .+$", f"appVersion: {version}", chart, flags=re.MULTILINE)
        chart = re.sub(r"^( +image: (?:\S*/)?sre-server):\S+$", rf"\1:{version}", chart, flags=re.MULTILINE)
        if wrong := disagreement(version, package, chart):
            raise ChangelogError(wrong)
        for name, text in ((CHANGELOG, done), (PACKAGE, package), (CHART, chart)):
            self.write(name, text)
        return f"{version}: look at `git diff`, then commit and open a pull request"

    def plan(self) -> str:
        """Name the newest version and the commit that is its release, as lines for $GITHUB_OUTPUT.

        The commit is the first on this branch that has the version in all three files.  It is the same however many
        commits followed, so every run for a version builds the same sources.
        """
        if self.git("rev-parse", "--is-shallow-repository").strip() == "true":
            raise ChangelogError("this checkout is shallow; the commit of a version is found in the whole history")
        sections = parse(self.read_at("HEAD", CHANGELOG))
        if len(sections) == 1:
            return "version=\ncommit="
        version = newest(sections)
        wrong = None
        for commit in self.git(
            "rev-list", "--first-parent", "--reverse", "HEAD", "--", CHANGELOG, PACKAGE, CHART
        ).split():
            if f"\n## [{version}] - " in self.read_at(commit, CHANGELOG):
                wrong = disagreement(version, self.read_at(commit, PACKAGE), self.read_at(commit, CHART))
                if wrong is None:
                    return f"version={version}\ncommit={commit}"
        raise ChangelogError(wrong or f"no commit on this branch has version {version}")


def _items(text: str) -> list[str]:
    """Return the list items of a text, each joined to one line, whatever else is in it."""
    items: list[str] = []
    for line in text.splitlines():
        if line.startswith(("- ", "* ")):
            items.append(line[2:])
        elif items and line.startswith("  "):
            items[-1] += f" {line.strip()}"
    return items


def main(arguments: Sequence[str], root: Path, out: TextIO = sys.stdout, errors: TextIO = sys.stderr) -> int:
    """Run one subcommand in the checkout `root` and return the exit status: 0, or 1 with one line of complaint."""
    parser = argparse.ArgumentParser(prog=".ci/changelog.py", description="Reads, checks and cuts CHANGELOG.md.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version", help="print the newest released version")
    commands.add_parser("plan", help="print the newest version and the commit that is its release")
    commands.add_parser("notes", help="print what is said of a version").add_argument("version")
    commands.add_parser("check", help="fail if a change of the package has no entry").add_argument("base")
    releasing = commands.add_parser("release", help="make [Unreleased] a version, in the package and the chart, too")
    releasing.add_argument("version")
    releasing.add_argument(
        "--date", type=datetime.date.fromisoformat, default=datetime.datetime.now(datetime.UTC).date()
    )
    options = parser.parse_args(arguments)
    repository = Repository(root)
    actions: dict[str, Callable[[], str]] = {
        "version": lambda: newest(parse(repository.read(CHANGELOG))),
        "plan": repository.plan,
        "notes": lambda: notes(parse(repository.read(CHANGELOG)), options.version).rstrip("\n"),
        "check": lambda: repository.check(options.base),
        "release": lambda: repository.release(options.version, options.date),
    }
    try:
        out.write(f"{actions[options.command]()}\n")
    except ChangelogError as error:
        errors.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path(__file__).resolve().parents[1]))
