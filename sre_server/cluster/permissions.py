"""What the cluster refuses this server for want of a permission, told once instead of each time.

Whoever asks the cluster for something tells `Permissions.told` what came of it. From a 403 on until the same is
granted, that permission is missing: a warning in readyz, a metric, and one line in the log.
"""

import time
from collections.abc import Callable, Collection
from typing import Final

from msgspec import Struct
from twisted.logger import Logger

from sre_server.cluster.transport import Reply, check
from sre_server.errors import ClusterError, ClusterRefused, SreServerError, Unavailable
from sre_server.news import Source

FORBIDDEN: Final = 403
# Only who is permitted is told what else is wrong.
_GRANTED: Final = frozenset({404, 409, 422})
PAUSE_SECONDS: Final = 10.0
LOG_AGAIN_SECONDS: Final = 3600.0
RETRY_SECONDS: Final = 5

GET_VERSION: Final = "get /version"
PATCH_SCALE: Final = "patch deployments/scale"
GET_DEPLOYMENTS: Final = "get deployments"
CREATE_REVIEWS: Final = "create subjectaccessreviews"
LIST_QUOTAS: Final = "list resourcequotas"
LIST_BUDGETS: Final = "list poddisruptionbudgets"
CREATE_EVENTS: Final = "create events"
LIST_PODS: Final = "list pods"
GET_LEASES: Final = "get leases"
CREATE_LEASES: Final = "create leases"
UPDATE_LEASES: Final = "update leases"
GET_EVERYWHERE: Final = "get namespaces in kube-system"

Told = Callable[[str, BaseException | None], object]
"""Is told what the cluster was asked for, as RBAC would name it, and what went wrong, if anything did."""


Pauses = Callable[[str], bool]
"""Tells whether the cluster refused something so lately that it is not to be asked for again yet."""


def never(_: str) -> bool:
    """Pause for nothing."""
    return False


def untold(what: str, error: BaseException | None) -> None:
    """Tell nobody."""


def check_permitted(reply: Reply, what: str, told: Told) -> None:
    """Do as `transport.check` does with an answer, and tell what came of it."""
    try:
        check(reply)
    except ClusterError as error:
        told(what, error)
        raise
    told(what, None)


def permission(verb: str, source: Source) -> str:
    """Name what is needed to do something with a source, as in `watch deployments in shop`."""
    return f"{verb} {source}"


def is_refusal(what: str, error: BaseException | None) -> bool:
    """Tell whether an error came of not being permitted this."""
    if isinstance(error, SreServerError) and error.missing_right == what:
        return True
    return isinstance(error, ClusterRefused) and error.status == FORBIDDEN


class _Refusal(Struct, frozen=True):
    said: str
    at: float


class Permissions:
    """Those that are missing; `needed` are the ones without which nobody can be served.

    `missing` is told, of each, when it begins to be missing (True) and when it is granted (False); `now` is a monotonic
    clock in seconds. All but the constructor may be called from any thread. What is asked for is of few kinds: it never
    names what a client asked about, or there would be no end to them.
    """

    log = Logger()

    def __init__(
        self,
        needed: Collection[str] = (),
        missing: Callable[[str, bool], object] = lambda _what, _missing: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._needed = needed
        self._missing = missing
        self._now = now
        self._untried = set(needed)
        self._refusals: dict[str, _Refusal] = {}
        self._logged_at: dict[str, float] = {}

    def told(self, what: str, error: BaseException | None) -> None:
        """Learn what came of a request: granted, refused, or something that says nothing of permissions."""
        if error is None or (isinstance(error, ClusterRefused) and error.status in _GRANTED):
            self._untried.discard(what)
            if self._refusals.pop(what, None) is not None:
                self._missing(what, False)
        elif is_refusal(what, error):
            self._untried.discard(what)
            self._refusals[what] = _Refusal(str(error), self._now())
            self._missing(what, True)
            self._log_once(what, error)

    def _log_once(self, what: str, error: BaseException) -> None:
        logged_at = self._logged_at.get(what)
        if logged_at is None or self._now() - logged_at >= LOG_AGAIN_SECONDS:
            self._logged_at[what] = self._now()
            self.log.warn("the server lacks the permission to {what}: {error}", what=what, error=error)

    def pauses(self, what: str) -> bool:
        """Tell whether this was refused so lately that it need not be asked for again yet."""
        refusal = self._refusals.get(what)
        return refusal is not None and self._now() - refusal.at < PAUSE_SECONDS

    def lacks(self, what: str) -> bool:
        """Tell whether the cluster refused this the last time."""
        return what in self._refusals

    def warnings(self) -> list[str]:
        """Say of each missing permission what it is, and what the cluster said."""
        refusals = sorted(self._refusals.copy().items())
        return [f"the server lacks the permission to {what}: {refusal.said}" for what, refusal in refusals]

    def check_needed(self) -> None:
        """Raise Unavailable if a permission is missing, or not known yet, without which nobody can be served."""
        for what in self._needed:
            if what in self._untried:
                raise Unavailable(f"The server is about to find out whether it may {what}.", RETRY_SECONDS)
            refusal = self._refusals.get(what)
            if refusal is not None:
                raise Unavailable(f"The server lacks the permission to {what}: {refusal.said}", RETRY_SECONDS)
