"""What a history must be like: writes linearizable for each Deployment, reads of a pod that never go back, honest ages.

A checker that we did not write judges the writes (porcupine, by the rules in `checker/`). The rest are assertions. They
know the order of counts by the resourceVersions that came with them: each count is written once.
"""

import os
import subprocess
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from tests.controlplane.histories.record import UNKNOWN, Call, Kind, Outcome
from tests.programs import ensure_program

CHECKER = Path(__file__).parent / "checker"
CHECK_SECONDS = 600


def problems_of(calls: Sequence[Call]) -> list[str]:
    """Say what is wrong with a history, in a sentence each; nothing, if it is as promised."""
    found: list[str] = []
    for key in sorted({call.key for call in calls}):
        of_key = [call for call in calls if call.key == key]
        versions = _versions(of_key)
        found += _gone_back(of_key, versions)
        found += _not_waited(of_key, versions)
        found += _too_young(of_key, versions)
    return [*found, *_not_linearizable(calls)]


def _versions(calls: Iterable[Call]) -> dict[int, int]:
    """Find the first resourceVersion at which each count is known to have been there."""
    versions: dict[int, int] = {}
    for call in calls:
        if call.version != UNKNOWN and call.outcome is Outcome.DONE:
            versions[call.count] = min(call.version, versions.get(call.count, call.version))
    return versions


def _shown(calls: Iterable[Call], versions: dict[int, int]) -> list[Call]:
    """The reads of pods whose count has a known place; how many have none is for the caller to judge."""
    return [call for call in calls if call.kind is Kind.SHOWN and call.count in versions]


def _gone_back(calls: Sequence[Call], versions: dict[int, int]) -> Iterator[str]:
    """Find reads of one pod, one begun after the other had ended, of which the later one shows less."""
    shown = _shown(calls, versions)
    for pod in sorted({call.pod for call in shown}):
        ended = sorted((call.ended, versions[call.count]) for call in shown if call.pod == pod)
        newest: list[int] = []
        for _, version in ended:
            newest.append(max(version, newest[-1] if newest else version))
        for call in (call for call in shown if call.pod == pod):
            before = bisect_right(ended, (call.began, -1))
            if before and newest[before - 1] > versions[call.count]:
                yield (
                    f"{call.key}: {pod} showed {call.count} (version {versions[call.count]}) at {call.ended:.3f}, "
                    f"after something as new as version {newest[before - 1]}."
                )


def _not_waited(calls: Sequence[Call], versions: dict[int, int]) -> Iterator[str]:
    """Find reads that show less than they demanded."""
    for call in _shown(calls, versions):
        if versions[call.count] < call.wanted and _superseded(call.count, call.wanted, versions):
            yield f"{call.key}: {call.pod} showed {call.count}, older than version {call.wanted}, which was demanded."


def _superseded(count: int, version: int, versions: dict[int, int]) -> bool:
    """Tell whether a count had given way to another one by this version: an object also changes without its count."""
    return any(versions[count] < other <= version for other in versions.values())


def _too_young(calls: Sequence[Call], versions: dict[int, int]) -> Iterator[str]:
    """Find ages that understate: at the time that they name, a newer count had been confirmed already."""
    confirmed = sorted(
        (call.ended, call.version) for call in calls if call.kind is Kind.WRITE and call.outcome is Outcome.DONE
    )
    newest: list[int] = []
    for _, version in confirmed:
        newest.append(max(version, newest[-1] if newest else version))
    for call in _shown(calls, versions):
        before = bisect_right(confirmed, (call.began - call.age, -1))
        if before and newest[before - 1] > versions[call.count]:
            yield (
                f"{call.key}: {call.pod} showed {call.count} with Age {call.age} at {call.began:.3f}, and version "
                f"{newest[before - 1]} had been confirmed longer ago than that."
            )


def _not_linearizable(calls: Iterable[Call]) -> Iterator[str]:
    """Let the checker judge writes, and reads of the API server."""
    judged = [call for call in calls if call.kind is not Kind.SHOWN and call.outcome is not Outcome.REFUSED]
    program = ensure_program("histories", CHECKER, ("go.mod", "go.sum", "main.go"))
    done = subprocess.run(
        [str(program), f"--seconds={CHECK_SECONDS}"],
        input=msgspec.json.Encoder().encode_lines(judged),
        stdout=subprocess.PIPE,
        check=True,
        env=os.environ,
    )
    yield from done.stdout.decode().splitlines()


def unplaced(calls: Sequence[Call]) -> int:
    """Count the reads of pods that show what nobody else saw, which no assertion can judge."""
    return sum(
        call.kind is Kind.SHOWN and call.count not in versions
        for key in {call.key for call in calls}
        for of_key in ([call for call in calls if call.key == key],)
        for versions in (_versions(of_key),)
        for call in of_key
    )


def longest_silence(calls: Sequence[Call]) -> float:
    """Return the longest time, in seconds, in which no write succeeded."""
    ended = sorted(call.ended for call in calls if call.kind is Kind.WRITE and call.outcome is Outcome.DONE)
    return max((later - earlier for earlier, later in pairwise(ended)), default=0.0)
