"""A new api process beside a full cache, from its start to ready.

By turns with one whose cache is empty, and with processes of the role all in front of the same two clusters. What a
load costs is the CPU of a start with it less that of a start without, at the moment of readiness.
"""

import time
from contextlib import ExitStack
from typing import Final

from msgspec import Struct

from tests.benchmarks.bench import Bench
from tests.benchmarks.processes import resident_bytes
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Figure, figure
from tests.benchmarks.rows.starting import started
from tests.benchmarks.sharing import Shared, cluster
from tests.benchmarks.stubbed import Stub

SIZES: Final = (10_000, 50_000, 100_000)
GOAL_START: Final = 2.0
GOAL_CPU: Final = 5.0
POLL_SECONDS: Final = 0.05
"""Seldom, as an answer of readyz costs a start more CPU than a hundred Deployments do."""


class _Taken(Struct, frozen=True):
    seconds: float
    cpu: float
    resident: int


def warming(bench: Bench) -> list[Result]:
    """Measure starts by turns; clusters of all sizes are published side by side."""
    sizes = [0, *sorted({bench.size(size) for size in SIZES})]
    with ExitStack() as stack:
        shared = Shared(bench, stack)
        stubs = {size: stack.enter_context(Stub(bench.folder, size)) for size in sizes}
        watchers = {size: shared.watcher(stub.kubeconfig, name=f"of-{size}") for size, stub in stubs.items()}
        for watcher in watchers.values():
            watcher.wait_until_publishing()
        clusters = {size: cluster(stub.kubeconfig) for size, stub in stubs.items()}
        starts = {f"api_{size}": [*shared.options("api", f"of-{size}"), *clusters[size]] for size in sizes}
        starts |= {f"all_{size}": clusters[size] for size in (0, sizes[-1])}
        taken: dict[str, list[_Taken]] = {name: [] for name in starts}
        for _ in range(bench.effort.starts):
            for name, options in starts.items():
                taken[name].append(_start(bench, options))
        resident = {size: resident_bytes(watcher.pid) / 1e6 for size, watcher in watchers.items()}
    return [_result(sizes, taken, resident)]


def _start(bench: Bench, options: list[str]) -> _Taken:
    with started(bench, *options, poll=POLL_SECONDS) as start:
        time.sleep(bench.effort.settle)
        return _Taken(start.seconds, start.cpu, resident_bytes(start.pid))


def _less(some: list[_Taken], bare: list[_Taken]) -> float:
    """Return the CPU that was taken more than by a process with nothing to load: the least of both, and 1 ms at least.

    What a start takes differs by more than a small load is, and always upwards.
    """
    return max(0.001, min(each.cpu for each in some) - min(each.cpu for each in bare))


def _result(sizes: list[int], taken: dict[str, list[_Taken]], watchers: dict[int, float]) -> Result:
    most, empty = sizes[-1], taken["api_0"]
    full = taken[f"api_{most}"]
    ratio = figure([a.seconds / b.seconds for a, b in zip(full, empty, strict=True)])
    load = {size: _less(taken[f"api_{size}"], empty) for size in sizes[1:]}
    first_sync = _less(taken[f"all_{most}"], taken["all_0"])
    less = first_sync / load[most]
    seconds = {name: figure([each.seconds for each in some]) for name, some in taken.items()}
    return Result(
        "shared-start",
        f"start of an api process to ready, {most:,} Deployments in Redis",
        f"<= {GOAL_START:g} x with none; CPU of the load <= 1/{GOAL_CPU:g} of a first sync",
        f"{seconds[f'api_{most}'].median:.2f} s, with none {seconds['api_0'].median:.2f} s; "
        f"load {load[most]:.2f} s CPU, first sync {first_sync:.2f} s: 1/{less:.1f}",
        verdict(ratio.median <= GOAL_START, less >= GOAL_CPU),
        ratio,
        {
            **{f"seconds_{name}": figure_ for name, figure_ in seconds.items()},
            **{f"load_cpu_seconds_{size}": cpu for size, cpu in load.items()},
            **{f"resident_mb_{size}": _resident(taken[f"api_{size}"]) for size in sizes},
            **{f"watcher_resident_mb_{size}": held for size, held in watchers.items()},
            f"all_resident_mb_{most}": _resident(taken[f"all_{most}"]),
            "first_sync_cpu_seconds": first_sync,
        },
    )


def _resident(some: list[_Taken]) -> Figure:
    return figure([each.resident / 1e6 for each in some])
