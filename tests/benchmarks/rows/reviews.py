"""What the reads of one client cost the API server in reviews, where its RBAC decides."""

from collections import Counter
from contextlib import ExitStack
from typing import Final

from sre_server.security.asking import REMEMBER_SECONDS
from tests.benchmarks.bench import Bench
from tests.benchmarks.objects import Objects, half
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.stubbed import Reviewed, Stub

DEPLOYMENTS: Final = 10_000
NAMESPACES: Final = 3
CLIENT: Final = "alice"
READ: Final = 1000
SECONDS: Final = 2.5 * REMEMBER_SECONDS


def reviews(bench: Bench) -> list[Result]:
    """Read 1,000 names in the largest namespaces that the client may read, some of nothing, from its first on."""
    deployments = bench.size(DEPLOYMENTS)
    objects = Objects(deployments)
    mine = half(objects.namespaces)
    sizes = Counter(each.namespace for each in objects.inhabitants if each.namespace in mine)
    namespaces = [namespace for namespace, _ in sizes.most_common(NAMESPACES)]
    names = [(each.namespace, each.name) for each in objects.inhabitants if each.namespace in namespaces]
    names += [(namespaces[number % len(namespaces)], f"missing-{number}") for number in range(READ - len(names))]
    with ExitStack() as stack:
        stub = stack.enter_context(Stub(bench.folder, deployments))
        server = bench.server(stack, stub, "--authorization=kubernetes", log="reviews.log")
        paths = [f"/deployments/{namespace}/{name}/replicas" for namespace, name in names]
        load = bench.contestant(stack, server, server.target, paths).load
        report = load.round(SECONDS / bench.effort.shrink).check(200, 404)
        asked = [each for each in stub.reviewed() if each.user == CLIENT]
    most = max(_within(asked, review.at) for review in asked)
    return [
        Result(
            "reviews",
            f"reviews for reads of {len(names)} names in {len(namespaces)} namespaces, in any 10 s",
            f"<= {1 + len(namespaces)}",
            f"{most}; {report.requests} reads in {report.seconds:.0f} s",
            verdict(most <= 1 + len(namespaces)),
            details={"reviews": len(asked), "names": sum(bool(each.name) for each in asked), "reads": report.requests},
        )
    ]


def _within(asked: list[Reviewed], start: float) -> int:
    """Return how many there were in the 10 s from a time on."""
    return sum(start <= each.at < start + REMEMBER_SECONDS for each in asked)
