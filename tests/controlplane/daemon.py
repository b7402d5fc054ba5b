"""Child processes and loopback ports that cannot outlive the tests that asked for them."""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.05
TAIL_BYTES = 4000
PR_SET_PDEATHSIG = 1

# Looked up before any fork: between fork and exec the child must not take locks that importing needs.
PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


class PlaneError(RuntimeError):
    """A part of the control plane did not do what was asked of it; the message says what it said."""


def wait_until(satisfied: Callable[[], bool], what: str, seconds: float = 300.0) -> None:
    """Return as soon as the condition holds; raise PlaneError if it does not within the time given."""
    deadline = time.monotonic() + seconds
    while not satisfied():
        if time.monotonic() > deadline:
            raise PlaneError(f"{what}: not within {seconds:g} s")
        time.sleep(POLL_SECONDS)


def reserve_port() -> socket.socket:
    """Return a socket bound to a free loopback port, which reserves that port until it is closed.

    The socket never listens.  A server that sets SO_REUSEPORT may bind the port as well, now and again after
    a restart, and the system gives the port to nobody else meanwhile.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((LOOPBACK, 0))
    except BaseException:
        reserved.close()
        raise
    return reserved


def _die_with_parent(parent: int) -> None:
    """Ask Linux, in the forked child, to kill it when the thread that started it ends."""
    if PRCTL is not None:
        PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


class Daemon:
    """One background program, in a process group of its own, writing to one log file.

    It may be stopped and started again.  On Linux the kernel kills it when the thread that started it ends,
    however that comes about; elsewhere it is left to stop().
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        healthy: Callable[[], bool],
        environment: Mapping[str, str],
        attempts: int = 1,
    ) -> None:
        """Run `command`, which has so many `attempts` to become healthy, should it end by itself before it is."""
        self.name = Path(command[0]).name
        self._command = list(command)
        self._log = log
        self._healthy = healthy
        self._environment = dict(environment)
        self._attempts = attempts
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while the program has been started and not stopped, else None."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start the program, without waiting for it to be of use; does nothing if it was started already."""
        if self._process is not None:
            return
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
                preexec_fn=partial(_die_with_parent, os.getpid()),  # noqa: PLW1509
            )

    def wait_ready(self, seconds: float = 180.0) -> None:
        """Return once the program says it is healthy; raise PlaneError if it dies first or takes longer."""
        attempts = iter(range(1, self._attempts))
        try:
            wait_until(lambda: self._ready(attempts), f"{self.name} is not ready", seconds)
        except PlaneError as error:
            raise PlaneError(f"{error}\nthe end of {self._log}:\n{self.tail()}") from None

    def _ready(self, attempts: Iterator[int]) -> bool:
        """Tell whether the program is healthy; start it again if it is gone, or raise PlaneError."""
        if self._process is None:
            raise PlaneError(f"{self.name} is not running")
        status = self._process.poll()
        if status is None:
            return self._healthy()
        if next(attempts, None) is None:
            raise PlaneError(f"{self.name} ended with status {status}")
        self._process = None
        self.start()
        return False

    def tail(self) -> str:
        """Return the end of the program's log."""
        return self._log.read_bytes()[-TAIL_BYTES:].decode(errors="replace") if self._log.exists() else ""

    def stop(self, grace: float = 0.0) -> None:
        """End the program and all it started: politely at first, if seconds of grace are given."""
        process, self._process = self._process, None
        if process is None:
            return
        # A group whose last process has just ended is gone, or on some systems out of reach.
        with suppress(ProcessLookupError, PermissionError):
            if grace:
                os.killpg(process.pid, signal.SIGTERM)
                # It may be paused, and would not hear the first signal.
                os.killpg(process.pid, signal.SIGCONT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(grace)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def pause(self) -> None:
        """Freeze the program: its connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused program continue where it was."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the program, which has to be running."""
        if self._process is None or self._process.poll() is not None:
            raise PlaneError(f"{self.name} is not running")
        os.killpg(self._process.pid, number)
