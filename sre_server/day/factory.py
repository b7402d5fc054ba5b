"""The one factory of this room: the cache's news in, what the API asks about a Deployment out."""

from collections.abc import Callable, Collection

from msgspec import Struct

from sre_server.cache import ClusterCache
from sre_server.day.autoscalers import Autoscalers
from sre_server.model import Source


class Day(Struct, frozen=True):
    """What is known beside the Deployments themselves."""

    autoscalers: Autoscalers


def make_day(cache: ClusterCache, now: Callable[[], float], beside: Collection[Source], max_staleness: float) -> Day:
    """Learn from the cache's news; `beside` are the sources that tell more than is needed to serve.

    What was heard more than `max_staleness` seconds ago, by the clock `now`, counts as not known.
    """
    autoscalers = Autoscalers(now, beside, max_staleness)
    cache.subscribe(autoscalers)
    return Day(autoscalers)
