"""What the log and the metrics say of changes of counts: each once, as soon as it may be known who made it."""

from collections import deque
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sre_server.day.record import OURS, THROUGH_SCALE, CountChange
from sre_server.telemetry.metrics import Metrics

WAIT_SECONDS: Final = 3.0
"""So long after a change was seen, the answer to the write, or the Event, that tells who made it has come."""
LOGGED_OF_LIST: Final = 100
"""So many changes are logged one by one that a list found at a time: after a long outage there may be very many."""
EVENT: Final = "count changed"
_KUBECTL: Final = "kubectl"
_OTHER: Final = "other"
_KNOWN: Final = {
    OURS: OURS,
    "kube-controller-manager": "kube-controller-manager",
    THROUGH_SCALE: "unknown",
}


class ChangeLog(Service):
    """Logs and counts changes 3 s after they were seen; whatever waits when the service stops, then."""

    log = Logger()

    def __init__(self, clock: IReactorTime, metrics: Metrics, *, logs: bool = True) -> None:
        """With `logs` False only count, where another process that sees the same tells."""
        self._clock = clock
        self._metrics = metrics
        for kind in (*_KNOWN.values(), _KUBECTL, _OTHER):
            metrics.count_changes.labels(kind)  # from 0 on, so that the first one is seen to be one more
        self._logs = logs
        self._waiting: deque[tuple[float, CountChange]] = deque()
        self._timer: IDelayedCall | None = None

    def note(self, change: CountChange) -> None:
        """Tell of a change soon."""
        self._waiting.append((self._clock.seconds() + WAIT_SECONDS, change))
        if self._timer is None:
            self._timer = self._clock.callLater(WAIT_SECONDS, self._due)

    def stopService(self) -> None:
        """Tell of all that waits."""
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._tell([change for _, change in self._waiting])
        self._waiting.clear()

    def _due(self) -> None:
        now, due = self._clock.seconds(), []
        while self._waiting and self._waiting[0][0] <= now:
            due.append(self._waiting.popleft()[1])
        self._timer = self._clock.callLater(self._waiting[0][0] - now, self._due) if self._waiting else None
        self._tell(due)

    def _tell(self, changes: list[CountChange]) -> None:
        of_list = 0
        for change in changes:
            self._metrics.count_changes.labels(_kind(change.program)).inc()
            of_list += change.gap
            if self._logs and not (change.gap and of_list > LOGGED_OF_LIST):
                self._log(change)
        if self._logs and of_list > LOGGED_OF_LIST:
            self.log.info("{more} more counts were found changed by a list", more=of_list - LOGGED_OF_LIST)

    def _log(self, change: CountChange) -> None:
        author = change.author
        self.log.info(
            "count changed: {namespace}/{deployment} from {before} to {after} {who}{hidden}",
            event=EVENT,
            namespace=change.namespace,
            deployment=change.deployment,
            before=change.before,
            after=change.after,
            by=change.by,
            program=change.program,
            gap=change.gap,
            request_id=author.request_id if author else None,
            because=author.reason if author else None,
            who=f"by {change.by} through {change.program}" if author else _by(change.program),
            hidden=", perhaps in several steps" if change.gap else "",
        )


def _by(program: str) -> str:
    return program if program == THROUGH_SCALE else f"by {program}"


def _kind(program: str) -> str:
    """Return one of few names for a program, as a label."""
    return _KUBECTL if program.startswith(_KUBECTL) else _KNOWN.get(program, _OTHER)
