"""A TCP proxy that can go on without passing anything on: who is connected through it hears nothing of that."""

import contextlib
import socket
import threading


class Relay:
    """Connects whoever comes to it with a port of the loopback interface."""

    def __init__(self, port: int, listening: socket.socket | None = None) -> None:
        """Lead to `port`, from another one or from a socket that listens already."""
        self._port = port
        self._socket = listening or socket.create_server(("127.0.0.1", 0))
        self._ends: set[socket.socket] = set()
        self._swallowed: set[socket.socket] = set()
        self._swallows = False
        self.url = "http://{}:{}".format(*self._socket.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._socket.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                self._ends |= {near, far}
                if self._swallows:
                    self._swallowed |= {near, far}
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source not in self._swallowed:
                    sink.sendall(data)
            if source not in self._swallowed:
                sink.shutdown(socket.SHUT_WR)

    def swallow(self) -> None:
        """Pass nothing on any more, whatever comes and on whichever connection; all of them stay open."""
        self._swallows = True
        self._swallowed = set(self._ends)

    def recover(self) -> None:
        """Pass on what comes on new connections."""
        self._swallows = False

    def close(self) -> None:
        """Be gone."""
        for end in (self._socket, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
