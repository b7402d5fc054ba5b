"""docs/install.md and docs/operate.md, command by command, from the first to the last."""

import os
import shutil
import subprocess

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.helm import CHART
from tests.guides import runnable

from .fixture import shared_plane

# What a rule grants is granted once the API server has heard of it.
PATIENT = """
kubectl() {
    local tries=60
    while [ "$1 $2" = "auth can-i" ] && [ $tries -gt 0 ] && ! command kubectl "$@" >/dev/null; do
        tries=$((tries - 1)); sleep 1
    done
    command kubectl "$@"
}
"""


class GuideTests(SynchronousTestCase):
    """A folder in which the guides are followed, by a cluster's administrator."""

    def setUp(self) -> None:
        """Make the CA of docs/certificates.md there, and see to it that kubectl and helm are the right ones."""
        if os.environ.get("KUBECONFIG"):
            raise SkipTest("the guides are followed in a control plane of our own")
        for tool in ("bash", "openssl"):
            if shutil.which(tool) is None:
                raise SkipTest(f"{tool} is not installed")
        self.plane = shared_plane()
        self.folder = temporary_folder(self)
        (self.folder / "helm").symlink_to(CHART.parent)
        self.addCleanup(self.plane.kubectl, "delete", "namespace", "sre", "trial", "--ignore-not-found", "--wait=false")
        self._follow("certificates.md")

    def _follow(self, guide: str) -> str:
        """Run the commands of a guide, and return what they print."""
        path = os.pathsep.join((str(self.plane.binaries), os.environ.get("PATH", os.defpath)))
        environment = {"PATH": path, "HOME": str(self.folder), "KUBECONFIG": str(self.plane.admin_kubeconfig)}
        command = ["bash", "-e", "-o", "pipefail", "-x", "-c", PATIENT + runnable(guide)]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, timeout=1200, check=False, env=environment
        )
        self.assertEqual(done.returncode, 0, f"{guide}:\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def test_install_and_operate(self) -> None:
        """Every command that needs no running containers works, and in the end nothing is left."""
        installed = self._follow("install.md")
        self.assertIn("successfully rolled out", installed)
        self.assertNotIn("ClusterRole", installed)
        image = "--output=jsonpath={.spec.template.spec.containers[0].image}"
        shown = self.plane.kubectl("get", "deployment", "sre-server", "--namespace=sre", image)
        self.assertEqual(shown, "registry.example.org/ops/sre-server:0.1.0")
        operated = self._follow("operate.md")
        self.assertIn("subjectaccessreviews.authorization.k8s.io", operated)
        self.assertIn('namespace "sre" deleted', operated)
        left = self.plane.kubectl("get", "clusterroles", "--selector=app.kubernetes.io/instance=sre-server")
        self.assertEqual(left, "")
