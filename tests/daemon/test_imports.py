"""What starting the daemon loads, in a process of its own each time: every module is start-up time and memory."""

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import sre_server

ROOT = Path(sre_server.__file__).parents[1]


def loaded(code: str) -> set[str]:
    """Run code in a fresh interpreter; return the modules that it has loaded then, and the packages they are in."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for module in ran.stdout.split() for name in (module, module.partition(".")[0])}


class LoadedTests(SynchronousTestCase):
    """What is loaded when."""

    def test_tap(self) -> None:
        """Options and wiring alone load no client of cluster or Redis, not the simulator, nothing that tests need."""
        modules = loaded("import sre_server.tap")
        self.assertIn("sre_server.cluster.watching", modules)
        needless = {
            "kubernetes",
            "urllib3",
            "requests",
            "oauthlib",
            "pydantic",
            "redis",
            "sre_server.simulator",
            "treq",
            "pytest",
        }
        self.assertEqual(modules & needless, set())

    def test_in_a_pod(self) -> None:
        """A connection, as a pod makes it, loads the client's configuration and its pool, and none of its models."""
        modules = loaded(
            "import sre_server.tap\n"
            "from sre_server.cluster import credentials, pool\n"
            "pool.make_pool(credentials.Unauthenticated(lambda: 'http://127.0.0.1:1').access(), print)"
        )
        self.assertLessEqual({"kubernetes.client.configuration", "kubernetes.client.rest"}, modules)
        needless = {"kubernetes.dynamic", "kubernetes.watch", "kubernetes.config", "requests", "oauthlib", "websocket"}
        self.assertEqual(modules & needless, set())
        self.assertEqual([name for name in modules if name.startswith(("kubernetes.client.models.", "pydantic"))], [])

    def test_the_rest_can_still_be_loaded(self) -> None:
        """Whoever wants more of the client gets it."""
        modules = loaded(
            "from sre_server.cluster.loading import load_sparingly\n"
            "load_sparingly()\n"
            "from kubernetes import client, watch\n"
            "import kubernetes.config.kube_config\n"
            "client.V1Deployment, client.AppsV1Api(client.ApiClient(client.Configuration()))"
        )
        self.assertLessEqual(
            {"kubernetes.client.models.v1_deployment", "kubernetes.config", "kubernetes.watch"}, modules
        )
