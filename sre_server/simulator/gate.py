"""What every request passes on its way in and out: the journal, the faults, the token."""

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.web.iweb import IRequest

from sre_server.simulator.faults import Fault, Faults
from sre_server.simulator.journal import Call, Recorded
from sre_server.simulator.statuses import Refusal, status, too_large
from sre_server.simulator.store import SimulatedCluster
from sre_server.simulator.watching import hang_up


class Gate:
    """Lets requests pass, or lets what is wrong with them, or with us, happen to them."""

    def __init__(self, cluster: SimulatedCluster, clock: IReactorTime, faults: Faults, token: str | None) -> None:
        self._cluster = cluster
        self._clock = clock
        self._faults = faults
        self._token = token

    async def enter(self, request: IRequest, call: Call) -> None:
        """Pass before anything is done."""
        self._record(request, call)
        slow = self._faults.take({"slow"}, call)
        if slow is not None:
            await deferLater(self._clock, slow.seconds, lambda: None)
        fault = self._faults.take({"refuse", "hang", "status", "too-large"}, call)
        if fault is not None:
            await self._fail(request, fault)
        self.authenticate(request)

    async def leave(self, request: IRequest, call: Call) -> None:
        """Pass after everything is done, before the answer."""
        fault = self._faults.take({"drop-after-apply", "hang-after-apply"}, call)
        if fault is not None:
            await _unanswered(request, fault)

    def authenticate(self, request: IRequest) -> None:
        """Refuse a request without the token, where one is wanted."""
        if self._token is None:
            return
        scheme, _, given = (request.getHeader("authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or given.strip() != self._token:
            raise Refusal(status(401))

    async def _fail(self, request: IRequest, fault: Fault) -> None:
        if fault.kind == "status":
            told = status(fault.code, fault.message, reason=fault.reason)
            if fault.retry_after is not None:
                told["details"] = {"retryAfterSeconds": fault.retry_after}
            raise Refusal(told, fault.retry_after)
        if fault.kind == "too-large":
            raise too_large(self._cluster.version + 1000, self._cluster.version)
        await _unanswered(request, fault)

    def _record(self, request: IRequest, call: Call) -> None:
        entry = Recorded(
            time=self._clock.seconds(),
            verb=call.verb,
            resource=call.resource,
            method=request.method.decode("ascii", "replace"),
            uri=request.uri.decode("ascii", "replace"),
            user_agent=request.getHeader("user-agent") or "",
        )
        self._faults.journal.record(entry)


async def _unanswered(request: IRequest, fault: Fault) -> None:
    """Wait for the end of the connection, which is near when the fault is to drop it."""
    if not fault.kind.startswith("hang"):
        hang_up(request, reset=fault.reset)
    await Deferred()
