"""What stands in for Docker: podman with a store of its own, on a machine that need not be set up for containers.

The image's base comes from a registry, which may be out of reach. In its place stands a minimal Debian of the same
release with the same Python, made to look like it: pip included, the bytecode of Python's own library not.
"""

import os
import resource
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

SUITE: Final = "trixie"
BASE: Final = f"localhost/sre-server-base:{SUITE}"
PACKAGES: Final = "python3,python3-venv,python-is-python3,ca-certificates"
CGROUPS: Final = Path("/sys/fs/cgroup")

# Python's installer, where the official image has it, and nothing that Debian adds to keep it out.
_LIKE_THE_OFFICIAL_ONE: Final = """
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
python -m venv /tmp/pip
/tmp/pip/bin/pip --python /usr/bin/python install --quiet --no-index --find-links /usr/share/python-wheels pip
rm -rf /tmp/pip /var/lib/apt/lists/* /var/cache/apt/*
find /usr/lib/python3* -name __pycache__ -prune -exec rm -rf {} +
"""

# What `docker` understands as Docker does, said to podman in a container-less, systemd-less machine.
_STAND_IN: Final = """#!/bin/sh
command=$1; shift
case $command in
    build) set -- --isolation=chroot --network=host {mounts} "$@" ;;
    run) set -- --cgroups=disabled --network=host --no-healthcheck --read-only-tmpfs=false \\
        --ulimit=nofile={files}:{files} --ulimit=nproc={processes}:{processes} "$@" ;;
esac
exec podman {options} "$command" "$@"
"""


def run(*command: str | Path, **options: str) -> str:
    """Run a command and return what it printed; raises CalledProcessError."""
    arguments = [str(part) for part in command]
    return subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, **options).stdout  # type: ignore[call-overload,no-any-return]


def unify_cgroups() -> None:
    """Show this mount namespace cgroups as podman's runtime wants them; nobody else sees it."""
    if not (CGROUPS / "cgroup.controllers").exists():
        run("umount", "--recursive", CGROUPS)
        run("mount", "-t", "cgroup2", "none", CGROUPS)


def stand_in(folder: Path) -> Path:
    """Write the command that stands in for `docker`, with its images in `folder`, and return its path."""
    options = [f"--root={folder / 'images'}", f"--runroot={folder / 'run'}", "--cgroup-manager=cgroupfs"]
    options.append(f"--storage-driver={'overlay' if _has_overlay() else 'vfs'}")
    (folder / "pip.conf").write_text(_pip_configuration(), encoding="utf-8")
    mounts = [f"--volume={folder}/pip.conf:/etc/pip.conf:ro"]
    if certificates := os.environ.get("PIP_CERT"):
        mounts.append(f"--volume={certificates}:/run/certificates.pem:ro")
    files, processes = (
        min(4096, resource.getrlimit(kind)[1]) for kind in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
    )
    path = folder / "docker"
    text = _STAND_IN.format(
        mounts=shlex.join(mounts), options=shlex.join(options), files=files, processes=max(processes, 64)
    )
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def _pip_configuration() -> str:
    """Let pip in the build reach what it reaches here: through the same index, trusting the same certificates."""
    lines = ["[global]"]
    if "PIP_CERT" in os.environ:
        lines.append("cert = /run/certificates.pem")
    if index := os.environ.get("PIP_INDEX_URL"):
        lines.append(f"index-url = {index}")
    return "\n".join(lines) + "\n"


def _has_overlay() -> bool:
    with tempfile.TemporaryDirectory() as name:
        lower, upper, work, target = (Path(name) / part for part in ("lower", "upper", "work", "target"))
        for path in (lower, upper, work, target):
            path.mkdir()
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        command = ["mount", "-t", "overlay", "overlay", "-o", options, str(target)]
        if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode:
            return False
        run("umount", target)
        return True


def make_base(docker: Path) -> None:
    """Make the base image, unless it is there."""
    if subprocess.run([docker, "image", "inspect", BASE], check=False, capture_output=True).returncode == 0:
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        run("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, root)
        run("chroot", root, "sh", "-ec", _LIKE_THE_OFFICIAL_ONE)
        archive = Path(name) / "root.tar"
        run("tar", "--create", "--file", archive, "--directory", root, "--one-file-system", ".")
        shutil.rmtree(root)
        run(docker, "import", "--change=ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", archive, BASE)
