"""The cached single read, with all of the trust boundary on: its CPU beside the floor's and that of other servers.

Some names are asked for at random, so that what a server remembers of them pays; and many in turn, each one long after
it was last asked for, so that little memories never do.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench import Bench, exchange, single_reads
from tests.benchmarks.processes import DaemonProcess
from tests.benchmarks.report import Result, Verdict, skipped, verdict
from tests.benchmarks.rivals import Handler, Nginx, find_nginx
from tests.benchmarks.rounds import Contestant, Measured, by_turns
from tests.benchmarks.stubbed import Stub

ROW: Final = "single-read"
GOAL: Final = 1.0
GOAL_IN_TURN: Final = 1.2
GOAL_GO: Final = 1.7
GOAL_GO_PACED: Final = 1.15
AT_RANDOM: Final = 1_000
IN_TURN: Final = 10_000
PACE: Final = 2_000.0
_POLICY: Final = (
    "rules:\n- {identities: [nobody], verbs: [read]}\n- {identities: [ali*], verbs: [read], namespaces: ['*']}\n"
)


def single_read(bench: Bench) -> list[Result]:
    """Measure `GET .../replicas` on 16 keep-alive connections against 10,000 Deployments."""
    deployments = bench.size(IN_TURN)
    some, everybody = single_reads(deployments, AT_RANDOM), single_reads(deployments, IN_TURN)
    policy = bench.folder / "policy.yaml"
    policy.write_text(_POLICY)
    nginx = find_nginx()
    with ExitStack() as stack:
        stub = stack.enter_context(Stub(bench.folder, deployments))
        server = bench.server(stack, stub)
        answer = exchange(server.target, some[0])
        floor = bench.floor(stack, answer)
        processes: dict[str, DaemonProcess] = {"floor": floor, "server": server}
        processes["go"] = stack.enter_context(Handler(bench.folder, bench.identities, answer))
        processes["go1"] = stack.enter_context(Handler(bench.folder, bench.identities, answer, processors=1))
        if nginx is not None:
            processes["nginx"] = stack.enter_context(Nginx(nginx, bench.folder, bench.identities, answer))
        strict = bench.server(stack, stub, f"--authorization=policy:{policy}", log="policy.log")
        contestants = {"policy": bench.contestant(stack, strict, strict.target, some)}
        for name, process in processes.items():
            contestants[name] = bench.contestant(stack, process, process.target, some)
        for name in [name for name in processes if name != "floor"]:
            asking = contestants[name]
            contestants[f"{name} paced"] = Contestant(asking.load, asking.pids, rate=PACE)
        taken = by_turns(contestants, bench.effort.rounds, bench.effort.seconds)
        # After the others, whose names they would make a server forget.
        passing = {
            f"{each} in turn": bench.contestant(stack, process, process.target, everybody, in_turn=True)
            for each, process in (("floor", floor), ("server", server))
        }
        taken |= by_turns(passing, bench.effort.rounds, bench.effort.seconds)
    what = "CPU of one cached GET .../replicas"
    results = [
        _result(f"{what}, {len(some):,} names at random", taken, "server", "floor", GOAL),
        _result("the same with --authorization=policy", taken, "policy", "floor", GOAL),
        _result(f"{what}, {len(everybody):,} names in turn", taken, "server in turn", "floor in turn", GOAL_IN_TURN),
        _result(f"{what} beside a bare Go handler", taken, "server", "go", GOAL_GO),
        _result(f"the same at {PACE:,.0f} requests/s", taken, "server paced", "go paced", GOAL_GO_PACED),
        _result(f"{what} beside a Go handler with GOMAXPROCS=1", taken, "server", "go1"),
        _result(f"the same at {PACE:,.0f} requests/s", taken, "server paced", "go1 paced"),
    ]
    if nginx is None:
        return [*results, skipped(ROW, f"{what} beside nginx", "", "nginx is not installed")]
    return [
        *results,
        _result(f"{what} beside nginx", taken, "server", "nginx"),
        _result(f"the same at {PACE:,.0f} requests/s", taken, "server paced", "nginx paced"),
    ]


def _result(what: str, taken: Mapping[str, Measured], name: str, beside: str, goal: float = 0) -> Result:
    """Compare two contestants; without a goal, for the record only."""
    ours, theirs = taken[name], taken[beside]
    other = beside.partition(" ")[0]
    ratio = ours.ratios(theirs)
    return Result(
        ROW,
        what,
        f"<= {goal:g} x {other}" if goal else "",
        f"{ours.cpu.median:.0f} us, {other} {theirs.cpu.median:.0f} us; {ours.rate.median:.0f}/s, "
        f"p99 {ours.latency('p99').median:.1f} ms, {other} {theirs.latency('p99').median:.1f} ms",
        verdict(ratio.median <= goal) if goal else Verdict.NOTED,
        ratio,
        {
            "cpu_us": ours.cpu,
            f"{other}_cpu_us": theirs.cpu,
            "requests_per_second": ours.rate,
            f"{other}_requests_per_second": theirs.rate,
            "p99_ms": ours.latency("p99"),
            f"{other}_p99_ms": theirs.latency("p99"),
            "generator_cpu_us": ours.generator_cpu,
        },
    )
