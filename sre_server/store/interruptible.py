"""How the reactor thread ends what another thread waits for."""

import socket
from contextlib import suppress
from threading import Event as Flag

from sre_server.errors import StoreUnreachable


class Interruptible:
    """Holds the socket of one connection after the other, and shuts them down from another thread."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self.interrupted = Flag()

    def hold(self, connected: socket.socket | None) -> None:
        """Learn of the socket in use; raises StoreUnreachable if the end has come meanwhile."""
        self._socket = connected
        if self.interrupted.is_set():
            raise StoreUnreachable("The server is shutting down.")

    def release(self) -> None:
        """Learn that the socket is about to be closed."""
        self._socket = None

    def interrupt(self) -> None:
        """End what the connection waits for, and every later one at once.

        The raw socket is shut down; closing it here would take the descriptor from under the thread that reads.
        """
        self.interrupted.set()
        if self._socket is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
