"""The cached single read: its CPU beside the floor's, with all of the trust boundary on."""

from contextlib import ExitStack

from tests.benchmarks.bench import Bench, exchange, single_reads
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Measured, by_turns
from tests.benchmarks.stubbed import Stub

GOAL = 2.0
_POLICY = "rules:\n- {identities: [nobody], verbs: [read]}\n- {identities: [ali*], verbs: [read], namespaces: ['*']}\n"


def single_read(bench: Bench) -> list[Result]:
    """Measure `GET .../replicas` on 16 keep-alive connections against 10,000 Deployments."""
    deployments = bench.size(10_000)
    paths = single_reads(deployments)
    policy = bench.folder / "policy.yaml"
    policy.write_text(_POLICY)
    with ExitStack() as stack:
        stub = stack.enter_context(Stub(bench.folder, deployments))
        server = bench.server(stack, stub)
        strict = bench.server(stack, stub, f"--authorization=policy:{policy}", log="policy.log")
        floor = bench.floor(stack, exchange(server.target, paths[0]))
        contestants = {
            "floor": bench.contestant(stack, floor, floor.target, paths),
            "server": bench.contestant(stack, server, server.target, paths),
            "policy": bench.contestant(stack, strict, strict.target, paths),
        }
        taken = by_turns(contestants, bench.effort.rounds, bench.effort.seconds)
    bare = taken["floor"]
    return [
        _result("CPU of one cached GET .../replicas", taken["server"], bare),
        _result("the same with --authorization=policy", taken["policy"], bare),
    ]


def _result(what: str, ours: Measured, bare: Measured) -> Result:
    ratio = ours.ratios(bare)
    return Result(
        "single-read",
        what,
        f"<= {GOAL:g} x floor",
        f"{ours.cpu.median:.0f} us, floor {bare.cpu.median:.0f} us; {ours.rate.median:.0f}/s",
        verdict(ratio.median <= GOAL),
        ratio,
        {
            "cpu_us": ours.cpu,
            "floor_cpu_us": bare.cpu,
            "requests_per_second": ours.rate,
            "floor_requests_per_second": bare.rate,
            "p99_ms": ours.latency("p99"),
            "floor_p99_ms": bare.latency("p99"),
            "generator_cpu_us": ours.generator_cpu,
        },
    )
