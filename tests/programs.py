"""Programs in Go that tests need: each built once, and kept where the control plane's programs are."""

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.controlplane.build import BuildError, GoMissingError, cache_root, exclusively


def _toolchain(name: str, source: Path) -> str:
    """Return which Go would build; raises GoMissingError."""
    command = ["go", "env", "GOVERSION", "GOOS", "GOARCH"]
    environment = os.environ | {"GOWORK": "off"}
    try:
        answer = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise GoMissingError(f"{name} needs Go 1.26 or newer, as `go` on the PATH") from None
    return "-".join(answer.stdout.split())


def ensure_program(name: str, source: Path, files: Sequence[str]) -> Path:
    """Return the binary of a folder's main package, built if it is not there yet; raises BuildError."""
    content = b"\0".join((source / file).read_bytes() for file in files)
    key = f"{hashlib.sha256(content).hexdigest()[:16]}-{_toolchain(name, source)}"
    root = cache_root().parent / name
    binary = root / key / name
    with exclusively(root / "lock"):
        if not binary.exists():
            binary.parent.mkdir(parents=True, exist_ok=True)
            unfinished = binary.with_suffix(f".{os.getpid()}")
            command = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-o", str(unfinished), "."]
            environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
            if subprocess.run(command, cwd=source, env=environment, check=False).returncode:
                raise BuildError(f"go build of {name} failed")
            unfinished.replace(binary)
    return binary
