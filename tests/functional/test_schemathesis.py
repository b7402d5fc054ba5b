"""The OpenAPI document held to a running server by schemathesis, with all its checks, in every one of its phases."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.daemon import Daemon, environment

MAX_EXAMPLES = 20
SECONDS = 600
HOOKS = '''
"""What a JSON Schema cannot say: 4.0 is an integer to it, and none to this server; to ask for what is yet to come takes
3 s, which is tested elsewhere; and temporary counts that end amid the run would leave what others come to to chance.
"""

import re

import schemathesis


@schemathesis.hook
def filter_body(context, body):
    return not (isinstance(body, dict) and isinstance(body.get("replicas"), float))


@schemathesis.hook
def before_call(context, case, kwargs):
    if re.fullmatch("[1-9][0-9]{0,18}", str((case.headers or {}).get("X-Min-Resource-Version"))):
        case.headers["X-Min-Resource-Version"] = "1"
    if isinstance(case.body, dict) and re.fullmatch("[1-9][0-9]{0,2}s", str(case.body.get("for"))):
        case.body["for"] = "2h"
'''
# What is well formed may still not exist (404, in /namespaces 410) or run into a guardrail (422); but nothing else.
# Half of the names, and of the counts, are such that a request comes to something.
CONFIGURATION = """
hooks = "{hooks}"

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "404", "410", "412", "422"]

[dictionaries]
namespaces = {{ values = ["shop"] }}
deployments = {{ values = ["cart", "search"] }}
counts = {{ values = [0, 1, 7, 1000] }}
tags = {{ values = ["*"] }}

[parameters]
"path.namespace" = {{ dictionary = "namespaces", probability = 0.5 }}
"path.deployment" = {{ dictionary = "deployments", probability = 0.5 }}
"path.replica_count" = {{ dictionary = "counts", probability = 0.5 }}
"header.If-Match" = {{ dictionary = "tags", probability = 0.5 }}
"body.replicas" = {{ dictionary = "counts", probability = 0.5 }}
"""


class SchemathesisTests(SynchronousTestCase):
    """One daemon over the simulated cluster, and some hundreds of requests, good and bad, the same ones each time."""

    def setUp(self) -> None:
        """Start the daemon, with limits that are not what is tested here."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        limits = ("--read-rate=100000", "--write-rate=100000", "--handshake-rate=100000")
        store = "--temporary-store=default/temporary-counts"
        self.daemon = Daemon(self.folder, "--cluster=simulated", store, *limits)
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()

    def test_conformance(self) -> None:
        """No answer is other than documented, every operation is reached with success, and the server is well after."""
        hooks, configuration = self.folder / "hooks.py", self.folder / "schemathesis.toml"
        report = self.folder / "report.json"
        hooks.write_text(HOOKS)
        configuration.write_text(CONFIGURATION.format(hooks=hooks))
        run = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", f"--config-file={configuration}", "run"),
                f"https://localhost:{self.daemon.port}/openapi.json",
                f"--request-cert={self.daemon.client.certificate}",
                f"--request-cert-key={self.daemon.client.key}",
                f"--tls-verify={self.daemon.authority.file}",
                *("--checks=all", f"--max-examples={MAX_EXAMPLES}", "--generation-deterministic"),
                *("--continue-on-failure", "--no-color", "--report=json", f"--report-json-path={report}"),
            ],
            env=environment({"HOME": str(self.folder), "NO_PROXY": "localhost"}),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        self.assertEqual(run.returncode, 0, run.stdout + run.stderr)
        self._check_report(json.loads(report.read_text()), run.stdout)
        self.assertEqual(self.daemon.ops("/readyz").status, 200)
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(), -signal.SIGTERM)
        log = self.daemon.output()
        self.assertNotIn("Traceback", log)
        self.assertNotIn("Unhandled", log)

    def _check_report(self, report: dict[str, dict[str, dict[str, dict[str, int]]]], output: str) -> None:
        """Check that the run was no empty one: every operation but that of the document itself was accepted once."""
        document = self.daemon.get("/openapi.json").json
        operations = {
            f"{method.upper()} {path}"
            for path, item in document["paths"].items()
            for method in item.keys() - {"parameters"}
            if path != "/openapi.json"
        }
        accepted = {
            operation
            for operation, phases in report["valid_rates"].items()
            if any(counts["accepted"] for counts in phases.values())
        }
        self.assertEqual(accepted, operations, output)
