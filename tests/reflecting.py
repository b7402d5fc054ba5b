"""What the tests of a list+watch cycle share: a cluster that answers from a script, and what was emitted."""

import random
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.watching import Reflector
from sre_server.errors import ClusterError, ClusterTimedOut
from sre_server.model import Object
from sre_server.news import Change, Changed, Event, Listed, Resource, Source
from tests.fakes import FakeReply, FakeTransport
from tests.wire import list_page

SOURCE = Source(Resource.DEPLOYMENTS)
Answer = FakeReply | ClusterError | Callable[[], FakeReply]


class PacedReply(FakeReply):
    """An answer whose headers are there at once, and each piece of its body after some seconds; the end, as well."""

    def __init__(self, clock: Clock, pieces: Iterable[tuple[float, bytes | Exception]]) -> None:
        super().__init__(200)
        self._clock = clock
        self._pieces = pieces

    def chunks(self) -> Iterator[bytes]:
        """Let time pass before each piece."""
        for seconds, piece in self._pieces:
            self._clock.advance(seconds)
            if isinstance(piece, Exception):
                raise piece
            if piece:
                yield piece


class ReflectorTestCase(SynchronousTestCase):
    """A reflector of all Deployments whose clock moves only when a watch is said to take time."""

    def setUp(self) -> None:
        """Make the reflector, its clock, and a cluster that answers nothing yet."""
        self.clock = Clock()
        self.cluster = FakeTransport()
        self.emitted: list[Event] = []
        self.reflector = self.make_reflector(SOURCE)

    def make_reflector(self, source: Source, *, streamed: bool = False) -> Reflector:
        """Make a reflector of another source, or one that asks for streamed lists."""
        return Reflector(source, self.cluster, self.clock.seconds, random.Random(1), streams=lambda _: streamed)  # noqa: S311

    def listed(self, *items: Object, version: str = "100", next_token: str = "") -> FakeReply:
        """Answer a list, in one page unless there is a token of the next one."""
        return FakeReply(200, [list_page(*items, version=version, next_token=next_token)])

    def watched(self, *chunks: bytes | Exception, seconds: float = 20) -> Callable[[], FakeReply]:
        """Answer a watch that brings these after some time, and ends."""
        pieces = zip(chain((seconds,), repeat(0.0)), chunks or (b"",), strict=False)
        return lambda: PacedReply(self.clock, pieces)

    def paced(self, seconds: float, pieces: Iterable[bytes]) -> Callable[[], FakeReply]:
        """Answer a watch that brings a piece every so many seconds."""
        return lambda: PacedReply(self.clock, zip(repeat(seconds), pieces, strict=False))

    def silent(self) -> Callable[[], FakeReply]:
        """Answer a watch that says nothing until the read timeout."""
        return self.watched(ClusterTimedOut("silence"), seconds=90)

    def cycle(self, *answers: Answer) -> list[Event]:
        """Run a cycle against these answers, all of which it must use up; return what it emitted."""
        self.cluster.script.extend(answers)
        before = len(self.emitted)
        self.reflector.cycle(self.emitted.append)
        self.assertEqual(len(self.cluster.script), 0, "the cycle ended before the script")
        return self.emitted[before:]

    def cycle_fails(self, kind: type[ClusterError], *answers: Answer) -> ClusterError:
        """Run a cycle that must fail, after using up these answers; return the error."""
        with self.assertRaises(kind) as raised:
            self.cycle(*answers)
        self.assertEqual(len(self.cluster.script), 0, "the cycle ended before the script")
        error: ClusterError = raised.exception
        return error

    def asked(self) -> dict[str, str | int]:
        """Return the query of the latest request."""
        return self.cluster.requests[-1][2]


def changes_of(events: list[Event]) -> list[Change]:
    """Return every change, in order, of all the batches."""
    return [change for event in events if isinstance(event, Changed) for change in event.changes]


def lists_of(events: list[Event]) -> list[Listed]:
    """Return the lists."""
    return [event for event in events if isinstance(event, Listed)]
