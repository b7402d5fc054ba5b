"""`--log-format=json` under the real twistd, from its first line to its last."""

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon


class LogFormatTests(SynchronousTestCase):
    """What machines read on stdout."""

    def test_json(self) -> None:
        """Every line that the daemon writes, twistd's own among them, is a JSON object with time, level and message."""
        daemon = Daemon(temporary_folder(self), "--cluster=simulated", "--log-format=json")
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        daemon.get("/deployments")
        daemon.close()
        lines = [json.loads(line) for line in daemon.output().splitlines()]
        self.assertGreater(len(lines), 5)
        for line in lines:
            self.assertLessEqual({"time", "level", "message"}, set(line), line)
        self.assertIn("/deployments", [line.get("path") for line in lines])
