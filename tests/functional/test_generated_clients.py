"""Clients that others' generators make of `/openapi.json`, each of which does a whole day's work against a daemon.

They are as typed as the document lets them be: what it says wrongly, or not at all, does not parse or does not compile.
"""

import re
import subprocess
from collections.abc import Sequence
from unittest import SkipTest

import msgspec
import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.clients.generating import generate_go, generate_python
from tests.controlplane.build import GoMissingError
from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon
from tests.functional.load import metrics
from tests.functional.tools import find_tool

pytestmark = pytest.mark.xdist_group("load")
SECONDS = 300
COUNTED = re.compile(r'sre_server_http_requests_total\{code="(\d+)",method="(\w+)",route="([^"]+)"\} (\d+)')


def _shape(route: str) -> str:
    """Leave out what a route calls its parameters: the document and the metrics have names of their own."""
    return re.sub(r"\{\w+\}", "{}", route)


class GeneratedClientTests(SynchronousTestCase):
    """One daemon over the simulated cluster for each client."""

    def setUp(self) -> None:
        """Start the daemon, and keep its document."""
        self.folder = temporary_folder(self)
        self.daemon = Daemon(self.folder, "--cluster=simulated", "--temporary-store=default/temporary-counts")
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        answer = self.daemon.get("/openapi.json").json
        self.operations = {
            (method.upper(), _shape(path))
            for path, item in answer["paths"].items()
            for method in item.keys() - {"parameters"}
        }
        self.document = self.folder / "openapi.json"
        self.document.write_bytes(msgspec.json.encode(answer))

    def _spend(self, command: Sequence[str]) -> None:
        """Spend a day, after which every operation has been called with success, and what can be refused, refused."""
        trust = (self.daemon.authority.file, *self.daemon.client)
        arguments = [*command, f"https://localhost:{self.daemon.port}", *map(str, trust)]
        day = subprocess.run(arguments, capture_output=True, text=True, timeout=SECONDS, check=False)
        self.assertEqual(day.returncode, 0, day.stdout + day.stderr)
        counted = COUNTED.findall(metrics(self.daemon))
        called = {(int(code), method, route) for code, method, route, times in counted if int(times)}
        succeeded = {(method, _shape(route)) for code, method, route in called if code // 100 == 2}
        self.assertEqual(succeeded, self.operations)
        self.assertLessEqual({304, 400, 404, 410, 412, 422}, {code for code, _, _ in called})
        self.assertNotIn("Traceback", self.daemon.said())

    def test_python(self) -> None:
        """The client of openapi-python-client has every operation, and lacks nothing that its generator warns of."""
        self._spend(generate_python(find_tool("openapi-python-client"), self.document, self.folder))

    def test_go(self) -> None:
        """The client of oapi-codegen compiles against the day as it is typed there, and does it."""
        try:
            command = generate_go(self.document, self.folder)
        except GoMissingError as error:
            raise SkipTest(str(error)) from None
        self._spend(command)
