"""Real Redis servers and sentinels for one test: on ports of their own, nothing on disk, hurt through their process."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest

from redis import Connection, RedisError

SECONDS: Final = 60.0
_CACHED: Final = Path("~/.cache/sre-server/redis/bin").expanduser()


def redis_server(name: str = "redis-server") -> str:
    """Return the program of this name; skips the test where there is none."""
    program = shutil.which(name) or (str(_CACHED / name) if (_CACHED / name).exists() else None)
    if program is None:
        raise SkipTest(f"no {name}: install Debian's package, or run .ci/redis, which unpacks it")
    return program


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not {what} within {seconds:.0f} s")
        time.sleep(0.02)


class RedisServer:
    """A server that can be started again on the same port, empty."""

    def __init__(
        self,
        *arguments: str,
        password: str | None = None,
        program: str = "redis-server",
        host: str = "127.0.0.1",
        inside: Sequence[str] = (),
    ) -> None:
        """Listen on an address that is there `inside` what a command leads into."""
        self.port = free_port()
        self._host, self._inside = host, inside
        self._program = program
        self._arguments: Sequence[str] = arguments + (("--requirepass", password) if password else ())
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, for `--cache`."""
        return f"redis://{self._host}:{self.port}"

    @property
    def pid(self) -> int:
        """The process id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    def _command(self) -> list[str]:
        where = ["--port", str(self.port), "--bind", self._host, "--save", "", "--appendonly", "no"]
        replication = ["--repl-diskless-load", "swapdb", "--repl-diskless-sync-delay", "0"]
        return [*self._inside, redis_server(self._program), *where, *replication, *self._arguments]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(self._command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, "answering")

    def _answers(self) -> bool:
        try:
            self.call("PING")
        except (RedisError, OSError):
            return False
        return True

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; after one that ends it, wait for the end."""
        if self._process is None:
            return
        self._process.send_signal(how)
        if how in (signal.SIGKILL, signal.SIGTERM):
            self._process.wait(SECONDS)
            self._process = None

    def call(self, *command: str | bytes | int) -> Any:
        """Run one command."""
        connection = Connection(
            self._host, self.port, password=self._password, socket_timeout=SECONDS, protocol=2, driver_info=None
        )
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            connection.disconnect()


class Sentinel(RedisServer):
    """A sentinel that watches over one master, and is quick to find it dead."""

    def __init__(
        self, folder: Path, *lines: str, name: str = "main", password: str | None = None, program: str = "redis-server"
    ) -> None:
        """Have `lines` in the configuration, where the master is among them."""
        super().__init__(password=password, program=program)
        self._name = name
        self._file = folder / f"sentinel-{self.port}.conf"
        quick = (f"sentinel down-after-milliseconds {name} 2000", f"sentinel failover-timeout {name} 4000")
        common = (f"port {self.port}", "bind 127.0.0.1", f"dir {folder}")
        secret = (f"requirepass {password}",) if password else ()
        self._file.write_text("\n".join([*common, *secret, *lines, *quick, ""]))

    def _command(self) -> list[str]:
        return [redis_server(self._program), str(self._file), "--sentinel"]

    def start(self) -> None:
        """Start it, and have it look at its master, and trust its clock again after a stall, twice a second."""
        super().start()
        self.call("SENTINEL", "DEBUG", "info-period", 500, "tilt-period", 500)

    def master(self) -> int:
        """Return the port of the master."""
        return int(self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)[1])

    def wait_for_replica(self) -> None:
        """Wait until it knows a replica that could be promoted."""
        wait_until(lambda: any(b"ok" in each for each in self.call("SENTINEL", "REPLICAS", self._name)), "replicating")
