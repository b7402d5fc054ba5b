"""The processes that are measured: started by `twistd`, as users do, their CPU time and memory read from the system."""

import re
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self

from tests.benchmarks.load import BenchError, Target, wait_or_kill
from tests.certificates import Authority, Pair
from tests.functional.daemon import environment, twistd

START_SECONDS = 60.0
POLL_SECONDS = 0.02


def cpu_seconds(*pids: int) -> float:
    """Return the CPU time that processes have used, all their threads, user and system, finer than /proc's ticks."""
    # clock_getcpuclockid(3), which Python does not have: the complement of the pid, and 2 for the scheduler's clock.
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def resident_bytes(pid: int) -> int:
    """Return how much memory a process holds."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Rss:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise BenchError("the system does not say how much memory a process holds")
    return int(found[1]) * 1024


def is_ready(ops: Target) -> bool:
    """Ask an ops port whether its server is ready."""
    host, _, port = ops.address.partition(":")
    connection = HTTPConnection(host, int(port), timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


class Identities:
    """The CA of everybody in the benchmark, the server's certificate, and the client's."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.server = self.authority.issue("localhost")
        self.client: Pair = self.authority.issue("alice", valid_until=timedelta(days=20))

    def options(self) -> list[str]:
        """Return the server's options that name the files."""
        return [
            f"--tls-certificate={self.server.certificate}",
            f"--tls-private-key={self.server.key}",
            f"--tls-client-ca={self.authority.file}",
        ]

    def target(self, port: int) -> Target:
        """Return how to reach a port of the loopback interface."""
        return Target(f"127.0.0.1:{port}", self.authority.file, self.client)


class DaemonProcess:
    """A daemon, with a log in a file; `target` is where it serves, for those that do."""

    target: Target

    def __init__(self, log: Path, command: Sequence[str], extra: Mapping[str, str] | None = None) -> None:
        self.log = log
        log.unlink(missing_ok=True)
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, env=environment(extra), cwd=log.parent, stderr=output)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait_for_line(self, pattern: str) -> re.Match[str]:
        """Return the match of the first line of the log that has it."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            text = self.log.read_text(errors="replace") if self.log.exists() else ""
            if found := re.search(pattern, text):
                return found
            if self._process.poll() is not None:
                raise BenchError(f"{self.log.stem} ended with status {self._process.returncode}:\n{text[-2000:]}")
            time.sleep(POLL_SECONDS)
        raise BenchError(f"no line like {pattern!r} in the log of {self.log.stem}:\n{text[-2000:]}")

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        wait_or_kill(self._process, 15)

    def __enter__(self) -> Self:
        """Leave it running."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()


UNLIMITED = (
    "--read-rate=1000000:1000000",
    "--write-rate=1000000:1000000",
    "--handshake-rate=1000000:1000000",
    "--max-connections-per-identity=4096",
    "--max-connections-per-address=4096",
)
"""Limits that are computed for each request and connection, and never refuse one."""


class TwistdProcess(DaemonProcess):
    """A daemon under `twistd -n`."""

    def __init__(
        self, folder: Path, log: str, arguments: Iterable[str], extra: Mapping[str, str] | None = None
    ) -> None:
        file = folder / log
        super().__init__(file, twistd(f"--logfile={file}", *arguments), extra)


class Server(TwistdProcess):
    """The product with all of its trust boundary on, in front of the cluster of a kubeconfig."""

    def __init__(
        self,
        folder: Path,
        identities: Identities,
        kubeconfig: Path,
        *options: str,
        log: str = "server.log",
        noted: Path | None = None,
    ) -> None:
        """With `noted`, the process writes there when it takes in each count of the Deployment that is followed."""
        arguments = ["--listen=tcp:0:interface=127.0.0.1", "--ops-listen=tcp:0:interface=127.0.0.1"]
        arguments += [*identities.options(), f"--kubeconfig={kubeconfig}", "--cluster=kubeconfig"]
        arguments += [*UNLIMITED, f"--audit-log={folder / log}.audit", *options]
        if noted is None:
            super().__init__(folder, log, ["sre-server", *arguments])
        else:
            script = Path(__file__).with_name("noting.py")
            super().__init__(folder, log, [f"--python={script}"], {"NOTING": "\n".join([str(noted), *arguments])})
        try:
            self.target = identities.target(int(self.wait_for_line(r"API: listening on 127\.0\.0\.1:(\d+)")[1]))
            self.ops = Target("127.0.0.1:" + self.wait_for_line(r"ops port: listening on 127\.0\.0\.1:(\d+)")[1])
        except BaseException:
            self.close()
            raise

    def wait_until_serving(self) -> None:
        """Wait until readyz is 200."""
        began = time.monotonic()
        while not is_ready(self.ops):
            if time.monotonic() - began > START_SECONDS:
                raise BenchError(f"{self.log.stem} was never ready")
            time.sleep(POLL_SECONDS)

    def wait_until_ready(self) -> None:
        """Wait until every list is in."""
        self.wait_for_line(r"\bdeployments: listed \d+")
        self.wait_for_line(r"\bnamespaces: listed \d+")


class Floor(TwistdProcess):
    """The bare protocol on the same endpoint, with one answer for everybody."""

    def __init__(self, folder: Path, identities: Identities, answer: bytes, log: str = "floor.log") -> None:
        file = folder / f"{log}.answer"
        file.write_bytes(answer)
        pair = identities.server
        names = (str(pair.certificate), str(pair.key), str(identities.authority.file), str(file))
        script = Path(__file__).with_name("floor.py")
        super().__init__(folder, log, [f"--python={script}"], {"FLOOR": "\n".join(names)})
        try:
            self.target = identities.target(int(self.wait_for_line(r"starting on (\d+)")[1]))
        except BaseException:
            self.close()
            raise
