"""A Kubernetes control plane of real programs: started, broken in chosen ways, and stopped, by a test."""

import atexit
import base64
import http.client
import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from . import components
from .access import Access
from .daemon import LOOPBACK, Daemon, PlaneError, reserve_port, wait_until
from .identity import Authority, write_key
from .probe import fetch, healthy

__all__ = ["ControlPlane", "PlaneError"]

GRACE_SECONDS = 20.0
# Where API servers tell one another up to which revision etcd has been compacted.
COMPACTION_KEY = b"compact_rev_key"


class ControlPlane(Access):
    """etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and kwok playing two nodes.

    Everything listens on the loopback interface only and keeps its files in the working directory, which is
    the caller's to remove.  The ports are taken, and the kubeconfigs written, before anything is started.
    start() has to be called in a thread that lives as long as the control plane is wanted, because on Linux
    the programs die with it.  After stop() an instance is of no more use.
    """

    def __init__(
        self, binaries: Path, workdir: Path, *, compaction_interval: str = "5m", watch_cache: bool = True
    ) -> None:
        workdir = workdir.absolute()
        authority = Authority(workdir / "pki")
        service_account_key = workdir / "pki" / "service-accounts.key"
        write_key(service_account_key)
        self._ports = ExitStack()
        ports = [self._ports.enter_context(reserve_port()).getsockname()[1] for _ in range(5)]
        layout = components.Layout(
            binaries=binaries.absolute(),
            workdir=workdir,
            ports=components.Ports(*ports),
            authority=authority.credentials,
            serving=authority.server(),
            service_account_key=service_account_key,
            compaction_interval=compaction_interval,
            watch_cache=watch_cache,
        )
        super().__init__(layout, authority)
        self._etcd = self._daemon(components.etcd(layout), lambda: healthy(f"{layout.etcd_client}/health"))
        self._apiserver = self._daemon(
            components.apiserver(layout), lambda: healthy(f"{layout.server}/readyz", self._context)
        )
        self._others = self._other_daemons()

    def _daemon(self, command: list[str], is_healthy: Callable[[], bool], attempts: int = 1) -> Daemon:
        """Return one of the programs, not started, with a log file named after it."""
        log = self._layout.workdir / f"{Path(command[0]).name}.log"
        return Daemon(command, log, is_healthy, self._environment, attempts)

    def _other_daemons(self) -> list[Daemon]:
        """Return the programs that are clients of the API server, each as the user it is meant to be."""
        layout = self._layout
        manager = self.user_kubeconfig("system:kube-controller-manager", [])
        scheduler = self.user_kubeconfig("system:kube-scheduler", [])
        kwok = self.user_kubeconfig("kwok", ["system:masters"])

        def probe(port: int) -> Callable[[], bool]:
            """Return the health check of the program that serves on a port."""
            return lambda: healthy(f"https://{LOOPBACK}:{port}/healthz", self._context)

        return [
            self._daemon(components.controller_manager(layout, manager), probe(layout.ports.controller_manager)),
            self._daemon(components.scheduler(layout, scheduler), probe(layout.ports.scheduler)),
            # Where there are pods when it starts, kwok 0.8.0 sometimes ends with "concurrent map writes".
            self._daemon(components.kwok(layout, kwok), self._nodes_are_ready, attempts=5),
        ]

    def _nodes_are_ready(self) -> bool:
        """Tell whether kwok has made every node ready for pods."""
        try:
            nodes = self._names("/api/v1/nodes").values()
        except (OSError, PlaneError):
            return False
        conditions = [node.get("status", {}).get("conditions", []) for node in nodes]
        return all({"Ready": "True"}.items() <= {c["type"]: c["status"] for c in of}.items() for of in conditions)

    def start(self) -> None:
        """Start everything and return when pods can run; when something fails, stop and raise PlaneError."""
        atexit.register(self.stop)
        try:
            self._etcd.start()
            self._etcd.wait_ready()
            self.start_apiserver()
            accounts = "/api/v1/namespaces/default/serviceaccounts"
            wait_until(lambda: "default" in self._names(accounts), "no default service account")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every program at once, whatever state it is in, and give the ports back; logs stay."""
        for daemon in [*self._others, self._apiserver, self._etcd]:
            daemon.stop()
        self._ports.close()
        atexit.unregister(self.stop)

    def pids(self) -> list[int]:
        """Return the process ids of the programs that have been started and not stopped."""
        daemons = [self._etcd, self._apiserver, *self._others]
        return [daemon.pid for daemon in daemons if daemon.pid is not None]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop_apiserver(self, *, crash: bool = False) -> None:
        """Shut the API server down, in an orderly way or else at once; then its port refuses connections.

        The controllers, scheduler and nodes end with it.  They would come back by themselves, but not before
        they tire of waiting between attempts, which takes longer with each restart.
        """
        for daemon in self._others:
            daemon.stop()
        self._apiserver.stop(0.0 if crash else GRACE_SECONDS)

    def start_apiserver(self) -> None:
        """Start the API server, on the port and with the data it had, and return when pods can run again."""
        self._apiserver.start()
        self._apiserver.wait_ready()
        for daemon in self._others:
            daemon.start()
        self.kubectl("apply", f"--filename={components.MANIFESTS / 'nodes.yaml'}")
        for daemon in self._others:
            daemon.wait_ready()

    def pause_apiserver(self) -> None:
        """Freeze the API server: connections are still made and kept, and nothing is answered."""
        self._apiserver.pause()

    def resume_apiserver(self) -> None:
        """Let a frozen API server answer what it was asked."""
        self._apiserver.resume()

    def pause_controllers(self) -> None:
        """Freeze the controller manager: whatever is wanted, nothing is done for it, and no status changes."""
        self._others[0].pause()

    def resume_controllers(self) -> None:
        """Let a frozen controller manager go on."""
        self._others[0].resume()

    def backup(self) -> None:
        """Keep all that etcd has, at the price of a short outage."""
        self._change_data(shutil.copytree)

    def run_ahead(self, namespace: str, versions: int = 2000) -> None:
        """Change a namespace so often that a restored cluster does not get to the versions of now by itself, soon.

        If it did, a watch would go on from them as if nothing had happened.
        """
        path = f"/api/v1/namespaces/{namespace}"
        for number in range(versions):
            body = json.dumps({"metadata": {"annotations": {"number": str(number)}}}).encode()
            status, content = self.request("PATCH", path, body=body, content_type="application/merge-patch+json")
            if status != http.client.OK:
                raise PlaneError(f"PATCH {path}: status {status}: {content.decode(errors='replace')}")

    def restore(self) -> None:
        """Go back to the backup: etcd's revisions, which are the resourceVersions, go back with the objects."""

        def change(data: Path, kept: Path) -> None:
            shutil.rmtree(data)
            shutil.move(kept, data)

        self._change_data(change)

    def _change_data(self, change: Callable[[Path, Path], object]) -> None:
        """Stop everything, and start it again once the data are changed."""
        data = self._layout.etcd_data
        self.stop_apiserver()
        self._etcd.stop(GRACE_SECONDS)
        change(data, data.with_suffix(".backup"))
        self._etcd.start()
        self._etcd.wait_ready()
        self.start_apiserver()

    def compact(self) -> int:
        """Make etcd, and the API server, forget all before now; return the revision that is oldest now.

        A list of an exact older resourceVersion, or with a continue token of before, gets its 410 at the
        latest 15 seconds later, when the API server's watch cache drops what etcd no longer has.

        A watch from an older resourceVersion does NOT get one: the watch cache serves it, without asking etcd.
        That cache begins at the moment the API server started, so what gives a watcher that was away its 410
        (as an ERROR event in a stream with status 200) is stop_apiserver() and start_apiserver() after any
        write that the watcher has not seen.  That holds with and without compaction.  With
        ``watch_cache=False`` compact() alone is enough.
        """
        key = base64.b64encode(COMPACTION_KEY).decode()
        now = self._ask_etcd("range", {"key": key})["header"]["revision"]
        told = self._ask_etcd("put", {"key": key, "value": base64.b64encode(now.encode()).decode()})
        # A revision can still be watched from when it is the last one compacted, hence one more than now.
        oldest = told["header"]["revision"]
        self._ask_etcd("compaction", {"revision": oldest, "physical": True})
        return int(oldest)

    def _ask_etcd(self, call: str, question: dict[str, Any]) -> dict[str, Any]:
        """Make one call of etcd's key-value service."""
        url = f"{self._layout.etcd_client}/v3/kv/{call}"
        status, content = fetch(url, method="POST", body=json.dumps(question).encode())
        if status != http.client.OK:
            raise PlaneError(f"etcd {call}: status {status}: {content.decode(errors='replace')}")
        answer: dict[str, Any] = json.loads(content)
        return answer
