"""A thousand changes a second: how soon they can be read, and what other readers feel of it.

Every 20th change is of one Deployment, which one client reads every 2 ms; the others are spread over all. From the
moment before the stub sends an event to the moment at which that client has read the new count: its own waiting
between two reads is in it.
"""

from contextlib import ExitStack
from typing import Final

from msgspec import Struct

from sre_server.simulator.population import inhabitants
from tests.benchmarks.bench import Bench, single_reads
from tests.benchmarks.load import BenchError, Load, LoadReport, Seen
from tests.benchmarks.processes import cpu_seconds
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import figure
from tests.benchmarks.stub import FOCUS_EVERY
from tests.benchmarks.stubbed import Emitted, Stub

EVENTS_PER_SECOND: Final = 1000.0
GOAL_VISIBLE_MS: Final = 10.0
GOAL_READS: Final = 2.0
FOLLOWER_PER_SECOND: Final = 500.0
READS_PER_SECOND: Final = 200.0
_PERCENTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999}


class _Round(Struct, frozen=True):
    idle: LoadReport
    stormy: LoadReport
    visible: list[float]
    events_per_second: float
    cpu_us_each: float


def storm(bench: Bench) -> list[Result]:
    """Measure quiet and storm by turns, with the same readers in both."""
    deployments, seconds = bench.size(10_000), 10 * bench.effort.seconds
    with ExitStack() as stack:
        stub = stack.enter_context(Stub(bench.folder, deployments))
        server = bench.server(stack, stub)
        first = next(inhabitants(deployments))
        followed = f"/deployments/{first.namespace}/{first.name}/replicas"
        generator = bench.generator()
        follower = stack.enter_context(Load(generator, server.target, [followed], connections=1, follow='"replicas":'))
        readers = stack.enter_context(Load(generator, server.target, single_reads(deployments)[1:], connections=16))
        rounds = [_round(stub, follower, readers, server.pid, seconds) for _ in range(bench.effort.starts + 1)][1:]
    if not all(taken.visible for taken in rounds):
        raise BenchError("no change was ever seen")
    waits = {name: figure([_at(taken.visible, share) for taken in rounds]) for name, share in _PERCENTILES.items()}
    p50, p99 = waits["p50"].median, waits["p99"].median
    calm, rough = _median(rounds, "idle", "p99"), _median(rounds, "stormy", "p99")
    ratio = figure([taken.stormy.latency["p99"] / taken.idle.latency["p99"] for taken in rounds])
    return [
        Result(
            "storm",
            f"change to visible at {EVENTS_PER_SECOND:,.0f} events/s; reads meanwhile",
            f"p99 <= {GOAL_VISIBLE_MS:g} ms; read p99 <= {GOAL_READS:g} x idle",
            f"p99 {p99:.1f} ms (p50 {p50:.1f}); reads {rough:.1f} ms, idle {calm:.1f} ms",
            verdict(p99 <= GOAL_VISIBLE_MS, ratio.median <= GOAL_READS),
            ratio,
            {
                "events_per_second": figure([taken.events_per_second for taken in rounds]),
                "cpu_us_each_event": figure([taken.cpu_us_each for taken in rounds]),
                **{f"visible_{name}_ms": wait for name, wait in waits.items()},
                **{f"idle_{name}_ms": _median(rounds, "idle", name) for name in _PERCENTILES},
                **{f"storm_{name}_ms": _median(rounds, "stormy", name) for name in _PERCENTILES},
            },
        )
    ]


def _at(waits: list[float], share: float) -> float:
    return sorted(waits)[min(len(waits) - 1, int(share * len(waits)))]


def _median(rounds: list[_Round], kind: str, percentile: str) -> float:
    return figure([getattr(taken, kind).latency[percentile] / 1000 for taken in rounds]).median


def _round(stub: Stub, follower: Load, readers: Load, pid: int, seconds: float) -> _Round:
    """Read for a while when nothing happens, and for as long in a storm."""
    quiet_cpu, idle, _ = _reading(follower, readers, pid, seconds)
    stub.begin_storm(EVENTS_PER_SECOND, seconds)
    stormy_cpu, stormy, seen = _reading(follower, readers, pid, seconds)
    emitted = stub.emitted()
    rate = FOCUS_EVERY * (len(emitted) - 1) / (emitted[-1].at - emitted[0].at) * 1e9
    each = (stormy_cpu - quiet_cpu) / (EVENTS_PER_SECOND * seconds) * 1e6
    return _Round(idle, stormy, visible_after(emitted, seen), rate, each)


def _reading(follower: Load, readers: Load, pid: int, seconds: float) -> tuple[float, LoadReport, list[Seen]]:
    before = cpu_seconds(pid)
    follower.begin(seconds + 0.2, rate=FOLLOWER_PER_SECOND)
    report = readers.round(seconds, rate=READS_PER_SECOND).check(200)
    followed = follower.result().check(200)
    return cpu_seconds(pid) - before, report, followed.seen or []


def visible_after(emitted: list[Emitted], seen: list[Seen]) -> list[float]:
    """Return how long each change took to be read, in ms; one that a later one overtook was visible with that one."""
    found: list[float] = []
    remaining = iter(seen)
    current = next(remaining, None)
    for change in emitted:
        while current is not None and current.value < change.value:
            current = next(remaining, None)
        if current is None:
            break
        found.append((current.at - change.at) / 1e6)
    return found
