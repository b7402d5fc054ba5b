"""The service that keeps the cache fed: runs cycles in threads of its own, waits after failures, stops in time.

After a failure it waits as client-go does. A cluster, or a Redis, that cannot even be connected to, and a Redis that
has lost what it had, are tried more often, which costs them little: whoever waits for them wants to know at once. That
only a list is of use is no failure, unless it is all that the list at once comes to.

Decisions are made here, in the reactor thread; the other threads run blocking I/O and nothing else. The only call that
they make into the reactor is `callFromThread`, once per batch of events.
"""

import math
import random
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from sre_server.cluster.permissions import FORBIDDEN
from sre_server.cluster.workers import IThreadingReactor, Workers
from sre_server.errors import (
    ClusterError,
    ClusterRefused,
    ClusterUnreachable,
    Expired,
    Silent,
    StoreError,
    StoreIncomplete,
    StoreUnreachable,
)
from sre_server.news import Emit, Event
from sre_server.texts import sentence

FIRST_DELAY: Final = 0.8
LAST_DELAY: Final = 30.0
LAST_DELAY_FOR_LITTLE: Final = 5.0
HEALTHY_SECONDS: Final = 30.0
SHORT_SECONDS: Final = 10.0
STOP_SECONDS: Final = 2.0
AWAITED_SECONDS: Final = 30.0
"""For how long what was never heard is waited for, once something else was."""
_NOT_THERE: Final = frozenset({FORBIDDEN, 404})


class Cycle(Protocol):
    """One source's blocking work; see `sre_server.cluster.watching.Reflector`."""

    @property
    def source(self) -> Hashable:
        """What it is the work of, as log lines name it."""

    def cycle(self, emit: Emit) -> None:
        """Run once, in a thread; emits what belongs together at once, and nothing to say that all is well."""

    def interrupt(self) -> None:
        """End a running cycle soon, and every later one at once; called in the reactor thread."""


def backoff(failures: int, chance: random.Random, longest: float = LAST_DELAY) -> float:
    """Seconds to wait after so many failures in a row: client-go's curve, 0.8 s doubling, jittered, to the longest."""
    return min(longest, FIRST_DELAY * 2.0 ** min(failures - 1, 10) * (1 + chance.random()))


class Feed(Service):
    """Runs every cycle over and over, each in a thread of `workers`, and applies what they emit."""

    log = Logger()

    def __init__(
        self,
        reactor: IThreadingReactor,
        workers: Workers,
        cycles: Sequence[Cycle],
        apply: Callable[[Event], object],
        chance: random.Random | None = None,
        ended: Callable[[str], object] = str,
    ) -> None:
        """Apply what `cycles` emit; `ended` is called with the reason for which each cycle ended, a word."""
        self._reactor = reactor
        self._workers = workers
        self._cycles = cycles
        self._apply = apply
        self._chance = chance or random.SystemRandom()
        self._loops: list[Deferred[None]] = []
        self._waits: set[Deferred[None]] = set()
        self._ended = ended
        self._died = False
        self._troubles: dict[Hashable, str] = {}
        self._awaited = {cycle.source for cycle in cycles}
        self._first_heard_at = math.inf

    @property
    def alive(self) -> bool:
        """False once a loop has ended that was not stopped: only a restart of the process helps then."""
        return not self._died

    @property
    def awaited(self) -> Collection[Hashable]:
        """The sources that may be heard for the first time any moment, in any thread.

        Not those that the cluster refuses, or does not have, nor any 30 s after the first one was heard.
        """
        return self._awaited if self._reactor.seconds() - self._first_heard_at < AWAITED_SECONDS else ()

    @property
    def troubles(self) -> list[str]:
        """Why the last cycle of a source failed, for each whose did and that was not heard from since, in their order.

        What the cluster forbids is not among it: `Permissions` knows of that.
        """
        sources = [cycle.source for cycle in self._cycles]
        return [f"{source}: {self._troubles[source]}" for source in sources if source in self._troubles]

    def startService(self) -> None:
        """Start the workers and every loop."""
        super().startService()
        self._workers.startService()
        self._loops = [Deferred.fromCoroutine(self._run(cycle)) for cycle in self._cycles]
        for loop in self._loops:
            loop.addErrback(self._loop_failed)

    def _loop_failed(self, failure: Failure) -> None:
        self._died = True
        self.log.failure("a watch loop died", failure=failure)

    async def _run(self, cycle: Cycle) -> None:
        failures, hurried = 0, False
        while self.running:
            started_at = self._reactor.seconds()
            delay = 0.0
            try:
                await self._workers.run(partial(cycle.cycle, partial(self._emit, cycle.source)), cycle.source)
            except Exception as error:  # noqa: BLE001  # nothing that a cycle meets may end its loop
                if not self.running:
                    return
                took = self._reactor.seconds() - started_at
                hurried = hurried and took < SHORT_SECONDS
                self._ended(type(error).__name__)
                if isinstance(error, Expired | Silent) and not hurried:
                    failures, hurried = 0, True
                    self.log.info("{source}: {error} A list follows.", source=cycle.source, error=sentence(str(error)))
                else:
                    failures = 1 if took >= HEALTHY_SECONDS else failures + 1
                    delay = self._delay_after(cycle.source, error, failures)
            else:
                failures, hurried = 0, False
                self._troubles.pop(cycle.source, None)
                self._ended("ended")
            if delay and self.running:
                await self._wait(delay)

    def _delay_after(self, source: Hashable, error: Exception, failures: int) -> float:
        # Subclasses say that there was no way to connect, which may be costly to find out.
        costs_little = type(error) in (ClusterUnreachable, StoreUnreachable) or isinstance(error, StoreIncomplete)
        delay = backoff(failures, self._chance, LAST_DELAY_FOR_LITTLE if costs_little else LAST_DELAY)
        if isinstance(error, ClusterRefused) and error.status in _NOT_THERE:
            self._awaited.discard(source)
        if isinstance(error, ClusterError | StoreError):
            delay = max(delay, error.retry_after or 0)
            # What is forbidden is told once, by `Permissions`: it stays so until somebody changes it.
            forbidden = isinstance(error, ClusterRefused) and error.status == FORBIDDEN
            if forbidden:
                self._troubles.pop(source, None)
            else:
                self._troubles[source] = str(error)
            level = LogLevel.debug if forbidden else LogLevel.warn
            self.log.emit(
                level,
                "{source}: {error} Next try in {delay:.1f} s.",
                source=source,
                error=sentence(str(error)),
                delay=delay,
            )
        else:
            self._troubles[source] = "a cycle failed unexpectedly, see the log."
            self.log.failure("{source}: a cycle failed unexpectedly", source=source)
        return delay

    async def _wait(self, delay: float) -> None:
        waiting: Deferred[None] = deferLater(self._reactor, delay)
        self._waits.add(waiting)
        with suppress(CancelledError):
            await waiting
        self._waits.discard(waiting)

    def _emit(self, source: Hashable, *events: Event) -> None:
        self._reactor.callFromThread(self._heard, source, *events)

    def _heard(self, source: Hashable, *events: Event) -> None:
        self._troubles.pop(source, None)
        for event in events:
            self._apply(event)
        self._awaited.discard(source)
        self._first_heard_at = min(self._first_heard_at, self._reactor.seconds())

    def stopService(self) -> Deferred[None]:
        """End the loops; fires when they have ended, or after 2 s, leaving a hung thread to die with the process."""
        super().stopService()
        for waiting in list(self._waits):
            waiting.cancel()
        for cycle in self._cycles:
            cycle.interrupt()
        # Not the DeferredList itself: its timeout would cancel the loops, as if they had ended.
        ended: Deferred[object] = Deferred()
        DeferredList(self._loops).addCallback(ended.callback)
        ended.addTimeout(STOP_SECONDS, self._reactor)
        return ended.addErrback(self._abandon).addCallback(lambda _: self._workers.stopService())

    def _abandon(self, _: Failure) -> None:
        self.log.warn("a watch did not end within {seconds:.0f} s; it is left behind", seconds=STOP_SECONDS)
