"""Checks and cuts CHANGELOG.md: `.venv/bin/python .ci/changelog.py check BASE`, or `... release VERSION`.

keepachangelog reads the file. What is ours is which changes reach users, and where else the version stands.
"""

import re
import subprocess
import sys
from pathlib import Path

import keepachangelog  # type: ignore[import-untyped]
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
CHANGELOG = ROOT / "CHANGELOG.md"
SHIPPED = ("sre_server", "twisted", "helm", "setup.py", "Dockerfile", "requirements/image.txt")
PACKAGE = ROOT / "sre_server/__init__.py"
NUMBERS = {
    PACKAGE: r'^(__version__ = ")[^"]+',
    ROOT / "helm/sre-server/Chart.yaml": r"^(version: |appVersion: | +image: sre-server:)\S+",
}
# Of SemVer's prereleases, those that Python's packages can have, too.
VERSION = r"\d+\.\d+\.\d+(-(alpha|beta|rc)\.\d+)?"


def git(*arguments: str) -> str:
    """Return what git prints."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603, S607


def sections(text: str) -> dict[str, set[str]]:
    """Return the lines of every section, by version; `unreleased` is one."""
    return {
        version: {line for kind, lines in section.items() if kind != "metadata" for line in lines}
        for version, section in keepachangelog.to_dict(text.splitlines(), show_unreleased=True).items()
    }


def check(base: str) -> None:
    """Exit with a complaint if what changed since this left `base` reaches users, and the changelog does not say so."""
    start = git("merge-base", base, "HEAD").strip()
    now, before = sections(CHANGELOG.read_text(encoding="utf-8")), sections(git("show", f"{start}:CHANGELOG.md"))
    shipped = git("diff", "--name-only", start, "--", *SHIPPED).splitlines()
    if shipped and not (now["unreleased"].difference(*before.values()) or now.keys() - before.keys()):
        sys.exit(f"{shipped[0]} changed: say under [Unreleased] in CHANGELOG.md what is different for users")
    newest = next((version for version in now if version != "unreleased"), None)
    if newest and f'__version__ = "{newest}"' not in PACKAGE.read_text(encoding="utf-8"):
        sys.exit(f"CHANGELOG.md has {newest} as its newest version, and sre_server/__init__.py has another")


def release(version: str) -> None:
    """Make [Unreleased] a version of today, and write its number into the package and the chart."""
    unreleased, *released = sections(CHANGELOG.read_text(encoding="utf-8")).items()
    if not re.fullmatch(VERSION, version):
        sys.exit(f"{version} is not of the form 1.2.3 or 1.2.3-rc.1")
    if released and Version(version) <= Version(released[0][0]):
        sys.exit(f"{version} does not follow {released[0][0]}")
    if not unreleased[1]:
        sys.exit("[Unreleased] is empty: there is nothing to release")
    keepachangelog.release(str(CHANGELOG), version)
    for path, number in NUMBERS.items():
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(number, rf"\g<1>{version}", text, flags=re.MULTILINE), encoding="utf-8")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["check", base]:
            check(base)
        case ["release", version]:
            release(version)
        case _:
            sys.exit(__doc__)
