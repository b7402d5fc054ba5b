"""What stands in Redis, and what it takes to read all of it: the product's publisher and reader, in this process.

Nothing is around them, so that a small load can be told from nothing, and a cluster of a million Deployments fits.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Final

from msgspec import Struct

from sre_server.cluster.unpacking import decode_page
from sre_server.model import Deployment, Namespace
from sre_server.news import Listed, Resource, Source, sources_of
from sre_server.store.connection import Store
from sre_server.store.contents import Lists
from sre_server.store.interruptible import Interruptible
from sre_server.store.loading import Reader
from sre_server.store.options import StoreOptions, parse_url
from sre_server.store.publisher import Alone, Publisher
from sre_server.store.records import Keys, Seal
from sre_server.telemetry.metrics import Metrics
from tests.benchmarks.bench import Bench
from tests.benchmarks.load import BenchError
from tests.benchmarks.objects import Objects
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Figure, figure
from tests.benchmarks.sharing import Shared
from tests.benchmarks.stub import FIRST_VERSION

SIZES: Final = (10_000, 50_000, 100_000, 1_000_000)
JUDGED: Final = 100_000
GOAL_BYTES: Final = 170.0
CLUSTER: Final = "ns-kube-system"
PAGE: Final = 500


class _Snapshot(Struct, frozen=True):
    """Bytes in Redis; of each load: seconds, those of CPU here and in Redis, and bytes that Redis sent."""

    held: int
    seconds: Figure
    cpu: Figure
    redis_cpu: Figure
    sent: Figure


def snapshots(bench: Bench) -> list[Result]:
    """Publish clusters of several sizes, one after the other, and load each several times."""
    taken = {size: _measure(bench, size) for size in sorted({bench.size(size) for size in SIZES})}
    judged = taken[bench.size(JUDGED)]
    held = judged.held / bench.size(JUDGED)
    return [
        Result(
            "shared-bytes",
            f"memory in Redis for each of {bench.size(JUDGED):,} Deployments",
            f"<= {GOAL_BYTES:g} bytes",
            f"{held:.0f} bytes; to load all: {judged.cpu.median:.2f} s CPU, in Redis {judged.redis_cpu.median:.3f} s",
            verdict(held <= GOAL_BYTES),
            None,
            {
                **{f"held_bytes_{size}": each.held for size, each in taken.items()},
                **{f"load_seconds_{size}": each.seconds for size, each in taken.items()},
                **{f"load_cpu_seconds_{size}": each.cpu for size, each in taken.items()},
                **{f"load_redis_cpu_seconds_{size}": each.redis_cpu for size, each in taken.items()},
                **{f"load_sent_bytes_{size}": each.sent for size, each in taken.items()},
            },
        )
    ]


def _measure(bench: Bench, size: int) -> _Snapshot:
    sources = sources_of(())
    with ExitStack() as stack:
        shared = Shared(bench, stack)
        options = StoreOptions(address=parse_url(shared.redis.url), seal=shared.seal)
        before = shared.info("memory")["used_memory"]
        keys, seal = Keys(CLUSTER, options.name), Seal.read(shared.seal)
        with Store(options, Interruptible()) as store:
            _publish(store, keys, seal, options, size)
        held = shared.info("memory")["used_memory"] - before
        store = stack.enter_context(Store(options, Interruptible()))
        reader = Reader(store, keys, seal, sources)
        loads = []
        repeats = max(1, JUDGED // bench.effort.shrink // size)
        for _ in range(bench.effort.starts):
            redis, sent = shared.cpu(), shared.info("stats")["total_net_output_bytes"]
            began, cpu = time.monotonic(), time.thread_time()
            for _ in range(repeats):
                _load(reader, sources, size)
            seconds, cpu = time.monotonic() - began, time.thread_time() - cpu
            redis, sent = shared.cpu() - redis, shared.info("stats")["total_net_output_bytes"] - sent
            loads.append([each / repeats for each in (seconds, cpu, redis, sent)])
    return _Snapshot(held, *(figure(some) for some in zip(*loads, strict=True)))


def _load(reader: Reader, sources: Sequence[Source], size: int) -> None:
    """Load everything, and make the lists of it that a cache takes in."""
    loaded = reader.load()
    lists = Lists(loaded.contents)
    _, deployments = [lists.listed("", source, 0.0, undoes=False) for source in sources]
    if sum(map(len, deployments.deployments.values())) != size:
        raise BenchError("not everything was loaded")


def _publish(store: Store, keys: Keys, seal: Seal, options: StoreOptions, size: int) -> None:
    """Publish once, as a watcher does that has just listed the cluster."""
    namespaces, deployments = sources_of(())
    tree: dict[str, dict[str, Deployment]] = {}
    for item in _decoded(size):
        tree.setdefault(item.namespace, {})[item.name] = item
    named = {name: Namespace(name, f"ns-{name}", str(FIRST_VERSION)) for name in tree}
    publisher = Publisher(options, (namespaces, deployments), lambda: CLUSTER, Alone(), Metrics(), tuple)
    publisher.applied(Listed(namespaces, str(FIRST_VERSION), time.monotonic(), namespaces=named))
    publisher.applied(Listed(deployments, str(FIRST_VERSION), time.monotonic(), deployments=tree))
    publisher.step(store, keys, seal)


def _decoded(size: int) -> Iterator[Deployment]:
    """Yield the stub's Deployments as the product reads them."""
    objects = Objects(size)
    for start in range(0, size, PAGE):
        items = b",".join(objects.deployments(start, start + PAGE, FIRST_VERSION))
        page = decode_page(Resource.DEPLOYMENTS, b'{"metadata":{"resourceVersion":"1"},"items":[%b]}' % items)
        yield from (item for item in page.objects if isinstance(item, Deployment))
