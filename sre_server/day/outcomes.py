"""What comes of a count that was set: whether its pods get available, and what or who stands against that.

Nothing is concluded from what was true before the write: a status counts for the generation that it has observed, as
the cluster itself told it after the write; a refusal, once it has stood for a while.
"""

import re
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

from msgspec import Struct

from sre_server.cache import ClusterCache
from sre_server.day.autoscalers import Autoscalers
from sre_server.day.causes import Causes, in_words
from sre_server.day.changes import Changes
from sre_server.day.owners import setter_of
from sre_server.day.record import OURS
from sre_server.day.rollout import has_settled
from sre_server.day.waits import Key
from sre_server.errors import NotFound, Unavailable
from sre_server.model import Deployment, Unreadable
from sre_server.news import Change, Deleted, Put
from sre_server.texts import at_least_as_new

QUOTA_SECONDS: Final = 2.0
"""So long a quota's refusal must stand: pods that are about to end may make room."""
STANDING_SECONDS: Final = 10.0
"""So long one must stand that stood before the write: it may be over, and the status not say so yet."""
AUTHOR_SECONDS: Final = 1.0
"""So long it may take to learn whose write it was, if it was one through this server, or another replica of it."""
_LITTLE: Final = 0.05
_QUOTA: Final = re.compile(r"(?:exceeded|failed) quota: .*")


class Outcome(Enum):
    """What a wait for a write comes to; the values are what the API says, and labels of a metric."""

    AVAILABLE = "available"
    SUPERSEDED = "superseded"
    QUOTA = "quota"
    UNSCHEDULABLE = "unschedulable"
    IMAGE = "image"
    CRASHING = "crashing"
    DELETED = "deleted"
    WAITING = "waiting"
    """The time is up, and none of the others is certain."""


class Verdict(Struct, frozen=True):
    """An outcome, the count that is wanted now (None of what is gone), who superseded it, and why, in words."""

    outcome: Outcome
    replicas: int | None
    by: str = ""
    cause: str = ""


class Knowledge(Struct, frozen=True):
    """What outcomes are judged by; `later` has everybody look again who waits for a Deployment, after some seconds."""

    cache: ClusterCache
    autoscalers: Autoscalers
    changes: Changes
    causes: Causes
    now: Callable[[], float]
    later: Callable[[float, Key], object]


class Settling:
    """A waiter: one write on its way to whatever comes of it; see `sre_server.day.waits.Waiter`."""

    def __init__(self, knows: Knowledge, written: Deployment, before: Deployment | None) -> None:
        """Wait for what comes of `written`, which is what a write was answered; `before` was known before that."""
        self._knows = knows
        self._written = written
        self._key = (written.namespace, written.name)
        self._began = knows.now()
        self._standing = before.progress.trouble if before is not None and before.progress is not None else ""
        self._changed = before is None or before.resource_version != written.resource_version
        self._refused: dict[str, float] = {}
        """What a quota says, if one stands against it, and since when."""
        self._superseded: tuple[Verdict, str, float] | None = None

    def look(self, change: Change | None, shared: dict[object, Any]) -> Verdict | None:
        """See `Waiter.look`."""
        if self._superseded is not None:
            return self._attributed(*self._superseded)
        if isinstance(change, Deleted):
            return self._deleted() if change.object.uid == self._written.uid else None
        if isinstance(change, Put) and isinstance(change.object, Deployment):
            return self._judge(change.object, heard=True)
        try:
            known = self._knows.cache.deployment(*self._key)
        except NotFound:
            return self._deleted()
        except Unavailable:
            return None
        return self._judge(known, heard=self._knows.cache.is_heard(*self._key))

    def _deleted(self, cause: str = "") -> Verdict:
        return Verdict(Outcome.DELETED, None, cause=cause)

    def _judge(self, now: Deployment, *, heard: bool) -> Verdict | None:
        """Judge what the Deployment is now, as the cluster told it, or (not `heard`) as a write of ours left it."""
        written = self._written
        if isinstance(now, Unreadable) or not at_least_as_new(now.resource_version, written.resource_version):
            return None
        if now.uid != written.uid:
            return self._deleted("Another Deployment has its name now.")
        if now.replicas != written.replicas:
            setter = setter_of(now, self._knows.autoscalers.of(*self._key)) if heard else OURS
            verdict = Verdict(Outcome.SUPERSEDED, now.replicas, by=setter)
            if heard and now.owners is not None and now.owners.manager not in ("", OURS):
                return verdict
            self._superseded = (verdict, now.resource_version, self._knows.now())
            self._knows.later(AUTHOR_SECONDS + _LITTLE, self._key)
            return self._attributed(*self._superseded)
        if not heard or now.progress is None or now.progress.observed < now.progress.generation:
            return None
        if has_settled(now):
            return Verdict(Outcome.AVAILABLE, now.replicas)
        if quota := self._quota(now.progress.trouble):
            return Verdict(Outcome.QUOTA, now.replicas, cause=quota)
        if faults := self._knows.causes.certain(self._key, self._began):
            return Verdict(Outcome(faults[0].outcome), now.replicas, cause=_sentence(in_words(faults)))
        return None

    def _attributed(self, verdict: Verdict, version: str, since: float) -> Verdict | None:
        """Name the client that superseded it by a write of ours; None while it may still turn out who it was."""
        changes = self._knows.changes.of(self._written)
        author = next((change.author for change in changes if change.version == version), None)
        if author is not None:
            return Verdict(verdict.outcome, verdict.replicas, by=f"{OURS} ({author.identity})")
        return verdict if self._knows.now() - since >= AUTHOR_SECONDS else None

    def _quota(self, trouble: str) -> str:
        """Return what a quota says against the count, if it has done so for long enough."""
        found = _QUOTA.search(trouble)
        if found is None or (trouble == self._standing and not self._changed):
            self._refused = {}
            return ""
        seconds = STANDING_SECONDS if trouble == self._standing else QUOTA_SECONDS
        if trouble not in self._refused:
            self._refused = {trouble: self._knows.now()}
            self._knows.later(seconds + _LITTLE, self._key)
        return _sentence(found[0]) if self._knows.now() - self._refused[trouble] >= seconds else ""

    def late(self, why: str) -> Verdict:
        """See `Waiter.late`: say how far it has come."""
        if self._superseded is not None:
            return self._superseded[0]
        cache, said = self._knows.cache, [why]
        try:
            known = cache.deployment(*self._key)
        except NotFound:
            return self._deleted()
        except Unavailable as error:
            replicas, said = self._written.replicas, [why, str(error)]
        else:
            replicas, said = known.replicas, [why, self._silence(), *self._progress(known)]
        return Verdict(Outcome.WAITING, replicas, cause=" ".join(_sentence(each) for each in said if each))

    def _silence(self) -> str:
        try:
            self._knows.cache.check_fresh(self._key[0])
        except Unavailable:
            return f"the cluster was last heard from {self._knows.cache.age(self._key[0]):.0f} s ago"
        return ""

    def _progress(self, known: Deployment) -> list[str]:
        progress = known.progress
        if progress is None:
            return ["the status of the Deployment is not known"]
        if not self._knows.cache.is_heard(*self._key) or progress.observed < progress.generation:
            return ["the Deployment's controller has not seen this count yet"]
        counts = f"of {known.replicas} pods {progress.available} are available"
        more = [
            f"{count} are {what}"
            for count, what in (
                (progress.ready, "ready"),
                (progress.updated, "of the latest template"),
                (progress.total, "there"),
            )
            if count != progress.available
        ]
        return [", ".join([counts, *more]), progress.trouble, self._knows.causes.known(self._key)]


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
