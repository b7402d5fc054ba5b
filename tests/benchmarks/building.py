"""The benchmark's programs in Go: the load generator, and a handler that is measured beside the server.

The load generator is our own because the ready ones fall short of the table: see docs/performance.md, "How it is
measured".
"""

from pathlib import Path

from tests.programs import ensure_program

_HERE = Path(__file__).parent


def ensure_load_generator() -> Path:
    """Return the binary, built if it is not there yet; raises BuildError."""
    return ensure_program("load", _HERE / "load", ("go.mod", "main.go", "worker.go"))


def ensure_handler() -> Path:
    """Return the binary of the bare net/http handler, built if it is not there yet; raises BuildError."""
    return ensure_program("handler", _HERE / "handler", ("go.mod", "main.go"))
