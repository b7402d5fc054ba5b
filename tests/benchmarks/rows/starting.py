"""From the start of the process to ready, and what the import of the server loads."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from msgspec import Struct

from tests.benchmarks.bench import Bench
from tests.benchmarks.load import BenchError, Target
from tests.benchmarks.processes import TwistdProcess, cpu_seconds, is_ready
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import figure
from tests.benchmarks.stubbed import Stub
from tests.controlplane.daemon import reserve_port
from tests.functional.daemon import environment

GOAL_SECONDS: Final = 1.0
DEPLOYMENTS: Final = 100
NEEDLESS: Final = (
    "kubernetes",
    "pydantic",
    "requests",
    "unittest",
    "sre_server.simulator",
    "prometheus_client.twisted",
)
POLL_SECONDS: Final = 0.005
LIMIT_SECONDS: Final = 30.0


class Start(Struct, frozen=True):
    """A process that has become ready: after how many seconds, and with how many of CPU."""

    pid: int
    seconds: float
    cpu: float


def starting(bench: Bench) -> list[Result]:
    """Measure several starts, and as many imports."""
    with Stub(bench.folder, DEPLOYMENTS) as stub:
        seconds = figure([_start(bench, stub) for _ in range(bench.effort.starts)])
    start = Result(
        "start",
        f"start to ready with {DEPLOYMENTS} Deployments",
        f"< {GOAL_SECONDS:g} s",
        f"{seconds.median:.2f} s ({seconds.lowest:.2f}-{seconds.highest:.2f})",
        verdict(seconds.median < GOAL_SECONDS),
        None,
        {"seconds": seconds},
    )
    return [start, _import(bench.effort.starts)]


def _start(bench: Bench, stub: Stub) -> float:
    """Start once; return the seconds until /readyz says 200."""
    with started(bench, "--cluster=kubeconfig", f"--kubeconfig={stub.kubeconfig}") as start:
        return start.seconds


@contextmanager
def started(bench: Bench, *options: str, poll: float = POLL_SECONDS) -> Iterator[Start]:
    """Start a server, wait until /readyz says 200, and leave it running in the meantime."""
    with ExitStack() as stack:
        reserved = stack.enter_context(reserve_port())
        port = reserved.getsockname()[1]
        reserved.close()
        arguments = ["sre-server", "--listen=tcp:0:interface=127.0.0.1", f"--ops-listen=tcp:{port}:interface=127.0.0.1"]
        began = time.monotonic()
        log = bench.folder / "start.log"
        process = stack.enter_context(
            TwistdProcess(bench.folder, log.name, [*arguments, *bench.identities.options(), *options])
        )
        while not is_ready(Target(f"127.0.0.1:{port}")):
            if time.monotonic() - began > LIMIT_SECONDS:
                raise BenchError("the server was never ready")
            time.sleep(poll)
        yield Start(process.pid, time.monotonic() - began, cpu_seconds(process.pid))


def _import(rounds: int) -> Result:
    """Measure `import sre_server.tap` in new interpreters, by package, as `-X importtime` has it."""
    totals, packages = [], Counter[str]()
    for _ in range(rounds):
        command = [sys.executable, "-X", "importtime", "-c", "import sre_server.tap"]
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
        packages = Counter[str]()
        modules = set()
        for line in done.stderr.splitlines():
            own, total, module = line.removeprefix("import time:").split("|")
            if own.strip().isdecimal():
                packages[module.strip().partition(".")[0]] += int(own)
                modules.add(module.strip())
                if module.strip() == "sre_server.tap":
                    totals.append(int(total) / 1000)
    needless = [name for name in NEEDLESS if name in modules]
    milliseconds = figure(totals)
    largest = ", ".join(f"{name} {spent / 1000:.0f}" for name, spent in packages.most_common(5))
    return Result(
        "import",
        "import sre_server.tap",
        f"none of {', '.join(NEEDLESS[:3])}, ...",
        f"{milliseconds.median:.0f} ms, {len(modules)} modules; most in {largest}"
        + f"; needless: {needless}" * bool(needless),
        verdict(not needless),
        None,
        {"milliseconds": milliseconds, "modules": len(modules), "needless": ", ".join(needless)},
    )
