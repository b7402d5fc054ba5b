"""From the bytes of list pages to a cache that answers, in this process, beside two ways to decode alone."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, cast

import msgspec
from kubernetes.client import ApiClient
from msgspec import Struct

from sre_server.cache import ClusterCache
from sre_server.cluster.watching import Reflector
from sre_server.errors import ClusterError, ClusterUnreachable
from sre_server.news import Resource, Source
from tests.benchmarks.bench import Bench
from tests.benchmarks.load import BenchError
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import figure
from tests.benchmarks.stub import Cluster
from tests.fakes import FakeReply

GOAL: Final = 2.0
GOAL_MODELS: Final = 50.0
PAGES: Final = 4
PAGE_OBJECTS: Final = 500
_SOURCE: Final = Source(Resource.DEPLOYMENTS)


class _Annotations(Struct, frozen=True, gc=False):
    protected: str = msgspec.field(name="sre-server/protected", default="")


class _Metadata(Struct, frozen=True, gc=False):
    name: str
    namespace: str
    uid: str
    resourceVersion: str
    annotations: _Annotations | None = None


class _Spec(Struct, frozen=True, gc=False):
    replicas: int | None = None


class _Deployment(Struct, frozen=True, gc=False):
    metadata: _Metadata
    spec: _Spec


class _Page(Struct):
    """The least that has to be decoded, and nothing done with it."""

    items: list[_Deployment]


class _CannedPages:
    """A transport that lists, and cannot be reached for a watch."""

    def __init__(self, cluster: Cluster, count: int) -> None:
        self.pages = {start: cluster.page(start, PAGE_OBJECTS) for start in range(0, count, PAGE_OBJECTS)}

    def request(self, method: str, path: str, query: Mapping[str, str | int], **_: Any) -> Any:
        """Answer one request."""
        if "watch" in query:
            raise ClusterUnreachable("There is nothing to watch.")
        return FakeReply(200, [self.pages[int(query.get("continue", 0))]])

    def interrupt(self) -> None:
        """Nothing waits."""


def _to_cache(transport: _CannedPages, count: int) -> None:
    """List everything with the product's own code, and apply it."""
    cache = ClusterCache(time.monotonic, [_SOURCE], 120.0)
    with suppress(ClusterError):
        Reflector(_SOURCE, transport).cycle(cache.apply)
    if sum(len(by_name) for by_name in cache.tree().values()) != count:
        raise BenchError("the pages did not arrive in the cache")


def list_page(bench: Bench) -> list[Result]:
    """Measure some pages by turns: ours to the cache, msgspec alone, Kubernetes' own models."""
    count = PAGES * PAGE_OBJECTS
    transport = _CannedPages(Cluster(count, compress=False, held=False), count)
    decoder = msgspec.json.Decoder(_Page)
    client = cast("Any", ApiClient())
    one_page = transport.pages[0].decode()
    microseconds: dict[str, list[float]] = {"ours": [], "msgspec": [], "models": []}
    for _ in range(bench.effort.starts + 1):
        started = time.process_time()
        _to_cache(transport, count)
        listed = time.process_time()
        for page in transport.pages.values():
            decoder.decode(page)
        decoded = time.process_time()
        client.deserialize(one_page, "V1DeploymentList", "application/json")
        ended = time.process_time()
        microseconds["ours"].append((listed - started) / count * 1e6)
        microseconds["msgspec"].append((decoded - listed) / count * 1e6)
        microseconds["models"].append((ended - decoded) / PAGE_OBJECTS * 1e6)
    ours, alone, models = (taken[1:] for taken in microseconds.values())  # the first round warms up
    ratio = figure([mine / theirs for mine, theirs in zip(ours, alone, strict=True)])
    faster = figure([theirs / mine for mine, theirs in zip(ours, models, strict=True)])
    measured = f"{figure(ours).median:.1f} us each, msgspec alone {figure(alone).median:.1f} us"
    return [
        Result(
            "list-page",
            f"list pages of {len(one_page) / PAGE_OBJECTS / 1000:.1f} kB Deployments to cache",
            f"<= {GOAL:g} x msgspec, >= {GOAL_MODELS:g} x faster than models",
            f"{measured}, models {figure(models).median:.0f} us: {faster.median:.0f} x faster",
            verdict(ratio.median <= GOAL, faster.median >= GOAL_MODELS),
            ratio,
            {
                "us_each": figure(ours),
                "msgspec_us_each": figure(alone),
                "models_us_each": figure(models),
                "faster_than_models": faster,
            },
        )
    ]
