"""`python -m tests.soak --minutes=60`: keep two servers busy, and say what of them grew; 1 if anything did."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.functional.daemon import Process
from tests.soak.sampling import MEMORY, Series, resources
from tests.soak.stirring import Stirring

SAMPLE_SECONDS = 5.0


class Lines:
    """How many lines a process has logged for each request since this was last asked, and no line kept."""

    def __init__(self, process: Process, stirring: Stirring, name: str) -> None:
        self._process = process
        self._stirring = stirring
        self._name = name
        self._requests = 0

    def __call__(self) -> float:
        """Count them."""
        self._process.said()
        lines, requests = len(self._process.lines), self._stirring.requests[self._name]
        self._process.lines.clear()
        fresh, self._requests = requests - self._requests, requests
        return lines / max(1, fresh)


def series_of(stirring: Stirring) -> list[Series]:
    """Return what is looked at."""
    processes: dict[str, Process] = {**stirring.servers, "watcher": stirring.watcher}
    found = [
        Series(f"{name}, {kind}", kind, lambda pid=process.pid, kind=kind: resources(pid)[kind])  # type: ignore[misc]
        for name, process in processes.items()
        for kind in (MEMORY, "descriptors", "threads")
    ]
    for name, server in stirring.servers.items():
        found.append(Series(f"{name}, log lines a request", "lines a request", Lines(server, stirring, name)))
    return [*found, Series("redis, used memory", MEMORY, lambda: used_memory(stirring))]


def used_memory(stirring: Stirring) -> float:
    """Ask Redis how many bytes it uses."""
    told = dict(line.split(b":", 1) for line in stirring.redis.call("INFO", "memory").splitlines() if b":" in line)
    return float(told[b"used_memory"])


def soak(seconds: float, sample_seconds: float = SAMPLE_SECONDS) -> list[Series]:
    """Run for so long, and return what was seen."""
    with tempfile.TemporaryDirectory() as folder, Stirring(Path(folder)) as stirring:
        series, began = series_of(stirring), time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            for each in series:
                each.sample(passed)
            time.sleep(sample_seconds)
        sys.stdout.write(f"requests: {stirring.requests}\n")
    return series


def main() -> int:
    """Run, and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    series = soak(60 * parser.parse_args().minutes)
    for each in series:
        sys.stdout.write(f"{each}\n")
    return 0 if all(each.within() for each in series) else 1


if __name__ == "__main__":
    sys.exit(main())
