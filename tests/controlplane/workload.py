"""A namespace of a test's own in whatever cluster the tests were given, and kubectl to work behind the server."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from secrets import token_hex

from .fixture import shared_plane

RBAC = Path(__file__).parent / "rbac.yaml"
SERVER_ACCOUNT = ("sre-system", "sre-server")


class Cluster:
    """The cluster that the tests run in: `kubectl` as whoever owns it, `server_kubeconfig` for the server."""

    def __init__(self, kubectl: Callable[..., str], server_kubeconfig: Path) -> None:
        self.kubectl = kubectl
        self.server_kubeconfig = server_kubeconfig

    def make_namespace(self) -> str:
        """Create a namespace with the Deployments `web` (3) and `worker` (1); return its name."""
        name = f"sre-server-{token_hex(4)}"
        self.kubectl("create", "namespace", name)
        self.deploy(name, "web", 3)
        self.deploy(name, "worker", 1)
        return name

    def deploy(self, namespace: str, name: str, replicas: int) -> None:
        """Create a Deployment whose pods, on a cluster with real nodes, cost next to nothing."""
        image = "--image=pause"
        self.kubectl("create", "deployment", name, f"--namespace={namespace}", image, f"--replicas={replicas}")

    def replicas(self, namespace: str, name: str) -> int:
        """Return the desired count as the cluster has it."""
        path = "--output=jsonpath={.spec.replicas}"
        return int(self.kubectl("get", "deployment", name, f"--namespace={namespace}", path))

    def scale(self, namespace: str, name: str, replicas: int) -> None:
        """Scale behind the server's back."""
        self.kubectl("scale", "deployment", name, f"--namespace={namespace}", f"--replicas={replicas}")


def given_cluster(kubeconfig: str) -> Cluster:
    """Return the cluster of $KUBECONFIG; the server is whoever that kubeconfig says."""
    program = shutil.which("kubectl") or "kubectl"

    def kubectl(*arguments: str) -> str:
        command = [program, f"--kubeconfig={kubeconfig}", *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=120).stdout

    return Cluster(kubectl, Path(kubeconfig).absolute())


def own_cluster() -> Cluster:
    """Return the shared control plane, in which the server is a service account with just what it needs."""
    plane = shared_plane()
    plane.kubectl("apply", f"--filename={RBAC}")
    return Cluster(plane.kubectl, plane.service_account_kubeconfig(*SERVER_ACCOUNT))


def cluster() -> Cluster:
    """Return the cluster of $KUBECONFIG if that is set, else the shared control plane."""
    kubeconfig = os.environ.get("KUBECONFIG")
    return given_cluster(kubeconfig) if kubeconfig else own_cluster()
