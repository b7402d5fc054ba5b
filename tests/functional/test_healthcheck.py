"""The image's HEALTHCHECK: what it makes of the server's options, and what it says of servers alive and not."""

import io
import socket
import sys
import threading
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sre_server.daemon.healthcheck import connect, main, option
from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class OptionTests(SynchronousTestCase):
    """Where the server listens is read from its own command line and environment."""

    def test_forms(self) -> None:
        """Both ways to write an option are read, the last one counts, and the command line wins."""
        environ = {"SRE_SERVER_OPS_LISTEN": "tcp:1"}
        self.assertEqual(option("ops-listen", ["x", "--ops-listen=tcp:2"], environ), "tcp:2")
        self.assertEqual(option("ops-listen", ["x", "--ops-listen", "tcp:3", ""], environ), "tcp:3")
        self.assertEqual(option("ops-listen", ["--ops-listen=tcp:2", "--ops-listen", "tcp:4"], environ), "tcp:4")
        self.assertEqual(option("ops-listen", ["x"], environ), "tcp:1")
        self.assertIsNone(option("ops-listen", ["x", "--listen=tcp:5"], {"SRE_SERVER_OPS_LISTEN": ""}))

    def test_endpoints(self) -> None:
        """Each way to write a TCP endpoint leads to its port, and a UNIX one to its socket."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            for form in (f"tcp:{port}", f"tcp:port={port}:interface=127.0.0.1", f"tcp:{port}:interface=0.0.0.0"):
                connect(form).close()
        path = temporary_folder(self) / "a:b"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            connect(f"unix:{path.parent}/a\\:b").close()
        self.assertRaises(ValueError, connect, "systemd:domain=INET:index=0")


class HealthcheckTests(SynchronousTestCase):
    """Asked of real servers, and of none."""

    def _ask(self, *command: str, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
        file = temporary_folder(self) / "cmdline"
        file.write_text("\0".join(command))
        with redirect_stdout(io.StringIO()) as said:
            status = main(file, environ or {})
        return status, said.getvalue()

    def test_alive(self) -> None:
        """A server is alive by its ops port, and by its API port where it has no other."""
        with Daemon(temporary_folder(self), "--cluster=simulated") as daemon:
            ops, listen = f"tcp:{daemon.ops_port}", f"tcp:{daemon.port}"
            self.assertEqual(self._ask("--ops-listen", ops), (0, "/livez answers 200\n"))
            self.assertEqual(self._ask(environ={"SRE_SERVER_OPS_LISTEN": ops}), (0, "/livez answers 200\n"))
            self.assertEqual(self._ask(f"--listen={listen}"), (0, "the API port answers\n"))

    def test_nobody_there(self) -> None:
        """Where nothing listens, nothing is alive."""
        for name in ("listen", "ops-listen"):
            status, said = self._ask(f"--{name}=tcp:{free_port()}")
            self.assertEqual(status, 1, said)
            self.assertIn("not alive: ", said)

    def test_broken(self) -> None:
        """An answer other than 200 is not alive, nor is a port that speaks no TLS; no container, no verdict of life."""
        for name, answer in (
            ("ops-listen", b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
            ("ops-listen", b"nonsense\r\n\r\n"),
            ("listen", b"no TLS\r\n"),
        ):
            with socket.create_server(("127.0.0.1", 0)) as server:
                thread = threading.Thread(target=self._answer, args=(server, answer))
                thread.start()
                status, said = self._ask(f"--{name}=tcp:{server.getsockname()[1]}")
                thread.join()
            self.assertEqual(status, 1, said)
        with redirect_stdout(io.StringIO()):
            self.assertEqual(main(Path(sys.executable).parent / "no such file", {}), 1)

    def _answer(self, server: socket.socket, answer: bytes) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)
