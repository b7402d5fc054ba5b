"""The Makefile's targets: what they would do, what they say is missing, and what they tell the tools that they call.

The tools are stubs that note how they were called; what Docker would make of it is `make image-check`'s to show.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from sre_server import __version__
from tests.fakes import temporary_folder

ROOT = Path(__file__).parents[2]
MAKE = shutil.which("make")
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "build": ("docker",),
    "local-run": ("docker",),
    "release": ("docker", "git", "helm"),
    "local-deploy": ("minikube", "kubectl", "helm"),
    "local-undeploy": ("kubectl", "helm"),
    "push": ("docker",),
    "push_docker": ("docker",),
    "create_cluster": ("eksctl", "aws", "kubectl"),
    "delete_cluster": ("eksctl",),
    "image-check": ("podman", "debootstrap", "unshare"),
}
GIVEN: Final = ("REGISTRY=registry.example/team", "DH_USER=someone")
# Both ends of a pipe may be stubs, so each notes its call in one write.
STUB: Final = """#!/bin/sh
IFS=$(printf '\\037')
printf '%s\\n' "${{0##*/}}${{1+$IFS}}$*" >>{calls}
[ "${{0##*/}}:$1" = git:ls-files ] && exec {git} "$@"
case $* in *--dry-run=client*) echo "kind: Stub" ;; *--raw*) echo "apiVersion: v1" ;; esac
exit "${{STUB_STATUS:-0}}"
"""


class Makefile:
    """The Makefile in a folder of its own, where `make` finds stubs in place of some tools."""

    def __init__(self, folder: Path, *stubs: str) -> None:
        if MAKE is None:
            raise SkipTest("make is not installed")
        self.folder = folder / "checkout"
        self._calls = folder / "calls"
        self._tools = folder / "tools"
        self._tools.mkdir()
        self.folder.mkdir()
        for name in ("Makefile", "Dockerfile", "sre_server", "setup.py", "pyproject.toml", "requirements"):
            (self.folder / name).symlink_to(ROOT / name)
        for name in stubs:
            stub = self._tools / name
            stub.write_text(STUB.format(calls=self._calls, git=shutil.which("git")), encoding="utf-8")
            stub.chmod(0o755)

    def make(self, *arguments: str, path: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run make, and return how it ended."""
        behind = ("KUBECONFIG", "DOCKER", "MAKE", "MFLAGS", "REGISTRY", "DH_USER", "AWS_", "SOURCE_DATE_EPOCH")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(behind)}
        search = f"{self._tools}:{os.environ['PATH']}" if path is None else path
        return subprocess.run(
            [str(MAKE), *arguments],
            cwd=self.folder,
            env={**kept, "PATH": search, **environ},
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def calls(self) -> list[list[str]]:
        """Return how the stubs were called."""
        return [line.split("\037") for line in self._calls.read_text(encoding="utf-8").splitlines()]


class TargetTests(SynchronousTestCase):
    """Every target, without its tools."""

    def setUp(self) -> None:
        """Make a folder to run in."""
        self.makefile = Makefile(temporary_folder(self))

    def test_help(self) -> None:
        """`make help` lists every target that has no file of its own."""
        phony = re.search(r"^\.PHONY: ((?:.*\\\n)*.*)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        targets = set(phony[1].replace("\\", "").split()) if phony else set()
        listed = set(re.findall(r"^  make (\S+) ", self.makefile.make("help").stdout, re.MULTILINE))
        self.assertEqual(listed, targets)
        self.assertLess(set(NEEDS), listed)

    def test_a_cluster_is_named(self) -> None:
        """What a shell exports for kubectl, which may be production, is neither served nor tested in."""
        for target, named, exported in (
            ("run", "--cluster=kubeconfig", "--cluster=simulated"),
            ("local-run", "--kubeconfig=", "--cluster=simulated"),
            ("integration-tests", "\n.venv/bin/python -m tests.", "env -u KUBECONFIG .venv/bin/python -m tests."),
        ):
            for arguments, environ, expected in (
                (["KUBECONFIG=/home/me/.kube/config"], {}, named),
                ([], {"KUBECONFIG": "/home/me/.kube/production"}, exported),
                ([], {}, exported),
            ):
                ended = self.makefile.make("-n", target, *GIVEN, *arguments, **environ)
                self.assertIn(expected, ended.stdout, (target, arguments, environ))

    def test_dry_runs(self) -> None:
        """`make -n` of every target works without its tools, and changes nothing."""
        before = sorted(self.makefile.folder.iterdir())
        for target in re.findall(r"^  make (\S+) ", self.makefile.make("help").stdout, re.MULTILINE):
            ended = self.makefile.make("-n", target, *GIVEN)
            self.assertEqual((target, ended.returncode, ended.stderr), (target, 0, ""))
        self.assertEqual(sorted(self.makefile.folder.iterdir()), before)

    def test_ports_that_are_taken(self) -> None:
        """What somebody else listens on is named before anything starts, so that no stranger's Redis is written to."""
        with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
            ports = {"PORT": free.getsockname()[1], "SECOND_PORT": free.getsockname()[1], "REDIS_PORT": 0}
            free.close()
            makefile = Makefile(temporary_folder(self), "redis-server")
            for target, name in (("run", "PORT"), *(("run-scaled", name) for name in ports)):
                chosen = [f"{port}={number}" for port, number in {**ports, name: taken.getsockname()[1]}.items()]
                ended = makefile.make("-o", ".venv/.installed", target, f"BIN={Path(sys.executable).parent}", *chosen)
                first, _ = ended.stderr.splitlines()
                self.assertIn(f"{name}={taken.getsockname()[1]} cannot be had, as something else may", first)
                self.assertTrue(first.endswith(f"name another one: make {target} {name}=..."), first)
                self.assertEqual(ended.stdout, "", target)

    def test_missing_tools(self) -> None:
        """Without a tool a target says so in one line, which names tool and target, and has done nothing."""
        for target, tools in NEEDS.items():
            for missing in tools:
                folder = temporary_folder(self)
                makefile = Makefile(folder, *(tool for tool in tools if tool != missing))
                ended = makefile.make(target, *GIVEN, path=str(folder / "tools"))
                self.assertNotEqual(ended.returncode, 0, target)
                first, *more = ended.stderr.splitlines()
                self.assertEqual(first, f"{missing} is not installed; make {target} needs it")
                self.assertEqual([line for line in more if not line.startswith("make: ***")], [])
                self.assertEqual(ended.stdout, "")
                self.assertFalse((folder / "calls").exists(), (target, missing))

    def test_missing_settings(self) -> None:
        """What only the user can know is asked for before anything is built."""
        for target, setting in (("push", "REGISTRY"), ("push_docker", "DH_USER")):
            makefile = Makefile(folder := temporary_folder(self), "docker")
            ended = makefile.make(target)
            self.assertEqual(ended.stderr.splitlines()[0], f"{setting} is not set: make {target} {setting}=...")
            self.assertFalse((folder / "calls").exists())


class CallTests(SynchronousTestCase):
    """What the targets tell the tools that they call."""

    def _calls(self, target: str, *settings: str, **environ: str) -> list[list[str]]:
        makefile = Makefile(temporary_folder(self), "docker", "helm", "minikube", "kubectl", "eksctl", "aws")
        ended = makefile.make(target, *settings, **environ)
        self.assertEqual(ended.returncode, 0, ended.stderr)
        return makefile.calls()

    def test_build(self) -> None:
        """The image is tagged with the version, and told what it is; the date is that of the sources."""
        (call,) = self._calls("build", SOURCE_DATE_EPOCH="1700000000")
        self.assertEqual(call[:2], ["docker", "build"])
        for tag in (__version__, "latest"):
            self.assertIn(f"--tag=sre-server:{tag}", call)
        for argument in (f"VERSION={__version__}", "CREATED=2023-11-14T22:13:20Z", "SOURCE_DATE_EPOCH=1700000000"):
            self.assertIn(argument, call)
        self.assertEqual(call[-1], ".")
        self.assertFalse([word for word in call if word.startswith("--file")])
        (other,) = self._calls("build", "BASE=localhost/other")
        self.assertIn("--file=-", other)
        self.assertEqual(self._calls("build", "DOCKER=helm --storage=here")[0][:3], ["helm", "--storage=here", "build"])

    def test_base(self) -> None:
        """Both stages stand on the same Python, pinned by its digest."""
        lines = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
        self.assertEqual(len(lines), 2)
        self.assertEqual(len(set(lines)), 1)
        self.assertTrue(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+@sha256:[0-9a-f]{64}", lines[0]), lines[0])

    def test_local_run(self) -> None:
        """The container is as confined as in production, and published on the loopback interface only."""
        build, call = self._calls("local-run", "PORT=9443")
        self.assertEqual(build[:2], ["docker", "build"])
        self.assertEqual(call[:3], ["docker", "run", "--rm"])
        options, arguments = call[: (image := call.index(f"sre-server:{__version__}"))], call[image + 1 :]
        for option in ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges"):
            self.assertIn(option, options)
        self.assertIn("--publish=127.0.0.1:9443:8443", options)
        self.assertEqual(len([word for word in options if word.startswith("--volume=") and word.endswith(":ro")]), 2)
        self.assertIn("--cluster=simulated", arguments)

    def test_local_run_against_a_cluster(self) -> None:
        """With a kubeconfig the container gets one that stands alone, and reaches what this machine reaches."""
        _, view, call = self._calls("local-run", "KUBECONFIG=/home/me/.kube/config")
        self.assertEqual(view, ["kubectl", "config", "view", "--flatten", "--minify", "--raw"])
        self.assertIn("--network=host", call)
        self.assertIn("--kubeconfig=/run/sre-server/kubeconfig", call)
        self.assertIn("--listen=tcp:8443:interface=127.0.0.1", call)
        self.assertNotIn("--cluster=simulated", call)

    def test_pushes(self) -> None:
        """Both tags go to the registry, or to the user's room at Docker Hub, whatever REGISTRY says."""
        for target, where in (("push", "registry.example/team"), ("push_docker", "someone")):
            pushed = [call[2] for call in self._calls(target, *GIVEN) if call[:2] == ["docker", "push"]]
            self.assertEqual(pushed, [f"{where}/sre-server:{tag}" for tag in (__version__, "latest")])

    def test_local_deploy(self) -> None:
        """The image is built in minikube, and the chart installed with that image, in minikube whatever is current."""
        calls = self._calls("local-deploy", KUBECONFIG="/home/me/.kube/production")
        for call in calls:
            self.assertTrue({"--profile=minikube", "--context=minikube", "--kube-context=minikube"} & set(call), call)
        (build,) = (call for call in calls if call[:1] == ["minikube"] and "build" in call)
        (tag,) = (word.removeprefix("--tag=sre-server:") for word in build if word.startswith("--tag="))
        (helm,) = (call for call in calls if call[0] == "helm")
        for word in ("upgrade", "--install", "--wait", f"--set=image.tag={tag}", "--namespace=sre-server-local"):
            self.assertIn(word, helm)
        (secret,) = (call for call in calls if "secret" in call)
        self.assertEqual(len([word for word in secret if word.startswith("--from-file=")]), 3)
        self.assertLess(calls.index(secret), calls.index(helm))

    def test_local_deploy_without_minikube_running(self) -> None:
        """A minikube that does not run is named in one line, and nothing is done."""
        makefile = Makefile(temporary_folder(self), "minikube", "kubectl", "helm")
        ended = makefile.make("local-deploy", STUB_STATUS="85")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("minikube does not run; start it: minikube start", ended.stderr.splitlines()[0])
        self.assertEqual([call[0] for call in makefile.calls()], ["minikube"])

    def test_local_undeploy(self) -> None:
        """All that local-deploy made goes again, and only that."""
        helm, kubectl = self._calls("local-undeploy")
        self.assertEqual(helm[:2] + helm[2:4], ["helm", "--kube-context=minikube", "uninstall", "sre-server"])
        self.assertEqual(kubectl[2:5], ["delete", "namespace", "sre-server-local"])

    def test_clusters(self) -> None:
        """An EKS cluster is made and deleted by the same name, in the region asked for, or in us-west-2."""
        for settings, region in (((), "us-west-2"), (("AWS_REGION=eu-central-1",), "eu-central-1")):
            for target, verb in (("create_cluster", "create"), ("delete_cluster", "delete")):
                (call,) = self._calls(target, *settings)
                self.assertEqual(call[:3], ["eksctl", verb, "cluster"])
                self.assertIn(f"--region={region}", call)
                self.assertIn("--name=sre-server", call)


def pins(file: str) -> dict[str, str]:
    """Return what a file of requirements/ pins, if all of it has hashes and comes from no index of its own."""
    text = (ROOT / "requirements" / file).read_text(encoding="utf-8")
    found = dict(re.findall(r"^([a-z0-9.-]+)==([^ ;]+).*\\\n +--hash=sha256:", text, re.MULTILINE))
    if len(found) != len(re.findall(r"^[a-z]", text, re.MULTILINE)) or "://" in text:
        raise AssertionError(f"{file} has more than what is pinned")
    return found


class LockTests(SynchronousTestCase):
    """requirements/*.txt, which say what the image consists of, and what makes it and the packages."""

    def test_up_to_date(self) -> None:
        """Each requirement of the package, and of the extra by which pods share a cache, is pinned as it allows."""
        pinned, setup = pins("image.txt"), (ROOT / "setup.py").read_text(encoding="utf-8")
        for key, least in (("install_requires=", 8), ('"redis": ', 0)):
            declared = re.search(re.escape(key) + r"\[(.*?)\],\n", setup, re.DOTALL)
            needed = [Requirement(line) for line in re.findall(r'"([^"]+)"', declared[1] if declared else "")]
            self.assertGreater(len(needed), least)
            self._compare(needed, pinned)

    def test_tools(self) -> None:
        """So is each of the tools that make a wheel, and those of a release."""
        for name in ("build", "release"):
            lines = (ROOT / f"requirements/{name}.in").read_text(encoding="utf-8").splitlines()
            needed = [Requirement(line) for line in lines if not line.startswith("#")]
            self.assertGreater(len(needed), 1)
            self._compare(needed, pins(f"{name}.txt"))

    def _compare(self, needed: list[Requirement], pinned: Mapping[str, str]) -> None:
        for requirement in needed:
            version = pinned[canonicalize_name(requirement.name)]
            self.assertTrue(requirement.specifier.contains(version), f"{requirement}: {version}; run make lock")

    def test_release_environment(self) -> None:
        """A release is made in an environment of its own, into which nothing comes that is not pinned by its hash."""
        told = Makefile(temporary_folder(self), "docker", "git", "helm").make("-n", "release").stdout
        installs = [line for line in told.splitlines() if "pip install" in line]
        self.assertEqual(len(installs), 1, told)
        for option in ("--require-hashes", "--only-binary :all:", "requirements/release.txt"):
            self.assertIn(option, installs[0])
        self.assertIn(".venv-release/bin/python .ci/release.py", told)
        self.assertNotIn(".venv/", told)


class ReleaseTests(SynchronousTestCase):
    """.ci/release.py, as far as it needs neither Docker nor an index of packages."""

    def _release(self, dist: Path, chart: Path, tools: Path) -> dict[str, bytes]:
        command = [sys.executable, str(ROOT / ".ci/release.py"), "chart", "checksums", f"--dist={dist}"]
        environ = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "PATH": f"{tools}:{os.environ['PATH']}"}
        options = [f"--chart={chart}", "--version=1.2.3"]
        subprocess.run([*command, *options], env=environ, check=True, capture_output=True, timeout=60)
        return {path.name: path.read_bytes() for path in dist.iterdir()}

    def test_chart_and_checksums(self) -> None:
        """The chart's package depends on its contents alone, and SHA256SUMS lists it."""
        folder = temporary_folder(self)
        chart, tools = folder / "sre-server", folder / "tools"
        (chart / "templates").mkdir(parents=True)
        tools.mkdir()
        (chart / "Chart.yaml").write_text("name: sre-server\n", encoding="utf-8")
        (chart / "templates/service.yaml").write_text("kind: Service\n", encoding="utf-8")
        helm = tools / "helm"
        helm.write_text('#!/bin/sh\ncd "$2/.." && tar -czf "$8/sre-server-$4.tgz" sre-server\n', encoding="utf-8")
        helm.chmod(0o755)
        first = self._release(folder / "one", chart, tools)
        for path in (chart / "Chart.yaml", chart):
            os.utime(path, (1, 1))
        (chart / "Chart.yaml").chmod(0o600)
        self.assertEqual(self._release(folder / "two", chart, tools), first)
        self.assertEqual(set(first), {"sre-server-1.2.3.tgz", "SHA256SUMS"})
        digest = hashlib.sha256(first["sre-server-1.2.3.tgz"]).hexdigest()
        self.assertEqual(first["SHA256SUMS"].decode(), f"{digest}  sre-server-1.2.3.tgz\n")
        with tarfile.open(folder / "one/sre-server-1.2.3.tgz") as archive:
            members = archive.getmembers()
        self.assertIn("sre-server/templates/service.yaml", [member.name for member in members])
        self.assertEqual({(member.mtime, member.uid, member.uname) for member in members}, {(1700000000, 0, "")})


class EKSDocumentTests(SynchronousTestCase):
    """docs/eks.md, of which nothing else can be run here."""

    def test_settings_and_policies(self) -> None:
        """Its defaults are the Makefile's, its targets exist, and its policies are JSON."""
        text = (ROOT / "docs/eks.md").read_text(encoding="utf-8")
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        defaults = re.findall(r"^\| `([A-Z_]+)` \| `([^`]+)` \|", text, re.MULTILINE)
        self.assertEqual(len(defaults), 4)
        for name, default in defaults:
            self.assertIn(f"{name} ?= {default}\n", makefile)
        for target in set(re.findall(r"make ([a-z]+_[a-z]+)", text)):
            self.assertIn(f"\n{target}: ", makefile)
        policies = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
        self.assertEqual([policy["Version"] for policy in policies], ["2012-10-17"] * 2)
