"""The load generator's binary.

It is our own because the ready ones fall short of the table: see docs/performance.md, "How it is measured".
"""

from pathlib import Path

from tests.programs import ensure_program

SOURCE = Path(__file__).parent / "load"


def ensure_load_generator() -> Path:
    """Return the binary, built if it is not there yet; raises BuildError."""
    return ensure_program("load", SOURCE, ("go.mod", "main.go", "worker.go"))
