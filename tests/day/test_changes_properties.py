"""Changes of counts, in any interleaving of what happens, what is told and what we write."""

import itertools

from hypothesis import HealthCheck, settings
from hypothesis.stateful import invariant, precondition, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.changes import Changes
from sre_server.day.record import CountChange, Record
from sre_server.model import Author, Deployment, Unreadable
from tests.histories import ANY, COUNTS, KEYS, Histories, Key, LimitedHistories


class ChangeHistories(Histories):
    """Random histories, of which the changes are remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.changes = Changes(self.clock.seconds, self.clock.seconds, record=Record(of_one=1000))
        self.cache.subscribe(self.changes)
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
                    self.check_one(change, [item.object for item in changes if item.object.uid == uid])

    def check_one(self, change: CountChange, states: list[object]) -> None:
        """A change is what happened at its version; without a gap, in one step."""
        known = [state for state in states if isinstance(state, Deployment)]
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
            if told and not isinstance(item, Unreadable):
                assert told[-1].after == item.replicas


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
