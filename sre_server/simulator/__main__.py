"""Run a simulated cluster alone: `python -m sre_server.simulator --kubeconfig FILE`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore, IReactorTCP, IReactorTime
from twisted.internet.task import react
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from sre_server.simulator.kinds import Object
from sre_server.simulator.service import SimulatorService
from sre_server.simulator.store import SimulatedCluster


def kubeconfig(url: str) -> Object:
    """Return a kubeconfig that leads to the simulated API."""
    context = {"cluster": "simulated", "user": "simulated", "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "simulated", "cluster": {"server": url}}],
        "users": [{"name": "simulated", "user": {}}],
        "contexts": [{"name": "simulated", "context": context}],
        "current-context": "simulated",
    }


def arguments() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m sre_server.simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="where to listen (default: any free port)")
    parser.add_argument("--deployments", type=int, default=12, help="how many to start with")
    parser.add_argument("--kubeconfig", type=Path, help="write a kubeconfig to this file")
    parser.add_argument("--control", action="store_true", help="let tests switch faults, at /simulator/...")
    return parser


async def run(reactor: object, argv: Sequence[str]) -> None:
    """Serve until the process is told to end."""
    options = arguments().parse_args(argv)
    cluster = SimulatedCluster(IReactorTime(reactor), deployments=options.deployments)
    service = SimulatorService(IReactorTCP(reactor), cluster, port=options.port, control=options.control)
    service.startService()
    IReactorCore(reactor).addSystemEventTrigger("before", "shutdown", service.stopService)
    if options.kubeconfig is not None:
        options.kubeconfig.write_bytes(msgspec.json.encode(kubeconfig(service.url)))  # JSON is YAML, too
    sys.stdout.write(f"simulated Kubernetes API at {service.url}\n")
    sys.stdout.flush()
    await Deferred()


def log_warnings() -> None:
    """Write warnings and worse to standard error."""
    worse = LogLevelFilterPredicate(LogLevel.warn)
    observer = FilteringLogObserver(textFileLogObserver(sys.stderr), [worse])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


if __name__ == "__main__":
    log_warnings()
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, sys.argv[1:])))
