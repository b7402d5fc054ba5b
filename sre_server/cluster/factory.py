"""The one factory of this room: credentials and a callback in, what the other rooms use of the cluster out."""

from collections.abc import Callable, Sequence
from functools import partial

from msgspec import Struct
from twisted.application.service import Service

from sre_server.cluster import events, notes, pods, reviews, scaling, surveying
from sre_server.cluster.access import Credentials
from sre_server.cluster.connection import Connection, Observe
from sre_server.cluster.events import EventRecorder
from sre_server.cluster.feed import Cycle, Feed
from sre_server.cluster.lease import LeaseHolder
from sre_server.cluster.notes import Notebook
from sre_server.cluster.permissions import Permissions, Told
from sre_server.cluster.pods import Pods
from sre_server.cluster.polling import NamespacePoller
from sre_server.cluster.probing import ReviewProbe
from sre_server.cluster.reviews import Reviews
from sre_server.cluster.scaling import Scaling
from sre_server.cluster.surveying import Surveys
from sre_server.cluster.version import streams_lists
from sre_server.cluster.watching import Reflector
from sre_server.cluster.whose import cluster_uid
from sre_server.cluster.workers import Bounds, ConnectedWorkers, IThreadingReactor, Workers
from sre_server.news import Event, Resource, Source


class Cluster(Struct, frozen=True):
    """What the other rooms need of this one; `services` start in order, and stop in the opposite one."""

    feed: Feed
    scaling: Scaling
    reviews: Reviews
    surveys: Surveys
    events: EventRecorder
    pods: Pods
    notebook: Notebook | None
    services: Sequence[Service]


def make_cluster(
    reactor: IThreadingReactor,
    credentials: Callable[[], Credentials],
    sources: Sequence[Source],
    apply: Callable[[Event], object],
    *,
    observe: Observe,
    cycle_ended: Callable[[str], object],
    permissions: Permissions,
    probe: bool,
    quotas: bool = True,
    follow: Cycle | None = None,
) -> Cluster:
    """Talk to the cluster that `credentials` find; no thread runs, and nothing is sent, before the services start.

    `apply` is told in the reactor thread what is heard of `sources`; `observe`, of each request, in the thread that
    made it; `cycle_ended`, in a word, why a cycle of a source ended; `permissions`, what the server itself turned out
    to be permitted, or not. With `probe`, whether it may ask for reviews is found out before anybody needs one. Without
    `quotas`, nothing is looked up for plans. Where something else is to be followed than the cluster's own watches,
    `follow` is it.
    """

    def connect() -> Connection:
        return Connection(credentials(), observe)

    def workers(what: str, bounds: Bounds) -> ConnectedWorkers:
        return ConnectedWorkers(reactor, what, bounds, connect)

    told = permissions.told
    cycles = [follow] if follow else _watches(sources, connect, told)
    feed = make_feed(reactor, "watches", cycles, apply, cycle_ended)
    read_reviews = workers("permission checks", reviews.READ_BOUNDS)
    write_reviews = workers("permission checks of writes", reviews.WRITE_BOUNDS)
    writes = workers("writes", scaling.BOUNDS)
    store = next((source for source in sources if source.resource is Resource.TEMPORARY), None)
    noting = [workers("temporary counts", notes.BOUNDS)] if store else []
    notebook = Notebook(noting[0], store.namespace or "", store.name, told) if store else None
    recording = ConnectedWorkers(reactor, "Events", events.BOUNDS, connect, stop_seconds=events.STOP_SECONDS)
    looks = workers("looks at pods", pods.BOUNDS)
    asking = Reviews(read_reviews, write_reviews, told, permissions.pauses)
    surveyors = [workers("plans", surveying.BOUNDS)] if quotas else []
    probes = [ReviewProbe(reactor, asking, permissions)] if probe else []
    return Cluster(
        feed,
        Scaling(writes, told),
        asking,
        Surveys(surveyors[0] if surveyors else None, told, permissions.pauses),
        EventRecorder(recording, told, permissions.pauses),
        Pods(looks, told, permissions.pauses),
        notebook,
        [feed, read_reviews, write_reviews, *probes, looks, *surveyors, writes, *noting, recording],
    )


def make_watches(
    reactor: IThreadingReactor,
    credentials: Callable[[], Credentials],
    sources: Sequence[Source],
    apply: Callable[[Event], object],
    *,
    observe: Observe,
    cycle_ended: Callable[[str], object],
    permissions: Permissions,
) -> Feed:
    """Only list and watch; see `make_cluster`."""
    cycles = _watches(sources, lambda: Connection(credentials(), observe), permissions.told)
    return make_feed(reactor, "watches", cycles, apply, cycle_ended)


def make_feed(
    reactor: IThreadingReactor,
    what: str,
    cycles: Sequence[Cycle],
    apply: Callable[[Event], object],
    cycle_ended: Callable[[str], object],
) -> Feed:
    """Run cycles, each in a thread of its own; `what` names them all, in the plural."""
    workers = Workers(reactor, what, Bounds(running=len(cycles), running_per_client=1))
    return Feed(reactor, workers, cycles, apply, ended=cycle_ended)


def make_lease(
    credentials: Callable[[], Credentials], namespace: str, name: str, observe: Observe, told: Told
) -> LeaseHolder:
    """Contend for a Lease; nothing is sent before its first cycle. `told` is told whether that is permitted."""
    return LeaseHolder(namespace, name, Connection(credentials(), observe), told=told)


def identify(credentials: Callable[[], Credentials], observe: Observe, told: Told) -> Callable[[], str]:
    """Return what asks the cluster who it is; blocks, for one thread. `told` is told whether that is permitted."""
    return partial(cluster_uid, Connection(credentials(), observe), told)


def _watches(sources: Sequence[Source], connect: Callable[[], Connection], told: Told) -> list[Cycle]:
    def cycle_of(source: Source) -> Cycle:
        """Make what keeps up with a source: no Role can grant a watch of the Namespace object that it is in."""
        if source.resource is Resource.NAMESPACES and source.namespace:
            return NamespacePoller(source, connect(), told=told)
        return Reflector(source, connect(), streams=partial(streams_lists, told=told), told=told)

    return [cycle_of(source) for source in sources]
