"""A system without epoll, such as macOS: the API port is Twisted's own there."""

import contextlib
import os
import signal
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon, environment

WITHOUT = "import select\ndel select.epoll\n"


class NoEpollTests(SynchronousTestCase):
    """A daemon whose Python has no epoll."""

    def setUp(self) -> None:
        """Start it."""
        folder = temporary_folder(self)
        (folder / "sitecustomize.py").write_text(WITHOUT)
        path = os.pathsep.join([str(folder), environment()["PYTHONPATH"]])
        self.daemon = Daemon(folder, "--cluster=simulated", env={"PYTHONPATH": path})
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.assertNotIn("eventpoll", descriptors(self.daemon.pid))

    def test_it_serves(self) -> None:
        """Reads in the lane and out of it, a long list, a write, and an end in good order."""
        path = "/deployments/shop/cart/replicas"
        connection = self.daemon.connect()
        self.addCleanup(connection.close)
        for _ in range(3):
            self.assertEqual(self.daemon.request("GET", path, connection=connection).status, 200)
        self.assertEqual(self.daemon.request("GET", "/nowhere", connection=connection).status, 404)
        self.assertEqual(self.daemon.put(path, {"replicas": 7}).status, 200)
        self.assertEqual(self.daemon.get(path).json["replicas"], 7)
        self.daemon.send_signal(signal.SIGTERM)
        self.daemon.wait()
        self.assertNotIn("Traceback", self.daemon.output())


def descriptors(pid: int) -> str:
    """Tell what the descriptors of a process are, where that can be known."""
    folder, found = Path(f"/proc/{pid}/fd"), []
    for each in folder.iterdir() if folder.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # it has been closed since
            found.append(str(each.readlink()))
    return " ".join(found)
