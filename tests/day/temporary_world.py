"""A cluster in memory with one Deployment and one ConfigMap, and processes that keep temporary counts in it.

Whatever a process asks of the cluster waits until the test says what becomes of it.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sre_server.day.ending import End, Ended, Endings
from sre_server.day.returning import Returning
from sre_server.day.setting import Setting
from sre_server.day.temporary import Known, Note, Temporaries
from sre_server.errors import ClusterTimedOut, ClusterUnreachable, NotFound, SreServerError
from sre_server.model import Deployment, Expected, Notes, State, Swapped, Written
from sre_server.news import Changed, Listed, Put, Resource, Source

SOURCE = Source(Resource.TEMPORARY, "sre", "temporary")
START = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
UID = "uid-cart"


class Request(Struct, eq=False):
    """Something that a process has asked for: what it does in the cluster, who waits for the answer, and since when."""

    pod: "Pod"
    what: str
    act: Callable[[], Any]
    answer: Deferred[Any]
    at: float


class Told(Struct, frozen=True):
    """What a process told of one end."""

    pod: str
    uid: str
    note: Note
    late: timedelta
    how: Ended | Exception


class World:
    """The cluster, one time for all, and what was done."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.uid, self.replicas = UID, 3
        self.exists = True
        self.version = 10
        self.data: dict[str, str] = {}
        self.requests: list[Request] = []
        self.writes: list[tuple[str, int, int]] = []
        """Of each write by a process: its name, the count before, and after."""
        self.told: list[Told] = []
        self.pods: list[Pod] = []
        self.impatient = False
        self.clients: list[str] = []
        """On whose behalf each request was made."""
        self.admitted: int | None = None
        """What admission makes of every count."""

    def monotonic(self) -> float:
        """The clock of the cache's news, whose zero is another one than that of the reactor's clock."""
        return self.clock.seconds() - 1_000_000.0

    def now(self) -> datetime:
        """The time of day."""
        return START + timedelta(seconds=self.clock.seconds())

    def notes(self) -> Notes:
        """The ConfigMap as it is."""
        return Notes("sre", "temporary", "uid-temporary", str(self.version), dict(self.data))

    def advance(self, seconds: float) -> None:
        """Let time pass, a second at a time, as timers see it; watches tell what there is."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.give_up()
            self.watch()

    def give_up(self) -> None:
        """Let processes wait for no answer after 10 s; what they asked for may still be carried out, for 50 s more."""
        if not self.impatient:
            return
        now = self.clock.seconds()
        self.requests = [request for request in self.requests if now - request.at < 60]
        for request in [each for each in self.requests if now - each.at >= 10]:
            request.pod.answer(request, ClusterTimedOut("The cluster did not answer in time."))

    def watch(self) -> None:
        """Let every process hear of the ConfigMap."""
        for pod in self.pods:
            pod.temporaries.applied(Changed(SOURCE, self.monotonic(), [Put(self.notes())]))

    def swap(self, key: str, before: str | None, after: str | None) -> Swapped:
        """Change a note."""
        done = self.data.get(key) == before
        if done:
            self.version += 1
            self.data.pop(key, None)
            if after is not None:
                self.data[key] = after
        return done, self.notes()

    def scale(self, who: str, replicas: int, expected: Expected) -> Written | State:
        """Set the count, if the Deployment is as expected."""
        if not self.exists:
            raise NotFound("It does not exist.")
        if not expected.fits(State(self.uid, self.replicas)):
            return State(self.uid, self.replicas)
        self.writes.append((who, self.replicas, replicas))
        self.replicas = replicas if self.admitted is None else self.admitted
        return Written(Deployment("shop", "cart", self.uid, "99", self.replicas))

    def look(self) -> State:
        """Read the Deployment."""
        if not self.exists:
            raise NotFound("It does not exist.")
        return State(self.uid, self.replicas)

    # What becomes of requests.

    def carry_out(self, number: int = 0, *, lost: bool = False) -> None:
        """Carry out a request, and let its answer arrive, or be lost."""
        request = self.requests.pop(number)
        try:
            outcome = request.act()
        except NotFound as error:
            outcome = error
        if lost:
            outcome = ClusterTimedOut("The cluster did not answer in time.")
        request.pod.answer(request, outcome)

    def refuse(self, number: int = 0) -> None:
        """Let a request not reach the cluster."""
        request = self.requests.pop(number)
        request.pod.answer(request, ClusterUnreachable("The cluster cannot be reached."))

    def settle(self, seconds: float = 1) -> None:
        """Carry out whatever is asked for, while time passes."""
        for _ in range(int(seconds)):
            while self.requests:
                self.carry_out()
            self.advance(1)
        while self.requests:
            self.carry_out()


class Pod:
    """A process, until it is killed."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        clock = world.clock
        self.temporaries = Temporaries(world.monotonic, SOURCE, 1e9)
        self.temporaries.applied(
            Listed(SOURCE, str(world.version), world.monotonic(), others={"sre": {"temporary": world.notes()}})
        )
        endings = Endings(clock, self.temporaries, self._swap, self._scale, self._look, world.now)
        chance = random.Random(name)  # noqa: S311  # nothing secret
        self.returning = Returning(clock, self.temporaries, endings, self._begin, world.now, chance)
        self.setting = Setting(self.temporaries, self._swap)
        self.returning.startService()
        world.pods.append(self)

    def kill(self) -> None:
        """End at once: no answer arrives, no timer runs; what was sent may still be carried out."""
        self.alive = False
        self.returning.stopService()
        self.world.pods.remove(self)

    def put(self, count: int, seconds: float = 60, *, original: int = 3) -> Deferred[Note]:
        """Set a count for a time."""
        until = self.world.now() + timedelta(seconds=seconds)
        note = Note("shop", "cart", original, count, until, "alice", before=self.world.replicas)
        expected = Expected(UID, self.world.replicas)

        async def write() -> Written:
            written = await self._scale("alice", "shop", "cart", count, expected)
            assert isinstance(written, Written)
            return written

        before = self.temporaries.text(UID)
        return Deferred.fromCoroutine(self.setting.set(UID, note, before, write, "alice"))

    def end(self, known: Known, refusal: SreServerError | None = None) -> Deferred[Ended]:
        """End a temporary count now, for a client that once it comes to it is refused, or not."""

        async def may() -> None:
            if refusal is not None:
                raise refusal

        return Deferred.fromCoroutine(self.returning.end(UID, known, self._begin, "bob", may))

    def answer(self, request: Request, outcome: Any) -> None:
        """Let an answer arrive."""
        if self.alive and not request.answer.called:
            (request.answer.errback if isinstance(outcome, Exception) else request.answer.callback)(outcome)

    def _ask(self, client: str, what: str, act: Callable[[], Any]) -> Deferred[Any]:
        self.world.clients.append(client)
        answer: Deferred[Any] = Deferred()
        self.world.requests.append(Request(self, what, act, answer, self.world.clock.seconds()))
        return answer

    def _swap(self, client: str, key: str, before: str | None, after: str | None, *, empty: bool) -> Deferred[Swapped]:
        return self._ask(client, "swap", lambda: self.world.swap(key, before, after))

    def _scale(
        self, client: str, namespace: str, name: str, replicas: int, expected: Expected
    ) -> Deferred[Written | State]:
        assert (namespace, name) == ("shop", "cart"), "of no other Deployment"
        return self._ask(client, "scale", lambda: self.world.scale(self.name, replicas, expected))

    def _look(self, client: str, namespace: str, name: str, *, count: bool) -> Deferred[State]:
        assert (namespace, name, count) == ("shop", "cart", True), "of no other Deployment"
        return self._ask(client, "look", self.world.look)

    def _begin(self, uid: str, note: Note, late: timedelta) -> "Account":
        return Account(self, uid, note, late)


class Account:
    """What a process tells of one end."""

    def __init__(self, pod: Pod, uid: str, note: Note, late: timedelta) -> None:
        self._pod, self._uid, self._note, self._late = pod, uid, note, late

    def ended(self, ended: Ended) -> None:
        """See `Account.ended`."""
        self._pod.world.told.append(Told(self._pod.name, self._uid, self._note, self._late, ended))

    def failed(self, error: Exception) -> None:
        """See `Account.failed`."""
        self._pod.world.told.append(Told(self._pod.name, self._uid, self._note, self._late, error))


def ends(world: World) -> list[End]:
    """How temporary counts ended, as it was told."""
    return [told.how.end for told in world.told if isinstance(told.how, Ended)]
