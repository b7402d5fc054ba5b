"""A shared cache to measure: Redis, watchers that publish there, api processes that follow."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from tests.benchmarks.bench import Bench
from tests.benchmarks.load import BenchError, Target
from tests.benchmarks.processes import Server, TwistdProcess, cpu_seconds
from tests.functional.redis import RedisServer

STARTING_AT_ONCE: Final = 4


class Watcher(TwistdProcess):
    """A watcher of the cluster of a kubeconfig."""

    def wait_until_publishing(self) -> None:
        """Wait until it leads, and has begun to publish."""
        self.wait_for_line(r"publishing from .* in epoch \d+")


class Shared:
    """A Redis, and the options of those who share it."""

    def __init__(self, bench: Bench, stack: ExitStack) -> None:
        self._bench = bench
        self._stack = stack
        self.seal = bench.folder / "seal"
        self.seal.write_text("one key of the benchmark")
        self._started = 0
        self.redis = RedisServer()
        self.redis.start()
        stack.callback(self.redis.kill)

    def options(self, role: str, name: str = "default") -> list[str]:
        """Return the options of a role."""
        return [f"--role={role}", f"--cache={self.redis.url}", f"--cache-seal={self.seal}", f"--cache-name={name}"]

    def watcher(self, kubeconfig: Path, *options: str, name: str = "default") -> Watcher:
        """Start a watcher."""
        self._started += 1
        arguments = ["sre-server", *self.options("watcher", name), *cluster(kubeconfig), *options]
        log = f"watcher-{self._started}.log"
        return self._stack.enter_context(Watcher(self._bench.folder, log, arguments))

    def servers(self, kubeconfig: Path, count: int) -> list[Server]:
        """Start api processes, a few at a time, and wait until they serve; see `notes_of`."""
        numbers = range(self._started, self._started + count)
        self._started += count

        def start(number: int) -> Server:
            log = f"api-{number}.log"
            noted = notes_of(self._bench.folder / log)
            server = self._bench.starting(kubeconfig, *self.options("api"), log=log, noted=noted)
            self._stack.callback(server.close)
            return server

        with ThreadPoolExecutor(STARTING_AT_ONCE) as pool:
            servers = list(pool.map(start, numbers))
        for server in servers:
            server.wait_until_serving()
        return servers

    def key(self, last: str, name: str = "default") -> bytes:
        """Return the name of something in Redis."""
        found: list[bytes] = self.redis.call("KEYS", f"sre:*:{name}}}:{last}")
        if not found:
            raise BenchError(f"there is no {last} in Redis")
        return found[0]

    def info(self, section: str) -> dict[str, int]:
        """Return the whole numbers that Redis tells of itself."""
        text = self.redis.call("INFO", section).decode()
        return {name: int(value) for name, value in re.findall(r"^(\w+):(\d+)\r?$", text, re.MULTILINE)}

    def cpu(self) -> float:
        """Return the CPU seconds that Redis has used."""
        return cpu_seconds(self.redis.pid)


def cluster(kubeconfig: Path) -> list[str]:
    """Return the options that lead to the cluster of a kubeconfig."""
    return ["--cluster=kubeconfig", f"--kubeconfig={kubeconfig}"]


def notes_of(log: Path) -> Path:
    """Return the file in which the process of a log notes what its cache has taken in."""
    return log.with_suffix(".noted")


def metric(ops: Target, name: str) -> float:
    """Return the sum of a metric over its labels."""
    host, _, port = ops.address.partition(":")
    connection = HTTPConnection(host, int(port), timeout=20)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return sum(map(float, re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)))


def asked(counts: Mapping[str, int]) -> int:
    """Return how many lists and watches are among the requests that a simulator counted."""
    return sum(count for call, count in counts.items() if call.startswith(("list ", "watch ")))
