"""Answers that wait because their client wants that: for what comes of a write, or for news of a Deployment."""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from sre_server.api.asked import Permitted
from sre_server.api.bodies import Body
from sre_server.api.conditional import accepts_gzip
from sre_server.api.preferences import APPLIED, applied, wait_in
from sre_server.api.routes import max_stale
from sre_server.cache import ClusterCache
from sre_server.day.causes import Causes, LookAtPods
from sre_server.day.factory import Day
from sre_server.day.outcomes import Knowledge, Settling, Verdict
from sre_server.day.waits import Waits
from sre_server.errors import SreServerError
from sre_server.model import Deployment
from sre_server.news import Change
from sre_server.security.identity import Identity
from sre_server.telemetry.metrics import Metrics
from sre_server.web.request import APIRequest

MayStill = Callable[[Permitted], Awaitable[bool]]
"""Tells whether a client may know what came of a write; see `sre_server.api.gate.Gate.may_still`."""


class Waiting:
    """Has clients wait; past the bounds on that, their preference is not applied, and they are answered at once."""

    def __init__(
        self,
        reactor: IReactorTime,
        cache: ClusterCache,
        day: Day,
        metrics: Metrics,
        look_at_pods: LookAtPods | None,
    ) -> None:
        """Learn from the cache's news; to be made after whatever else does that is waited for."""
        self._cache = cache
        self._metrics = metrics
        self._now = reactor.seconds
        self.waits = Waits(reactor)
        self._causes = Causes(reactor, look_at_pods, self.waits.touch)
        self._knowledge = Knowledge(
            cache,
            day.autoscalers,
            day.changes,
            self._causes,
            reactor.seconds,
            lambda seconds, key: reactor.callLater(seconds, self.waits.touch, key),
        )
        cache.subscribe(self.waits)

    async def outcome(
        self, permitted: Permitted, written: Deployment, before: Deployment | None, may_still: MayStill
    ) -> dict[str, object]:
        """Return what came of a write, for its answer; nothing if the client does not want to wait, or cannot.

        `before` is what was known of the Deployment before the write; `may_still` tells whether who asked for the write
        may know more, once that is there.
        """
        request = permitted.request
        seconds = wait_in(request.getHeader(b"prefer"))
        if seconds is None:
            return {}
        key, began = (written.namespace, written.name), self._now()
        self._causes.watch(key)
        try:
            settling = Settling(self._knowledge, written, before)
            waiting = self.waits.wait(permitted.identity.name, key, seconds, settling)
            if waiting is None:
                return {}
            request.setHeader(APPLIED, applied(seconds))
            verdict: Verdict = await waiting
        finally:
            self._causes.leave(key)
        after = self._now() - began
        self._metrics.wait_outcomes.labels(verdict.outcome.value).inc()
        await request.resumed(after)
        if not await may_still(permitted):  # the write is done, and what came of it is for clients to know
            return {}
        told: dict[str, object] = {"outcome": verdict.outcome.value, "replicas": verdict.replicas, "after": int(after)}
        return told | ({"by": verdict.by} if verdict.by else {}) | ({"cause": verdict.cause} if verdict.cause else {})

    def hold(
        self, request: APIRequest, identity: Identity, namespace: str, name: str, draw: Callable[[], Body]
    ) -> Deferred[None] | None:
        """Wait until what `draw` shows is news to a client that wants to wait for that; None if it is already.

        It is also None where that cannot be told: the read runs into the same.
        """
        seconds, tags = wait_in(request.getHeader(b"prefer")), request.getHeader(b"if-none-match")
        if seconds is None or tags is None:
            return None
        news = _News(draw, tags, gzip=accepts_gzip(request.getHeader(b"accept-encoding")))
        try:
            self._cache.check_fresh(namespace, max_stale(request.getHeader(b"cache-control")))
            has_come = news.look(None, {})
        except SreServerError:
            return None
        began, waiting = self._now(), None
        if not has_come:
            waiting = self.waits.wait(identity.name, (namespace, name), seconds, news)
            if waiting is None:
                return None
        request.setHeader(APPLIED, applied(seconds))
        return waiting.addCallback(lambda _: request.resumed(self._now() - began)) if waiting else None


class _News:
    """A waiter for a body that its client does not have; see `sre_server.day.waits.Waiter`."""

    def __init__(self, draw: Callable[[], Body], tags: bytes, *, gzip: bool) -> None:
        self._draw = draw
        self._tags = tags
        self._gzip = gzip

    def look(self, change: Change | None, shared: dict[object, Any]) -> bool | None:
        """Tell whether there is news; that it cannot be shown any more is news, too."""
        try:
            body: Body | None = shared.get(Body) or self._draw()
        except SreServerError:
            return True
        shared[Body] = body
        return None if body is not None and body.is_known(self._tags, gzip=self._gzip) else True

    def late(self, why: str) -> bool:
        """Wait no more."""
        return False
