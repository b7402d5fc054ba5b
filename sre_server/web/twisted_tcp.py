"""Twisted's TCP from the inside: connections of a port that are polled together, and that send at once.

Twisted leaves each write to a later turn of the reactor, and asks the kernel to be woken for it; and every connection
that has something to say takes a way of its own through the reactor. Here one look at the kernel brings all of them,
and their answers leave together. `PRIVATE` lists what is used of Twisted's; see `sre_server.web.twisted_channel`.
"""

import fcntl
import select
import sys
import termios
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableDescriptor,
    IListeningPort,
    ILoggingContext,
    IPushProducer,
    IReactorFDSet,
    IReadDescriptor,
    IReadWriteDescriptor,
    ISystemHandle,
    ITLSTransport,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Port, Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer, implementer_only

PRIVATE: Final = ("dataBuffer", "offset", "_tempDataBuffer", "_tempDataLen", "_writeDisconnected", "_aborting")
BATCH: Final = 32
"""So many connections are heard before others on the reactor have their turn."""
TOGETHER: Final = 8
"""So many are heard before what they are told is sent: their clients read that while the next ones are heard."""
SHORT_BYTES: Final = 4096
"""What is longer is sent when it is written, so that a peer that does not read is noticed then."""
_LOST: Final[Mapping[object, Failure]] = {why: Failure(why) for why in (CONNECTION_DONE, CONNECTION_LOST)}


@implementer(IReadDescriptor)
class ConnectionPoll:
    """The connections of one port that are read from, as one descriptor of the reactor; for Linux, which has epoll."""

    log = Logger()

    def __init__(self, reactor: IReactorFDSet, begin: Callable[[], object]) -> None:
        """Poll on a reactor; `begin` is called whenever it is the turn of these connections."""
        self._epoll = select.epoll()
        self._begin = begin
        self._connections: dict[int, PromptServer] = {}
        self._answered: list[PromptServer] = []
        self.collects = False
        """Whether short answers are kept until some more were heard, and answered."""
        reactor.addReader(self)

    def fileno(self) -> int:
        """Return what the reactor is to poll."""
        return self._epoll.fileno()

    def logPrefix(self) -> str:
        """Name it in the log."""
        return "connections"

    def add(self, connection: "PromptServer") -> None:
        """Read from a connection from now on."""
        number = connection.fileno()
        if number not in self._connections:
            self._epoll.register(number, select.EPOLLIN)
            self._connections[number] = connection

    def remove(self, connection: "PromptServer") -> None:
        """Read from it no more, as it pauses or is lost."""
        number = connection.fileno()
        if self._connections.pop(number, None) is not None:
            self._epoll.unregister(number)

    def answered(self, connection: "PromptServer") -> None:
        """Have a connection send what it has kept, once the others were heard."""
        self._answered.append(connection)

    def doRead(self) -> None:
        """Hear the connections that have something to say, and send what they are told, some at a time."""
        self._begin()
        for _ in range(BATCH // TOGETHER):
            if self._hear() < TOGETHER:
                break

    def _hear(self) -> int:
        """Hear some, and then send what they are told; return how many there were."""
        ready = self._epoll.poll(0, TOGETHER)
        self.collects = True
        for number, _ in ready:
            connection = self._connections.get(number)
            if connection is not None:  # else it has paused, or was lost, since
                self._try(connection, connection.doRead)
        self.collects = False
        answered, self._answered = self._answered, []
        for connection in answered:
            self._try(connection, connection.send_kept)
        return len(ready)

    def _try(self, connection: "PromptServer", step: Callable[[], object]) -> None:
        """Take a step with one; should that fail, or end it, the others still have theirs."""
        try:
            why = step()
            if why is not None:
                self.remove(connection)
                connection.connectionLost(_LOST[why])
        except Exception:  # noqa: BLE001  # the reactor would log it, and end all of them
            self.log.failure("a connection failed")
            connection.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """End all of them, as the reactor is about to stop."""
        for connection in list(self._connections.values()):
            connection.connectionLost(reason)
        self._epoll.close()


class IPrompt(
    ITLSTransport,
    ISystemHandle,
    IPushProducer,
    IConsumer,
    IReadWriteDescriptor,
    IHalfCloseableDescriptor,
    ILoggingContext,
):
    """All that a connection of Twisted's is, as one: TLS declares each of several for itself, which takes its time."""


@implementer_only(IPrompt)
class PromptServer(Server):
    """The server's end of a TCP connection, with nothing between a write and the kernel while that takes all."""

    poll: ConnectionPoll
    _kept = b""

    def startReading(self) -> None:
        """Read from now on."""
        self.poll.add(self)

    def stopReading(self) -> None:
        """Read no more."""
        self.poll.remove(self)

    def write(self, data: bytes) -> None:
        """Send, now or with the answers to others; what the kernel does not take is left to Twisted."""
        if self._aborting:
            return
        if not self.connected or self.dataBuffer or self._tempDataBuffer or self._writeDisconnected:
            super().write(data)
        elif self.poll.collects and not self._kept and len(data) <= SHORT_BYTES:
            self._kept = data
            self.poll.answered(self)
        else:
            data, self._kept = self._kept + data, b""
            super().write(data[self._sent(data) :])

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send pieces as one."""
        self.write(b"".join(iovec))

    def send_kept(self) -> None:
        """Send what was kept, unless it had to go before something else."""
        if self._kept:
            self.write(b"")

    def unacknowledged(self) -> int:
        """Return how many bytes of what was written the peer has not acknowledged yet, as far as is known."""
        queued = bytes(4)
        with suppress(OSError):  # a kernel that does not tell
            queued = fcntl.ioctl(self.fileno(), termios.TIOCOUTQ, queued)
        return len(self.dataBuffer) - self.offset + self._tempDataLen + int.from_bytes(queued, sys.byteorder)

    def _sent(self, data: bytes) -> int:
        """Send what the kernel takes, and return how much; why it takes nothing shows when that is tried again."""
        try:
            return self.socket.send(data)
        except OSError:
            return 0


def poll_together(port: IListeningPort, begin: Callable[[], object]) -> IListeningPort:
    """Have the connections that a TCP port accepts from now on polled together; any other port is left as it is.

    `begin` is called whenever it is their turn on the reactor.
    """
    if isinstance(port, Port) and port.transport is Server and hasattr(select, "epoll"):
        reactor = port.reactor

        class Polled(PromptServer):
            poll = ConnectionPoll(reactor, begin)

        port.transport = Polled
    return port
