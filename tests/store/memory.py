"""A Redis in memory with the few commands that are used, and a small world of watchers and followers around it.

Every process has a monotonic clock of its own, with its own zero and its own rate.
"""

import copy
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from sre_server.cache import ClusterCache
from sre_server.day.factory import make_day
from sre_server.errors import StoreError, StoreUnreachable
from sre_server.model import Autoscaler, Deployment, Progress, ScaledEvent
from sre_server.news import Change, Changed, Deleted, Event, Listed, Put, Resource, Source, sources_beside
from sre_server.store import scripts
from sre_server.store.follower import Follower
from sre_server.store.loading import Reader
from sre_server.store.options import StoreOptions, parse_url
from sre_server.store.publisher import Publisher
from sre_server.store.records import Keys, Position, Seal
from sre_server.telemetry.metrics import Metrics
from tests.fakes import namespace
from tests.feeding import Constant

SOURCES = [Source(Resource.NAMESPACES), Source(Resource.DEPLOYMENTS)]
BESIDE = sources_beside([])
ALL_SOURCES = [*SOURCES, *BESIDE]
OPTIONS = StoreOptions(address=parse_url("redis://redis"), seal=Path("seal"))
KEYS = Keys("cluster", "default")
SEAL = Seal([b"a key of the tests"])


class MemoryRedis:
    """One copy of the data; `lose_answer` makes the next script's answer be lost, once it ran or before."""

    def __init__(self) -> None:
        self.hashes: dict[str, dict[str, bytes]] = {}
        self.strings: dict[str, bytes] = {}
        self.log: list[tuple[Position, bytes]] = []
        self.last_deleted = Position(0, 0)
        """An id that stood in the log, and bounds those that come: only a log that is made anew forgets it."""
        self.lose_answer: bool | None = None
        self.lose_script: tuple[str, bool] | None = None
        """The same, of the next run of one script."""
        self.waits: Callable[[float], object] = float
        self.commands: list[str] = []

    def kept(self) -> Any:
        """Return a copy of all data, as a replica has it."""
        return copy.deepcopy((self.hashes, self.strings, self.log))

    def fail_over(self, kept: Any) -> None:
        """Go on with what a replica had."""
        self.hashes, self.strings, self.log = copy.deepcopy(kept)

    def flush(self) -> None:
        """FLUSHALL."""
        self.fail_over(({}, {}, []))
        self.last_deleted = Position(0, 0)

    def call(self, *command: str | bytes | int | float, seconds: float = 0) -> Any:
        """Run a command."""
        name, *arguments = command
        self.commands.append(str(name))
        if name == "HMGET":
            key, *fields = arguments
            found = self.hashes.get(str(key), {})
            return [found.get(str(field)) for field in fields]
        if name == "MGET":
            return [self.strings.get(str(key)) for key in arguments]
        if name == "XREAD":
            return self._read(*arguments)
        if name == "EVAL":
            lost, self.lose_answer = self.lose_answer, None
            if self.lose_script is not None and self.lose_script[0] == arguments[0]:
                (_, lost), self.lose_script = self.lose_script, None
            if lost is False:
                raise StoreUnreachable("The connection broke.")
            answer = self._run(*arguments)
            if lost:
                raise StoreUnreachable("The connection broke.")
            return answer
        raise AssertionError(f"{name!r} is not used")

    def _read(self, *arguments: str | bytes | int | float) -> Any:
        words = ("COUNT", "BLOCK", "STREAMS") if "BLOCK" in arguments else ("COUNT", "STREAMS")
        assert arguments[::2][: len(words)] == words, arguments
        assert arguments[-2] == KEYS.log, arguments
        assert "BLOCK" not in arguments or int(arguments[3]) > 0, "0 is for ever"
        count = int(arguments[1])
        position = Position(*map(int, str(arguments[-1]).split("-")))
        if "BLOCK" in arguments and not (self.log and self.log[-1][0] > position):
            self.waits(int(arguments[3]) / 1000)
        # As a later release may write them, with a field more.
        found = [(at.id.encode(), [b"later", b"?", b"r", body]) for at, body in self.log if at > position][:count]
        return [[b"log", found]] if found else None

    def _run(self, script: Any, count: Any, *arguments: Any) -> bytes:
        keys, rest = arguments[:count], arguments[count:]
        assert not any(isinstance(each, float) for each in rest), "numbers in scripts are whole"
        head = self.hashes.setdefault(keys[0], {}) if script == scripts.CLAIM else self.hashes.get(keys[0], {})
        if script == scripts.CLAIM:
            epoch = b"%d" % max(int(head.get("epoch", 0)) + 1, int(rest[0]))
            head.update(epoch=epoch, seq=b"0")
            return epoch
        if "epoch" not in head:
            return b"LOST"
        if int(head["epoch"]) != rest[0]:
            return b"FENCED"
        if script == scripts.OPEN:
            head.pop("body", None)
            self.log, self.last_deleted = [], Position(0, 0)
            self.strings.update(zip(keys[2:], rest[1:], strict=True))
            return b"OK"
        epoch, before, seq, body, sealed, oldest, *chunks = rest
        if int(head["seq"]) != before:
            return b"MOVED"
        if max([self.last_deleted, *(at for at, _ in self.log[-1:])]) >= (epoch, seq):
            return b"LOST"
        kept = Position(*map(int, oldest.split("-")))
        self.log = [each for each in [*self.log, (Position(epoch, seq), body)] if each[0] >= kept]
        head.update(seq=b"%d" % seq, body=sealed)
        self.strings.update(zip(keys[2:], chunks, strict=True))
        return b"OK"


class World:
    """A cluster, one time, and a Redis."""

    def __init__(self, skew: float = 0.0) -> None:
        """Have every second watcher's wall clock be ahead by so many seconds."""
        self.time = 0.0
        self._skew = skew
        self._walls = 0
        self.redis = MemoryRedis()
        self.redis.waits = self.advance
        self.version = 100
        self.deployments: dict[tuple[str, str], Deployment] = {}
        self.leader: Watcher | None = None

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds

    def wall(self) -> Callable[[], float]:
        """Make a clock that tells the time of day, in seconds since 1970."""
        self._walls += 1
        ahead = 0.0 if self._walls % 2 else self._skew
        return lambda: 1.8e9 + self.time + ahead

    def clock(self, zero: float, rate: float = 1.0) -> Callable[[], float]:
        """Make a monotonic clock."""
        return lambda: zero + self.time * rate

    def change(self, name: str, replicas: int | None) -> Change | None:
        """Change a Deployment in the cluster, or delete it."""
        self.version += 1
        place = ("shop", name)
        known = self.deployments.get(place)
        if replicas is None:
            if known is None:
                return None
            del self.deployments[place]
            return Deleted(Deployment("shop", name, known.uid, str(self.version), known.replicas))
        uid = known.uid if known else f"uid-{self.version}"
        progress = Progress(generation=self.version, ready=replicas)
        self.deployments[place] = Deployment("shop", name, uid, str(self.version), replicas, progress=progress)
        return Put(self.deployments[place])


class Watcher:
    """A watcher in this world, which hears of the cluster when it is told to."""

    def __init__(self, world: World, zero: float, rate: float = 1.0, sources: Sequence[Source] = ALL_SOURCES) -> None:
        self.world = world
        self.now = world.clock(zero, rate)
        self.metrics = Metrics()
        self.awaited: Collection[object] = [source for source in sources if source.essential]
        self.publisher = Publisher(
            OPTIONS, sources, lambda: "cluster", self, self.metrics, lambda: self.awaited, self.now, world.wall()
        )
        self._reconnect = False

    def holds(self) -> bool:
        """Lead if the world says so."""
        return self.world.leader is self

    fresh = holds

    def list(self) -> None:
        """List the cluster."""
        version, now = str(self.world.version), self.now()
        self.publisher.applied(Listed(SOURCES[0], version, now, namespaces={"shop": namespace()}))
        by_name = {name: item for (_, name), item in self.world.deployments.items()}
        self.publisher.applied(Listed(SOURCES[1], version, now, deployments={"shop": by_name} if by_name else {}))

    def list_autoscalers(self, *items: Autoscaler) -> None:
        """List the autoscalers, all in one namespace."""
        others = {"shop": {item.name: item for item in items}} if items else {}
        self.publisher.applied(Listed(BESIDE[0], str(self.world.version), self.now(), others=others))

    def list_scalings(self) -> None:
        """List the Events of writes: there are none."""
        self.publisher.applied(Listed(BESIDE[1], str(self.world.version), self.now()))

    def hear_scalings(self, *items: ScaledEvent) -> None:
        """Hear of Events."""
        self.publisher.applied(Changed(source=BESIDE[1], heard_at=self.now(), changes=[Put(item) for item in items]))

    def hear_autoscalers(self, *changes: Change) -> None:
        """Hear changes of them."""
        self.publisher.applied(Changed(source=BESIDE[0], heard_at=self.now(), changes=changes))

    def hear(self, *changes: Change, bookmark: str = "") -> None:
        """Hear changes from the watch, or that there are none, perhaps with a bookmark."""
        self.publisher.applied(Changed(source=SOURCES[0], heard_at=self.now(), version=bookmark))
        self.publisher.applied(Changed(source=SOURCES[1], heard_at=self.now(), changes=changes, version=bookmark))

    def step(self) -> bool:
        """Publish once, on a new connection if the last one broke; tell whether that went well."""
        try:
            if self._reconnect:
                self._reconnect = False
                self.publisher.resume(self.world.redis)
            self.publisher.step(self.world.redis, KEYS, SEAL)
        except StoreError as error:
            self._reconnect = True
            self.publisher.failed(error)
            return False
        return True


class Pod:
    """An api pod in this world: a follower, and the cache that it feeds."""

    def __init__(self, world: World, zero: float, rate: float = 1.0, sources: Sequence[Source] = ALL_SOURCES) -> None:
        self.world = world
        self.now = world.clock(zero, rate)
        self.metrics = Metrics()
        self.cache = ClusterCache(self.now, SOURCES, 1e9)
        self.day = make_day(self.cache, self.now, BESIDE, 1e9)
        self.autoscalers = self.day.autoscalers
        self.events: list[Event] = []
        self.steps: list[Sequence[Event]] = []
        """What was told at once, each time."""
        self.follower = Follower(OPTIONS, sources, lambda: "cluster", self.metrics, Constant(0.0), self.now)
        self.reader = Reader(world.redis, KEYS, SEAL, sources, self.now)

    def step(self) -> bool:
        """Follow for one read; tell whether that went well."""
        try:
            self.follower.step(self.reader, self._emit)
        except StoreError:
            return False
        return True

    def _emit(self, *events: Event) -> None:
        self.steps.append(events)
        for event in events:
            self.events.append(event)
            self.cache.apply(event)

    @property
    def synced(self) -> bool:
        """Whether it would answer reads."""
        return not self.cache.unsynced

    def deployments(self) -> dict[tuple[str, str], Deployment]:
        """What readers see."""
        return {
            (item.namespace, name): item for by_name in self.cache.tree().values() for name, item in by_name.items()
        }
