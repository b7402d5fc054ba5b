"""The image as users run it: by `make local-run`, with a read-only root and as nobody, asked over mutual TLS."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from sre_server import __version__
from tests.fakes import temporary_folder
from tests.functional.daemon import Process, environment

ROOT = Path(__file__).parents[2]
DOCKER = os.environ["DOCKER"]
NAME = "sre-server"
# As much of Python's view of the machine as the tests want to know, from inside.
LOOK = """
import importlib.util, json, os, shutil, sys
def writable(folder):
    try:
        with open(os.path.join(folder, "written"), "w"):
            return True
    except OSError:
        return False
status = dict(line.split(":", 1) for line in open("/proc/1/status"))
print(json.dumps({
    "ids": [os.getuid(), os.getgid()],
    "first": open("/proc/1/cmdline").read().split("\\0")[:5],
    "status": {name: status[name].split() for name in ("Uid", "Gid", "CapEff", "NoNewPrivs")},
    "writable": [folder for folder in ("/", "/tmp", "/opt/sre-server", "/var/tmp", "/run", "/etc") if writable(folder)],
    "modules": [name for name in ("pip", "setuptools", "wheel", "ensurepip") if importlib.util.find_spec(name)],
    "tools": [name for name in ("pip", "pip3", "gcc", "cc", "ld", "make", "curl", "wget", "git") if shutil.which(name)],
    "simulator": importlib.util.find_spec("sre_server.simulator").origin,
    "redis": importlib.util.find_spec("redis") is not None,
}))
"""


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command of Docker's."""
    return subprocess.run([DOCKER, *arguments], check=check, capture_output=True, text=True, timeout=120)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class Container(Process):
    """The server in a container, started by `make local-run`; `seconds` is how long it took to be ready."""

    def __init__(self, *options: str, ops: bool = True, run: Sequence[str] = ()) -> None:
        self.port, self.ops_port = free_port(), free_port()
        server = [f"--listen=tcp:{self.port}:interface=127.0.0.1", *options]
        if ops:
            server.append(f"--ops-listen=tcp:{self.ops_port}:interface=127.0.0.1")
        command = ["make", "local-run", f"DOCKER={DOCKER}", f"PORT={self.port}", f"BASE={os.environ['BASE']}"]
        command += [f"SERVER_OPTIONS={' '.join(server)}", f"RUN_OPTIONS={' '.join(run)}"]
        super().__init__(command, environment(checkout=False), ROOT)
        try:
            self.wait_for_line(r"^\S*docker run ", seconds=120)
            began = time.monotonic()
            self.wait_for_line("API: listening on ")
            self.wait_for_line("deployments: listed ")
            self.seconds = time.monotonic() - began
        except BaseException:
            self.close()
            raise

    def look(self) -> Any:
        """Return what `LOOK` finds inside."""
        return json.loads(docker("exec", NAME, "python", "-c", LOOK).stdout)

    def request(self, method: str, path: str, *, certificate: bool = True) -> tuple[int, Any]:
        """Send one request with the pair of `make certs`, and return the status and the JSON."""
        context = ssl.create_default_context(cafile=str(ROOT / ".run/public-certificate.pem"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # it has no keyUsage
        if certificate:
            context.load_cert_chain(ROOT / ".run/public-certificate.pem", ROOT / ".run/private-key.pem")
        with closing(HTTPSConnection("localhost", self.port, context=context, timeout=20)) as connection:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    def health(self) -> int:
        """Run the image's own HEALTHCHECK inside, and return its status."""
        (image,) = json.loads(docker("image", "inspect", f"{NAME}:latest").stdout)
        kind, *command = image["Healthcheck"]["Test"]
        if kind != "CMD":
            raise AssertionError(f"the HEALTHCHECK needs a shell: {kind}")
        return docker("exec", NAME, *command, check=False).returncode

    def close(self) -> None:
        """End the container, too, should it still be there."""
        docker("rm", "--force", NAME, check=False)
        super().close()


class ImageTests(SynchronousTestCase):
    """What the image promises to whoever runs it."""

    def _container(self, *options: str, ops: bool = True, run: Sequence[str] = ()) -> Container:
        container = Container(*options, ops=ops, run=run)
        self.addCleanup(container.close)
        return container

    def test_serves_confined_and_stops(self) -> None:
        """It serves over mutual TLS as nobody on a read-only root, with no tools, and ends with 0 upon SIGTERM."""
        container = self._container()
        self.assertEqual(container.request("GET", "/deployments/shop/cart/replicas")[0], 200)
        path = "/namespaces/shop/deployments/cart/replica_count/4"
        self.assertEqual(container.request("PUT", path)[1]["replica_count"], 4)
        self.assertRaises(ssl.SSLError, container.request, "GET", "/deployments", certificate=False)

        seen = container.look()
        self.assertEqual(seen["ids"], [65532, 65532])
        self.assertEqual(seen["first"][1:], ["/opt/sre-server/bin/twistd", "-n", "--pidfile=", "sre-server"])
        self.assertEqual(set(seen["status"]["Uid"] + seen["status"]["Gid"]), {"65532"})
        self.assertEqual(int(seen["status"]["CapEff"][0], 16), 0)
        self.assertEqual(seen["status"]["NoNewPrivs"], ["1"])
        self.assertEqual((seen["writable"], seen["modules"], seen["tools"]), ([], [], []))
        self.assertTrue(seen["redis"], "without redis-py, no pod can share a cache")
        base = docker("exec", NAME, "sh", "-c", "$(readlink -f $(which python)) -c 'import pip'", check=False)
        self.assertIn("No module named 'pip'", base.stderr)

        self.assertEqual(container.health(), 0)
        began = time.monotonic()
        docker("stop", "--time", "10", NAME)
        seconds = time.monotonic() - began
        self.assertEqual(container.wait(), 0)
        said = container.output()
        for word in ("plugin cache", "Unable to", "Traceback", "arning"):
            self.assertNotIn(word, said)
        sys.stdout.write(f"\nready {container.seconds:.1f} s after `docker run`, stopped within {seconds:.1f} s\n")

    def test_health(self) -> None:
        """The HEALTHCHECK sees that a server does not answer, with an ops port and without, and that it does again."""
        for ops in (True, False):
            container = self._container(ops=ops)
            self.assertEqual(container.health(), 0)
            docker("kill", "--signal=STOP", NAME)
            self.assertEqual(container.health(), 1)
            docker("kill", "--signal=CONT", NAME)
            self.assertEqual(container.health(), 0)
            container.close()

    def test_any_user(self) -> None:
        """A platform may choose the user and the group, and need not know them by name."""
        container = self._container(run=["--user=1234567:0"])
        self.assertEqual(container.look()["ids"], [1234567, 0])
        connection = HTTPConnection("127.0.0.1", container.ops_port, timeout=20)
        connection.request("GET", "/readyz")
        self.assertEqual(connection.getresponse().status, 200)
        connection.close()

    def test_usage(self) -> None:
        """A mistake in the options is one line and a status other than 0; the version is the image's."""
        ended = docker("run", "--rm", f"{NAME}:latest", "--tls-certificate=/nowhere", check=False)
        self.assertNotEqual(ended.returncode, 0)
        self.assertEqual(ended.stderr.strip().count("\n"), 0, ended.stderr)
        self.assertEqual(docker("run", "--rm", f"{NAME}:latest", "--version").stdout, f"sre-server {__version__}\n")

    def test_metadata(self) -> None:
        """What is needed to run it, and where it comes from, stands in the image."""
        (image,) = json.loads(docker("image", "inspect", f"{NAME}:{__version__}").stdout)
        configuration, prefix = image["Config"], "org.opencontainers.image."
        self.assertEqual(configuration["Entrypoint"], ["twistd", "-n", "--pidfile=", "sre-server"])
        self.assertEqual(configuration["User"], "65532:65532")
        self.assertEqual(list(configuration["ExposedPorts"]), ["8443/tcp"])
        self.assertFalse(configuration.get("Cmd"))
        labels = {name.removeprefix(prefix): value for name, value in configuration["Labels"].items()}
        self.assertEqual((labels["title"], labels["version"]), (NAME, __version__))
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True)
        self.assertEqual(labels["revision"].removesuffix("-dirty"), head.stdout.strip())
        self.assertTrue(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", labels["created"]), labels["created"])

    def test_reproducible(self) -> None:
        """What the image adds to its base is the same, byte for byte and second for second, when it is built anew."""
        listing = "cd /opt/sre-server; find . -printf '%P %m %T@ %l\\n'; find . -type f -exec sha256sum {} +"
        command = ["make", "build", f"DOCKER={DOCKER}", f"BASE={os.environ['BASE']}"]
        for options in ([], ["IMAGE=again", "BUILD_OPTIONS=--no-cache"]):
            subprocess.run([*command, *options], cwd=ROOT, check=True, capture_output=True)
        self.addCleanup(docker, "rmi", f"again:{__version__}", "again:latest")
        first, again = (
            docker("run", "--rm", "--entrypoint=sh", f"{name}:latest", "-c", listing).stdout.splitlines()
            for name in (NAME, "again")
        )
        self.assertGreater(len(first), 1000)
        self.assertEqual(sorted(set(first) ^ set(again))[:10], [])


class ReleaseTests(SynchronousTestCase):
    """`make release` from end to end."""

    def test_release(self) -> None:
        """Each part is there, named by the version, and listed with its checksum; the image in it can be loaded."""
        if shutil.which("helm") is None:
            raise SkipTest("helm is not installed")
        folder = temporary_folder(self)
        subprocess.run(["helm", "create", "sre-server"], cwd=folder, check=True, capture_output=True)
        dist = folder / "dist"
        command = ["make", "release", f"DOCKER={DOCKER}", f"BASE={os.environ['BASE']}", f"DIST={dist}"]
        chart = ROOT / "helm/sre-server"
        subprocess.run(
            [*command, f"CHART={chart if chart.exists() else folder / 'sre-server'}"], cwd=ROOT, check=True, timeout=600
        )
        version = __version__
        parts = {
            f"sre-server-{version}-image.tar",
            f"sre-server-{version}-notes.md",
            f"sre-server-{version}.cdx.json",
            f"sre-server-{version}.tgz",
            f"sre_server-{version}-py3-none-any.whl",
            f"sre_server-{version}.tar.gz",
        }
        self.assertEqual({path.name for path in dist.iterdir()}, parts | {"SHA256SUMS"})
        checked = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=dist, check=True, capture_output=True)
        self.assertEqual(checked.stdout.count(b": OK"), len(parts))
        self.assertIn(
            f"{NAME}:{version}", docker("load", "--input", str(dist / f"sre-server-{version}-image.tar")).stdout
        )
