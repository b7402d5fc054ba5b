"""The one factory of this room: the cache's news in, what the API asks about a Deployment out."""

import time
from collections.abc import Callable, Collection

from msgspec import Struct

from sre_server.cache import ClusterCache
from sre_server.day.autoscalers import Autoscalers
from sre_server.day.changes import Changes
from sre_server.day.record import CountChange
from sre_server.day.temporary import Temporaries
from sre_server.news import Resource, Source


class Day(Struct, frozen=True):
    """What is known beside the Deployments themselves."""

    autoscalers: Autoscalers
    temporaries: Temporaries
    changes: Changes


def make_day(
    cache: ClusterCache,
    now: Callable[[], float],
    beside: Collection[Source],
    max_staleness: float,
    noted: Callable[[CountChange], object] = lambda _: None,
    wall: Callable[[], float] = time.time,
) -> Day:
    """Learn from the cache's news; `beside` are the sources that tell more than is needed to serve.

    What was heard more than `max_staleness` seconds ago, by the clock `now`, counts as not known. `noted` is told of
    each count that changed; `wall` tells when, in seconds since the epoch.
    """
    autoscalers = Autoscalers(now, beside, max_staleness)
    cache.subscribe(autoscalers)
    store = next((source for source in beside if source.resource is Resource.TEMPORARY), None)
    temporaries = Temporaries(now, store, max_staleness)
    cache.subscribe(temporaries)
    return Day(autoscalers, temporaries, make_changes(cache, now, noted, wall))


def make_changes(
    cache: ClusterCache,
    now: Callable[[], float],
    noted: Callable[[CountChange], object],
    wall: Callable[[], float] = time.time,
) -> Changes:
    """Learn which counts change, and nothing else; see `make_day`."""
    changes = Changes(now, wall, noted)
    cache.subscribe(changes)
    return changes
