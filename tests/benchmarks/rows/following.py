"""A thousand changes a second, and all api processes that follow them: how soon each has them, and what that costs.

Everybody is a whole daemon. Each api process notes when its cache has taken in each count of one Deployment, which
is every 20th change: from before the stub sends it until the last process has it. On few processors they wait for
each other, as all of them wake at the same time.
"""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tests.benchmarks.bench import Bench
from tests.benchmarks.load import BenchError, Seen
from tests.benchmarks.processes import Server, cpu_seconds
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Figure, figure
from tests.benchmarks.rows.storm import EVENTS_PER_SECOND, visible_after
from tests.benchmarks.sharing import Shared, Watcher, notes_of
from tests.benchmarks.stubbed import Stub

DEPLOYMENTS: Final = 10_000
PROCESSES: Final = (10, 25, 50)
GOAL_P50_MS: Final = 110.0
GOAL_P99_MS: Final = 250.0
GOAL_FOLLOWING: Final = 0.02
GOAL_REDIS: Final = 0.04
QUIET_SECONDS: Final = 1.0
_SHARES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


class _Round(Struct, frozen=True):
    """Shares of a core, bytes a second, and milliseconds until the first process had a change, and the last one."""

    redis: float
    following: float
    watching: float
    egress: float
    rate: float
    first: list[float]
    last: list[float]


def following(bench: Bench) -> list[Result]:
    """Measure storms with more and more api processes."""
    rounds: dict[int, list[_Round]] = {}
    sizes = sorted({max(1, size // bench.effort.shrink) for size in PROCESSES})
    with ExitStack() as stack:
        stub = stack.enter_context(Stub(bench.folder, bench.size(DEPLOYMENTS)))
        shared = Shared(bench, stack)
        watcher = shared.watcher(stub.kubeconfig)
        watcher.wait_until_publishing()
        servers: list[Server] = []
        for size in sizes:
            servers += shared.servers(stub.kubeconfig, size - len(servers))
            time.sleep(bench.effort.settle)
            rounds[size] = [
                _round(30 * bench.effort.seconds, stub, shared, watcher, servers) for _ in range(bench.effort.starts)
            ]
    return _results(rounds)


def _round(seconds: float, stub: Stub, shared: Shared, watcher: Watcher, servers: list[Server]) -> _Round:
    notes = [notes_of(server.log) for server in servers]
    before = [note.stat().st_size for note in notes]
    pids, began = [server.pid for server in servers], time.monotonic()
    redis, followed, watched = shared.cpu(), cpu_seconds(*pids), cpu_seconds(watcher.pid)
    sent = shared.info("stats")["total_net_output_bytes"]
    stub.begin_storm(EVENTS_PER_SECOND, seconds)
    emitted = stub.emitted()
    took = time.monotonic() - began
    redis, followed, watched = shared.cpu() - redis, cpu_seconds(*pids) - followed, cpu_seconds(watcher.pid) - watched
    sent = shared.info("stats")["total_net_output_bytes"] - sent
    time.sleep(QUIET_SECONDS)
    waits = [visible_after(emitted, _seen(note, offset)) for note, offset in zip(notes, before, strict=True)]
    if not all(waits):
        raise BenchError("a process has seen no change")
    return _Round(
        redis / took,
        followed / took / len(pids),
        watched / took,
        sent / took,
        seconds * EVENTS_PER_SECOND / took,
        [min(each) for each in zip(*waits, strict=False)],
        [max(each) for each in zip(*waits, strict=False)],
    )


def _seen(note: Path, offset: int) -> list[Seen]:
    lines = note.read_bytes()[offset:].splitlines()
    return [Seen(*msgspec.json.decode(line, type=tuple[int, int])) for line in lines]


def _at(waits: list[float], share: float) -> float:
    return sorted(waits)[min(len(waits) - 1, int(share * len(waits)))]


def _waits(rounds: list[_Round], which: str) -> dict[str, Figure]:
    return {name: figure([_at(getattr(taken, which), share) for taken in rounds]) for name, share in _SHARES.items()}


def _shares(rounds: dict[int, list[_Round]], what: str) -> dict[int, Figure]:
    return {size: figure([getattr(taken, what) for taken in some]) for size, some in rounds.items()}


def _results(rounds: dict[int, list[_Round]]) -> list[Result]:
    most = max(rounds)
    last, first = _waits(rounds[most], "last"), _waits(rounds[most], "first")
    redis, following = _shares(rounds, "redis"), _shares(rounds, "following")
    rate = f"{EVENTS_PER_SECOND:,.0f} changes/s"
    return [
        Result(
            "shared-visible",
            f"change to visible at the last of {most} api processes, {rate}",
            f"p99 <= {GOAL_P99_MS:g} ms; p50 <= {GOAL_P50_MS:g} ms",
            f"p99 {last['p99'].median:.0f} ms, p50 {last['p50'].median:.0f} ms; "
            f"at the first {first['p99'].median:.0f}, {first['p50'].median:.0f}",
            verdict(last["p99"].median <= GOAL_P99_MS, last["p50"].median <= GOAL_P50_MS),
            None,
            {
                "changes_per_second": figure([taken.rate for taken in rounds[most]]),
                **{f"last_{name}_ms": wait for name, wait in last.items()},
                **{f"first_{name}_ms": wait for name, wait in first.items()},
                **{
                    f"last_{name}_ms_{size}": wait
                    for size, some in rounds.items()
                    for name, wait in _waits(some, "last").items()
                },
            },
        ),
        Result(
            "shared-following",
            f"CPU of an api process that follows {rate}",
            f"<= {GOAL_FOLLOWING:.0%} of a core",
            f"{following[most].median:.2%}; the watcher {_shares(rounds, 'watching')[most].median:.1%}",
            verdict(following[most].median <= GOAL_FOLLOWING),
            None,
            {
                **{f"core_share_{size}": share for size, share in following.items()},
                **{f"watcher_core_share_{size}": share for size, share in _shares(rounds, "watching").items()},
            },
        ),
        Result(
            "shared-redis",
            f"CPU of Redis, {most} api processes, {rate}",
            f"<= {GOAL_REDIS:.0%} of a core",
            f"{redis[most].median:.2%}; {_shares(rounds, 'egress')[most].median / 1e6:.2f} MB/s sent",
            verdict(redis[most].median <= GOAL_REDIS),
            None,
            {
                **{f"core_share_{size}": share for size, share in redis.items()},
                **{f"egress_bytes_{size}": share for size, share in _shares(rounds, "egress").items()},
            },
        ),
    ]
