"""The load generator's binary: built once, and kept where the control plane's programs are.

It is our own because the ready ones fall short of the table: see docs/performance.md, "How it is measured".
"""

import hashlib
import os
import subprocess
from pathlib import Path

from tests.controlplane.build import BuildError, GoMissingError, cache_root, exclusively

SOURCE = Path(__file__).parent / "load"
FILES = ("go.mod", "main.go", "worker.go")


def _toolchain() -> str:
    """Return which Go would build; raises GoMissingError."""
    command = ["go", "env", "GOVERSION", "GOOS", "GOARCH"]
    environment = os.environ | {"GOWORK": "off"}
    try:
        answer = subprocess.run(command, cwd=SOURCE, env=environment, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise GoMissingError("the load generator needs Go 1.25 or newer, as `go` on the PATH") from None
    return "-".join(answer.stdout.split())


def ensure_load_generator() -> Path:
    """Return the binary, built if it is not there yet; raises BuildError."""
    content = b"\0".join((SOURCE / file).read_bytes() for file in FILES)
    key = f"{hashlib.sha256(content).hexdigest()[:16]}-{_toolchain()}"
    root = cache_root().parent / "load"
    binary = root / key / "load"
    with exclusively(root / "lock"):
        if not binary.exists():
            binary.parent.mkdir(parents=True, exist_ok=True)
            unfinished = binary.with_suffix(f".{os.getpid()}")
            command = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", str(unfinished), "."]
            environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
            if subprocess.run(command, cwd=SOURCE, env=environment, check=False).returncode:
                raise BuildError("go build of the load generator failed")
            unfinished.replace(binary)
    return binary
