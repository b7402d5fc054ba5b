#!/usr/bin/env python3
"""Makes what a release consists of besides the image: `python .ci/release.py packages|sbom|chart|notes|checksums ...`.

Equal sources, the same SOURCE_DATE_EPOCH and the pinned tools of requirements/ give equal bytes, wherever and whenever
they are built.
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keepachangelog  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("setup.py", "pyproject.toml", "README.md", "sre_server", "twisted")


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a command, free of the environment's Python settings, and return what it printed."""
    behind = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environ = {name: value for name, value in os.environ.items() if name not in behind}
    arguments = [str(part) for part in command]
    ended = subprocess.run(arguments, cwd=cwd, env=environ, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return ended.stdout


def pip(environment: Path, *arguments: str | Path) -> None:
    """Run this Python's pip upon another environment."""
    run(sys.executable, "-m", "pip", "--python", environment / "bin/python", "install", "--quiet", *arguments)


def checked_in(folder: Path) -> Path:
    """Copy the package's sources, as far as git knows them, and return where they are."""
    for name in run("git", "ls-files", "-z", "--", *SOURCES).split("\0"):
        if name:
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    return folder / "source"


def repack(archive: Path, target: Path, epoch: int) -> None:
    """Write a .tar.gz again without what depends on who packed it, when and where."""
    with (
        tarfile.open(archive) as packed,
        target.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.GNU_FORMAT) as fresh,
    ):
        for member in sorted(packed.getmembers(), key=lambda member: member.name):
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = epoch
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            fresh.addfile(member, packed.extractfile(member) if member.isfile() else None)


def packages(folder: Path, options: argparse.Namespace) -> None:
    """Build the sdist from the sources, and the wheel from the sdist, which so is shown to be complete."""
    tools = folder / "tools"
    venv.create(tools)
    pip(tools, "--require-hashes", "--only-binary", ":all:", "--requirement", ROOT / "requirements/build.txt")
    build = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"
    run(tools / "bin/python", "-c", build, "build_sdist", folder, cwd=checked_in(folder))
    (archive,) = folder.glob("*.tar.gz")
    sdist = options.dist / archive.name
    repack(archive, sdist, options.epoch)
    with tarfile.open(sdist) as packed:
        packed.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    run(tools / "bin/python", "-c", build, "build_wheel", options.dist, cwd=unpacked)


def sbom(folder: Path, options: argparse.Namespace) -> None:
    """Write a CycloneDX bill of materials of the wheel and everything that the image installs with it."""
    (wheel,) = options.dist.glob("*.whl")
    clean = folder / "clean"
    venv.create(clean)
    pip(clean, "--require-hashes", "--only-binary", ":all:", "--requirement", ROOT / "requirements/image.txt")
    pip(clean, "--no-deps", "--no-index", wheel)
    tool = Path(sys.executable).parent / "cyclonedx-py"
    text = run(tool, "environment", "--output-reproducible", "--spec-version", "1.6", clean / "bin/python", cwd=folder)
    document: dict[str, Any] = json.loads(text)
    components = document["components"]
    (server,) = (component for component in components if component["name"] == "sre-server")
    components.remove(server)
    server.pop("externalReferences", None)  # where the wheel lay on this machine
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    server.update(type="application", hashes=[{"alg": "SHA-256", "content": digest}])
    when = datetime.fromtimestamp(options.epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document["metadata"] = {**document.get("metadata", {}), "timestamp": when, "component": server}
    path = options.dist / f"sre-server-{server['version']}.cdx.json"
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def chart(folder: Path, options: argparse.Namespace) -> None:
    """Package the chart, with the server's version as its own and its appVersion."""
    version = ("--version", options.version, "--app-version", options.version)
    run("helm", "package", options.chart, *version, "--destination", folder)
    (archive,) = folder.glob("*.tgz")
    repack(archive, options.dist / archive.name, options.epoch)


def notes(_: Path, options: argparse.Namespace) -> None:
    """Write what the changelog says of the version, for the page of its release; nothing for one still to come."""
    said = keepachangelog.to_raw_dict(str(ROOT / "CHANGELOG.md")).get(options.version, {}).get("raw", "")
    (options.dist / f"sre-server-{options.version}-notes.md").write_text(said, encoding="utf-8")


def checksums(_: Path, options: argparse.Namespace) -> None:
    """Write SHA256SUMS, as `sha256sum --check` reads it."""
    files = sorted(path for path in options.dist.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (options.dist / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


PARTS: dict[str, Callable[[Path, argparse.Namespace], None]] = {
    "packages": packages,
    "sbom": sbom,
    "chart": chart,
    "notes": notes,
    "checksums": checksums,
}


def main() -> None:
    """Make the parts that were asked for, in that order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=PARTS)
    parser.add_argument("--dist", type=lambda name: Path(name).resolve(), default=ROOT / "dist")
    parser.add_argument("--chart", type=Path, default=ROOT / "helm/sre-server")
    parser.add_argument("--version", default="0.0.0", help="of the chart and the notes")
    options = parser.parse_args()
    options.epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    os.umask(0o022)
    options.dist.mkdir(parents=True, exist_ok=True)
    for part in options.parts:
        with tempfile.TemporaryDirectory() as name:
            PARTS[part](Path(name), options)


if __name__ == "__main__":
    main()
