"""`python -m tests.controlplane.histories --minutes=10`: histories with faults by chance, and their problems."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.controlplane.fixture import shared_plane
from tests.controlplane.histories.running import long_histories


def main() -> int:
    """Run, say how each history went, and return 1 if one is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1, help="chooses the faults")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems = long_histories(
            shared_plane(), Path(folder), 60 * given.minutes, given.seed, lambda line: sys.stdout.write(f"{line}\n")
        )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
