"""A real Redis server for one test: on a port of its own, nothing on disk, hurt through its process."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from unittest import SkipTest

from redis import Connection

SECONDS: Final = 10.0
_CACHED: Final = Path("~/.cache/sre-server/redis/bin/redis-server").expanduser()


def redis_server() -> str:
    """Return the program; skips the test where there is none."""
    program = shutil.which("redis-server") or (str(_CACHED) if _CACHED.exists() else None)
    if program is None:
        raise SkipTest("no redis-server: install Debian's package, or run .ci/redis, which unpacks it")
    return program


class RedisServer:
    """A server that can be started again on the same port, empty."""

    def __init__(self, *arguments: str, password: str | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._arguments: Sequence[str] = arguments + (("--requirepass", password) if password else ())
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, for `--cache`."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Start it, and wait until it answers."""
        where = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [redis_server(), *where, *self._arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                self.call("PING")
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

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
            "127.0.0.1", self.port, password=self._password, socket_timeout=SECONDS, protocol=2, driver_info=None
        )
        try:
            connection.send_command(*command)
            return connection.read_response()
        finally:
            connection.disconnect()
