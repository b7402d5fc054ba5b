"""A network of two ends, the far one in a namespace of its own, that can be cut without a word to either."""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar
from unittest import SkipTest

T = TypeVar("T")
_CLONE_NEWNET: Final = 0x40000000
_HARDWARE: Final = "02:00:5e:00:00:01"


class Network:
    """A network namespace, and the link to it."""

    def __init__(self) -> None:
        self._name = f"sre-{os.getpid()}"
        self._near, self._far = f"sren{os.getpid()}", f"sref{os.getpid()}"
        low = os.getpid() % 64 * 4
        self.here, self.there = (
            f"198.18.{os.getpid() // 64 % 256}.{low + 1}",
            f"198.18.{os.getpid() // 64 % 256}.{low + 2}",
        )

    def open(self) -> None:
        """Make it; skips the test where this machine does not allow that."""
        if shutil.which("ip") is None:
            raise SkipTest("no link is cut: there is no ip (of iproute2)")
        try:
            self._ip("netns", "add", self._name)
            self._ip(
                *("link", "add", self._near, "type", "veth", "peer"),
                *("name", self._far, "address", _HARDWARE, "netns", self._name),
            )
        except subprocess.CalledProcessError as error:
            self.close()
            raise SkipTest(
                f"no link is cut: this machine allows no network namespaces: {error.stderr.strip()}"
            ) from None
        self._ip("address", "add", f"{self.here}/30", "dev", self._near)
        self._ip("link", "set", self._near, "up")
        # Else ARP would find out, and tell, that nobody is there any more.
        self._ip("neighbour", "replace", self.there, "lladdr", _HARDWARE, "dev", self._near, "nud", "permanent")
        self._ip("-n", self._name, "address", "add", f"{self.there}/30", "dev", self._far)
        self.plug()

    def plug(self) -> None:
        """Have the link up."""
        self._ip("-n", self._name, "link", "set", self._far, "up")

    def unplug(self) -> None:
        """Have it down: whoever is connected hears nothing of that."""
        self._ip("-n", self._name, "link", "set", self._far, "down")

    def inside(self) -> list[str]:
        """Return the beginning of a command that runs there."""
        return ["ip", "netns", "exec", self._name]

    def within(self, job: Callable[[], T]) -> T:
        """Run a job in a thread that is there, and return what it returns; sockets that it makes stay there."""

        def enter() -> T:
            with open(f"/run/netns/{self._name}", "rb") as there:  # noqa: PTH123  # its descriptor is wanted
                if ctypes.CDLL(None, use_errno=True).setns(there.fileno(), _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns failed")
            return job()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(enter).result()

    def close(self) -> None:
        """Remove all of it."""
        for what in (("link", "delete", self._near), ("netns", "delete", self._name)):
            with contextlib.suppress(subprocess.CalledProcessError):
                self._ip(*what)

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
