"""The first list of 100,000 Deployments: what it costs, whether clients wait meanwhile, and what it leaves in memory.

The stub holds its list back until the server has started, so that only the sync is measured. A client that asks every
5 ms for a Deployment, from the moment at which it was due, sees every stall of the reactor that is longer than its own
wait; it takes turns with rounds without a client, whose CPU counts.
"""

import time
from contextlib import ExitStack
from typing import Final

from msgspec import Struct

from tests.benchmarks.bench import Bench, single_reads
from tests.benchmarks.load import Load
from tests.benchmarks.processes import Server, cpu_seconds, resident_bytes
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Figure, figure
from tests.benchmarks.stubbed import Stub

DEPLOYMENTS: Final = 100_000
GOAL_CPU_SECONDS: Final = 3.0
GOAL_STALL_MS: Final = 20.0
GOAL_BYTES: Final = 600.0
PROBES_PER_SECOND: Final = 200.0


class _Sync(Struct, frozen=True):
    cpu: float
    seconds: float
    resident: int
    stall: float = 0.0
    idle_stall: float = 0.0
    answered: int = 0


def _server(bench: Bench, stack: ExitStack, stub: Stub) -> Server:
    """Start a server whose list of Deployments does not come yet."""
    server = stack.enter_context(Server(bench.folder, bench.identities, stub.kubeconfig, log="sync.log"))
    server.wait_for_line(r"\bnamespaces: listed \d+")
    time.sleep(0.3)
    return server


def _quiet(bench: Bench, stub: Stub, deployments: int) -> _Sync:
    """Sync without a client, then read a little, and see what is held."""
    with ExitStack() as stack:
        server = _server(bench, stack, stub)
        began, before = time.monotonic(), cpu_seconds(server.pid)
        stub.release()
        server.wait_until_ready()
        seconds, cpu = time.monotonic() - began, cpu_seconds(server.pid) - before
        time.sleep(bench.effort.settle)
        paths = single_reads(deployments) if deployments else ["/namespaces"]
        with Load(bench.generator(), server.target, paths, connections=4) as load:
            load.round(5.0, requests=2000).check(200)
        return _Sync(cpu, seconds, resident_bytes(server.pid))


def _probed(bench: Bench, stub: Stub, deployments: int) -> _Sync:
    """Sync with a client that asks all the time, and for a while again when nothing happens."""
    with ExitStack() as stack:
        server = _server(bench, stack, stub)
        paths = single_reads(deployments)
        probe = stack.enter_context(Load(bench.generator(), server.target, paths, connections=8))
        probe.round(0.3, rate=PROBES_PER_SECOND)
        began, stall, answered, statuses = time.monotonic(), 0.0, 0, set[int]()
        stub.release()
        while 200 not in statuses:
            seen = probe.round(0.5, rate=PROBES_PER_SECOND).check(200, 503)
            stall, answered = max(stall, seen.latency["max"]), answered + seen.requests
            statuses |= set(seen.statuses)
        seconds = time.monotonic() - began
        time.sleep(bench.effort.settle)
        idle = probe.round(seconds, rate=PROBES_PER_SECOND).check(200)
        return _Sync(0, seconds, 0, stall / 1000, idle.latency["max"] / 1000, answered)


def first_sync(bench: Bench) -> list[Result]:
    """Measure several first syncs, and what they leave."""
    deployments, rounds = bench.size(DEPLOYMENTS), range(bench.effort.starts)
    with Stub(bench.folder, 0, held=True) as nothing:
        empty = [_quiet(bench, nothing, 0) for _ in range(2)]
    with Stub(bench.folder, deployments, held=True) as stub:
        taken = [(_quiet(bench, stub, deployments), _probed(bench, stub, deployments)) for _ in rounds]
    with Stub(bench.folder, deployments, held=True, compress=True) as packed:
        compressed = _quiet(bench, packed, deployments)
    quiet, probed = [pair[0] for pair in taken], [pair[1] for pair in taken]
    cpu = figure([sync.cpu for sync in quiet])
    stall = figure([sync.stall for sync in probed])
    bare = figure([sync.resident for sync in empty]).median
    each = figure([(sync.resident - bare) / deployments for sync in quiet])
    return [_sync_result(deployments, cpu, stall, quiet, probed, compressed), _memory_result(deployments, each, quiet)]


def _sync_result(
    deployments: int, cpu: Figure, stall: Figure, quiet: list[_Sync], probed: list[_Sync], compressed: _Sync
) -> Result:
    idle = figure([sync.idle_stall for sync in probed])
    goal_cpu = GOAL_CPU_SECONDS
    return Result(
        "first-sync",
        f"first sync of {deployments:,} Deployments",
        f"<= {goal_cpu:g} s CPU, reads answered, no stall > {GOAL_STALL_MS:g} ms",
        f"{cpu.median:.2f} s CPU, longest wait {stall.median:.0f} ms (idle {idle.median:.0f} ms)",
        verdict(cpu.median <= goal_cpu, stall.median <= GOAL_STALL_MS),
        None,
        {
            "cpu_seconds": cpu,
            "wall_seconds": figure([sync.seconds for sync in quiet]),
            "longest_wait_ms": stall,
            "longest_wait_idle_ms": idle,
            "answered_meanwhile": figure([sync.answered for sync in probed]),
            "compressed_cpu_seconds": compressed.cpu,
        },
    )


def _memory_result(deployments: int, each: Figure, quiet: list[_Sync]) -> Result:
    return Result(
        "memory",
        f"memory for each of {deployments:,} Deployments",
        f"<= {GOAL_BYTES:g} bytes",
        f"{each.median:.0f} bytes ({each.lowest:.0f}-{each.highest:.0f})",
        verdict(each.median <= GOAL_BYTES),
        None,
        {"bytes_each": each, "resident_mb": figure([sync.resident / 1e6 for sync in quiet])},
    )
