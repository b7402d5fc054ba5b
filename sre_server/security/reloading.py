"""Files that may change while the server runs: read every few seconds, and taken over only if they are valid."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sre_server.telemetry.metrics import Metrics

LOOK_SECONDS: Final = 2.0
LOOKS_TO_RETRY: Final = 15
"""After so many looks a file that was refused is tried again: what is dated in the future makes sense later on."""


class Watched:
    """Files that are valid only together, and `reload`, which takes them over, or raises if they are not valid."""

    def __init__(self, what: str, paths: Sequence[Path], reload: Callable[[], None]) -> None:
        self.what = what
        self._paths = paths
        self._reload = reload
        self._seen = self._last = self._contents()
        self._refused = False

    def look(self, *, retry: bool = False) -> bool:
        """Take over files that have changed and then stayed the same for one look; tell whether there were any.

        Raises what `reload` raises. With `retry`, files that were refused are tried again although nothing changed.

        Two looks must agree, since half of a file that is being written may be valid by itself. Contents are compared,
        not times: a projected volume, a copy and an editor each leave different ones.
        """
        contents = self._contents()
        settled, self._last = contents == self._last, contents
        if not settled or (contents == self._seen and not (retry and self._refused)):
            return False
        self._seen, self._refused = contents, True
        self._reload()
        self._refused = False
        return True

    def _contents(self) -> list[bytes | None]:
        return [_read(path) for path in self._paths]


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


class Reloading(Service):
    """Looks at every group of files; where one is not valid, the last good state stays, with a warning and a metric."""

    log = Logger()

    def __init__(self, reactor: IReactorTime, metrics: Metrics, watched: Sequence[Watched]) -> None:
        self._reactor = reactor
        self._metrics = metrics
        self._watched = watched
        self._next: IDelayedCall | None = None
        self._looks = 0
        self.problems: dict[str, str] = {}

    def startService(self) -> None:
        """Begin to look."""
        super().startService()
        self._schedule()

    def stopService(self) -> None:
        """Look no more."""
        super().stopService()
        if self._next is not None and self._next.active():
            self._next.cancel()

    def warnings(self) -> list[str]:
        """Return which changes are not taken over, and why, a line each."""
        return [f"{what}: {problem}" for what, problem in sorted(self.problems.items())]

    def _schedule(self) -> None:
        self._next = self._reactor.callLater(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looks += 1
        for watched in self._watched:
            self._look_at(watched, retry=self._looks % LOOKS_TO_RETRY == 0)
        self._schedule()

    def _look_at(self, watched: Watched, *, retry: bool) -> None:
        what = watched.what
        try:
            changed = watched.look(retry=retry)
        except Exception as error:  # noqa: BLE001  # whatever is in a file must not end the watching of all
            if self.problems.get(what) == str(error):
                return
            self.problems[what] = str(error)
            self.log.error("{what}: the change is not taken over: {error}", what=what, error=error)  # noqa: TRY400
            self._metrics.reloads.labels(what, "refused").inc()
            self._metrics.reload_failing.labels(what).set(1)
            return
        if changed:
            self.problems.pop(what, None)
            self.log.info("{what}: the change is taken over", what=what)
            self._metrics.reloads.labels(what, "taken").inc()
            self._metrics.reload_failing.labels(what).set(0)
