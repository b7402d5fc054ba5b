"""The loop of docs/day.md that puts counts back, run as it stands there, against a server of a test's own."""

import shutil
import subprocess

from twisted.trial.unittest import SkipTest

from tests.functional.daemon import Daemon
from tests.guides import blocks

SINCE = "2026-11-25T20:00:00Z"
URL = "https://localhost:8443"


def restore(daemon: Daemon, since: str, confirm: str = "") -> str:
    """Run the loop for all that changed since a time, with `?confirm=` if that is given; return what it prints."""
    for tool in ("curl", "jq"):
        if shutil.which(tool) is None:
            raise SkipTest(f"{tool} is not installed, which the loop of docs/day.md is made of")
    (loop,) = [block.commands for block in blocks("day.md") if "jq" in block.commands]
    for written, ours in ((URL, f"https://localhost:{daemon.port}"), (SINCE, since)):
        if written not in loop:
            raise AssertionError(f"{written} is not in the loop")
        loop = loop.replace(written, ours)
    loop = loop.replace('/replicas"\n', f'/replicas{confirm}"\n')
    pair = f"--cert {daemon.client.certificate} --key {daemon.client.key} --cacert {daemon.authority.file}"
    script = f'set -eu\nsre() {{ curl {pair} "$@"; }}\n{loop}'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode or done.stderr:
        raise AssertionError(f"{done.returncode}: {done.stderr}")
    return done.stdout
