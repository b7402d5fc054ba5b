"""A single read of an api process, by turns with one of a process that watches by itself."""

from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench import Bench, single_reads
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import by_turns
from tests.benchmarks.sharing import Shared
from tests.benchmarks.stubbed import Stub

DEPLOYMENTS: Final = 10_000
GOAL: Final = 1.05


def shared_reads(bench: Bench) -> list[Result]:
    """Measure `GET .../replicas` on 16 keep-alive connections, while nothing changes."""
    deployments = bench.size(DEPLOYMENTS)
    paths = single_reads(deployments)
    with ExitStack() as stack:
        stub = stack.enter_context(Stub(bench.folder, deployments))
        shared = Shared(bench, stack)
        shared.watcher(stub.kubeconfig).wait_until_publishing()
        servers = {
            "all": stack.enter_context(bench.starting(stub.kubeconfig, log="all.log")),
            "api": stack.enter_context(bench.starting(stub.kubeconfig, *shared.options("api"), log="api.log")),
        }
        for server in servers.values():
            server.wait_until_serving()
        contestants = {name: bench.contestant(stack, each, each.target, paths) for name, each in servers.items()}
        taken = by_turns(contestants, bench.effort.rounds, bench.effort.seconds)
    ratio = taken["api"].ratios(taken["all"])
    return [
        Result(
            "shared-reads",
            "CPU of one cached GET .../replicas of an api process",
            f"<= {GOAL:g} x --role all",
            f"{taken['api'].cpu.median:.0f} us, {taken['all'].cpu.median:.0f} us; {taken['api'].rate.median:.0f}/s",
            verdict(ratio.median <= GOAL),
            ratio,
            {
                "cpu_us": taken["api"].cpu,
                "all_cpu_us": taken["all"].cpu,
                "p99_ms": taken["api"].latency("p99"),
                "all_p99_ms": taken["all"].latency("p99"),
            },
        )
    ]
