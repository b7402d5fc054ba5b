"""Build the integration tests' Kubernetes control plane from pinned Go modules, once.

Each folder in ``modules/`` is a Go module whose go.mod and go.sum pin one upstream project and the hash of
everything it needs.  The binaries land in ``~/.cache/sre-server/controlplane/<key>/bin``, where the key is
a hash of those files and of the way they are built, so whatever is there already is simply used again.

``python tests/controlplane/build.py`` builds what is missing; its last line of output is that folder.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).parent / "modules"
INTERRUPTED = 130
KUBERNETES_PACKAGE = "k8s.io/kubernetes/cmd/"


@dataclass(frozen=True)
class Binary:
    """One program to build: its file name, the folder in ``modules/`` that pins it, and its Go package."""

    name: str
    module: str
    package: str


BINARIES = (
    Binary("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
    Binary("kube-apiserver", "kubernetes", KUBERNETES_PACKAGE + "kube-apiserver"),
    Binary("kube-controller-manager", "kubernetes", KUBERNETES_PACKAGE + "kube-controller-manager"),
    Binary("kube-scheduler", "kubernetes", KUBERNETES_PACKAGE + "kube-scheduler"),
    Binary("kubectl", "kubernetes", KUBERNETES_PACKAGE + "kubectl"),
    Binary("kwok", "kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    Binary("helm", "helm", "helm.sh/helm/v3/cmd/helm"),
)


class BuildError(Exception):
    """The binaries are not there and cannot be built; the message is one line for a person."""

    exit_status = 1


class GoMissingError(BuildError):
    """There is no Go, or one too old, and nothing built earlier to use instead."""

    exit_status = 2


def pinned(module: str, pattern: str) -> str:
    """Return what the pattern's only group matches in a module's go.mod."""
    found = re.search(pattern, (MODULES / module / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildError(f"modules/{module}/go.mod has no line matching {pattern!r}")
    return found[1]


def linker_flags(module: str) -> str:
    """Return the linker's flags for a module's programs.

    Kubernetes and Helm learn their own version only here: without it the API server calls itself
    v0.0.0-master, and clients that compare versions complain.
    """
    version = pinned("kubernetes", r"^\s*k8s\.io/kubernetes (v\S+)")
    major, minor = version.lstrip("v").split(".")[:2]
    symbols: dict[str, str] = {}
    if module == "kubernetes":
        for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
            symbols |= {
                f"{package}.gitVersion": version,
                f"{package}.gitMajor": major,
                f"{package}.gitMinor": minor,
                f"{package}.gitTreeState": "clean",
            }
    elif module == "helm":
        symbols["helm.sh/helm/v3/internal/version.version"] = pinned("helm", r"^\s*helm\.sh/helm/v3 (v\S+)")
        for package in ("helm.sh/helm/v3/pkg/chartutil", "helm.sh/helm/v3/pkg/lint/rules"):
            symbols |= {f"{package}.k8sVersionMajor": major, f"{package}.k8sVersionMinor": minor}
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in symbols.items())])


def digest() -> str:
    """Return a hash of everything in this folder that decides what the binaries are."""
    content = hashlib.sha256()
    for module in sorted({binary.module for binary in BINARIES}):
        for path in (MODULES / module / "go.mod", MODULES / module / "go.sum"):
            content.update(path.read_bytes() + b"\0")
        content.update(linker_flags(module).encode() + b"\0")
    content.update(repr(BINARIES).encode())
    return content.hexdigest()[:16]


def cache_root() -> Path:
    """Return the folder under which every key has its own."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "sre-server" / "controlplane"


def find_program(name: str) -> str | None:
    """Return the program on the PATH, or the one that was built last; None where there is neither."""
    built = sorted(cache_root().glob(f"*/bin/{name}"), key=lambda path: path.stat().st_mtime)
    return shutil.which(name) or (str(built[-1]) if built else None)


def missing(folder: Path) -> list[Binary]:
    """Return the programs that a folder does not have yet."""
    return [binary for binary in BINARIES if not (folder / binary.name).is_file()]


def toolchain() -> str | None:
    """Return the Go that would build, such as ``go1.26.8-linux-amd64``, or None if there is none fit."""
    try:
        answer = subprocess.run(
            ["go", "env", "GOVERSION", "GOOS", "GOARCH"],
            cwd=MODULES / "kubernetes",
            env=os.environ | {"GOWORK": "off"},
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return "-".join(answer.stdout.split())


def folder_without_go() -> Path:
    """Return a complete folder that some Go built here earlier from the same sources."""
    for folder in sorted(cache_root().glob(f"{digest()}-go*-{sys.platform}-*/bin"), reverse=True):
        if not missing(folder):
            return folder
    needed = pinned("kubernetes", r"^go (\S+)")
    raise GoMissingError(
        f"the control plane for the integration tests is not built yet and needs the Go compiler: install "
        f"Go {needed} or newer (as `go` on the PATH), or set KUBECONFIG to use an existing cluster instead"
    )


@contextmanager
def exclusively(path: Path) -> Iterator[None]:
    """Hold a lock file, so that two runs at the same time build once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def compile_one(binary: Binary, folder: Path) -> None:
    """Build one program, which appears in the folder whole or not at all."""
    # Not a fixed name: the compiler of a build that was killed may still be about to write its own.
    unfinished = folder / f".{binary.name}.{os.getpid()}"
    command = ["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false"]
    command += ["-ldflags", linker_flags(binary.module), "-o", str(unfinished), binary.package]
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    done = subprocess.run(command, cwd=MODULES / binary.module, env=environment, check=False)
    if done.returncode != 0:
        raise BuildError(f"go build of {binary.name} failed with exit status {done.returncode}")
    unfinished.replace(folder / binary.name)


def ensure(report: Callable[[str], None]) -> Path:
    """Build what is missing, reporting a line for each program, and return the folder of all of them."""
    go = toolchain()
    if go is None:
        return folder_without_go()
    folder = cache_root() / f"{digest()}-{go}" / "bin"
    if missing(folder):
        with exclusively(cache_root() / "lock"):
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob(".*"):
                leftover.unlink()
            for binary in missing(folder):
                started = time.monotonic()
                compile_one(binary, folder)
                report(f"built {binary.name} in {time.monotonic() - started:.1f} s")
    return folder


def say(line: str) -> None:
    """Write one line of output at once, for whoever watches a build that takes minutes."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Build, say where the programs are, and return the exit status."""
    try:
        say(str(ensure(say)))
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_status
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
