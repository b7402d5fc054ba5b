"""What every request of the two families passes before its handler: who is it, how often, and may it.

In that order, since a limit needs a name, and nothing is looked up for somebody who may not ask. What is refused here
is counted and, but for the reads that come too often, put into the audit log.
"""

from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Final, TypeVar

from msgspec.structs import replace
from twisted.internet.defer import Deferred

from sre_server.api.asked import NOT_IDENTIFIED, NOT_PERMITTED, Asked, Permitted, outcome_of
from sre_server.api.limiting import RateLimits
from sre_server.api.statuses import StatusTable, status_of
from sre_server.errors import NotFound, NotIdentified, NotPermitted, NotTemporary, SreServerError, TooManyRequests
from sre_server.security.audit import AuditLog
from sre_server.security.authorization import EVERYTHING, Authorizer, Decision, Verb, View
from sre_server.security.identity import Identity
from sre_server.telemetry.metrics import Metrics
from sre_server.web.request import APIRequest

STANDS_SECONDS: Final = 1.0
"""What was permitted longer ago than this is asked again before a write is sent to the cluster."""
EXPIRY_HEADER: Final = "X-Client-Certificate-Expires"
Refusal = TypeVar("Refusal", bound=SreServerError)
_T = TypeVar("_T")
_R = TypeVar("_R")


def map_now_or_later(value: _T | Deferred[_T], use: Callable[[_T], _R | Deferred[_R]]) -> _R | Deferred[_R]:
    """Use a value now if it is here, else when it comes: what is known at once is answered at once."""
    return value.addCallback(use) if isinstance(value, Deferred) else use(value)


async def now_or_later(value: _T | Deferred[_T]) -> _T:
    """Return a value that is here, or wait for it."""
    return await value if isinstance(value, Deferred) else value


class Gate:
    """Admits clients within `limits`, and asks `authorizer`.

    `namespaces` are all that there are: the same object for as long as they are the same. `now` is a monotonic clock.
    """

    def __init__(
        self,
        authorizer: Authorizer,
        namespaces: Callable[[], Collection[str]],
        limits: RateLimits,
        audit: AuditLog,
        metrics: Metrics,
        expiry_warning: timedelta,
        statuses: StatusTable,
        now: Callable[[], float],
    ) -> None:
        self._authorizer = authorizer
        self._namespaces = namespaces
        self.limits = limits
        self._audit = audit
        self._metrics = metrics
        self._expiry_warning = expiry_warning
        self._statuses = statuses
        self._now = now

    def known_view(self, identity: Identity, namespace: str | None = None, name: str | None = None) -> View | None:
        """Return what a read may show, if nobody has to be asked and it is not refused; else None.

        That is looked at before anything that is read, so that no refusal depends on what there is.
        """
        if namespace is not None and name is not None:
            return EVERYTHING if self._authorizer.known_to_read(identity, namespace, name) else None
        view = self._authorizer.known_view(identity, self._asked(namespace))
        return None if view is None or (namespace is not None and view.extent(namespace) is None) else view

    def pass_read(self, identity: Identity, extra_tokens: int) -> str | None:
        """Take the tokens of a read that `known_view` let pass; return the headers that it gets, None if it must wait.

        Nothing is taken or counted for whoever gets None; that request has to go through `admit`.
        """
        headers = self.limits.pass_read(identity.name, extra_tokens)
        if headers is not None and self._ends_soon(identity):
            headers += f"{EXPIRY_HEADER}: {_in_rfc3339(identity.not_after)}\r\n"
        return headers

    def _ends_soon(self, identity: Identity) -> bool:
        """Tell whether the client has to be told that its certificate ends, and count it if so."""
        soon = identity.not_after - datetime.now(UTC) < self._expiry_warning
        if soon:
            self._metrics.expiring.inc()
            self._metrics.by_identity.ending(identity.name, identity.not_after)
        return soon

    def admit(
        self, request: APIRequest, verb: Verb, namespace: str | None, name: str | None, *charged: Verb
    ) -> Identity:
        """Return who asks; raises NotIdentified or TooManyRequests. Sets the headers that tell of limits and expiry.

        A token is taken of each verb in `charged`; of `verb` alone unless it says more.
        """
        asked = Asked(request, None, verb, namespace, name)
        identity = self._identified(asked, request.identify)
        if self._ends_soon(identity):
            request.setHeader(EXPIRY_HEADER, _in_rfc3339(identity.not_after))
        try:
            self.limits.charge(request, identity.name, charged or (verb,))
        except TooManyRequests as error:
            if verb is Verb.READ:
                self._metrics.by_identity.refused(identity.name, "too many requests")
                raise
            raise self._refused(asked.by(identity), error, "too many requests") from None
        return identity

    def _identify_again(self, asked: Asked) -> None:
        """Raise NotIdentified if whoever was admitted is nobody any more, as it has waited."""
        self._identified(asked.by(None), asked.request.identify_again)

    def _identified(self, asked: Asked, identify: Callable[[], Identity]) -> Identity:
        try:
            return identify()
        except NotIdentified as error:
            asked.request.close_afterwards()
            raise self._refused(asked, error, NOT_IDENTIFIED) from None

    def permit(
        self, request: APIRequest, identity: Identity, verb: Verb, namespace: str, name: str
    ) -> Deferred[None] | None:
        """Raise NotPermitted (or fail with it) unless the client may do this."""
        decided = self._authorizer.decide(identity, verb, namespace, name)
        asked = Asked(request, identity, verb, namespace, name)
        return self._use(asked, decided, partial(self._enforce, asked))

    async def permit_write(self, request: APIRequest, identity: Identity, namespace: str, name: str) -> Permitted:
        """Return what a client that was admitted may go on with.

        Raises NotPermitted, NotIdentified, or whatever keeps that from being found out.
        """
        write = Permitted(request, identity, namespace, name, float("-inf"))
        await self.permit_again(write)
        return replace(write, at=self._now())

    async def permit_again(self, write: Permitted, *, has_line: bool = False) -> None:
        """Raise what `permit_write` does unless a client may still write, now that the cluster is to be asked.

        That is told to the audit log, unless the write `has_line` there.
        """
        asked = write.asked(has_line=has_line)
        if self._now() - write.at <= STANDS_SECONDS:
            self._identify_again(asked)
            return
        try:
            decision = await now_or_later(
                self._authorizer.decide(write.identity, Verb.SCALE, write.namespace, write.name)
            )
        except SreServerError as error:
            self._tell(asked, error, outcome_of(error))
            raise
        self._use(asked, decision, partial(self._enforce, asked))

    async def may_still(self, write: Permitted) -> bool:
        """Tell whether a client might write now what it has written, and so may know what came of that.

        Where that cannot be found out it may not; the write is done, so that nothing of this is an error.
        """
        try:
            decision = await now_or_later(
                self._authorizer.preview(write.identity, Verb.SCALE, write.namespace, write.name)
            )
            write.request.identify_again()
        except NotIdentified:
            write.request.close_afterwards()
            return False
        except SreServerError:
            return False
        return decision.allowed

    def _use(self, asked: Asked, decided: _T | Deferred[_T], use: Callable[[_T], _R]) -> _R | Deferred[_R]:
        """Use what was decided, now or later; whoever asked must still be somebody by then."""

        def of_somebody(decided: _T) -> _R:
            self._identify_again(asked)
            return use(decided)

        return map_now_or_later(decided, of_somebody)

    def _enforce(self, asked: Asked, decision: Decision) -> None:
        if not decision.allowed:
            who = asked.identity.name if asked.identity else ""
            error = NotPermitted(f"'{who}' may not {asked}: {decision.rule}.", decision.rule)
            raise self._refused(asked, error, NOT_PERMITTED)

    def permit_everything(self, request: APIRequest, identity: Identity) -> Deferred[None] | None:
        """Raise NotPermitted (or fail with it) unless the client may read everything."""
        asked = Asked(request, identity, Verb.READ, None, None)
        return self._use(asked, self._authorizer.decide_on_everything(identity), partial(self._enforce, asked))

    def _asked(self, namespace: str | None) -> Collection[str]:
        return self._namespaces() if namespace is None else (namespace,)

    def view(self, request: APIRequest, identity: Identity, namespace: str | None) -> View | Deferred[View]:
        """Return what the client may read of a namespace, or of all; raises NotPermitted if it asked for one."""
        asked = Asked(request, identity, Verb.READ, namespace, None)

        def enforce(view: View) -> View:
            if namespace is not None and view.extent(namespace) is None:
                raise self._refused(asked, NotPermitted(f"'{identity.name}' may not {asked}."), NOT_PERMITTED)
            return view

        try:
            view = self._authorizer.view(identity, self._asked(namespace))
        except NotPermitted as error:
            self._enforce(asked, Decision(allowed=False, rule=str(error)))
            raise
        return self._use(asked, view, enforce)

    def missing(self, identity: Identity, namespace: str, name: str, error: NotFound) -> NotFound:
        """Return the error for a client that may know which of the two does not exist; else one that does not tell."""
        view = self._authorizer.known_view(identity, self._asked(namespace))
        extent = view.extent(namespace) if view is not None else None
        if isinstance(error, NotTemporary) or (extent is not None and extent.told):
            return error
        return NotFound(f"The Deployment '{name}' does not exist in the namespace '{namespace}'.")

    def preview(
        self, request: APIRequest, identity: Identity, verb: Verb, namespace: str, name: str
    ) -> Decision | Deferred[Decision]:
        """Return what would be decided, for a client that asks what it may do; raises NotIdentified."""
        decided = self._authorizer.preview(identity, verb, namespace, name)
        return self._use(Asked(request, identity, verb, namespace, name), decided, lambda decision: decision)

    def _refused(self, asked: Asked, error: Refusal, outcome: str) -> Refusal:
        """Count a refusal and tell of it; return the error, to be raised."""
        self._metrics.denied.labels(outcome).inc()
        if asked.identity is not None or isinstance(error, NotIdentified):
            self._metrics.by_identity.refused(asked.identity.name if asked.identity else None, outcome)
        self._tell(asked, error, outcome)
        return error

    def _tell(self, asked: Asked, error: SreServerError, outcome: str) -> None:
        """Put what came to nothing into the audit log."""
        if asked.has_line:
            return
        status = int(status_of(error, self._statuses))
        certificate = error.certificate_sha256 if isinstance(error, NotIdentified) else None
        rule = error.rule if isinstance(error, NotPermitted) else None
        self._audit.write(asked.record(certificate, outcome=outcome, rule=rule, status=status))


@lru_cache(256)
def _in_rfc3339(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
