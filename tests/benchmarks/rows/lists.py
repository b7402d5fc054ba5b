"""The two long lists with 10,000 Deployments: whole, not modified, and compressed, each beside the floor."""

import gzip
import timeit
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench import Bench, exchange, header, single_reads, status_of
from tests.benchmarks.report import Result, Verdict, skipped, verdict
from tests.benchmarks.rounds import Measured, by_turns

PATHS: Final = ("/deployments", "/namespaces/ANY/deployments/ANY/replica_count")
GOAL: Final = 1.3
GOAL_NOT_MODIFIED: Final = 1.2


def _beside_floor(bench: Bench, row: str, goal: str, path: str, headers: Sequence[str] = ()) -> Result:
    """Measure one list, asked for with these headers, beside the floor sending the same bytes."""
    what = f"CPU of {path}" + "".join(f", {line}" for line in headers)
    deployments = bench.size(10_000)
    with ExitStack() as stack:
        server = bench.server(stack, deployments)
        answer = exchange(server.target, path, *headers)
        if headers and not header(answer, "content-encoding"):
            return skipped(row, what, goal, "the answer is not compressed", Verdict.NOT_SERVED)
        floor = bench.floor(stack, answer)
        contestants = {
            "floor": bench.contestant(stack, floor, floor.target, [path], headers=headers),
            "server": bench.contestant(stack, server, server.target, [path], headers=headers),
        }
        taken = by_turns(contestants, bench.effort.rounds, bench.effort.seconds)
    ours, bare = taken["server"], taken["floor"]
    ratio = ours.ratios(bare)
    measured = f"{ours.cpu.median:.0f} us, floor {bare.cpu.median:.0f} us; {len(answer) / 1000:.0f} kB"
    met = ratio.median <= GOAL
    if headers:
        once = _compressing(answer.partition(b"\r\n\r\n")[2])
        measured += f", compressing {once:.0f} us"
        met = ours.cpu.median - bare.cpu.median < once / 4
    return Result(
        row,
        what,
        goal,
        measured,
        verdict(met),
        ratio,
        {"cpu_us": ours.cpu, "floor_cpu_us": bare.cpu, "bytes": len(answer), "p99_ms": ours.latency("p99")},
    )


def lists(bench: Bench) -> list[Result]:
    """Measure both lists as most clients ask for them."""
    return [_beside_floor(bench, "lists", f"<= {GOAL:g} x floor", path) for path in PATHS]


def compressed(bench: Bench) -> list[Result]:
    """Measure both lists with `Accept-Encoding: gzip`: nothing of what compressing takes may be in a request's cost."""
    goal = "compressed once: what is added to the floor is < 1/4 of that"
    return [_beside_floor(bench, "lists-gzip", goal, path, ["Accept-Encoding: gzip"]) for path in PATHS]


def _compressing(body: bytes) -> float:
    """Return the microseconds that it takes to make a compressed body anew, at the fastest level."""
    plain = gzip.decompress(body)
    return min(timeit.repeat(lambda: gzip.compress(plain, 1), number=1, repeat=5)) * 1e6


def not_modified(bench: Bench) -> list[Result]:
    """Measure 304, the answer to `If-None-Match`, beside a cached single read of the same server."""
    goal = f"304, <= {GOAL_NOT_MODIFIED:g} x single read"
    deployments = bench.size(10_000)
    results = []
    with ExitStack() as stack:
        server = bench.server(stack, deployments)
        single = bench.contestant(stack, server, server.target, single_reads(deployments))
        for path in PATHS:
            what = f"CPU of {path}, If-None-Match"
            matching = f"If-None-Match: {header(exchange(server.target, path), 'etag')}"
            if status_of(exchange(server.target, path, matching)) != 304:
                results.append(skipped("not-modified", what, goal, "no 304", Verdict.NOT_SERVED))
                continue
            again = bench.contestant(stack, server, server.target, [path], headers=[matching], statuses=(304,))
            taken = by_turns({"304": again, "single": single}, bench.effort.rounds, bench.effort.seconds)
            results.append(_not_modified(what, goal, taken["304"], taken["single"]))
    return results


def _not_modified(what: str, goal: str, again: Measured, single: Measured) -> Result:
    ratio = again.ratios(single)
    measured = f"{again.cpu.median:.0f} us, single read {single.cpu.median:.0f} us"
    details = {"cpu_us": again.cpu, "single_read_cpu_us": single.cpu, "p99_ms": again.latency("p99")}
    return Result("not-modified", what, goal, measured, verdict(ratio.median <= GOAL_NOT_MODIFIED), ratio, {**details})
