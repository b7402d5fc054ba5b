"""The audit log of the daemon itself: at its end, on a standard output that is read slowly, and under a flood."""

import contextlib
import fcntl
import os
import signal
import threading
from collections import Counter
from functools import partial
from http.client import HTTPException, HTTPSConnection
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.refusals import MAX_KINDS_OF_CLIENT
from tests.fakes import temporary_folder
from tests.functional.daemon import Answer, Daemon
from tests.functional.load import pause, together
from tests.functional.simulated import Simulator

PUT = "/deployments/shop/cart/replicas"


def audit_lines(text: str) -> list[dict[str, Any]]:
    """The audit lines among lines of JSON; that all of them are JSON is checked."""
    lines = [msgspec.json.decode(line) for line in text.splitlines()]
    return [line for line in lines if "schema" in line]


class StopTests(SynchronousTestCase):
    """A write that the cluster has performed, and never answers, while SIGTERM comes."""

    def setUp(self) -> None:
        """Start a cluster."""
        self.folder = temporary_folder(self)
        self.simulator = Simulator(self.folder)
        self.addCleanup(self.simulator.close)

    def stop_during_a_write(self, where: str) -> Daemon:
        """Have a write under way, stop the daemon, and return it."""
        daemon = Daemon(
            self.folder,
            f"--kubeconfig={self.simulator.kubeconfig}",
            f"--audit-log={where}",
            "--log-format=json",
        )
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        self.simulator.faults({"kind": "hang-after-apply", "verb": "patch"})

        def write() -> None:
            with contextlib.suppress(OSError, HTTPException):
                daemon.put(PUT, {"replicas": 9}, **{"X-Request-Id": "r-1", "X-Reason": "why not"})

        writing = threading.Thread(target=write)
        writing.start()
        daemon.wait_for(lambda: any("patch" in verb for verb in self.simulator.counts()), "writing")
        daemon.send_signal(signal.SIGTERM)
        daemon.wait()
        writing.join()
        return daemon

    def assert_told(self, lines: list[dict[str, Any]]) -> None:
        """Check that the write is told of once, as unknown, and in an Event."""
        told = [(line["request_id"], line["outcome"], line["new_replicas"], line["status"]) for line in lines]
        self.assertEqual(told, [("r-1", "unknown", 9, None)])
        path = "/apis/apps/v1/namespaces/shop/deployments/cart/scale"
        self.assertEqual(self.simulator.call("GET", path)["spec"]["replicas"], 9)
        (event,) = self.simulator.call("GET", "/api/v1/namespaces/shop/events")["items"]
        self.assertRegex(event["message"], r"\Aalice asked to scale this from \d+ to 9, .* unknown outcome: why not\Z")
        self.assertEqual(event["involvedObject"]["uid"], lines[0]["uid"])

    def test_on_standard_output(self) -> None:
        """There is one line, in time, and an Event."""
        self.assert_told(audit_lines(self.stop_during_a_write("-").output()))

    def test_in_a_file(self) -> None:
        """So there is in a file."""
        path = self.folder / "audit.log"
        self.stop_during_a_write(str(path))
        self.assert_told(audit_lines(path.read_text(encoding="utf-8")))


class SlowlyReadDaemon(Daemon):
    """A daemon whose standard output is a small pipe that is read a little at a time, once `slowly` is set."""

    slowly = False

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            fcntl.fcntl(stdout, fcntl.F_SETPIPE_SZ, 4096)
        pending = b""
        while chunk := os.read(stdout.fileno(), 1500 if self.slowly else 1 << 16):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                self._news.put(line.decode())
            if self.slowly:
                pause(0.002)
        if pending:
            self._news.put(pending.decode())
        self._news.put(None)


class SlowOutputTests(SynchronousTestCase):
    """The log and the audit log on one standard output."""

    def test_lines_stay_whole(self) -> None:
        """However slowly it is read, each line is JSON, and each write that was performed has one audit line."""
        daemon = SlowlyReadDaemon(
            temporary_folder(self),
            "--cluster=simulated",
            "--audit-log=/dev/stdout",
            "--log-format=json",
            "--write-rate=100000",
        )
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        daemon.slowly = True

        def write(writer: int) -> list[tuple[str, Answer]]:
            connection = daemon.connect()
            answers = []
            for number in range(60):
                known_as = f"w-{writer}-{number}"
                path = f"/namespaces/shop/deployments/cart/replica_count/{number if number % 3 else 2000}"
                headers = {"X-Request-Id": known_as, "X-Reason": "x" * 250}
                answers.append((known_as, daemon.request("PUT", path, headers=headers, connection=connection)))
            connection.close()
            return answers

        answered = list(chain(*together(*(partial(write, writer) for writer in range(6)))))
        daemon.slowly = False
        daemon.close()
        told = Counter(line["request_id"] for line in audit_lines(daemon.output()) if line["outcome"] == "changed")
        performed = [known_as for known_as, answer in answered if answer.status == 200]
        self.assertEqual(told, Counter(performed))
        self.assertGreater(len(performed), 6)
        self.assertLessEqual({answer.status for _, answer in answered}, {200, 422, 503})


class FloodTests(SynchronousTestCase):
    """A client without any permission."""

    def test_refusals_fill_no_disk(self) -> None:
        """It leaves a few lines a minute, whatever it asks for, and others write."""
        folder = temporary_folder(self)
        policy, path = folder / "policy.yaml", folder / "audit.log"
        policy.write_text('rules:\n  - identities: ["alice"]\n')
        options = [f"--audit-log={path}", f"--authorization=policy:{policy}", "--read-rate=100000"]
        daemon = Daemon(folder, "--cluster=simulated", *options)
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        context = daemon.context(daemon.authority.issue("mallory"))
        connection = HTTPSConnection("localhost", daemon.port, context=context, timeout=20)
        self.addCleanup(connection.close)
        for number in range(500):
            answer = daemon.request("GET", f"/deployments/shop/n-{number}/replicas", connection=connection)
            self.assertEqual(answer.status, 403)
        self.assertEqual(daemon.put(PUT, {"replicas": 9}).status, 200)
        daemon.close()
        lines = audit_lines(Path(path).read_text(encoding="utf-8"))
        refused = [line["count"] for line in lines if line["identity"] == "mallory"]
        self.assertEqual((sum(refused), len(refused) <= 2 * (MAX_KINDS_OF_CLIENT + 2)), (500, True))
        self.assertEqual([line["outcome"] for line in lines if line["identity"] == "alice"], ["changed"])
