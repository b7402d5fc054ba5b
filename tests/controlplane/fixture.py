"""The control plane that all integration tests of one run share, because starting one takes seconds."""

import atexit
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from . import build
from .plane import ControlPlane


def note(line: str) -> None:
    """Tell whoever waits for the tests what takes so long the first time."""
    sys.stderr.write(f"{line}\n")


@cache
def shared_plane() -> ControlPlane:
    """Return the running control plane of this process, built and started when first asked for.

    It is stopped, and its folder removed, when the process exits.  A test that breaks it has to mend it.
    (trial knows no class or module fixtures, or this would be one.)
    """
    binaries = build.ensure(note)
    workdir = Path(tempfile.mkdtemp(prefix="controlplane-"))
    # Registered before start() registers its own: what is registered last runs first.
    atexit.register(shutil.rmtree, workdir, ignore_errors=True)
    plane = ControlPlane(binaries, workdir)
    plane.start()
    return plane
