"""One course of calls and faults: watchers, api processes and one that does all by itself, on a control plane."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.certificates import Authority
from tests.controlplane.daemon import wait_until
from tests.controlplane.histories.clients import TIMEOUT_SECONDS, Client, Direct, Newest, Reader, Writer
from tests.controlplane.histories.record import Call, Recorder
from tests.controlplane.plane import ControlPlane
from tests.functional.daemon import Daemon, Process, environment, twistd
from tests.functional.redis import RedisServer

NAMESPACE: Final = "histories"
BELIEVED_SECONDS: Final = 120
NAMES: Final = ("a", "b", "c", "d")
PODS: Final = ("api-1", "api-2", "all")
LEASE: Final = "default/histories"
# No pods: a count may be anything then, and costs the control plane nothing.
QUOTA: Final = ("create", "quota", "none", "--hard=pods=0", f"--namespace={NAMESPACE}")


class Course:
    """Everything that takes part, to be used in a `with` of the thread that started the control plane."""

    def __init__(self, plane: ControlPlane, folder: Path) -> None:
        self.plane = plane
        self.redis = RedisServer()
        self._folder = folder
        self._authority = Authority(folder)
        self._stack = ExitStack()
        self._pods: dict[str, Daemon] = {}
        self.watchers: list[Process] = []
        self._counts = count(1)
        self.recorder = Recorder(self._counts)
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        """Make Deployments, and start every process."""
        kubectl = self.plane.kubectl
        kubectl("create", "namespace", NAMESPACE)
        kubectl(*QUOTA)
        for name in NAMES:
            kubectl("create", "deployment", name, f"--namespace={NAMESPACE}", "--image=pause", "--replicas=0")
        (self._folder / "seal").write_text("one key of the histories\n")
        self.redis.start()
        self._stack.callback(self.redis.kill)
        for _ in range(2):
            self.start_watcher()
        for name in PODS:
            self.start_pod(name)
        for pod in self._pods.values():
            pod.wait_until_ready()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End everything."""
        self.recorder.stopped.set()
        self._stack.close()
        self.plane.kubectl("delete", "namespace", NAMESPACE, "--wait=false")

    @property
    def _shared(self) -> list[str]:
        seal = f"--cache-seal={self._folder / 'seal'}"
        return [f"--kubeconfig={self.plane.admin_kubeconfig}", f"--cache={self.redis.url}", seal]

    def start_watcher(self) -> None:
        """Start one more watcher."""
        options = ("sre-server", "--role=watcher", f"--lease={LEASE}", *self._shared)
        watcher = Process(twistd(*options), environment(), self._folder)
        self._stack.callback(watcher.close)
        watcher.wait_for_line("deployments: listed")
        self.watchers.append(watcher)

    def start_pod(self, name: str) -> None:
        """Start a pod; the one that was called so is gone, or about to go."""
        limits = ("--write-rate=1000:1000", "--read-rate=10000:10000")
        roles = ("--role=api", *self._shared) if name != "all" else (f"--kubeconfig={self.plane.admin_kubeconfig}",)
        pod = Daemon(self._folder, *roles, *limits, "--guardrails", str(self._guardrails()), authority=self._authority)
        self._stack.callback(pod.close)
        self._pods[name] = pod

    def _guardrails(self) -> Path:
        path = self._folder / "guardrails.yaml"
        path.write_text("maximum: 2147483647\n")
        return path

    def pod(self, name: str) -> Callable[[], Daemon]:
        """Return what returns the process that plays a pod now."""
        return lambda: self._pods[name]

    def leader(self) -> Process:
        """The watcher that says that it publishes, and has not said since that it no longer does."""
        for watcher in reversed(self.watchers):
            said = watcher.said()
            if watcher.poll() is None and said.rfind("publishing from") > said.rfind("no longer leads"):
                return watcher
        return self.watchers[-1]

    def believed(self) -> float:
        """Wait until every pod shows what the cluster has; return after how many seconds. It is promised within 120."""
        began = time.monotonic()
        for name in NAMES:
            path = "--output=jsonpath={.spec.replicas}"
            there = int(self.plane.kubectl("get", "deployment", name, f"--namespace={NAMESPACE}", path))
            for pod in PODS:
                wait_until(partial(self._shows, pod, name, there), f"{pod} does not believe it", BELIEVED_SECONDS)
        return time.monotonic() - began

    def _shows(self, pod: str, name: str, count: int) -> bool:
        answer = self._pods[pod].get(f"/deployments/{NAMESPACE}/{name}/replicas")
        return answer.status == 200 and answer.json["replicas"] == count

    def begin(self) -> None:
        """Let clients begin a history."""
        self.recorder, newest = Recorder(self._counts), Newest()
        keys = [f"{NAMESPACE}/{name}" for name in NAMES]
        numbered = iter(range(1000))
        known = (keys, self.recorder, newest)
        self._clients = [
            *(Writer(pod, self.pod(pod), next(numbered), *known) for pod in PODS for _ in range(2)),
            *(Reader(pod, self.pod(pod), next(numbered), *known) for pod in PODS for _ in range(2)),
            *(Direct(self.plane, next(numbered), *known, writes=writes) for writes in (True, False)),
        ]
        for client in self._clients:
            client.thread.start()

    def end(self) -> Sequence[Call]:
        """Let every client finish, read once more of the API server what there is, and return the history."""
        self.recorder.stopped.set()
        for client in self._clients:
            client.thread.join(3 * TIMEOUT_SECONDS)
            if client.thread.is_alive():
                raise AssertionError("a client did not get an answer, nor an error")
        last = Direct(self.plane, 999, (), self.recorder, Newest(), writes=False)
        for name in NAMES:
            last.step(f"{NAMESPACE}/{name}")
        return self.recorder.calls
