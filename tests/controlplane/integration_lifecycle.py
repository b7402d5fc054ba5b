"""How a control plane begins and ends: with all of its programs, whatever happens to the test."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from . import build
from .daemon import LOOPBACK, Daemon, PlaneError, reserve_port, wait_until
from .fixture import note
from .plane import ControlPlane

PARENT = """
import os, signal, sys
from pathlib import Path
from {package}.plane import ControlPlane
plane = ControlPlane(Path(sys.argv[1]), Path(sys.argv[2]))
plane.start()
print(*plane.pids(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def is_running(pid: int) -> bool:
    """Tell whether there is a process of that id, other than one that has ended and is not yet reaped."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip()[:1] not in ("", "Z")


class LifecycleTests(SynchronousTestCase):
    """Control planes of a test's own."""

    def setUp(self) -> None:
        """Make a folder for one control plane."""
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.workdir = Path(folder.name)

    def test_nothing_is_left_running(self) -> None:
        """Leaving the context ends every program, even a paused one, and frees the port."""
        with ControlPlane(build.ensure(note), self.workdir) as plane:
            pids = plane.pids()
            self.assertListEqual([is_running(pid) for pid in pids], [True] * 5)
            plane.pause_apiserver()
        self.assertListEqual([is_running(pid) for pid in pids], [False] * 5)

    @skipUnless(sys.platform == "linux", "only Linux ends the children of a killed process")
    def test_nothing_survives_a_killed_parent(self) -> None:
        """When the test's process is killed, the programs are as well."""
        parent = subprocess.run(
            [sys.executable, "-c", PARENT.format(package=__package__), str(build.ensure(note)), str(self.workdir)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path])},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertListEqual([parent.returncode], [-signal.SIGKILL], parent.stderr)
        pids = [int(pid) for pid in parent.stdout.split()]
        self.assertListEqual([is_pid > 1 for is_pid in pids], [True] * 5)
        wait_until(lambda: not any(is_running(pid) for pid in pids), "programs outlive their parent")

    def test_without_watch_cache_compaction_expires_watches(self) -> None:
        """With the watch cache off, compact() alone gives a watcher that was away its 410."""
        with ControlPlane(build.ensure(note), self.workdir, watch_cache=False) as plane:
            plane.kubectl("create", "configmap", "seen")
            old = plane.kubectl("get", "configmap", "seen", "--output=jsonpath={.metadata.resourceVersion}")
            plane.kubectl("create", "configmap", "missed")
            plane.compact()
            path = f"/api/v1/namespaces/default/configmaps?watch=true&resourceVersion={old}&timeoutSeconds=15"
            status, content = plane.request("GET", path)
            self.assertListEqual([status], [200], content)
            event = json.loads(content)
            self.assertListEqual([event["type"], event["object"]["code"]], ["ERROR", 410])

    def test_short_compaction_interval_compacts(self) -> None:
        """With a short compaction_interval old versions expire without anybody asking for it."""
        with ControlPlane(build.ensure(note), self.workdir, compaction_interval="1s") as plane:
            plane.kubectl("create", "configmap", "seen")
            old = plane.kubectl("get", "configmap", "seen", "--output=jsonpath={.metadata.resourceVersion}")
            path = f"/api/v1/configmaps?resourceVersion={old}&resourceVersionMatch=Exact"

            gone = http.client.GONE
            wait_until(lambda: plane.request("GET", path)[0] == gone, "nothing is compacted")


class DaemonTests(SynchronousTestCase):
    """What a program's end tells a test."""

    def test_early_death_shows_the_log(self) -> None:
        """A program that ends before it is ready is reported with its status and its last words."""
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            daemon = Daemon(["/bin/sh", "-c", "echo out of cheese; exit 3"], log, lambda: False, {})
            daemon.start()
            with self.assertRaisesRegex(PlaneError, "(?s)status 3.*out of cheese"):
                daemon.wait_ready()
            daemon.stop()

    def test_several_attempts(self) -> None:
        """A program that may end at first has the attempts that it is given, and no more."""
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            command = ["/bin/sh", "-c", f"echo; test $(wc -l < {log}) -lt 3 && exit 3; exec sleep 60"]
            path = {"PATH": os.environ["PATH"]}
            for attempts in (3, 2):
                log.write_bytes(b"")
                daemon = Daemon(command, log, lambda: log.read_bytes() == b"\n\n\n", path, attempts)
                daemon.start()
                if attempts == 3:
                    daemon.wait_ready()
                else:
                    self.assertRaisesRegex(PlaneError, "status 3", daemon.wait_ready)
                daemon.stop()

    def test_reserved_port_refuses_connections(self) -> None:
        """A port that is only reserved is one on which nobody answers."""
        with reserve_port() as reserved, self.assertRaisesRegex(OSError, "refused"):
            socket.create_connection((LOOPBACK, reserved.getsockname()[1]))
