"""Builds the image as `make build` does, and tries it: `python -m tests.image`, as root."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.image import engine

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STORE = Path("~/.cache/sre-server/image").expanduser()
ALONE = "SRE_SERVER_IMAGE_CHECK_ALONE"


def main() -> int:
    """Move into a mount namespace of our own, build, test, and return the exit status."""
    if os.geteuid() != 0:
        raise SystemExit("make image-check has to make a file system of its own: run it as root")
    if ALONE not in os.environ:
        command = ["unshare", "--mount", "--propagation=private", sys.executable, "-m", "tests.image"]
        os.execvpe(command[0], command, {**os.environ, ALONE: "1"})  # noqa: S606
    engine.unify_cgroups()
    STORE.mkdir(parents=True, exist_ok=True)
    docker = engine.stand_in(STORE)
    engine.make_base(docker)
    began = time.monotonic()
    subprocess.run(["make", "build", f"DOCKER={docker}", f"BASE={engine.BASE}"], cwd=ROOT, check=True)
    size = int(engine.run(docker, "image", "inspect", "--format={{.Size}}", "sre-server:latest"))
    base = int(engine.run(docker, "image", "inspect", "--format={{.Size}}", engine.BASE))
    sys.stdout.write(
        f"built in {time.monotonic() - began:.0f} s: {size / 1e6:.0f} MB, of which {base / 1e6:.0f} the base\n"
    )
    sys.stdout.flush()
    environ = {**os.environ, "DOCKER": str(docker), "BASE": engine.BASE}
    tests = [sys.executable, "-m", "pytest", "-q", "-rs", *map(str, sorted(HERE.glob("integration_*.py")))]
    try:
        return subprocess.run(tests, cwd=ROOT, env=environ, check=False).returncode
    finally:
        subprocess.run([docker, "image", "prune", "--force"], check=False, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
