"""The full mutual handshake: a new connection each time, never resumed, beside the floor on the same certificates."""

from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench import Bench, exchange, single_reads
from tests.benchmarks.report import Result, Verdict, verdict
from tests.benchmarks.rounds import by_turns

GOAL: Final = 1.05
CONNECTIONS: Final = 4


def handshake(bench: Bench) -> list[Result]:
    """Measure connections that are made and closed in good order, without a request and with one."""
    paths = single_reads(100)
    with ExitStack() as stack:
        server = bench.server(stack, 100)
        floor = bench.floor(stack, exchange(server.target, paths[0]))
        contestants = {}
        for suffix, asked in (("", []), (" + read", paths)):
            for name, process in (("floor", floor), ("server", server)):
                contestants[name + suffix] = bench.contestant(
                    stack,
                    process,
                    process.target,
                    asked,
                    connections=CONNECTIONS,
                    connect=True,
                    statuses=(200 if asked else 0,),
                )
        taken = by_turns(contestants, bench.effort.rounds, bench.effort.seconds)
    results = []
    for suffix, what in (("", "CPU of a full mutual handshake"), (" + read", "the same with one read in it")):
        ours, bare = taken[f"server{suffix}"], taken[f"floor{suffix}"]
        ratio = ours.ratios(bare)
        results.append(
            Result(
                "handshake",
                what,
                "" if suffix else f"<= {GOAL:g} x floor",
                f"{ours.cpu.median:.0f} us, floor {bare.cpu.median:.0f} us; {ours.rate.median:.0f}/s",
                Verdict.NOTED if suffix else verdict(ratio.median <= GOAL),
                ratio,
                {"cpu_us": ours.cpu, "floor_cpu_us": bare.cpu, "generator_cpu_us": ours.generator_cpu},
            )
        )
    return results
