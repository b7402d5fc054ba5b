"""Histories from beginning to end: a short one with each fault once, or as many as there is time for."""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tests.controlplane.histories.course import Course
from tests.controlplane.histories.faults import FAULTS, Fault
from tests.controlplane.histories.record import Call, Kind, save
from tests.controlplane.histories.verdict import longest_silence, problems_of, unplaced
from tests.controlplane.plane import ControlPlane

CALM_SECONDS: Final = 2.0
HISTORY_SECONDS: Final = 60.0


def short_history(plane: ControlPlane, folder: Path, faults: Sequence[Fault] = FAULTS) -> list[Call]:
    """Return a history in which each of some faults happens once, with a little calm before and after each."""
    with Course(plane, folder) as course:
        return _history(course, faults)


def _history(course: Course, faults: Sequence[Fault]) -> list[Call]:
    course.begin()
    for fault in faults:
        time.sleep(CALM_SECONDS)
        fault(course)
    time.sleep(CALM_SECONDS)
    return list(course.end())


def long_histories(
    plane: ControlPlane, folder: Path, seconds: float, seed: int, say: Callable[[str], object]
) -> list[str]:
    """Run histories of about a minute, each followed by a restored backup or by nothing; return their problems.

    A restored backup ends one history and begins the next. A history with problems is kept as `build/history-N.jsonl`.
    """
    chance, until, problems = random.Random(seed), time.monotonic() + seconds, []  # noqa: S311  # a choice, no secret
    with Course(plane, folder) as course:
        number = 0
        while time.monotonic() < until:
            number += 1
            restores = chance.random() < 0.3
            if restores:
                plane.backup()
            began, faults = time.monotonic(), list[Fault]()
            course.begin()
            while time.monotonic() - began < HISTORY_SECONDS:
                time.sleep(CALM_SECONDS * (0.5 + chance.random()))
                faults.append(chance.choice(FAULTS))
                faults[-1](course)
            calls = list(course.end())
            found = problems_of(calls)
            if found:
                save(calls, Path(f"build/history-{number}.jsonl"))
            problems += found
            say(f"{number}: {summary(calls)}; {', '.join(fault.__name__ for fault in faults)}")
            for problem in found:
                say(f"  {problem}")
            if restores:
                plane.restore()
                say(f"   restored, and believed after {course.believed():.0f} s")
    return problems


def summary(calls: Sequence[Call]) -> str:
    """Say in a line what a history consists of."""
    outcomes = Counter(call.outcome.value for call in calls if call.kind is Kind.WRITE)
    shown = sum(call.kind is Kind.SHOWN for call in calls)
    writes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    return (
        f"writes: {writes}; {shown} reads of pods ({unplaced(calls)} of what nobody else saw); "
        f"at most {longest_silence(calls):.1f} s without a write"
    )
