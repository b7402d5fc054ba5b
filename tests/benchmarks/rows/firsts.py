"""The first request of a connection beside a later one: a new connection with a read in it, less one without.

A handshake costs many times as much as a read, so that the difference of the two says little in one round.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench import Bench, exchange, single_reads
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Contestant, Measured, by_turns, figure

GOAL: Final = 2.0
CONNECTIONS: Final = 4
_KINDS: Final = ("nothing", "first", "later")


def first_request(bench: Bench) -> list[Result]:
    """Measure new connections with and without a read, and reads on kept ones, of the server and of the floor."""
    paths = single_reads(100)
    contestants: dict[str, Contestant] = {}
    with ExitStack() as stack:
        server = bench.server(stack, 100)
        floor = bench.floor(stack, exchange(server.target, paths[0]))
        for kind in _KINDS:
            for name, process in (("floor", floor), ("server", server)):
                contestants[f"{name} {kind}"] = bench.contestant(
                    stack,
                    process,
                    process.target,
                    [] if kind == "nothing" else paths,
                    connections=CONNECTIONS,
                    connect=kind != "later",
                    statuses=(0 if kind == "nothing" else 200,),
                )
        taken = by_turns(contestants, bench.effort.rounds, bench.effort.seconds)
    first, bare = _first(taken, "server"), _first(taken, "floor")
    later = taken["server later"].cpu
    ratio = figure([one / other.cpu for one, other in zip(first, taken["server later"].samples, strict=True)])
    return [
        Result(
            "first-request",
            "CPU of the first read of a connection beside a later one",
            f"<= {GOAL:g} x a later one",
            f"{figure(first).median:.0f} us, later {later.median:.0f} us; floor {figure(bare).median:.0f} us",
            verdict(ratio.median <= GOAL),
            ratio,
            {"cpu_us": figure(first), "later_cpu_us": later, "floor_cpu_us": figure(bare)},
        )
    ]


def _first(taken: Mapping[str, Measured], name: str) -> list[float]:
    """Return the microseconds of a first read in each round."""
    pairs = zip(taken[f"{name} first"].samples, taken[f"{name} nothing"].samples, strict=True)
    return [asked.cpu - silent.cpu for asked, silent in pairs]
