"""The audit log as a service: it writes lines to a sink, and loses none of a write when the server stops.

Writes that are still under way then are told as "unknown". Should the outcome come after all, it is a second line with
the same request id.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from sre_server.errors import Unavailable
from sre_server.security.audit import Entry, Record
from sre_server.security.refusals import Refusals
from sre_server.security.sinks import Sink, Slot

RETRY_SECONDS: Final = 5
FLUSH_SECONDS: Final = 1.0
SUM_SECONDS: Final = 60.0
STOP_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 60.0
"""After a failure was logged, so long no other one is: each is counted."""
_LOOK_SECONDS: Final = 0.1


class AuditLogService(Service):
    """Writes the audit log to a sink, and calls `failed` for each line that the sink does not take.

    When the service stops, `abandoned` is called with the record of each write that is still under way.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        sink: Sink,
        failed: Callable[[], object] = lambda: None,
        abandoned: Callable[[Record], object] = lambda _: None,
    ) -> None:
        self._reactor = reactor
        self._sink = sink
        self._failed = failed
        self._abandoned = abandoned
        self._silent_until = 0.0
        self._stopping = False
        self._under_way: set[_Entry] = set()
        self._owed: deque[tuple[Slot, Record]] = deque()
        """Lines of writes that were not taken; there are no more than begin before the sink refuses the next one."""
        self._refusals = Refusals(self._tell)
        self._loops = [self._loop(self._flush, FLUSH_SECONDS), self._loop(self._refusals.tell_sums, SUM_SECONDS)]

    def _loop(self, call: Callable[[], object], seconds: float) -> tuple[LoopingCall, float]:
        loop = LoopingCall(call)
        loop.clock = self._reactor
        return loop, seconds

    def startService(self) -> None:
        """From now on, write every second what is still unwritten, and tell of summed-up refusals every minute."""
        super().startService()
        for loop, seconds in self._loops:
            loop.start(seconds, now=False).addErrback(lambda failure: self.log.failure("audit", failure=failure))

    def begin(self, record: Record) -> Entry:
        """See `AuditLog.begin`."""
        if self._stopping:
            raise Unavailable("The server is stopping, so nothing was changed.", RETRY_SECONDS)
        try:
            slot = self._sink.begin(record)
        except OSError as error:
            self._note_failure(error)
            raise Unavailable("The audit log cannot be written, so nothing was changed.", RETRY_SECONDS) from error
        entry = _Entry(self, record, slot)
        self._under_way.add(entry)
        return entry

    def write(self, record: Record) -> None:
        """See `AuditLog.write`."""
        self._refusals.add(record)
        if self._stopping:
            self._refusals.tell_sums()

    def finish(self, entry: "_Entry", record: Record) -> None:
        """Complete a line, or else try again every second; see `Entry.finish`."""
        self._under_way.discard(entry)
        try:
            entry.slot.put(record)
        except OSError as error:
            self._note_failure(error)
            self._owed.append((entry.slot, record))

    def stopService(self) -> Deferred[None]:
        """Tell what is known of the writes under way and of refusals, and let a slow sink take it for 2 s."""
        super().stopService()
        self._stopping = True
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()
        for entry in list(self._under_way):
            self.finish(entry, entry.record)
            self._abandoned(entry.record)
        self._refusals.tell_sums()
        return Deferred.fromCoroutine(self._flush_all())

    async def _flush_all(self) -> None:
        end = self._reactor.seconds() + STOP_SECONDS
        while not self._flush():
            if self._reactor.seconds() >= end:
                self._failed()
                self.log.critical("the audit log has not taken all lines before the end")
                return
            await deferLater(self._reactor, _LOOK_SECONDS)

    def _tell(self, record: Record) -> bool:
        try:
            self._sink.write(record)
        except OSError as error:
            self._note_failure(error)
            return False
        return True

    def _flush(self) -> bool:
        try:
            while self._owed:
                slot, record = self._owed[0]
                slot.put(record)
                self._owed.popleft()
            return self._sink.flush()
        except OSError as error:
            self._say(error)
            return False

    def _note_failure(self, error: OSError) -> None:
        self._failed()
        self._say(error)

    def _say(self, error: OSError) -> None:
        now = self._reactor.seconds()
        if now >= self._silent_until:
            self._silent_until = now + SILENT_SECONDS
            self.log.critical("the audit log cannot be written: {error}", error=error.strerror or error)


class _Entry:
    def __init__(self, log: AuditLogService, record: Record, slot: Slot) -> None:
        self._log, self.record, self.slot = log, record, slot

    def finish(self, record: Record) -> None:
        """See `Entry.finish`."""
        self._log.finish(self, record)
