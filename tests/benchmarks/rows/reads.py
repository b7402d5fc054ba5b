"""The cached single read: its CPU beside the floor's, with all of the trust boundary on."""

from contextlib import ExitStack

from tests.benchmarks.bench import Bench, exchange, single_reads
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import by_turns

GOAL = 2.0
_POLICY = "rules:\n- name: everybody-reads\n  who: ['*']\n  may: [read]\n  namespaces: ['*']\n"


def single_read(bench: Bench) -> list[Result]:
    """Measure `GET .../replicas` on 16 keep-alive connections against 10,000 Deployments."""
    deployments = bench.size(10_000)
    paths = single_reads(deployments)
    with ExitStack() as stack:
        server = bench.server(stack, deployments)
        floor = bench.floor(stack, exchange(server.target, paths[0]))
        contestants = {
            "floor": bench.contestant(stack, floor, floor.target, paths),
            "server": bench.contestant(stack, server, server.target, paths),
        }
        taken = by_turns(contestants, bench.effort.rounds, bench.effort.seconds)
    ours, bare = taken["server"], taken["floor"]
    ratio = ours.ratios(bare)
    result = Result(
        "single-read",
        "CPU of one cached GET .../replicas",
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
    return [result]
