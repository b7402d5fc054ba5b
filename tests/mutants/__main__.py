"""`python -m tests.mutants [--sample=200] [--seed=1] [PATTERN ...]`: try a sample of mutants; show survivors.

Whether a survivor changes any behaviour is for people to say; this ends with 0 if there is none at all, else with 1.
"""

import argparse
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from fnmatch import fnmatch

FEW = "sre_server.day.rollout.*"
"""Mutants of a small module: mutmut makes all of them before it tries any."""
_SPINNER = re.compile(r"[\u2800-\u28ff] ")


def mutmut(*arguments: str) -> str:
    """Run mutmut, and return what it prints; what it prints when it fails is ours, too."""
    done = subprocess.run([sys.executable, "-m", "mutmut", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip() and not _SPINNER.match(line)]
        sys.exit("\n".join([f"mutmut {arguments[0]} failed:", *said[-60:]]))
    return done.stdout


def fates() -> dict[str, str]:
    """Return what became of each mutant so far, by its name."""
    lines = mutmut("results", "--all", "true").splitlines()
    return dict(line.strip().split(": ") for line in lines if ": " in line)


def sampled(names: list[str], sample: int, seed: int) -> list[str]:
    """Choose some mutants: the same ones for the same seed, as long as there are the same to choose from."""
    return random.Random(seed).sample(sorted(names), min(sample, len(names)))  # noqa: S311  # nothing secret


def main() -> int:
    """Try them one by one, so that the machine stays of use."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PATTERN")
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    shutil.rmtree("mutants", ignore_errors=True)  # of other code, or other tests, nothing is known
    mutmut("run", "--max-children=1", FEW)
    made = list(fates())
    named = [name for name in made if any(fnmatch(name, pattern) for pattern in given.names)]
    names = named if given.names else sampled(made, given.sample, given.seed)
    mutmut("run", "--max-children=1", *names)
    became = fates()
    survivors = [name for name in names if became[name] not in ("killed", "timeout", "segfault")]
    for name in survivors:
        sys.stdout.write(mutmut("show", name))
    sys.stdout.write(f"{len(names)} mutants: {dict(Counter(became[name] for name in names))}\n")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
