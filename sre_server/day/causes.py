"""What keeps the pods of Deployments from running, looked up while somebody waits for one, and for nobody else.

A pod may be in trouble for a moment: an image is pulled again, a node joins. What it is in trouble for counts once it
has been in the same one for so long, in every look.
"""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sre_server.day.waits import Key
from sre_server.errors import SreServerError
from sre_server.model import PodFault

FIRST_SECONDS: Final = 2.0
"""Most rollouts that go well without a new image are over by then, and cost no look."""
LOOK_SECONDS: Final = 5.0
PERSISTS_SECONDS: Final = 10.0
LookAtPods = Callable[[str, str], Deferred[Sequence[PodFault]]]
"""Looks at the pods of a Deployment, by its namespace and name; fires with those that do not run."""


class _Watched(Struct, eq=False):
    """A Deployment that somebody waits for.

    `since` has when each fault was first seen, by pod and outcome, and how it was told last: words change, as they say
    how long the next attempt is put off.
    """

    waiters: int = 0
    timer: IDelayedCall | None = None
    looking: Deferred[None] | None = None
    since: dict[tuple[str, str], tuple[float, PodFault]] = field(default_factory=dict)
    looked_at: float = 0.0
    unknown: str = ""


class Causes:
    """Looks at pods; `changed` is told whose were looked at. Without `look` nobody's are."""

    log = Logger()

    def __init__(self, reactor: IReactorTime, look: LookAtPods | None, changed: Callable[[Key], object]) -> None:
        self._reactor = reactor
        self._look_at = look
        self._changed = changed
        self._watched: dict[Key, _Watched] = {}

    def watch(self, key: Key) -> None:
        """Look at the pods of a Deployment every now and then, once for all who want that."""
        if self._look_at is None:
            return
        watched = self._watched.setdefault(key, _Watched())
        watched.waiters += 1
        if watched.timer is None and watched.looking is None:
            watched.timer = self._reactor.callLater(FIRST_SECONDS, self._look, key)

    def leave(self, key: Key) -> None:
        """Want that no more; to be called once for each `watch`."""
        watched = self._watched.get(key)
        if watched is None:
            return
        watched.waiters -= 1
        if not watched.waiters:
            del self._watched[key]
            if watched.timer is not None:
                watched.timer.cancel()
            if watched.looking is not None:
                watched.looking.cancel()

    def certain(self, key: Key, began: float) -> list[PodFault]:
        """Return the faults that pods have had for long enough, counted from `began`; those of one outcome."""
        watched = self._watched.get(key)
        if watched is None:
            return []
        old = watched.looked_at - PERSISTS_SECONDS
        faults = [fault for at, fault in watched.since.values() if fault.outcome and max(at, began) <= old]
        return [fault for fault in faults if fault.outcome == faults[0].outcome]

    def known(self, key: Key) -> str:
        """Say what is known of the pods by the last look, in words, or why nothing is; empty if there is no trouble."""
        watched = self._watched.get(key)
        if watched is None:
            return ""
        return watched.unknown or in_words([fault for _, fault in watched.since.values()])

    def _look(self, key: Key) -> None:
        watched = self._watched[key]
        watched.timer = None
        began = self._reactor.seconds()
        assert self._look_at is not None  # noqa: S101  # else nothing is watched
        looking = self._look_at(*key).addCallbacks(
            self._found, self._failed, callbackArgs=(watched, began), errbackArgs=(watched, key)
        )
        watched.looking = looking.addCallback(self._looked, key, watched)
        if looking.called:
            watched.looking = None

    def _found(self, faults: Sequence[PodFault], watched: _Watched, began: float) -> None:
        before, watched.since = watched.since, {}
        for fault in faults:
            key = (fault.pod, fault.outcome)
            watched.since[key] = (before.get(key, (began,))[0], fault)
        watched.looked_at, watched.unknown = began, ""

    def _failed(self, failure: Failure, watched: _Watched, key: Key) -> None:
        if failure.check(CancelledError):
            return
        watched.unknown = "what keeps its pods is not known"
        if failure.check(SreServerError):
            watched.unknown += f": {str(failure.value).rstrip('.')}"
            self.log.debug("the pods of {key} were not looked at: {error}", key=key, error=failure.value)
        else:
            self.log.failure("the pods of {key} were not looked at", failure, key=key)

    def _looked(self, _: None, key: Key, watched: _Watched) -> None:
        watched.looking = None
        if self._watched.get(key) is watched:
            watched.timer = self._reactor.callLater(LOOK_SECONDS, self._look, key)
            self._changed(key)


def in_words(faults: Sequence[PodFault]) -> str:
    """Say what one pod is in trouble for, and how many more are; empty if none is."""
    if not faults:
        return ""
    more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
    return f"pod '{faults[0].pod}'{more}: {faults[0].said}"
