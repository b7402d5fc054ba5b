"""The Pythons that what runs in the image is tested with: this one and, where it is installed, the image's own."""

import re
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).parents[2]


def image_version() -> str:
    """Return the version of Python that the image has, such as 3.13."""
    found = re.search(r"^FROM python:(\d+\.\d+)\.", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise AssertionError("the Dockerfile stands on no official Python")
    return found[1]


def pythons() -> list[str]:
    """Return the interpreters' paths; those of pyenv count, too."""
    version = image_version()
    managed = sorted((Path.home() / ".pyenv/versions").glob(f"{version}.*/bin/python"))
    candidates = [*map(str, managed), shutil.which(f"python{version}")]
    # What pyenv puts into PATH may be the name of a Python that is switched off.
    usable = (path for path in candidates if path and _runs(path))
    return list(dict.fromkeys([sys.executable, *islice(usable, 1)]))


def _runs(path: str) -> bool:
    return subprocess.run([path, "-V"], capture_output=True, check=False).returncode == 0
