"""Four clients send KeyUpdates as fast as they can: how long another one waits for its reads meanwhile.

It reads every 2 ms, unless it still waits for an answer: the longest wait is that of one read, not of those behind it.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Final

from msgspec import Struct

from tests.benchmarks.bench import Bench, single_reads
from tests.benchmarks.load import Load
from tests.benchmarks.processes import Server, cpu_seconds
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Figure, figure
from tests.benchmarks.updates import Sender

CLIENTS: Final = 4
UPDATES: Final = 160_000
GOAL_MS: Final = 50.0
READS_PER_SECOND: Final = 500.0
_STEP_SECONDS: Final = 0.25


class _Flood(Struct, frozen=True):
    longest_ms: float
    seconds: float
    cpu: float


def key_updates(bench: Bench) -> list[Result]:
    """Measure the longest wait beside either kind of KeyUpdates and without any, by turns."""
    each = UPDATES // bench.effort.shrink // CLIENTS
    with ExitStack() as stack:
        server = bench.server(stack, 100)
        reader = stack.enter_context(Load(bench.generator(), server.target, single_reads(100), connections=1))
        plain, answered, idle = [], [], []
        for _ in range(bench.effort.starts):
            plain.append(_flood(bench, server, reader, each, answered=False))
            answered.append(_flood(bench, server, reader, each, answered=True))
            idle.append(_read(reader, 4 * _STEP_SECONDS) / 1000)
    return [
        _result(f"longest wait while {CLIENTS} others send {CLIENTS * each:,} KeyUpdates", plain, figure(idle)),
        _result("the same, each of which asks for one in return", answered, figure(idle)),
    ]


def _read(reader: Load, seconds: float) -> float:
    """Return the longest wait in microseconds."""
    return reader.round(seconds, rate=READS_PER_SECOND, skip=True).check(200).latency["max"]


def _flood(bench: Bench, server: Server, reader: Load, each: int, *, answered: bool) -> _Flood:
    """Read for as long as KeyUpdates are on their way."""
    path = single_reads(100)[0]
    with ExitStack() as stack:
        senders = [
            stack.enter_context(Sender(bench.folder, server.target, path, each, answered=answered))
            for _ in range(CLIENTS)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(CLIENTS))
        before, began = cpu_seconds(server.pid), time.monotonic()
        sending = [pool.submit(sender.send) for sender in senders]
        waits = [_read(reader, _STEP_SECONDS)]
        while not all(done.done() for done in sending):
            waits.append(_read(reader, _STEP_SECONDS))
        for done in sending:
            done.result()
        spent = cpu_seconds(server.pid) - before
        return _Flood(max(waits) / 1000, time.monotonic() - began, spent / (CLIENTS * each) * 1e6)


def _result(what: str, floods: list[_Flood], idle: Figure) -> Result:
    longest = figure([flood.longest_ms for flood in floods])
    return Result(
        "key-updates",
        what,
        f"<= {GOAL_MS:g} ms",
        f"{longest.median:.0f} ms (at most {longest.highest:.0f}), idle {idle.median:.0f} ms",
        verdict(longest.median <= GOAL_MS),
        None,
        {
            "longest_wait_ms": longest,
            "longest_wait_idle_ms": idle,
            "cpu_us_each_update": figure([flood.cpu for flood in floods]),
            "seconds": figure([flood.seconds for flood in floods]),
        },
    )
