"""The one way to run blocking work: jobs in daemon threads, bounded in all and for each client.

Whoever wants something done by a thread says for which client. A job holds its place until its thread is done with it,
whoever stopped waiting: a client that hangs up frees nothing that is still in use. A thread that hangs in the network
is never joined, as that would block the reactor for as long.
"""

from collections import Counter, deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from functools import partial
from itertools import chain
from threading import Thread
from typing import Any, Final, TypeVar

from msgspec import Struct
from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, fail  # noqa: A004  # not Python's own
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from sre_server.cluster.transport import Transport
from sre_server.errors import Crowded, SreServerError, Unavailable

RETRY_SECONDS: Final = 1
_T = TypeVar("_T")


class IThreadingReactor(IReactorTime, IReactorFromThreads):
    """What this room needs of a reactor: time, and a way in from threads."""


class DaemonThread(Thread):
    """A thread that, should it hang in the network, does not keep the process from exiting."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


class DaemonThreadPool(ThreadPool):
    """A pool of up to `size` daemon threads, started as they are needed."""

    threadFactory = DaemonThread

    def __init__(self, size: int, name: str) -> None:
        super().__init__(minthreads=0, maxthreads=size, name=name)


class Bounds(Struct, frozen=True):
    """How many jobs may run, and how many more may be queued: in all, and of one client."""

    running: int
    running_per_client: int
    queued: int = 0
    queued_per_client: int = 0


class _Job(Struct, eq=False):
    client: Hashable
    work: Callable[[], Any]
    outcome: Deferred[Any]


class Workers(Service):
    """Runs jobs in threads of its own; all but the jobs themselves happens in the reactor thread.

    Clients whose jobs are queued take turns, a job at a time. Stopping fails what is queued, after a while if so asked,
    and leaves what runs to end by itself, or with the process.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IThreadingReactor,
        what: str,
        bounds: Bounds,
        pool: ThreadPool | None = None,
        stop_seconds: float = 0.0,
    ) -> None:
        """Run `what`, a plural that names the jobs in messages; `pool` is one of daemon threads unless given.

        Stopping waits for `stop_seconds` for jobs to end, those that are queued among them.
        """
        self._reactor = reactor
        self._what = what
        self._bounds = bounds
        self._pool = pool or DaemonThreadPool(bounds.running, what)
        self._running: Counter[Hashable] = Counter()
        self._queues: dict[Hashable, deque[_Job]] = {}
        self._stop_seconds = stop_seconds
        self._all_ended: Deferred[None] = Deferred()

    def startService(self) -> None:
        """Take jobs from now on."""
        super().startService()
        self._pool.start()

    def stopService(self) -> Deferred[None]:
        """Take no more jobs, fail those that are queued with Unavailable, and let go of the threads that are idle."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._stop_seconds and (self._running or self._queues):
            with suppress(TimeoutError):
                await self._all_ended.addTimeout(self._stop_seconds, self._reactor)
        queued, self._queues = list(chain.from_iterable(self._queues.values())), {}
        for job in queued:
            job.outcome.errback(_stopping())
        self._stop_if_idle()

    def run(self, work: Callable[[], _T], client: Hashable) -> Deferred[_T]:
        """Run blocking work for a client; fires with what it returns or raises, or fails at once with Unavailable.

        Cancelling the Deferred takes work that is queued out of the queue; what has begun goes on to its end.
        """
        if not self.running:
            return fail(_stopping())
        if refusal := self._refusal(client):
            return fail(refusal)
        outcome: Deferred[_T] = Deferred(lambda _: self._withdraw(job))
        job = _Job(client, work, outcome)
        self._queues.setdefault(client, deque()).append(job)
        self._begin()
        return outcome

    def _refusal(self, client: Hashable) -> Crowded | None:
        """Return why there is no place for one more job of this client, or None if there is."""
        bounds, running = self._bounds, self._running[client]
        if running < bounds.running_per_client and self._running.total() < bounds.running:
            return None
        queued = len(self._queues.get(client, ()))
        if queued < bounds.queued_per_client and sum(map(len, self._queues.values())) < bounds.queued:
            return None
        share_used = running >= bounds.running_per_client and queued >= bounds.queued_per_client
        which = f"of your {self._what}" if share_used else self._what
        return Crowded(f"Too many {which} are waiting for the cluster.", RETRY_SECONDS)

    def _begin(self) -> None:
        """Hand queued jobs to threads, as far as the bounds allow."""
        while self._running.total() < self._bounds.running:
            share = self._bounds.running_per_client
            client = next((client for client in self._queues if self._running[client] < share), None)
            if client is None:
                return
            job = self._queues[client].popleft()
            if rest := self._queues.pop(client):
                self._queues[client] = rest  # at the end: the others' turns come first
            self._running[client] += 1
            ended = partial(self._reactor.callFromThread, self._ended, job)
            self._pool.callInThreadWithCallback(ended, job.work)

    def _withdraw(self, job: _Job) -> None:
        """Drop a job that nobody waits for any more, if it has yet to begin."""
        queue = self._queues.get(job.client, deque())
        if job in queue:
            queue.remove(job)
            if not queue:
                del self._queues[job.client]

    def _ended(self, job: _Job, _: bool, result: object) -> None:
        self._running[job.client] -= 1
        if not self._running[job.client]:
            del self._running[job.client]
        self._begin()
        if not job.outcome.called:
            job.outcome.callback(result)
        elif isinstance(result, Failure) and not result.check(SreServerError):
            self.log.failure("one of the {what} failed unexpectedly", failure=result, what=self._what)
        if not self.running:
            if not (self._running or self._queues or self._all_ended.called):
                self._all_ended.callback(None)
            self._stop_if_idle()

    def _stop_if_idle(self) -> None:
        """Stop the pool, which joins its threads, unless one of them may hang."""
        if self._pool.started and not self._running:
            self._pool.stop()


class ConnectedWorkers(Workers):
    """Workers whose jobs are each lent a connection to the cluster; the next job uses it again."""

    def __init__(
        self,
        reactor: IThreadingReactor,
        what: str,
        bounds: Bounds,
        connect: Callable[[], Transport],
        pool: ThreadPool | None = None,
        stop_seconds: float = 0.0,
    ) -> None:
        super().__init__(reactor, what, bounds, pool, stop_seconds)
        self._connect = connect
        self._idle: list[Transport] = []

    def call(self, work: Callable[[Transport], _T], client: Hashable) -> Deferred[_T]:
        """Run blocking work that talks to the cluster; see `run`."""
        return self.run(partial(self._lend, work), client)

    def _lend(self, work: Callable[[Transport], _T]) -> _T:
        """Run in a thread: list.pop and list.append are atomic, so each connection is one thread's at a time."""
        try:
            transport = self._idle.pop()
        except IndexError:
            transport = self._connect()
        try:
            return work(transport)
        finally:
            self._idle.append(transport)


def _stopping() -> Unavailable:
    return Unavailable("The server is shutting down.", RETRY_SECONDS)
