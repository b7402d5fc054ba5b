"""Whatever two processes meet, in whatever order: a temporary count is set back once, or it is told why not."""

from itertools import chain
from typing import Any, Final

from hypothesis import given, note, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.ending import End, Ended
from tests.day.temporary_world import UID, Pod, World

GO: Final = st.tuples(st.just("go"), st.integers(0, 1), st.just("arrives"))
OTHERS: Final = st.one_of(
    st.tuples(st.just("go"), st.integers(0, 3), st.sampled_from(["is lost", "is refused"])),
    st.tuples(st.just("time"), st.sampled_from([1, 5, 12, 31, 70])),
    st.tuples(st.just("kill"), st.integers(0, 1)),
    st.tuples(st.just("start")),
    st.tuples(st.just("external"), st.sampled_from([3, 7, 20])),
    st.tuples(st.just("extend"), st.integers(0, 1)),
    st.tuples(st.just("end"), st.integers(0, 1)),
)
PHASES: Final = st.lists(st.tuples(st.lists(GO, max_size=4), st.lists(OTHERS, min_size=1, max_size=2)), max_size=6)
"""Some requests are carried out, then something else happens, and so on."""


class History:
    """One history of a count of 20 that is set for 10 s in the place of 3."""

    def __init__(self) -> None:
        self.world = World()
        self.world.impatient = True
        for name in ("first", "second"):
            Pod(self.world, name)
        self.externals: list[int] = []
        self.watch(self.world.pods[0].put(20, seconds=10))

    @staticmethod
    def watch(deferred: Deferred[Any]) -> None:
        """Take whatever comes of it: the cluster and what was told are what counts."""
        deferred.addErrback(lambda _: None)

    def step(self, step: Any) -> None:
        """Let something happen, if it can."""
        what, *more = step
        getattr(self, f"_{what}")(*more)

    def _go(self, number: int, fate: str) -> None:
        for _ in range(100):
            if self.world.requests:
                break
            self.world.advance(1)
        if self.world.requests:
            number %= len(self.world.requests)
            if fate == "is refused":
                self.world.refuse(number)
            else:
                self.world.carry_out(number, lost=fate == "is lost")

    def _time(self, seconds: int) -> None:
        self.world.advance(seconds)

    def _kill(self, number: int) -> None:
        if number < len(self.world.pods):
            self.world.pods[number].kill()

    def _start(self) -> None:
        if len(self.world.pods) < 2:
            Pod(self.world, f"at {self.world.clock.seconds()}")

    def _external(self, replicas: int) -> None:
        self.externals.append(replicas)
        self.world.replicas = replicas

    def _extend(self, number: int) -> None:
        if number < len(self.world.pods):
            pod = self.world.pods[number]
            known = pod.temporaries.of(UID)
            ours = known is not None and known.note.before is None and known.note.count == self.world.replicas
            if known and ours and not pod.returning.is_being_changed(UID, known):
                self.watch(pod.put(30, seconds=20, original=known.note.original))

    def _end(self, number: int) -> None:
        if number < len(self.world.pods):
            pod = self.world.pods[number]
            known = pod.temporaries.of(UID)
            if known is not None:
                self.watch(pod.end(known))

    def rest(self) -> None:
        """Let all be well from now on, for long enough."""
        self._start()
        self.world.settle(400)


class InterleavingTests(SynchronousTestCase):
    """Histories of requests, kills, lost answers, and others who set the count."""

    @settings(deadline=None)
    @given(PHASES)
    def test_histories(self, phases: list[tuple[list[Any], list[Any]]]) -> None:
        """No note stays; what was set is set back once; nobody calls it superseded who was not."""
        history = History()
        for step in chain.from_iterable(chain.from_iterable(phases)):
            history.step(step)
        history.rest()
        world, externals = history.world, history.externals
        note(f"{world.writes} {world.told}")
        ends = [told.how.end for told in world.told if isinstance(told.how, Ended)]
        returns = [write for write in world.writes if write[2] == 3]
        self.assertEqual(world.data, {})
        self.assertLessEqual(len(returns), 1 + externals.count(20))
        self.assertLessEqual(ends.count(End.RETURNED), len(returns))
        if not externals:
            self.assertEqual(world.replicas, 3)
            self.assertEqual(len(returns), 1 if world.writes else 0)
            self.assertNotIn(End.SUPERSEDED, ends)
        for _, before, after in world.writes:
            self.assertIn((before, after), {(3, 20), (20, 3), (20, 30), (30, 3), (30, 30)})
