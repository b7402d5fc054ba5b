"""How a connection's bytes come in: a piece at a time, each in its client's turn and at its client's expense.

What bytes cost is not known before they are processed: a TLS record of one byte, or one that changes the keys, costs as
much as one that holds a request. So the time that each piece takes is charged to the client, and when its slice of this
turn is used up, the rest waits; and no more is read from a connection that has sent more than one piece, or goes on.
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
        self._waiting = False
        self.paused = False
        """Whether nothing more is to be read, as more came while bytes waited than a request has."""

    def take(self, data: bytes) -> None:
        """Process bytes that were received, now or in their turn."""
        key = self._key()
        if len(data) <= PIECE_BYTES and not self._received and self._turns.serve_now(key, self._process, data):
            return  # as nearly always
        self._received += data
        came_meanwhile = self._waiting
        if not came_meanwhile:
            self._go_on()
        if self._waiting and (came_meanwhile or len(self._received) > PIECE_BYTES) and not self.paused:
            self.paused = True
            self._pause()

    def _go_on(self) -> None:
        while self._received:
            key = self._key()
            if not self._turns.has_time(key):
                self._waiting = True
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
        if self.paused and not (self._waiting or self._dropped):
            self.paused = False
            self._resume()

    def flush(self) -> None:
        """Process what waits, whosever turn it is."""
        while self._received:
            self._process_piece()

    def drop(self) -> None:
        """Forget what waits, as the connection is gone."""
        self._received, self._dropped = b"", True
