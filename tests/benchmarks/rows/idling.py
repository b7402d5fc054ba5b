"""Many connections that hardly ask: what a read on them costs beside one on a few busy ones, and what each holds."""

import resource
import time
from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench import Bench, exchange, single_reads
from tests.benchmarks.processes import DaemonProcess, resident_bytes
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Contestant, Measured, by_turns

ROW: Final = "idle-connections"
CONNECTIONS: Final = 10_000
FEW: Final = 16
GOAL: Final = 1.3
PERIODS: Final = (1, 2, 5)
"""Seconds between two requests on a connection: the first of these that server and load generator can keep up with."""

KEPT_UP: Final = 0.95
SPARE_DESCRIPTORS: Final = 1_000


def idle_connections(bench: Bench) -> list[Result]:
    """Measure memory with all connections open, then as many requests a second on them and on 16, by turns."""
    wanted = bench.size(CONNECTIONS)
    count = min(wanted, _room())
    limits = [f"--max-connections{of}={count + SPARE_DESCRIPTORS}" for of in ("", "-per-address", "-per-identity")]
    paths = single_reads(100)
    with ExitStack() as stack:
        server = bench.server(stack, 100, *limits)
        floor = bench.floor(stack, exchange(server.target, paths[0]))
        contestants, bytes_each = {}, {}
        for name, process in (("floor", floor), ("server", server)):
            bytes_each[name], contestants[f"{name} many"] = _opened(bench, stack, process, paths, count)
            contestants[f"{name} few"] = bench.contestant(stack, process, process.target, paths, connections=FEW)
        many = contestants["server many"]
        period = next((each for each in PERIODS if _keeps_up(many, count, each)), PERIODS[-1])
        rate = count / period
        taken = by_turns(
            {name: Contestant(each.load, each.pids, rate=rate) for name, each in contestants.items()},
            bench.effort.starts,
            period,
        )
    of = f"{count:,} connections" + (f" (descriptors for {wanted:,} are not allowed)" if count < wanted else "")
    return [_cpu_result(of, period, taken), _memory_result(of, bytes_each["server"], bytes_each["floor"])]


def _room() -> int:
    """Return for how many connections a process may have descriptors."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return CONNECTIONS if hard == resource.RLIM_INFINITY else max(FEW, hard - SPARE_DESCRIPTORS)


def _opened(
    bench: Bench, stack: ExitStack, process: DaemonProcess, paths: list[str], count: int
) -> tuple[float, Contestant]:
    """Open connections and ask once on each; return how many bytes each took."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (hard, hard))
    with ExitStack() as passing:
        bench.contestant(passing, process, process.target, paths, connections=FEW).sample(1.0)
    time.sleep(bench.effort.settle)
    before = resident_bytes(process.pid)
    contestant = bench.contestant(stack, process, process.target, paths, connections=count)
    return (resident_bytes(process.pid) - before) / count, contestant


def _keeps_up(many: Contestant, count: int, period: int) -> bool:
    """Tell whether answers come as soon as requests are due, or nearly."""
    report = many.load.round(period, rate=count / period)
    return report.requests / report.seconds > KEPT_UP * count / period


def _cpu_result(of: str, period: int, taken: dict[str, Measured]) -> Result:
    many, few = taken["server many"], taken["server few"]
    ratio, floors = many.ratios(few), taken["floor many"].ratios(taken["floor few"])
    often = f"1 request {'a second' if period == 1 else f'in {period} s'} each"
    return Result(
        ROW,
        f"CPU of a read on {of}, {often}",
        f"<= {GOAL:g} x as many on {FEW}",
        f"{many.cpu.median:.0f} us, {few.cpu.median:.0f} us on {FEW}; floor {floors.median:.2f} x",
        verdict(ratio.median <= GOAL),
        ratio,
        {
            "cpu_us": many.cpu,
            "few_cpu_us": few.cpu,
            "floor_cpu_us": taken["floor many"].cpu,
            "floor_few_cpu_us": taken["floor few"].cpu,
            "requests_per_second": many.rate,
            "few_requests_per_second": few.rate,
            "p99_ms": many.latency("p99"),
            "few_p99_ms": few.latency("p99"),
        },
    )


def _memory_result(of: str, held: float, bare: float) -> Result:
    return Result(
        ROW,
        f"memory for each of {of}",
        f"<= {GOAL:g} x floor",
        f"{held / 1000:.1f} kB, floor {bare / 1000:.1f} kB: {held / bare:.2f} x",
        verdict(held <= GOAL * bare),
        None,
        {"bytes_each": held, "floor_bytes_each": bare},
    )
