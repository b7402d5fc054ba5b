"""Credentials that a program prints: client-go's exec plugins (client.authentication.k8s.io, v1 and v1beta1).

As there, what it printed is kept until it expires or the cluster answers 401, and it runs once for all who wait. Here
it has 30 s, no terminal, and no way to outlive the server. Its stderr is the server's own.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from threading import Lock
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from sre_server.cluster.documents import parse_document
from sre_server.cluster.tls import TLSMaterial
from sre_server.errors import CredentialsError

SECONDS: Final = 30.0
MAX_BYTES: Final = 2**20
INFO: Final = "KUBERNETES_EXEC_INFO"


class Credential(NamedTuple):
    """What a plugin gave: a token, a certificate with its key, or both, up to a time or (None) until it is refused."""

    token: str
    certificate: bytes | None
    key: bytes | None
    expires: datetime | None


class _Status(Struct, rename="camel"):
    token: str = ""
    client_certificate_data: str = ""
    client_key_data: str = ""
    expiration_timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _ExecCredential(Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _Status | None = None


class ExecPlugin:
    """A program and what it last printed; threads may share it."""

    def __init__(
        self,
        command: Sequence[str],
        api_version: str,
        environ: Mapping[str, str],
        cluster: Mapping[str, Any] | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        seconds: float = SECONDS,
    ) -> None:
        """Run `command` with `environ` and, where the plugin is to be told, what is known of the `cluster`."""
        spec = {"interactive": False} | ({} if cluster is None else {"cluster": cluster})
        info = {"kind": "ExecCredential", "apiVersion": api_version, "spec": spec}
        self._command = command
        self._api_version = api_version
        self._environ = {**environ, INFO: msgspec.json.encode(info).decode()}
        self._now = now
        self._seconds = seconds
        self._lock = Lock()
        self._credential: Credential | None = None
        self._runs = 0
        self._failure: CredentialsError | None = None
        self._process_lock = Lock()
        self._process: Popen[bytes] | None = None
        self._interrupted = False

    def credential(self) -> Credential:
        """Return what is good now, running the program if need be; blocks. Raises CredentialsError."""
        runs = self._runs
        with self._lock:
            kept = self._credential
            if kept is not None and (kept.expires is None or self._now() <= kept.expires):
                return kept
            return self._renewed(runs)

    def renew(self, refused: Credential) -> None:
        """Run the program once more unless `refused`, which a 401 answered, is no longer what is kept; blocks."""
        runs = self._runs
        with self._lock:
            if self._credential is refused:
                self._renewed(runs)

    def interrupt(self) -> None:
        """End a run now, and let there be no other; may be called from any thread."""
        with self._process_lock:
            self._interrupted = True
            self._kill()

    def _renewed(self, runs: int) -> Credential:
        """Run the program, unless it ran and failed while this thread waited for its turn."""
        if runs != self._runs and self._failure is not None:
            raise CredentialsError(str(self._failure))
        try:
            self._credential, self._failure = self._parse(self._run()), None
        except CredentialsError as error:
            self._failure = error
            raise
        finally:
            self._runs += 1
        return self._credential

    def _run(self) -> bytes:
        """Run the program to its end and return what it printed; else end it, and all of its process group."""
        deadline = time.monotonic() + self._seconds
        process = self._started()
        status = None
        try:
            output = self._output(process, deadline)
            status = process.wait(max(0.0, deadline - time.monotonic()))
        except TimeoutExpired:
            raise self._error(f"did not end within {self._seconds:g} s, and was killed") from None
        finally:
            with self._process_lock:
                if status is None:
                    self._kill()
                self._process = None
            if process.stdout is not None:
                process.stdout.close()
            process.wait()
        if status:
            raise self._error(f"failed: its exit status is {status}")
        return output

    def _started(self) -> "Popen[bytes]":
        with self._process_lock:
            if self._interrupted:
                raise self._error("is not run, as the server is shutting down")
            try:
                self._process = Popen(  # noqa: S603  # the kubeconfig's own, as kubectl runs it
                    self._command, stdin=DEVNULL, stdout=PIPE, env=self._environ, start_new_session=True
                )
            except OSError as error:
                raise self._error(f"cannot be run: {error.strerror}") from error
            return self._process

    def _output(self, process: "Popen[bytes]", deadline: float) -> bytes:
        """Read to the end of what is printed; whoever holds the other end, it is over at the deadline."""
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        pipe = process.stdout.fileno()
        ready = select.poll()
        ready.register(pipe, select.POLLIN)
        output = b""
        while (left := deadline - time.monotonic()) > 0 and ready.poll(left * 1000):
            chunk = os.read(pipe, 65536)
            if not chunk:
                return output
            output += chunk
            if len(output) > MAX_BYTES:
                raise self._error(f"printed more than {MAX_BYTES} bytes, and was killed")
        raise TimeoutExpired(process.args, self._seconds)

    def _kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group that is gone
                os.killpg(self._process.pid, signal.SIGKILL)

    def _parse(self, output: bytes) -> Credential:
        try:
            printed = parse_document(output, _ExecCredential)
        except CredentialsError as error:
            raise self._error(f"printed no ExecCredential: it {error}") from error
        if printed.api_version != self._api_version or printed.kind not in ("", "ExecCredential"):
            raise self._error(f"printed something else than an ExecCredential of {self._api_version}")
        status = printed.status or _Status()
        pair = (status.client_certificate_data.encode(), status.client_key_data.encode())
        if not status.token and pair == (b"", b""):
            raise self._error("gave neither a token nor a certificate with its key")
        if any(pair):
            try:
                TLSMaterial(None, *pair, verify=False).context()
            except CredentialsError as error:
                raise self._error("gave a certificate and a key that are not a pair in PEM") from error
        return Credential(status.token, pair[0] or None, pair[1] or None, status.expiration_timestamp)

    def _error(self, what: str) -> CredentialsError:
        return CredentialsError(f"The kubeconfig's exec plugin {self._command[0]} {what}.")
