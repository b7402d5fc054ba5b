"""How a connection's bytes come in: a piece at a time, each in its client's turn and at its client's expense.

What bytes cost is not known before they are processed: a TLS record of one byte, or one that changes the keys, costs as
much as one that holds a request. So the time that each piece takes is charged to the client, and when its slice of this
turn is used up, the rest waits, and no more is read from the connection.
"""

from collections.abc import Callable
from typing import Final

from sre_server.web.turns import Turns

PIECE_BYTES: Final = 4096
"""What is processed before others may have their turn: some forty plain requests, or 180 records of one byte each."""


class Intake:
    """The bytes of one connection that were received and are yet to be processed."""

    def __init__(
        self,
        turns: Turns,
        key: Callable[[], str],
        process: Callable[[bytes], None],
        pause: Callable[[], None],
        resume: Callable[[], None],
    ) -> None:
        """Hand pieces on to `process` in the turns of `key`; `pause` and `resume` reading from the connection."""
        self._turns = turns
        self._key = key
        self._process = process
        self._pause = pause
        self._resume = resume
        self._received = b""
        self._dropped = False
        self.waiting = False

    def take(self, data: bytes) -> None:
        """Process bytes that were received, now or in their turn."""
        key = self._key()
        if len(data) <= PIECE_BYTES and not self._received and self._turns.has_time(key):
            self._turns.serve(key, self._process, data)  # as nearly always
            return
        self._received += data
        if self.waiting:
            self._pause()
        else:
            self._go_on()

    def _go_on(self) -> None:
        while self._received:
            key = self._key()
            if not self._turns.has_time(key):
                self.waiting = True
                self._pause()
                self._turns.take(key, self._process_waiting)
                return
            self._turns.serve(key, self._process_piece)

    def _process_piece(self) -> None:
        piece, self._received = self._received[:PIECE_BYTES], self._received[PIECE_BYTES:]
        self._process(piece)

    def _process_waiting(self) -> None:
        """Process one piece, now that it is this client's turn; what is left waits for another."""
        self.waiting = False
        if self._received:
            self._process_piece()
        self._go_on()
        if not (self.waiting or self._dropped):
            self._resume()

    def flush(self) -> None:
        """Process what waits, whosever turn it is."""
        while self._received:
            self._process_piece()

    def drop(self) -> None:
        """Forget what waits, as the connection is gone."""
        self._received, self._dropped = b"", True
