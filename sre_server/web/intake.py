"""How a connection's bytes come in: a piece at a time, each in its client's turn and at its client's expense.

What bytes cost is not known before they are processed: a TLS record of one byte, or one that changes the keys, costs as
much as one that holds a request. So the time that each piece takes is charged to the client, and when its slice of this
turn is used up, the rest waits, and no more is read from the connection.
"""

from collections.abc import Callable
from typing import Final

from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from zope.interface import implementer

from sre_server.web.turns import Turns

PIECE_BYTES: Final = 4096
"""What is processed before others may have their turn: some forty plain requests, or 180 records of one byte each."""


class IStream(ITCPTransport, IPushProducer, IConsumer):
    """A TCP connection that is read from unless it is told not to."""


@implementer(IPushProducer)
class Intake:
    """The bytes of one connection that were received and are yet to be processed.

    It is between the connection and who reads it, so that neither is read while the other does not want that: reading
    goes on when what waits has had its turn, and who reads has resumed.
    """

    def __init__(self, turns: Turns, key: Callable[[], str], process: Callable[[bytes], None], stream: IStream) -> None:
        """Hand pieces of what comes from `stream` on to `process`, in the turns of `key`."""
        self._turns = turns
        self._key = key
        self._process = process
        self._stream = stream
        self._received = b""
        self._dropped = False
        self._waiting = False
        self._wanted = True

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._received

    def take(self, data: bytes) -> None:
        """Process bytes that were received, now or in their turn."""
        key = self._key()
        if len(data) <= PIECE_BYTES and not self._received and self._turns.has_time(key):
            self._turns.serve(key, self._process, data)  # as nearly always
            return
        self._received += data
        if self._waiting:
            self._stream.pauseProducing()
        else:
            self._go_on()

    def _go_on(self) -> None:
        while self._received:
            key = self._key()
            if not self._turns.has_time(key):
                self._waiting = True
                self._stream.pauseProducing()
                self._turns.take(key, self._process_waiting)
                return
            self._turns.serve(key, self._process_piece)

    def _process_piece(self) -> None:
        piece, self._received = self._received[:PIECE_BYTES], self._received[PIECE_BYTES:]
        self._process(piece)

    def _process_waiting(self) -> None:
        """Process one piece, now that it is this client's turn; what is left waits for another."""
        self._waiting = False
        if self._received:
            self._process_piece()
        self._go_on()
        if self._wanted and not (self._waiting or self._dropped):
            self._stream.resumeProducing()

    def pauseProducing(self) -> None:
        """Read no more, as who reads wants."""
        self._wanted = False
        self._stream.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again, unless what was read waits for its turn."""
        self._wanted = True
        if not self._waiting:
            self._stream.resumeProducing()

    def unregisterProducer(self) -> None:
        """Tell nobody any more whether there is room for what is written."""
        self._stream.unregisterProducer()

    def flush(self) -> None:
        """Process what waits, whosever turn it is."""
        while self._received:
            self._process_piece()

    def forget(self) -> None:
        """Forget what waits, and read on."""
        self._received = b""
        self._process_waiting()

    def stopProducing(self) -> None:
        """Forget what waits, as the connection is gone."""
        self._received, self._dropped = b"", True
