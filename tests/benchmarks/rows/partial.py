"""The long list for a client that may read half of the namespaces, beside a whole list of as many bytes."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final

from tests.benchmarks.bench import Bench, exchange, header
from tests.benchmarks.objects import Objects, half
from tests.benchmarks.processes import Server
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Contestant, Measured, by_turns, figure
from tests.benchmarks.stubbed import Stub

PATH: Final = "/namespaces/ANY/deployments/ANY/replica_count"
GZIP: Final = "Accept-Encoding: gzip"
GOAL: Final = 1.5


def partial_lists(bench: Bench) -> list[Result]:
    """Measure what a policy shows, and what RBAC does: plain, compressed and not modified."""
    deployments = bench.size(10_000)
    namespaces = half(Objects(deployments).namespaces)
    policy = bench.folder / "half.yaml"
    policy.write_text(f"rules:\n- {{identities: [alice], verbs: [read], namespaces: [{', '.join(namespaces)}]}}\n")
    with ExitStack() as stack:
        stub = stack.enter_context(Stub(bench.folder, deployments))
        servers = {
            "whole": bench.server(stack, deployments // 2, log="whole.log"),
            "policy": bench.server(stack, stub, f"--authorization=policy:{policy}", log="half-policy.log"),
            "kubernetes": bench.server(stack, stub, "--authorization=kubernetes", log="half-kubernetes.log"),
        }
        results = []
        for form in ("plain", "gzip", "304"):
            contestants, lengths = {}, {}
            for name, server in servers.items():
                contestants[name], lengths[name] = _contestant(bench, stack, server, form)
            taken = by_turns(contestants, bench.effort.rounds, bench.effort.seconds)
            results += [_result(name, form, taken, lengths) for name in ("policy", "kubernetes")]
    return results


def _contestant(bench: Bench, stack: ExitStack, server: Server, form: str) -> tuple[Contestant, int]:
    """Ask a server for the list in one of its forms; return also how many bytes the answer has."""
    headers = [GZIP] if form == "gzip" else []
    answer = exchange(server.target, PATH, *headers)
    if form != "304":
        return bench.contestant(stack, server, server.target, [PATH], headers=headers), len(answer)
    headers = [f"If-None-Match: {header(answer, 'etag')}"]
    again = bench.contestant(stack, server, server.target, [PATH], headers=headers, statuses=(304,))
    return again, len(exchange(server.target, PATH, *headers))


def _result(name: str, form: str, taken: Mapping[str, Measured], lengths: Mapping[str, int]) -> Result:
    ours, whole = taken[name], taken["whole"]
    more = lengths[name] / lengths["whole"]
    ratio = figure([one.cpu / more / other.cpu for one, other in zip(ours.samples, whole.samples, strict=True)])
    return Result(
        "partial-lists",
        f"CPU of half of {PATH}, {name}, {form}",
        f"<= {GOAL:g} x whole list of as many bytes",
        f"{ours.cpu.median:.0f} us, whole {whole.cpu.median:.0f} us; {lengths[name] / 1000:.0f} kB",
        verdict(ratio.median <= GOAL),
        ratio,
        {"cpu_us": ours.cpu, "whole_cpu_us": whole.cpu, "bytes": lengths[name], "whole_bytes": lengths["whole"]},
    )
