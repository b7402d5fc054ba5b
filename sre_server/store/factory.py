"""The one factory of this room: options in, what publishes or follows out."""

from collections.abc import Callable, Collection, Sequence

from sre_server.news import Source
from sre_server.store.follower import Follower
from sre_server.store.options import StoreOptions
from sre_server.store.publisher import Alone, Leadership, Publisher
from sre_server.telemetry.metrics import Metrics


def make_follower(
    options: StoreOptions, sources: Sequence[Source], identify: Callable[[], str], metrics: Metrics
) -> Follower:
    """Follow what a watcher publishes of these sources; `identify` asks the cluster who it is, and may block."""
    return Follower(options, sources, identify, metrics)


def make_publisher(
    options: StoreOptions,
    sources: Sequence[Source],
    identify: Callable[[], str],
    leadership: Leadership | None,
    metrics: Metrics,
    awaited: Callable[[], Collection[object]],
) -> Publisher:
    """Publish what is heard of these sources, while `leadership` has it or, without, always; see `Publisher`."""
    return Publisher(options, sources, identify, leadership or Alone(), metrics, awaited)
