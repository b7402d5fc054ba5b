"""What a history is made of: calls of clients, each with when it began and ended, and what came of it."""

import threading
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

UNKNOWN: Final = -1


class Kind(Enum):
    """What was called."""

    READ = "read"
    """The count, of the API server itself: all that was written before is in it."""
    WRITE = "write"
    SHOWN = "shown"
    """The count, of a pod's cache."""


class Outcome(Enum):
    """What is known of a call."""

    DONE = "done"
    MISMATCH = "mismatch"
    """Nothing was changed, as the count was not the expected one."""
    REFUSED = "refused"
    """Nothing was changed, or nothing was read."""
    UNKNOWN = "unknown"
    """It was carried out once, or not at all."""


class Call(Struct, frozen=True, kw_only=True):
    """One call about one Deployment; times are monotonic seconds, counts and versions -1 where there is none.

    A write sets `count`, on condition that it is `expected`; a read found `count`. `version` is the resourceVersion
    that came with the answer, `wanted` the one that a read of a pod's cache asked for at least, `age` its Age.
    """

    client: int
    pod: str
    kind: Kind
    key: str
    began: float
    ended: float
    outcome: Outcome
    status: int = 0
    count: int = UNKNOWN
    expected: int = UNKNOWN
    version: int = UNKNOWN
    wanted: int = UNKNOWN
    age: int = UNKNOWN


class Recorder:
    """Takes calls from many threads."""

    def __init__(self, counts: Iterator[int]) -> None:
        """Have `counts` of which none comes twice, nor in another history of the same Deployments."""
        self.calls: list[Call] = []
        self.stopped = threading.Event()
        self._counts = counts

    def note(self, call: Call) -> None:
        """Record a call."""
        self.calls.append(call)

    def fresh(self) -> int:
        """Return a count that nobody has written before."""
        return next(self._counts)  # of itertools.count, in one step of the interpreter

    @staticmethod
    def now() -> float:
        """Return the time."""
        return time.monotonic()


def save(calls: list[Call], path: Path) -> None:
    """Write a history, a line of JSON for each call."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(msgspec.json.Encoder().encode_lines(calls))
