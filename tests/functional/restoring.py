"""The loop of docs/day.md that puts counts back, run as it stands there, against a server of a test's own."""

import shutil
import subprocess

from twisted.trial.unittest import SkipTest

from tests.functional.daemon import Daemon
from tests.guides import blocks


def restore(daemon: Daemon, since: str) -> str:
    """Run the loop for all that changed since a time; return what it prints."""
    for tool in ("curl", "jq"):
        if shutil.which(tool) is None:
            raise SkipTest(f"{tool} is not installed, which the loop of docs/day.md is made of")
    (loop,) = [block.commands for block in blocks("day.md") if "If-Match: $etag" in block.commands]
    pair = f"--cert {daemon.client.certificate} --key {daemon.client.key} --cacert {daemon.authority.file}"
    script = f'set -eu\nsre() {{ curl -sS {pair} "$@"; }}\nSRE=https://localhost:{daemon.port}\nsince={since}\n{loop}'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode or done.stderr:
        raise AssertionError(f"{done.returncode}: {done.stderr}")
    return done.stdout
