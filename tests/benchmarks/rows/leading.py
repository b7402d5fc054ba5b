"""Two watchers and many api processes on the simulated cluster: what the cluster is asked, and what a takeover takes.

The simulated cluster counts the requests. A takeover counts from the signal to the first entry in the next reign, as
the log's head has it. No reload may come of it, of all api processes, as their metrics tell.
"""

import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.benchmarks.bench import Bench
from tests.benchmarks.load import BenchError
from tests.benchmarks.processes import Server
from tests.benchmarks.report import Result, verdict
from tests.benchmarks.rounds import Figure, figure
from tests.benchmarks.sharing import Shared, Watcher, asked, metric
from tests.functional.simulated import Simulator

PROCESSES: Final = 50
LEASE: Final = "--lease=default/sre-server"
GOAL_KILLED_SECONDS: Final = 20.0
GOAL_RELEASED_SECONDS: Final = 3.0
LIMIT_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.01
KILLS: Final = 3


class _Install:
    """Two watchers, of which the first one leads, on a simulated cluster."""

    def __init__(self, bench: Bench, stack: ExitStack) -> None:
        self.simulator = Simulator(bench.folder)
        stack.callback(self.simulator.close)
        self.shared = Shared(bench, stack)
        self.watchers = [self._watcher()]
        self.watchers[0].wait_until_publishing()
        self.watchers.append(self._watcher())

    @property
    def kubeconfig(self) -> Path:
        """Where the cluster is."""
        return self.simulator.kubeconfig

    def _watcher(self) -> Watcher:
        watcher = self.shared.watcher(self.kubeconfig, LEASE)
        watcher.wait_for_line(r"\bdeployments: listed \d+")
        watcher.wait_for_line(r"\bnamespaces: listed \d+")
        return watcher

    def asked(self) -> int:
        """Return how many lists and watches the cluster was asked for."""
        return asked(self.simulator.counts())

    def takeover(self, how: signal.Signals) -> float:
        """End the leader; return the seconds until the other one's first entry, and have two of them again."""
        epoch, _ = self._head()
        began = time.monotonic()
        leader = self.watchers.pop(0)
        leader.send_signal(how)
        while time.monotonic() - began < LIMIT_SECONDS:
            now, seq = self._head()
            if now != epoch and seq:
                seconds = time.monotonic() - began
                leader.close()
                self.watchers.append(self._watcher())
                return seconds
            time.sleep(POLL_SECONDS)
        raise BenchError("nobody took over")

    def _head(self) -> tuple[int, int]:
        epoch, seq = self.shared.redis.call("HMGET", self.shared.key("head"), "epoch", "seq")
        return int(epoch), int(seq)


def leading(bench: Bench) -> list[Result]:
    """Count requests before and after the api processes come, then let watchers end in both ways."""
    count = max(2, PROCESSES // bench.effort.shrink)
    with ExitStack() as stack:
        install = _Install(bench, stack)
        before = install.asked()
        servers = install.shared.servers(install.kubeconfig, count)
        time.sleep(bench.effort.settle)
        counted = install.simulator.counts()
        released = figure([install.takeover(signal.SIGTERM) for _ in range(bench.effort.starts)])
        kills = 0 if bench.effort.shrink > 1 else min(KILLS, bench.effort.rounds)
        killed = [install.takeover(signal.SIGKILL) for _ in range(kills)]
        time.sleep(bench.effort.settle)
        reloads = int(sum(metric(server.ops, "sre_server_store_reloads_total") for server in servers))
    return [
        Result(
            "shared-requests",
            f"lists and watches at the API server, 2 watchers and {count} api processes",
            "those of the 2 watchers",
            f"{asked(counted)}, of the watchers alone {before}",
            verdict(asked(counted) == before),
            None,
            {"with_api_processes": asked(counted), "watchers_alone": before, **counted},
        ),
        _takeover(released, figure(killed) if killed else None, reloads, servers),
    ]


def _takeover(released: Figure, killed: Figure | None, reloads: int, servers: list[Server]) -> Result:
    killed_in = f"{killed.median:.1f} s (at most {killed.highest:.1f})" if killed else "not tried"
    return Result(
        "shared-takeover",
        f"leader ended to first entry of the next; reloads of {len(servers)} api processes",
        f"killed <= {GOAL_KILLED_SECONDS:g} s, released <= {GOAL_RELEASED_SECONDS:g} s, no reload",
        f"killed {killed_in}, released {released.median:.1f} s (at most {released.highest:.1f}), {reloads} reloads",
        verdict(
            killed is None or killed.highest <= GOAL_KILLED_SECONDS,
            released.highest <= GOAL_RELEASED_SECONDS,
            not reloads,
        ),
        None,
        {"released_seconds": released, "reloads": reloads, **({"killed_seconds": killed} if killed else {})},
    )
