"""The single read beside the real thing: kube-apiserver answering `GET .../scale` over mutual TLS on this machine."""

import base64
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from tests.benchmarks.bench import Bench, single_reads
from tests.benchmarks.load import BenchError, Load, Target
from tests.benchmarks.report import Result, skipped, verdict
from tests.benchmarks.rounds import Contestant, by_turns
from tests.certificates import Pair
from tests.controlplane import build
from tests.controlplane.plane import ControlPlane

ROW: Final = "apiserver"
WHAT: Final = "p99 and CPU of a read, 16 connections, beside GET .../scale"
GOAL: Final = "p99 below; CPU <= 0.25 x apiserver + etcd"
SHARE: Final = 0.25
_DEPLOYMENTS: Final = "/apis/apps/v1/namespaces/default/deployments"


def programs() -> Path | None:
    """Return where the control plane's programs are, if they were built; building them takes longer than all else."""
    go = build.toolchain()
    folder = build.cache_root() / f"{build.digest()}-{go}" / "bin"
    return folder if go and not build.missing(folder) else None


def _client(plane: ControlPlane, folder: Path) -> Target:
    """Return how an ordinary user who may read scales reaches the API server."""
    plane.kubectl("create", "clusterrole", "reader", "--verb=get", "--resource=deployments/scale,deployments")
    plane.kubectl("create", "clusterrolebinding", "reader", "--clusterrole=reader", "--user=alice")
    user = msgspec.json.decode(plane.user_kubeconfig("alice", []).read_bytes())["users"][0]["user"]
    pair = Pair(folder / "alice.crt", folder / "alice.key")
    for file, field in zip(pair, ("client-certificate-data", "client-key-data"), strict=True):
        file.write_bytes(base64.b64decode(user[field]))
    return Target(plane.server.removeprefix("https://"), plane.ca_file, pair, "localhost")


def beside_apiserver(bench: Bench) -> list[Result]:
    """Measure both, by turns."""
    binaries = programs() if bench.control_plane else None
    if binaries is None:
        reason = "not built; tests/controlplane/build.py does" if bench.control_plane else "left out"
        return [skipped(ROW, WHAT, GOAL, reason)]
    deployments = bench.size(10_000)
    folder = bench.folder / "plane"
    folder.mkdir()
    with ExitStack() as stack:
        plane = stack.enter_context(ControlPlane(binaries, folder))
        plane.kubectl("create", "deployment", "web", "--image=pause", "--replicas=0")
        target = _client(plane, folder)
        apiserver_and_etcd = tuple(reversed(plane.pids()[:2]))
        server = bench.server(stack, deployments)
        load = stack.enter_context(Load(bench.generator(), target, [f"{_DEPLOYMENTS}/web/scale"]))
        contestants = {
            "apiserver": Contestant(load, apiserver_and_etcd),
            "server": bench.contestant(stack, server, server.target, single_reads(deployments)),
        }
        taken = by_turns(contestants, bench.effort.rounds, bench.effort.seconds, warm_up=1.0)
    ours, theirs = taken["server"], taken["apiserver"]
    ratio, ours_p99, theirs_p99 = ours.ratios(theirs), ours.latency("p99"), theirs.latency("p99")
    if not theirs_p99.median:
        raise BenchError("the API server answered nothing")
    cpu = f"{ours.cpu.median:.0f} us, apiserver + etcd {theirs.cpu.median:.0f} us"
    return [
        Result(
            ROW,
            WHAT,
            GOAL,
            f"p99 {ours_p99.median:.1f} ms, apiserver {theirs_p99.median:.1f} ms; {cpu}",
            verdict(ours_p99.median < theirs_p99.median, ratio.median <= SHARE),
            ratio,
            {
                "p99_ms": ours_p99,
                "apiserver_p99_ms": theirs_p99,
                "cpu_us": ours.cpu,
                "apiserver_and_etcd_cpu_us": theirs.cpu,
                "requests_per_second": ours.rate,
                "apiserver_requests_per_second": theirs.rate,
            },
        )
    ]
