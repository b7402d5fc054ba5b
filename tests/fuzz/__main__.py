"""`python -m tests.fuzz [--seconds=60] [TARGET ...]`: look for inputs that break a target; 1 if there is one.

An input that breaks it is left in the working directory as `crash-...`: make it a test, where its target's tests are.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-untyped]  # it has no types

MAX_BYTES = 8192


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target in this process, which ends with it."""
    with atheris.instrument_imports(include=["sre_server"], enable_loader_override=False):
        from tests.fuzz.targets import targets  # noqa: PLC0415  # first imported here, to be instrumented
    target = targets()[name]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(target.seeds):
            (Path(folder) / str(number)).write_bytes(seed)
        options = [f"-max_total_time={seconds}", f"-max_len={MAX_BYTES}", "-timeout=120", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, folder], target.take)
        atheris.Fuzz()


def main() -> int:
    """Fuzz the targets that are named, or all, each for its part of the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--one", action="store_true", help="in this process")
    given = parser.parse_args()
    if given.one:
        fuzz(given.targets[0], given.seconds)
    from tests.fuzz.targets import targets  # noqa: PLC0415  # see `fuzz`

    names = given.targets or list(targets())
    failed = []
    for name in names:
        share = max(1, given.seconds // len(names))
        command = [sys.executable, "-m", "tests.fuzz", "--one", name, f"--seconds={share}"]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        runs = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
        sys.stdout.write(f"{name}: {' '.join(runs)} inputs, {'a failure' if done.returncode else 'no failure'}\n")
        if done.returncode:
            failed.append(name)
            sys.stderr.write(done.stderr[-6000:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
