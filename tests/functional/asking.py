"""Clients that ask over and over, in processes of their own, and what they were answered."""

import json
import ssl
import subprocess
import sys
import threading
import time
from http.client import HTTPException, HTTPSConnection
from typing import NamedTuple

from tests.certificates import Pair
from tests.functional.daemon import Daemon, environment


class Asking:
    """A process of its own that asks as Alice or somebody else, so that neither it nor this one slows the other.

    On each of its connections it asks again and again, with a pause of `every` seconds, until it is told to stop. It
    is made once the first answer is there, if there ever is one.
    """

    def __init__(self, daemon: Daemon, path: str, client: Pair, connections: int = 1, every: float = 0.0) -> None:
        files = (str(daemon.authority.file), str(client.certificate), str(client.key))
        command = [sys.executable, "-m", __name__, str(daemon.port), *files, path, str(connections), str(every)]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, env=environment(), stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def stop(self) -> "Asked":
        """Stop, and return what was answered."""
        output, _ = self._process.communicate("", timeout=60)
        return Asked(*json.loads(output))


class Asked(NamedTuple):
    """How often each status was answered, how often there was none, and the seconds that answers took."""

    statuses: dict[str, int]
    failures: list[str]
    seconds: list[float]

    def percentile(self, percent: float) -> float:
        """Return the milliseconds that so many percent of the answers did not exceed."""
        return 1000 * sorted(self.seconds)[min(len(self.seconds) - 1, int(len(self.seconds) * percent / 100))]

    def __str__(self) -> str:
        """Say it in a line."""
        return f"p50 {self.percentile(50):.2f} ms, p99 {self.percentile(99):.2f} ms, {self.statuses}"


def ask(
    port: int,
    context: ssl.SSLContext,
    path: str,
    every: float,
    begun: threading.Event,
    over: threading.Event,
    asked: Asked,
) -> None:
    """Ask on one connection, and on another one when that ends, until it is over."""
    while not over.is_set():
        connection = HTTPSConnection("localhost", port, context=context, timeout=60)
        try:
            while not over.is_set():
                began = time.perf_counter()
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                asked.seconds.append(time.perf_counter() - began)
                status = str(response.status)
                asked.statuses[status] = asked.statuses.get(status, 0) + 1
                begun.set()
                over.wait(every)
        except (OSError, HTTPException) as error:
            asked.failures.append(repr(error))
            begun.set()
            over.wait(0.01)
        finally:
            connection.close()


def main(port: str, authority: str, certificate: str, key: str, path: str, connections: str, every: str) -> None:
    """Ask until stdin ends, then print what was answered."""
    context = ssl.create_default_context(cafile=authority)
    context.load_cert_chain(certificate, key)
    asked, over, begun = Asked({}, [], []), threading.Event(), threading.Event()
    jobs = [
        threading.Thread(target=ask, args=(int(port), context, path, float(every), begun, over, asked), daemon=True)
        for _ in range(int(connections))
    ]
    for job in jobs:
        job.start()
    begun.wait()
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    sys.stdin.read()
    over.set()
    for job in jobs:
        job.join(5)
    sys.stdout.write(json.dumps(asked) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
