"""What a scanner that others wrote says of the TLS port."""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.functional.daemon import Daemon
from tests.functional.tools import find_tool

OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2")
SUITES = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}

SCANS = [f"--{version}" for version in ("sslv2", "sslv3", "tlsv1", "tlsv1_1", "tlsv1_2", "tlsv1_3")]
SCANS += ["--early_data", "--resum", "--compression", "--reneg", "--heartbleed", "--openssl_ccs"]


class ScannerTests(SynchronousTestCase):
    """One scan, which is most of the work, and all that it found."""

    def test_scan(self) -> None:
        """TLS 1.3 with its three suites and nothing older; no resumption, early data, compression, renegotiation."""
        program = find_tool("sslyze")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        daemon = Daemon(Path(folder.name), "--cluster=simulated", "--handshake-rate=1000")
        self.addCleanup(daemon.close)
        found = self._scan(program, daemon, Path(folder.name) / "scan.json")
        for version in OLD:
            self.assertEqual(found[f"{version}_cipher_suites"]["accepted_cipher_suites"], [], version)
        accepted = found["tls_1_3_cipher_suites"]["accepted_cipher_suites"]
        self.assertEqual({suite["cipher_suite"]["name"] for suite in accepted}, SUITES)
        self.assertIs(found["tls_1_3_early_data"]["supports_early_data"], False)
        self.assertIs(found["tls_compression"]["supports_compression"], False)
        self.assertIs(found["session_renegotiation"]["is_vulnerable_to_client_renegotiation_dos"], False)
        self.assertIs(found["heartbleed"]["is_vulnerable_to_heartbleed"], False)
        self.assertIs(found["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"], False)
        resumed = found["session_resumption"]
        self.assertEqual(resumed["session_id_successful_resumptions_count"], 0)
        self.assertEqual(resumed["tls_ticket_successful_resumptions_count"], 0)
        self.assertNotIn("Traceback", daemon.said())
        self.assertEqual(daemon.get("/deployments/shop").status, 200)

    def _scan(self, program: Path, daemon: Daemon, output: Path) -> Any:
        """Scan as Alice; return the findings by scan, each of which has gone through."""
        who = [f"--cert={daemon.client.certificate}", f"--key={daemon.client.key}"]
        command = [str(program), *SCANS, *who, f"--json_out={output}", f"localhost:{daemon.port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        self.assertTrue(output.exists(), done.stdout + done.stderr)
        (server,) = json.loads(output.read_text())["server_scan_results"]
        self.assertEqual(server["scan_status"], "COMPLETED", done.stdout)
        result = server["scan_result"]
        failed = {name for name, scan in result.items() if scan and scan["status"] == "ERROR"}
        self.assertEqual(failed, set(), done.stdout)
        return {name: scan["result"] for name, scan in result.items() if scan and scan["status"] == "COMPLETED"}
