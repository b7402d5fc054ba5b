"""Changes of counts, in any interleaving of what happens, what is told and what we write."""

import itertools
from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.changes import Changes
from sre_server.day.record import CountChange, Record
from sre_server.model import Author, Deployment, Progress, Unreadable
from sre_server.news import Change, Changed, Deleted, Event, Listed, Put
from tests.histories import ANY, COUNTS, KEYS, Histories, Key, LimitedHistories, key_of
from tests.wire import by_name


class ChangeHistories(Histories):
    """Random histories, of which the changes are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = Changes(self.clock.seconds, self.clock.seconds, record=Record(of_one=1000))
        self.cache.subscribe(self)
        self.spec_changes: Counter[str] = Counter()
        self.generations: dict[str, int] = {}
        self.tell_write = self.changes.noting(lambda _, asked, author: None)
        self.judged: dict[str, int | None] = {}

    @precondition(lambda self: not self.cache.unsynced)
    @rule(key=KEYS, replicas=COUNTS)
    def write(self, key: Key, replicas: int) -> None:
        """We scale a Deployment, judged on what it is: the same again is no change."""
        before = self.deployments.get(key)
        super().write(key, replicas)
        if before is not None:
            version = self.deployments[key].resource_version
            self.judged.setdefault(version, None if isinstance(before, Unreadable) else before.replicas)

    @precondition(lambda self: self.answers)
    @rule(which=ANY)
    def answer(self, which: int) -> None:
        """The answer to one of our writes arrives."""
        left = self.answers[which % len(self.answers)]
        super().answer(which)
        self.tell_write(left, left.replicas, Author("us", before=self.judged[left.resource_version]))

    def happened(self, change: Put | Deleted) -> None:
        """Count the changes of its spec, as Kubernetes does."""
        super().happened(change)
        self.spec_changes[change.object.uid] += 1
        self.generations[version_in(change)] = self.spec_changes[change.object.uid]

    def applied(self, event: Event) -> None:
        """Hand on what the cache has heard, with the generations that it has nothing to do with."""
        if isinstance(event, Listed):
            items = [self.counted(item) for item in event.objects() if isinstance(item, Deployment)]
            event = Listed(event.source, event.resource_version, event.started_at, event.namespaces, by_name(items))
        else:
            event = Changed(event.source, event.heard_at, [self.counted_in(each) for each in event.changes])
        self.changes.applied(event)

    def counted_in(self, change: Change) -> Change:
        """Add its generation to what a line of the watch tells of."""
        item = change.object
        return Put(self.counted(item)) if isinstance(change, Put) and isinstance(item, Deployment) else change

    def counted(self, item: Deployment) -> Deployment:
        """Add its generation to a Deployment that can be read."""
        if isinstance(item, Unreadable):
            return item
        return replace(item, progress=Progress(self.generations[item.resource_version]))

    def states(self, uid: str) -> list[Deployment]:
        """The states in which a Deployment has been that can be read, oldest first."""
        past = [change.object for changes in self.past.values() for change in changes if isinstance(change, Put)]
        readable = [item for item in past if isinstance(item, Deployment) and not isinstance(item, Unreadable)]
        return [item for item in readable if item.uid == uid]

    def told(self, uid: str) -> list[CountChange]:
        """What is told of one Deployment."""
        return [change for change in self.changes.since(0) if change.uid == uid]

    @invariant()
    def each_once_and_in_a_chain(self) -> None:
        """Each change is one that there was, once, in order, and begins where the one before ended."""
        for changes in self.past.values():
            for uid in {change.object.uid for change in changes}:
                told = self.told(uid)
                versions = [int(change.version) for change in told]
                assert versions == sorted(set(versions))
                for one, other in itertools.pairwise(told):
                    assert one.after == other.before
                for change in told:
                    self.check_one(change, self.states(uid))

    def check_one(self, change: CountChange, known: list[Deployment]) -> None:
        """A change is what happened at its version; without a gap, in one step."""
        index = next(index for index, state in enumerate(known) if state.resource_version == change.version)
        assert known[index].replicas == change.after
        assert change.before != change.after
        if not change.gap and change.author is None:
            assert known[index - 1].replicas == change.before

    def everything_is_told(self) -> None:
        """In the end the last change of each Deployment left it at the count that it has."""
        super().everything_is_told()
        for item in self.deployments.values():
            told = self.told(item.uid)
            if isinstance(item, Unreadable):
                continue
            if told:
                assert told[-1].after == item.replicas
            self.nothing_is_missing(item, told)

    def nothing_is_missing(self, item: Deployment, told: list[CountChange]) -> None:
        """Each step since the time from which on changes are complete is one of them, or within the gap of one."""
        complete_since = self.changes.complete_since(item)
        assert complete_since is not None
        at = dict(zip(map(version_in, self.past[key_of(item)]), self.times[key_of(item)], strict=True))
        before = [0, *(int(change.version) for change in told)]
        for one, other in itertools.pairwise(self.states(item.uid)):
            version = other.resource_version
            if one.replicas != other.replicas and at[version] > complete_since:
                assert any(
                    change.version == version or (change.gap and last < int(version) < int(change.version))
                    for last, change in zip(before, told, strict=False)
                ), (version, told)


def version_in(change: Put | Deleted) -> str:
    """Tell the resourceVersion of a change."""
    return change.object.resource_version


class LimitedChangeHistories(ChangeHistories, LimitedHistories):
    """The same with one source for each of two namespaces."""


class ChangeProperties(SynchronousTestCase):
    """Any interleaving of what happens, what is told and what we write."""

    def test_histories(self) -> None:
        """Each change is told once, and the chain has no holes."""
        for machine in (ChangeHistories, LimitedChangeHistories):
            run_state_machine_as_test(
                machine,
                settings=settings(
                    max_examples=200,
                    stateful_step_count=40,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    suppress_health_check=list(HealthCheck),
                ),
            )
