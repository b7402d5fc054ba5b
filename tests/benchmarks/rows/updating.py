"""Four clients send KeyUpdates as fast as they can: how long another one waits for its reads meanwhile.

It reads every 2 ms, unless it still waits for an answer: the longest wait is that of one read, not of those behind it.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench import Bench, single_reads
from tests.benchmarks.load import Load
from tests.benchmarks.processes import Server, cpu_seconds
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import figure
from tests.benchmarks.updates import Sender

CLIENTS: Final = 4
UPDATES: Final = 160_000
GOAL_MS: Final = 50.0
READS_PER_SECOND: Final = 500.0
_STEP_SECONDS: Final = 0.25


def key_updates(bench: Bench) -> list[Result]:
    """Measure the longest wait with and without the KeyUpdates, by turns."""
    updates = UPDATES // bench.effort.shrink
    with ExitStack() as stack:
        server = bench.server(stack, 100)
        reader = stack.enter_context(Load(bench.generator(), server.target, single_reads(100), connections=1))
        waits, idle, costs, seconds = zip(
            *(_round(bench, server, reader, updates // CLIENTS) for _ in range(bench.effort.starts + 1)), strict=True
        )
    longest, quiet = figure(waits[1:]), figure(idle[1:])
    return [
        Result(
            "key-updates",
            f"longest wait of a client while {CLIENTS} others send {updates:,} KeyUpdates",
            f"<= {GOAL_MS:g} ms",
            f"{longest.median:.0f} ms (at most {longest.highest:.0f}), idle {quiet.median:.0f} ms",
            verdict(longest.median <= GOAL_MS),
            None,
            {
                "longest_wait_ms": longest,
                "longest_wait_idle_ms": quiet,
                "cpu_us_each_update": figure([cost / updates * 1e6 for cost in costs[1:]]),
                "seconds": figure(seconds[1:]),
            },
        )
    ]


def _round(bench: Bench, server: Server, reader: Load, each: int) -> tuple[float, float, float, float]:
    """Return the longest wait in ms and the same of an idle server, CPU seconds, and seconds of the whole flood."""
    path = single_reads(100)[0]
    with ExitStack() as stack:
        senders = [stack.enter_context(Sender(bench.folder, server.target, path, each)) for _ in range(CLIENTS)]
        pool = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        before, longest, seconds = cpu_seconds(server.pid), 0.0, 0.0
        sending = [pool.submit(sender.send) for sender in senders]
        while not all(done.done() for done in sending) or not seconds:
            seen = reader.round(_STEP_SECONDS, rate=READS_PER_SECOND, skip=True).check(200)
            longest, seconds = max(longest, seen.latency["max"]), seconds + seen.seconds
        cost = cpu_seconds(server.pid) - before
        for done in sending:
            done.result()
    idle = reader.round(seconds, rate=READS_PER_SECOND, skip=True).check(200)
    return longest / 1000, idle.latency["max"] / 1000, cost, seconds
