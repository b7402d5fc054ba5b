"""The server as its users run it: a `twistd` process, watched through its log, talked to over real TLS."""

import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from queue import Empty, Queue
from typing import Any, NamedTuple, Self

import msgspec

import sre_server
from tests.certificates import Authority, Pair

START_SECONDS = 120.0
ANSWER_SECONDS = 60.0
# What a shell starts in the background ignores SIGINT, and so would the daemon.
_TWISTD = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from twisted.scripts.twistd import run; run()"
)
EXIT_SECONDS = 30.0


class Answer(NamedTuple):
    """An HTTP answer: status, headers, and the body as parsed JSON (None if there is none)."""

    status: int
    headers: Mapping[str, str]
    json: Any


def twistd(*arguments: str, script: Path | None = None, run: Sequence[str] = ("-n", "--pidfile=")) -> list[str]:
    """Return the command line of `twistd -n --pidfile= ...`: the script given, or this interpreter's own twistd."""
    program = [str(script)] if script else [sys.executable, "-c", _TWISTD]
    return [*program, *run, *arguments]


def environment(extra: Mapping[str, str] | None = None, *, checkout: bool = True) -> dict[str, str]:
    """Return an environment that configures nothing behind the test's back; `checkout` makes this code importable."""
    behind = ("SRE_SERVER_", "KUBE", "PYTHONPATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(behind)}
    path = {"PYTHONPATH": str(Path(sre_server.__file__).parents[1])} if checkout else {}
    return {**kept, **path, "PYTHONUNBUFFERED": "1", **(extra or {})}


class Process:
    """A child process whose output lines can be waited for."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: Path) -> None:
        self.lines: list[str] = []
        self._news: Queue[str | None] = Queue()
        null, pipe, same = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT
        self._process = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=null, stdout=pipe, stderr=same, text=True, errors="replace"
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self._process.stdout is not None:
            for line in self._process.stdout:
                self._news.put(line.rstrip("\n"))
        self._news.put(None)

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_for_line(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """Return the match of the first line, past or to come, that `pattern` is found in."""
        compiled = re.compile(pattern)
        for line in self.lines:
            if found := compiled.search(line):
                return found
        while True:
            try:
                news = self._news.get(timeout=seconds)
            except Empty:
                news = None
            if news is None:
                raise AssertionError(f"no line like {pattern!r} in:\n" + "\n".join(self.lines))
            self.lines.append(news)
            if found := compiled.search(news):
                return found

    def wait_for(self, condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
        """Poll until the condition holds: what other processes do has no signal that reaches us."""
        pause = threading.Event()
        for _ in range(int(seconds / 0.05)):
            if condition():
                return
            pause.wait(0.05)
        raise AssertionError(f"not {what} within {seconds:.0f} s:\n" + "\n".join(self.said().splitlines()[-30:]))

    def output(self) -> str:
        """Return everything that the process has written, once it has ended."""
        self._reader.join(EXIT_SECONDS)
        with suppress(Empty):
            while (news := self._news.get_nowait()) is not None:
                self.lines.append(news)
        return "\n".join(self.lines)

    def said(self) -> str:
        """Return everything that the process has written until now."""
        with suppress(Empty):
            while (news := self._news.get_nowait()) is not None:
                self.lines.append(news)
        return "\n".join(self.lines)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def poll(self) -> int | None:
        """Return the exit status, None while the process runs."""
        return self._process.poll()

    def wait(self, seconds: float = EXIT_SECONDS) -> int:
        """Wait for the end and return the exit status; negative if a signal ended it."""
        return self._process.wait(seconds)

    def close(self) -> None:
        """End the process, by force if need be."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(EXIT_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(EXIT_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        """Leave the process running."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()


class Daemon(Process):
    """A running server on free ports of the loopback interface, with certificates of its own."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        server: Pair | None = None,
        client_ca: Path | None = None,
        script: Path | None = None,
        authority: Authority | None = None,
        host: str = "127.0.0.1",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.authority = authority or Authority(folder)
        self.client = self.authority.issue("alice")
        self.host = host
        pair = server or self.authority.issue("localhost")
        command = twistd(
            "sre-server",
            f"--listen=tcp:0:interface={host}",
            "--ops-listen=tcp:0:interface=127.0.0.1",
            f"--tls-certificate={pair.certificate}",
            f"--tls-private-key={pair.key}",
            f"--tls-client-ca={client_ca or self.authority.file}",
            *options,
            script=script,
        )
        super().__init__(command, environment(env, checkout=script is None), folder)
        try:
            self.port = int(self.wait_for_line(rf"API: listening on {host}:(\d+)")[1])
            self.ops_port = int(self.wait_for_line(r"ops port: listening on 127\.0\.0\.1:(\d+)")[1])
        except BaseException:
            self.close()
            raise

    def context(self, client: Pair | None = None) -> ssl.SSLContext:
        """Make a client's TLS context, with Alice's certificate unless another is given."""
        context = ssl.create_default_context(cafile=str(self.authority.file))
        context.load_cert_chain(*(client or self.client))
        return context

    def connect(self, seconds: float = ANSWER_SECONDS) -> HTTPSConnection:
        """Return a connection as Alice, to be used for several requests."""
        return HTTPSConnection("localhost", self.port, context=self.context(), timeout=seconds)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        connection: HTTPConnection | None = None,
    ) -> Answer:
        """Send one request as Alice; without a connection given, on one of its own."""
        waits = re.match(r"wait=(\d+)", (headers or {}).get("Prefer", ""))
        used = connection or self.connect(ANSWER_SECONDS + int(waits[1] if waits else 0))
        try:
            used.request(method, path, body, dict(headers or {}))
            response = used.getresponse()
            text = response.read()
            answer = msgspec.json.decode(text) if text else None
            return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, answer)
        finally:
            if connection is None:
                used.close()

    def get(self, path: str, **headers: str) -> Answer:
        """Send one GET."""
        return self.request("GET", path, headers=headers)

    def put(self, path: str, value: object, **headers: str) -> Answer:
        """Send one PUT with a JSON body."""
        all_headers = {"Content-Type": "application/json", **headers}
        return self.request("PUT", path, msgspec.json.encode(value), all_headers)

    def ops(self, path: str) -> Answer:
        """Send one GET to the ops port, in plain HTTP."""
        with closing(HTTPConnection("127.0.0.1", self.ops_port, timeout=20)) as connection:
            return self.request("GET", path, connection=connection)

    def wait_until_ready(self) -> None:
        """Wait until the first lists are in."""
        self.wait_for(lambda: self.ops("/readyz").status == 200, "ready")
