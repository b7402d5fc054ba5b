"""The stub of the Kubernetes API as a child process, and what is said between the two."""

import subprocess
import sys
from pathlib import Path
from typing import Final, Self
from urllib.request import urlopen

import msgspec
from msgspec import Struct

from tests.functional.daemon import environment

REVIEWED: Final = "/bench/reviewed"
"""Where the stub tells what reviews there were."""


class Storm(Struct, frozen=True):
    """An order: so many events a second, for so many seconds."""

    rate: float
    seconds: float


class Emitted(Struct, frozen=True):
    """An event of the Deployment that is followed: its new count, and when it was sent (Unix time in ns)."""

    value: int
    at: int


class Reviewed(Struct, frozen=True):
    """A SubjectAccessReview: when it was asked, in seconds, of whom, and about what, each empty for all."""

    at: float
    user: str
    namespace: str
    name: str


class Stub:
    """A running stub with so many Deployments; `kubeconfig` is where a server finds it."""

    def __init__(self, folder: Path, count: int, *, compress: bool = False, held: bool = False) -> None:
        """With `held`, each list of Deployments waits for a `release`; with `compress`, it comes as gzip."""
        self.kubeconfig = folder / f"stub-{count}{'-gzip' * compress}{'-held' * held}.kubeconfig"
        command = [sys.executable, "-m", "tests.benchmarks.stub", str(count), str(self.kubeconfig)]
        command += ["--gzip"] * compress + ["--held"] * held
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment(), stdin=pipe, stdout=pipe, text=True, cwd=folder)
        self._url = self._line().strip()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def _line(self) -> str:
        return self._process.stdout.readline() if self._process.stdout else ""

    def _order(self, order: Storm | None) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(msgspec.json.encode(order).decode() + "\n")
            self._process.stdin.flush()

    def release(self) -> None:
        """Let one list of Deployments go out."""
        self._order(None)

    def begin_storm(self, rate: float, seconds: float) -> None:
        """Begin to change Deployments."""
        self._order(Storm(rate, seconds))

    def emitted(self) -> list[Emitted]:
        """Wait for the end of the storm; return the events of the Deployment that is followed."""
        return msgspec.json.decode(self._line(), type=list[Emitted])

    def reviewed(self) -> list[Reviewed]:
        """Return the SubjectAccessReviews that there were."""
        with urlopen(self._url + REVIEWED) as answer:
            return msgspec.json.decode(answer.read(), type=list[Reviewed])

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        """Leave it running."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()
