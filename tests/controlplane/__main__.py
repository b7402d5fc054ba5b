"""Runs the integration tests: in the cluster of $KUBECONFIG if that is set, else in a control plane built here."""

import os
import subprocess
import sys
from pathlib import Path

from . import build

HERE = Path(__file__).parent


def main() -> int:
    """Build what is missing, run the tests, and return the exit status."""
    if os.environ.get("KUBECONFIG"):
        modules = [HERE / "integration_server.py"]
    else:
        status = build.main()
        if status:
            return status
        modules = sorted(HERE.glob("integration_*.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-rs", *(str(module) for module in modules)]
    return subprocess.run(command, cwd=HERE.parents[1], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
