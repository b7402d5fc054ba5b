"""What stands in for threads, the network and the cluster in tests that run in memory.

Time moves only when a test advances it, and what a "thread" sent to the reactor arrives only then.
"""

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sre_server.cache import ClusterCache
from sre_server.cluster.workers import IThreadingReactor
from sre_server.errors import BadAnswer, ClusterError
from sre_server.model import Deployment, Namespace


def deployment(
    name: str = "web", namespace: str = "shop", *, replicas: int = 3, version: str = "10", uid: str = ""
) -> Deployment:
    """Make a Deployment; its UID follows from its name unless one is given."""
    return Deployment(namespace, name, uid or f"uid-{namespace}-{name}", version, replicas)


def namespace(name: str = "shop", *, version: str = "1", uid: str = "") -> Namespace:
    """Make a namespace; its UID follows from its name unless one is given."""
    return Namespace(name, uid or f"uid-{name}", version)


def populated(cache: ClusterCache) -> dict[str, Mapping[str, Deployment]]:
    """Return the namespaces of a cache that have Deployments, with them."""
    return {name: by_name for name, by_name in cache.tree().items() if by_name}


def temporary_folder(test: SynchronousTestCase) -> Path:
    """Return a folder of a test's own that is removed after it: trial's `mktemp` leaves its own where pytest runs."""
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    return Path(folder.name)


@implementer(IThreadingReactor)
class FakeReactor(MemoryReactorClock):
    """A Clock with ports in memory, whose `callFromThread` waits for the next `advance`."""

    def __init__(self) -> None:
        super().__init__()
        self._from_threads: deque[Callable[[], object]] = deque()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:  # noqa: A002
        """Queue a call as a thread would."""
        self._from_threads.append(lambda: callable(*args, **kwargs))

    def advance(self, amount: float) -> None:
        """Move time, then run what threads have queued, until nothing more is."""
        super().advance(amount)
        while self._from_threads:
            self._from_threads.popleft()()


class InlinePool(ThreadPool):
    """A pool without threads: work runs when the test says so, or at once with `inline=True`."""

    def __init__(self, *, inline: bool = True) -> None:
        super().__init__(0, 1)
        self.pending: deque[Callable[[], None]] = deque()
        self._inline = inline
        self.stopped = False

    def start(self) -> None:
        """Start no thread."""
        self.started = True

    def stop(self) -> None:
        """Note that the pool was stopped."""
        self.started = False
        self.stopped = True

    def callInThreadWithCallback(
        self, onResult: Callable[[bool, Any], object] | None, func: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        """Run `func` now, or keep it for `run_one`."""

        def work() -> None:
            try:
                result, ok = func(*args, **kw), True
            except Exception:  # noqa: BLE001  # as a pool does
                result, ok = Failure(), False
            if onResult is not None:
                onResult(ok, result)

        if self._inline:
            work()
        else:
            self.pending.append(work)

    def run_one(self) -> None:
        """Run the oldest piece of work that waits."""
        self.pending.popleft()()


class FakeReply:
    """An answer of the cluster: a status, headers, and chunks; an exception among the chunks is raised in its turn."""

    def __init__(
        self,
        status: int = 200,
        chunks: Iterable[bytes | Exception] = (),
        retry_after: int | None = None,
        warnings: Sequence[str] = (),
    ) -> None:
        self.status = status
        self._warnings = list(warnings)
        self._chunks = list(chunks)
        self._retry_after = retry_after
        self.closed = False
        self.waits_at_most: float | None = None

    def retry_after(self) -> int | None:
        """What the `Retry-After` header said."""
        return self._retry_after

    def warnings(self) -> list[str]:
        """What the `Warning` headers said."""
        return self._warnings

    def wait_at_most(self, seconds: float) -> None:
        """Note the bound."""
        self.waits_at_most = seconds

    def chunks(self) -> Iterator[bytes]:
        """Yield the body as it arrives."""
        for chunk in self._chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def read(self, limit: int, seconds: float) -> bytes:
        """Return the whole body, within its bounds."""
        body = b"".join(self.chunks())
        if len(body) > limit or seconds <= 0:
            raise BadAnswer(f"{len(body)} bytes, of {limit} in {seconds} s")
        return body

    def __enter__(self) -> Self:
        """Leave the reply open."""
        return self

    def __exit__(self, *_: object) -> None:
        """Note that the reply was closed."""
        self.closed = True


class FakeTransport:
    """A connection that answers from a script, and remembers what it was asked."""

    def __init__(self, script: Sequence[FakeReply | ClusterError | Callable[[], FakeReply]] = ()) -> None:
        self.script = deque(script)
        self.requests: list[tuple[str, str, dict[str, str | int]]] = []
        self.bodies: list[bytes | None] = []
        self.headers: list[Mapping[str, str]] = []
        self.read_timeouts: list[float] = []
        self.interrupted = False

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str | int],
        *,
        read_timeout: float,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Any:
        """Answer with the next entry of the script."""
        self.requests.append((method, path, dict(query)))
        self.bodies.append(body)
        self.headers.append(headers or {})
        self.read_timeouts.append(read_timeout)
        answer = self.script.popleft()
        if isinstance(answer, ClusterError):
            raise answer
        return answer if isinstance(answer, FakeReply) else answer()

    def interrupt(self) -> None:
        """Note the interruption."""
        self.interrupted = True
