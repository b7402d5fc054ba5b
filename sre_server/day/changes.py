"""Who changed a count, when, and what it was before: learnt from the watch, and from our own writes.

The watch tells of each state of a Deployment once, in order, so that what it tells alone makes an unbroken chain. A
write of ours waits until the watch, or a list, has come to it; until then it is shown after what was told. One that the
watch has passed without a word of it was lost, as the cluster was restored to before it. Who made a change is known
from the write itself or, of one through another replica, from the Event that was recorded of it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Final, Protocol

from sre_server.day.record import OF_ONE, OURS, THROUGH_SCALE, CountChange, Cut, Record
from sre_server.day.untold import Key, Untold, Write
from sre_server.model import Author, Deployment, ScaledEvent, Unreadable
from sre_server.news import Change, Event, Listed, Put, Resource, Source
from sre_server.texts import at_least_as_new

AUTHORS: Final = 2000
"""Of so many Deployments the last authors are kept of whose writes the watch has not told yet."""


class Tell(Protocol):
    """Tells of a write that succeeded; see `sre_server.api.writing.TellScaled`."""

    def __call__(self, deployment: Deployment, asked: int, author: Author) -> None:
        """Tell what the Deployment is now, which count was asked for, and by whom."""


class Changes:
    """What changed; a listener of the cache.

    `now` is the clock of the times in events, `wall` tells seconds since the epoch; `noted` is told of each change.
    """

    def __init__(
        self,
        now: Callable[[], float],
        wall: Callable[[], float],
        noted: Callable[[CountChange], object] = lambda _: None,
        record: Record | None = None,
    ) -> None:
        self._now = now
        self._wall = wall
        self._noted = noted
        self._record = Record() if record is None else record
        self._since: dict[Source, float] = {}
        self._tree: dict[str, dict[str, Deployment]] = {}
        self._hidden: set[Key] = set()
        self._writes = Untold()
        self._authors: OrderedDict[str, dict[str, Author]] = OrderedDict()

    # What is told.

    def applied(self, event: Event) -> None:
        """See `Listener.applied`."""
        resource = event.source.resource
        if resource is Resource.SCALINGS:
            told = event.objects() if isinstance(event, Listed) else _put(event.changes)
            for item in told:
                if isinstance(item, ScaledEvent) and item.target:
                    self._authored(item)
        elif resource is not Resource.DEPLOYMENTS:
            return
        elif isinstance(event, Listed):
            self._replace(event)
        else:
            for change in event.changes:
                if not isinstance(change.object, Deployment):
                    continue
                if isinstance(change, Put):
                    self._take(change.object, gap=change.gap)
                else:
                    self._forget(change.object)
            self._writes.lost(event.source.namespace, event.known_by, but=self._hidden)

    def noting(self, tell: Tell) -> Tell:
        """Return the same way to tell of writes, of which this learns, too."""

        def noted(deployment: Deployment, asked: int, author: Author) -> None:
            self._wrote(deployment, author)
            tell(deployment, asked, author)

        return noted

    def _wrote(self, deployment: Deployment, author: Author) -> None:
        """Learn of a write of ours; the watch may have told of it already."""
        if author.before == deployment.replicas:
            return
        version = deployment.resource_version
        found = self._record.find(deployment.uid, version)
        if found is not None:
            found.attribute(author, certain=True)
            return
        known = self._tree.get(deployment.namespace, {}).get(deployment.name)
        if known is not None and known.uid == deployment.uid and at_least_as_new(known.resource_version, version):
            return
        self._writes.add(Write(deployment, author, self._now(), self._wall()))

    def _authored(self, scaling: ScaledEvent) -> None:
        """Learn from an Event who made a change."""
        found = self._record.find(scaling.target, scaling.left_at)
        if found is not None:
            found.attribute(scaling.author, certain=False)
            return
        of_one = self._authors.setdefault(scaling.target, {})
        of_one[scaling.left_at] = scaling.author
        if len(of_one) > OF_ONE:
            del of_one[next(iter(of_one))]
        if len(self._authors) > AUTHORS:
            self._authors.popitem(last=False)

    def _replace(self, listed: Listed) -> None:
        """Compare a list with what was told before; of the first one nothing is known to have changed."""
        scope, is_first = listed.source.namespace, listed.source not in self._since
        self._since.setdefault(listed.source, self._wall())
        for namespace in [name for name in self._tree if scope in (None, name)]:
            if namespace not in listed.deployments:
                del self._tree[namespace]
        for namespace, by_name in listed.deployments.items():
            self._replace_in(namespace, by_name, is_first=is_first)
        self._writes.listed(scope, listed.started_at)

    def _replace_in(self, namespace: str, by_name: Mapping[str, Deployment], *, is_first: bool) -> None:
        known = self._tree.get(namespace)
        if is_first and known is None and not self._writes:
            hidden = {name for name, item in by_name.items() if isinstance(item, Unreadable)}
            self._hidden.update((namespace, name) for name in hidden)
            self._tree[namespace] = {name: item for name, item in by_name.items() if name not in hidden}
            return
        known = self._tree.setdefault(namespace, {})
        if known == by_name:  # mostly the same objects, so that this is fast
            return
        for name in known.keys() - by_name.keys():
            del known[name]
        for name, deployment in by_name.items():
            if known.get(name) is not deployment:
                self._take(deployment, gap=not is_first)

    def _take(self, deployment: Deployment, *, gap: bool = False) -> None:
        """Take in the state of a Deployment."""
        key = (deployment.namespace, deployment.name)
        by_name = self._tree.setdefault(deployment.namespace, {})
        known = by_name.get(deployment.name)
        if isinstance(deployment, Unreadable):
            self._hidden.add(key)
            return
        by_name[deployment.name] = deployment
        if self._hidden and key in self._hidden:
            self._hidden.discard(key)
            gap = True
        if known is not None and known.uid != deployment.uid:
            known = None
        generation, own = 0 if known is None else _generation(known), None
        for write in self._writes.passed(deployment):
            if write.deployment.resource_version == deployment.resource_version:
                own = write
            elif known is not None:
                is_all = _generation(deployment) == generation + 1
                generation += known.replicas != write.deployment.replicas
                self._add(known, write.deployment, OURS, write, gap=not is_all)
                known, gap = write.deployment, True
        if known is not None and known.replicas != deployment.replicas:
            self._add(known, deployment, _program_of(deployment), own, gap=gap)
        elif gap and _generation(deployment) not in (generation, generation + 1):
            self._record.cut(deployment.uid, Cut(*key, self._wall()))

    def _forget(self, deployment: Deployment) -> None:
        by_name = self._tree.get(deployment.namespace, {})
        known = by_name.get(deployment.name)
        if known is not None and known.uid != deployment.uid:
            return
        self._hidden.discard((deployment.namespace, deployment.name))
        if by_name.pop(deployment.name, None) is not None and not by_name:
            del self._tree[deployment.namespace]

    def _add(self, known: Deployment, left: Deployment, program: str, own: Write | None, *, gap: bool) -> None:
        if known.replicas == left.replicas:
            return
        change = _change(self._seen_at(left.uid, own), known, left, program, gap=gap)
        if _generation(left) == _generation(known) + 1:
            change.since = known.resource_version
        told = self._authors.get(left.uid, {})
        for version in [version for version in told if change.is_by(version)]:
            change.attribute(told.pop(version), certain=False)
        if not told:
            self._authors.pop(left.uid, None)
        if own is not None:
            change.attribute(own.author, certain=True)
        self._record.add(change)
        self._noted(change)

    # What is asked.

    def of(self, deployment: Deployment) -> list[CountChange]:
        """The last changes of a Deployment, oldest first."""
        writes = self._writes.of((deployment.namespace, deployment.name))
        return [*self._record.of(deployment.uid), *self._untold(deployment.uid, writes)]

    def since(self, at: float) -> list[CountChange]:
        """All changes from a time on, in seconds since the epoch, oldest first."""
        untold = [change for writes in self._writes.everywhere() for change in self._untold(None, writes)]
        return sorted((change for change in (*self._record, *untold) if change.at >= at), key=attrgetter("at"))

    def complete_since(self, deployment: Deployment | None = None) -> float | None:
        """From when on all changes are known, of a Deployment or in all; None if that is not known yet."""
        namespace = deployment.namespace if deployment else None
        begun = [at for source, at in self._since.items() if namespace is None or source.namespace in (None, namespace)]
        return max(*begun, self._record.complete_since(deployment.uid if deployment else None)) if begun else None

    def cut_short(self, since: float) -> list[Cut]:
        """See `Record.cut_short`."""
        return self._record.cut_short(since)

    def _untold(self, uid: str | None, writes: Sequence[Write]) -> Iterator[CountChange]:
        """Show the writes of ours that the watch has yet to come to."""
        known, at = None, 0.0
        for write in writes:
            left = write.deployment
            known = known or self._tree.get(left.namespace, {}).get(left.name)
            if uid in (None, left.uid) and known is not None and known.uid == left.uid:
                at = max(at, self._seen_at(left.uid, write))
                if known.replicas != left.replicas:
                    yield _change(at, known, left, OURS, author=write.author)
                known = left

    def _seen_at(self, uid: str, own: Write | None) -> float:
        """Tell when a change was seen: a write of ours when it was answered, and none before the one before it."""
        at = self._wall() if own is None else own.seen_at
        return max([at, *(change.at for change in self._record.of(uid)[-1:])])


def _put(changes: Sequence[Change]) -> Iterator[object]:
    return (change.object for change in changes if isinstance(change, Put))


def _change(
    at: float, known: Deployment, left: Deployment, program: str, *, gap: bool = False, author: Author | None = None
) -> CountChange:
    where = (known.namespace, known.name, known.uid)
    return CountChange(at, *where, left.resource_version, known.replicas, left.replicas, program, gap, author)


def _generation(known: Deployment) -> int:
    """Count the changes of its spec; 0 where its status cannot be read."""
    return known.progress.generation if known.progress is not None else 0


def _program_of(left: Deployment) -> str:
    """Name what set a count; see `setter_of` for where that has left no trace."""
    return (left.owners.manager if left.owners is not None else "") or THROUGH_SCALE
