"""The simulated Kubernetes as a process, with faults to switch on, for a daemon that knows it by kubeconfig."""

import contextlib
import socket
import sys
import threading
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon, Process, environment


class Simulator(Process):
    """A running simulator; `kubeconfig` is where a daemon finds it."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.kubeconfig = folder / "kubeconfig"
        arguments = ["--control", f"--kubeconfig={self.kubeconfig}", *options]
        command = [sys.executable, "-m", "sre_server.simulator", *arguments]
        super().__init__(command, environment(), folder)
        try:
            self.url = self.wait_for_line(r"simulated Kubernetes API at (\S+)")[1]
        except BaseException:
            self.close()
            raise

    def call(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Any:
        """Send a request to the simulator and return its JSON."""
        address = urlsplit(self.url)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=20)
        try:
            content = b"" if body is None else msgspec.json.encode(body)
            connection.request(method, path, content, {"Content-Type": content_type})
            response = connection.getresponse()
            text = response.read()
            if response.status >= 300:
                raise AssertionError(f"{method} {path}: {response.status} {text!r}")
            return msgspec.json.decode(text) if text else None
        finally:
            connection.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return urlsplit(self.url).port or 0

    def behind(self, url: str) -> None:
        """Have the kubeconfig lead to another URL, behind which it is."""
        self.kubeconfig.write_text(self.kubeconfig.read_text().replace(self.url, url))

    def faults(self, *faults: dict[str, object]) -> None:
        """Switch off what is on, and switch these on."""
        self.call("PUT", "/simulator/faults", {"faults": faults})

    def counts(self) -> dict[str, int]:
        """How many requests came since the start, by "verb resource"."""
        counts: dict[str, int] = self.call("GET", "/simulator/requests")["counts"]
        return counts

    def unplug(self, seconds: float) -> None:
        """Take the simulator off the network for a while; return when it is, as its answer to this comes first."""
        with contextlib.suppress(ConnectionError, HTTPException):
            self.call("POST", "/simulator/unplug", {"seconds": seconds})
        address = urlsplit(self.url)
        pause = threading.Event()
        for _ in range(1000):
            try:
                socket.create_connection((address.hostname or "", address.port or 0), timeout=5).close()
            except ConnectionError:
                return
            pause.wait(0.01)
        raise AssertionError("the simulator was not off the network, or too briefly")

    def scale(self, namespace: str, name: str, replicas: int) -> None:
        """Scale a Deployment behind the daemon's back."""
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
        self.call("PATCH", path, {"spec": {"replicas": replicas}}, "application/merge-patch+json")


class SimulatedTestCase(SynchronousTestCase):
    """A daemon of a simulator that can be made to misbehave. This has no tests of its own."""

    def setUp(self) -> None:
        """Start both."""
        folder = temporary_folder(self)
        self.simulator = Simulator(folder)
        self.addCleanup(self.simulator.close)
        self.daemon = Daemon(folder, f"--kubeconfig={self.simulator.kubeconfig}", "--cluster=kubeconfig")
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
