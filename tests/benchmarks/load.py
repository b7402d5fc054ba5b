"""The load generator as a child process: one round of requests for each call, on connections that stay open."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self, TypeVar

import msgspec
from msgspec import Struct

from tests.certificates import Pair

T = TypeVar("T")


def wait_or_kill(process: subprocess.Popen[Any], seconds: float) -> None:
    """Wait for a process that was told to end; by force, after so long."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class BenchError(Exception):
    """Something cannot be measured; the message is one line for a person."""


class Seen(Struct, frozen=True):
    """A new value in a body, and when it had been read (Unix time in ns)."""

    value: int
    at: int


class LoadReport(Struct, frozen=True):
    """What one round came to; latencies in microseconds, `cpu` in seconds of the load generator itself."""

    requests: int
    errors: int
    first_error: str
    statuses: dict[int, int]
    bytes: int
    seconds: float
    cpu: float
    latency: dict[str, float]
    seen: list[Seen] | None = None

    def check(self, *expected: int) -> Self:
        """Return the report; raises BenchError unless every request was answered with an expected status."""
        if self.errors or set(self.statuses) - set(expected) or not self.requests:
            raise BenchError(f"errors: {self.errors} ({self.first_error}), statuses: {self.statuses}")
        return self


class Target(Struct, frozen=True):
    """A TLS port, who may speak to it, and under which name; without `ca`, a plain HTTP port."""

    address: str
    ca: Path | None = None
    client: Pair | None = None
    name: str = "localhost"


class Load:
    """A running load generator, connected."""

    def __init__(
        self,
        binary: Path,
        target: Target,
        paths: Sequence[str] = (),
        *,
        connections: int = 16,
        headers: Sequence[str] = (),
        connect: bool = False,
        in_turn: bool = False,
        follow: str = "",
        method: str = "GET",
    ) -> None:
        """Ask for one of `paths` each time, at random or `in_turn`; with `connect`, on a new connection.

        Without paths, make connections only.
        """
        command = [str(binary), f"-address={target.address}", f"-name={target.name}", f"-connections={connections}"]
        command += [f"-method={method}", f"-connect={str(connect).lower()}", f"-follow={follow}"]
        command += [f"-in-turn={str(in_turn).lower()}"]
        command += [f"-header={header}" for header in headers]
        if target.ca and target.client:
            command += [f"-ca={target.ca}", f"-cert={target.client.certificate}", f"-key={target.client.key}"]
        with NamedTemporaryFile("w", suffix=".targets") as file:
            file.write("\n".join(paths))
            file.flush()
            command += [f"-targets={file.name}"] if paths else []
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            try:
                self._read(str)
            except BaseException:
                self.close()
                raise

    def _read(self, kind: type[T]) -> T:
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise BenchError("the load generator gave up; its own message is above")
        return msgspec.json.decode(line, type=kind)

    def begin(self, seconds: float, *, requests: int = 0, rate: float = 0, skip: bool = False) -> None:
        """Begin a round that ends after so many seconds, or requests; `rate` paces it, in requests a second in all.

        Paced requests are timed from when they were due. With `skip`, those that come due while their connection waits
        for an answer are left out.
        """
        order = msgspec.json.encode({"seconds": seconds, "requests": requests, "rate": rate, "skip": skip})
        if self._process.stdin is not None:
            self._process.stdin.write(order + b"\n")
            self._process.stdin.flush()

    def result(self) -> LoadReport:
        """Wait for the end of the round."""
        return self._read(LoadReport)

    def round(self, seconds: float, *, requests: int = 0, rate: float = 0, skip: bool = False) -> LoadReport:
        """Run one round from beginning to end."""
        self.begin(seconds, requests=requests, rate=rate, skip=skip)
        return self.result()

    def close(self) -> None:
        """Close the connections."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        wait_or_kill(self._process, 5)

    def __enter__(self) -> Self:
        """Leave it connected."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()
