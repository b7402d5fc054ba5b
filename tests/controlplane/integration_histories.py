"""Histories of many clients under faults, judged by a checker that we did not write, which finds what is wrong."""

import os
from pathlib import Path

from msgspec.structs import replace
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import temporary_folder

from .fixture import shared_plane
from .histories.record import Call, Kind, Outcome, save
from .histories.running import short_history, summary
from .histories.verdict import problems_of, unplaced


def write(began: float, ended: float, count: int, **more: int | Outcome) -> Call:
    """Make a write that succeeded, at a resourceVersion that follows from its end, unless more is said."""
    call = Call(
        client=1,
        pod="p",
        kind=Kind.WRITE,
        key="shop/web",
        began=began,
        ended=ended,
        outcome=Outcome.DONE,
        count=count,
        version=int(100 * ended),
    )
    return replace(call, **more)


def read(began: float, count: int, **more: int) -> Call:
    """Make a read of the API server."""
    return replace(write(began, began + 0.1, count), kind=Kind.READ, **more)


def shown(began: float, count: int, age: int = 1, **more: int) -> Call:
    """Make a read of a pod."""
    return replace(write(began, began + 0.01, count), kind=Kind.SHOWN, age=age, version=-1, **more)


GOOD = [write(1, 2, 1), write(3, 4, 2, expected=1), write(5, 6, 3), read(7, 3), shown(7, 3), shown(8, 3)]


class VerdictTests(SynchronousTestCase):
    """Each kind of fault in a history is found; what only looks like one is not."""

    def assert_good(self, *more: Call) -> None:
        """Nothing is wrong with a history that goes on like this."""
        self.assertEqual(problems_of([*GOOD, *more]), [])

    def assert_bad(self, what: str, *more: Call) -> None:
        """Something is."""
        problems = problems_of([*GOOD, *more])
        self.assertIn(what, " ".join(problems))

    def test_good(self) -> None:
        """What was answered is what happened; an unknown outcome may be either, and may come late."""
        self.assert_good()
        unknown = write(10, 11, 4, outcome=Outcome.UNKNOWN, version=-1)
        self.assert_good(unknown, read(12, 3), read(13, 4))
        self.assert_good(unknown, read(12, 3))
        self.assert_good(write(10, 11, 4, expected=9, outcome=Outcome.MISMATCH), read(12, 3))

    def test_lost_update(self) -> None:
        """A write that was confirmed, and is not there; one on a condition that did not hold."""
        self.assert_bad("not linearizable", write(10, 11, 4), read(12, 3))
        self.assert_bad("not linearizable", write(10, 11, 4, expected=2))

    def test_written_twice(self) -> None:
        """A write whose outcome was unknown took effect a second time."""
        unknown = write(10, 11, 4, outcome=Outcome.UNKNOWN, version=-1)
        self.assert_bad("not linearizable", unknown, read(12, 4), write(13, 14, 5), read(15, 5), read(16, 4))

    def test_said_not_changed(self) -> None:
        """A write said that the count was another one, which it was not; one said that it changed nothing, and did."""
        self.assert_bad("not linearizable", write(10, 11, 4, expected=3, outcome=Outcome.MISMATCH), read(12, 3))
        self.assert_bad("not linearizable", write(10, 11, 4, outcome=Outcome.REFUSED), read(12, 4))

    def test_a_pod_that_went_back(self) -> None:
        """Reads of one pod show what is older than what was shown; two pods may differ, and so may reads at once."""
        self.assert_bad("after something as new", shown(9, 2, age=9))
        self.assert_good(replace(shown(9, 2, age=9), pod="q"))
        self.assert_good(replace(shown(7, 2, age=9), ended=9.0))

    def test_demanded(self) -> None:
        """A read of another pod that demands what was written shows it."""
        stale = replace(shown(9, 2, age=9), pod="q")
        self.assert_bad("which was demanded", replace(stale, wanted=600))
        self.assert_good(replace(stale, wanted=400))

    def test_too_young(self) -> None:
        """An age that is less than the time since what is shown was superseded."""
        late = replace(shown(20, 2), pod="q")
        self.assert_bad("with Age 12", replace(late, age=12))
        self.assert_good(replace(late, age=14))


class HistoryTests(SynchronousTestCase):
    """A real history."""

    def test_history(self) -> None:
        """Every promise holds through each fault."""
        if os.environ.get("KUBECONFIG"):
            raise SkipTest("the control plane of $KUBECONFIG is not ours to hurt")
        calls = short_history(shared_plane(), temporary_folder(self))
        problems = problems_of(calls)
        if problems:
            save(calls, Path("build/history.jsonl"))
        self.assertEqual(problems, [])
        print(summary(calls))  # noqa: T201
        self.assertLess(unplaced(calls), len(calls) / 10)
        done = sum(call.outcome is Outcome.DONE and call.kind is Kind.WRITE for call in calls)
        self.assertGreater(done, 300)
