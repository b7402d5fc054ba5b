"""Files that may change while the server runs: looked at every few seconds, taken over only when they make sense."""

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
    """One group of files that make sense together, and what takes them over: `reload` raises to refuse them."""

    def __init__(self, what: str, paths: Sequence[Path], reload: Callable[[], None]) -> None:
        self.what = what
        self._paths = paths
        self._reload = reload
        self._seen = self._last = self._contents()
        self._refused = False

    def look(self, *, retry: bool = False) -> bool:
        """Take over what changed and has settled since the last look; raises what `reload` raises.

        With `retry`, what was refused before is tried again, too.
        A file that is being written may be whole PEM and half of what it is to be: two looks in a row must agree.
        Contents are compared, not times: a projected volume, a copy and an editor each touch different ones.
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
    """Looks at every group of files; a group that makes no sense keeps its last good state, and is said to fail."""

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
        """Say which changes are not taken over, and why."""
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
