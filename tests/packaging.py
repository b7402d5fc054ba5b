"""The wheel alone, in a clean environment, gives a working `twistd sre-server`: run as `python -m tests.packaging`.

An editable install, and a run from the checkout, would both hide a plugin or a package that the wheel forgot.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.functional.daemon import Daemon, environment

CHECKOUT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command outside the checkout and return what it printed; raises CalledProcessError."""
    arguments = [str(part) for part in command]
    env = environment(checkout=False)
    return subprocess.run(arguments, cwd=cwd, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def check(folder: Path) -> str:
    """Build, install and start the wheel in `folder`; return the version that was served."""
    source = folder / "source"
    shutil.copytree(CHECKOUT, source, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__"))
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
    (wheel,) = folder.glob("sre_server-*.whl")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv/bin/python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    script = folder / "venv/bin/twistd"
    if "sre-server" not in run(script, "--help", cwd=folder):
        raise SystemExit("twistd does not know sre-server: the wheel has no plugin")
    version = run(script, "sre-server", "--version", cwd=folder).strip()
    with Daemon(folder, "--cluster=simulated", script=script) as daemon:
        daemon.wait_until_ready()
        if daemon.get("/deployments").status != 200:
            raise SystemExit("the installed server does not serve")
    return version


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        sys.stdout.write(f"{check(Path(name))}: the wheel installs, starts and serves\n")
