"""The README's curl lines, pasted one by one."""

import json
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.certificates import Pair
from tests.functional.daemon import Daemon

README = Path(__file__).parents[2] / "README.md"
MAKEFILE = README.with_name("Makefile")


def openssl_pair(folder: Path) -> Pair:
    """Make the pair of `make certs`, by the Makefile's own command."""
    subprocess.run(["make", "-s", "-f", str(MAKEFILE), "certs"], cwd=folder, check=True, timeout=60)
    return Pair(folder / ".run/public-certificate.pem", folder / ".run/private-key.pem")


class ReadmeTests(SynchronousTestCase):
    """A daemon as `make run` starts it: one self-signed Ed25519 pair is certificate, key and CA on both ends."""

    def setUp(self) -> None:
        """Make the pair and start the daemon."""
        for tool in ("make", "curl", "openssl"):
            if shutil.which(tool) is None:
                raise SkipTest(f"{tool} is not installed")
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        folder = Path(temporary.name)
        self.pair = openssl_pair(folder)
        options = ("--cluster=simulated", "--temporary-store=default/temporary-counts")
        self.daemon = Daemon(folder, *options, server=self.pair, client_ca=self.pair.certificate)
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()

    def _curl(self, arguments: list[str]) -> tuple[int, str]:
        """Run curl as the README's alias does, and return the status and the body."""
        pair = [f"--cert={self.pair.certificate}", f"--key={self.pair.key}", f"--cacert={self.pair.certificate}"]
        options = [option for part in pair for option in part.split("=", 1)]
        moved = [argument.replace("localhost:8443", f"localhost:{self.daemon.port}") for argument in arguments]
        command = ["curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", *options, *moved]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        body, _, status = ended.stdout.rpartition("\n")
        return int(status), body

    def test_every_line(self) -> None:
        """Each line of the README succeeds with JSON, and there is one for every call of its table."""
        text = README.read_text(encoding="utf-8")
        lines = [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("sre ") and "$" not in line]
        self.assertGreaterEqual(len(lines), 13)
        answers = {}
        for line in lines:
            status, body = self._curl(line)
            self.assertEqual(status, 201 if "/temporary" in line[-1] else 200, (line, body))
            answers[" ".join(line)] = json.loads(body)
        root = "https://localhost:8443"
        self.assertEqual(answers[f"{root}/readyz"], {})
        self.assertEqual(
            answers[f"-X PUT {root}/namespaces/shop/deployments/cart/replica_count/4"],
            {"namespace": "shop", "deployment": "cart", "replica_count": 4},
        )
        (plan,) = (answer for line, answer in answers.items() if line.endswith("/plan"))
        self.assertEqual(plan["verdict"], "is refused")
        (waited,) = (answer for line, answer in answers.items() if "Prefer: wait" in line)
        self.assertEqual(waited["outcome"], "quota")
        for shown in (*(each["message"] for each in plan["findings"]), waited["cause"]):
            self.assertIn(json.dumps(shown), text)
        shop = next(entry for entry in answers[f"{root}/deployments"] if entry["namespace"] == "shop")
        self.assertIn("cart", shop["deployments"])

    def test_the_conditional_write(self) -> None:
        """The lines about If-Match do what they say, once; what they are for is gone the second time."""
        (block,) = re.findall(r"```shell\n(etag=.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
        pair = f"--cert {self.pair.certificate} --key {self.pair.key} --cacert {self.pair.certificate}"
        read, write = block.replace("localhost:8443", f"localhost:{self.daemon.port}").splitlines()
        script = f'sre() {{ curl -sS -w "%{{http_code}}\\n" {pair} "$@"; }}\n{read}\n{write}\n{write}\n'
        ended = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=True)
        done, _, refused = ended.stdout.partition("\n")
        self.assertEqual(json.loads(done)["replica_count"], 6)
        self.assertTrue(refused.startswith("200\n") and refused.endswith("412\n"), ended.stdout)

    def test_every_documented_refusal(self) -> None:
        """What curl says to each mistake is found in the README's table."""
        table = re.findall(r"^\| `([^|]+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
        known = [part.strip("`") for row in table for part in row.split("`, `")]
        url = f"https://localhost:{self.daemon.port}/livez"
        trusted = ["--cacert", str(self.pair.certificate)]
        client = ["--cert", str(self.pair.certificate), "--key", str(self.pair.key)]
        cases = {
            "no certificate": [*trusted, url],
            "no trust": [*client, url],
            "TLS 1.2": [*trusted, *client, "--tls-max", "1.2", url],
            "wrong host": [*trusted, *client, url.replace("localhost", "127.0.0.1")],
            "plain HTTP": [url.replace("https", "http")],
        }
        for name, arguments in cases.items():
            command = ["curl", "--silent", "--show-error", *arguments]
            ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            self.assertNotEqual(ended.returncode, 0, name)
            self.assertTrue(any(phrase in ended.stderr for phrase in known), f"{name}: {ended.stderr!r} not in {known}")
