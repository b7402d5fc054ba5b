"""The clients of a history: each a thread that calls, notes what came of it, and never gives up."""

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import HTTPException
from typing import Final

import msgspec

from tests.controlplane.histories.record import UNKNOWN, Call, Kind, Outcome, Recorder
from tests.controlplane.plane import ControlPlane
from tests.functional.daemon import Answer, Daemon

PAUSE_SECONDS: Final = 0.04
TIMEOUT_SECONDS: Final = 20.0
_NOTHING_CHANGED: Final = frozenset({403, 404, 409, 412, 422, 429, 503})


class Newest:
    """The newest resourceVersion that any write was answered with, by Deployment: what a client may carry to a pod."""

    def __init__(self) -> None:
        self._versions: dict[str, int] = {}

    def of(self, key: str) -> int:
        """Return it, -1 before there is one."""
        return self._versions.get(key, UNKNOWN)

    def learn(self, key: str, version: int) -> None:
        """Note one."""
        self._versions[key] = max(version, self.of(key))


class Client(ABC):
    """What clients share: a number, chance, Deployments to choose from."""

    def __init__(self, number: int, keys: Sequence[str], recorder: Recorder, newest: Newest) -> None:
        self.number = number
        self.chance = random.Random(number)  # noqa: S311  # a choice, no secret
        self.keys = keys
        self.recorder = recorder
        self.newest = newest
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self.recorder.stopped.wait(PAUSE_SECONDS * (0.5 + self.chance.random())):
            self.step(self.chance.choice(self.keys))

    @abstractmethod
    def step(self, key: str) -> None:
        """Make one call, or a few."""


class PodClient(Client):
    """One of a pod, whichever process plays that pod now."""

    def __init__(
        self,
        pod: str,
        process: Callable[[], Daemon],
        number: int,
        keys: Sequence[str],
        recorder: Recorder,
        newest: Newest,
    ) -> None:
        super().__init__(number, keys, recorder, newest)
        self._name = pod
        self._process = process
        self._connected: tuple[Daemon, object] | None = None

    def _pod(self) -> tuple[str, Daemon]:
        """Name the process that plays the pod now: another one starts with an empty cache, and is another pod."""
        process = self._process()
        return f"{self._name}-{process.pid}", process

    @staticmethod
    def ask(
        process: Daemon, method: str, path: str, headers: dict[str, str], body: bytes | None = None
    ) -> Answer | None:
        """Make a request; None if there was no whole answer."""
        with suppress(OSError, HTTPException, msgspec.DecodeError):
            return process.request(method, path, body, headers)
        return None


class Writer(PodClient):
    """Sets counts that nobody has set before, every second time on condition of the count that it was shown."""

    def step(self, key: str) -> None:
        """Read, perhaps, and write."""
        pod, process = self._pod()
        path = f"/deployments/{key}/replicas"
        headers, expected = {"Content-Type": "application/json"}, UNKNOWN
        if self.chance.random() < 0.5:
            shown = self.ask(process, "GET", path, {"Cache-Control": "max-stale"})
            if shown is None or shown.status != 200:
                return
            expected, headers["If-Match"] = shown.json["replicas"], shown.headers["etag"]
        count, began = self.recorder.fresh(), self.recorder.now()
        answer = self.ask(process, "PUT", path, headers, b'{"replicas":%d}' % count)
        status = answer.status if answer else 0
        outcome, version = Outcome.UNKNOWN, UNKNOWN
        if answer and status == 200:
            outcome, version = Outcome.DONE, int(answer.headers["x-resource-version"])
            self.newest.learn(key, version)
        elif answer and (status in _NOTHING_CHANGED or (status == 502 and "unknown" not in answer.json["message"])):
            outcome = Outcome.MISMATCH if status == 412 else Outcome.REFUSED
        self.recorder.note(
            Call(
                client=self.number,
                pod=pod,
                kind=Kind.WRITE,
                key=key,
                began=began,
                ended=self.recorder.now(),
                outcome=outcome,
                status=status,
                count=count,
                expected=expected,
                version=version,
            )
        )


class Reader(PodClient):
    """Reads from the cache of a pod, now and then demanding what another pod has written."""

    def step(self, key: str) -> None:
        """Read once."""
        pod, process = self._pod()
        wanted = self.newest.of(key) if self.chance.random() < 0.3 else UNKNOWN
        headers = {"Cache-Control": "max-stale"} | ({"X-Min-Resource-Version": str(wanted)} if wanted > 0 else {})
        began = self.recorder.now()
        answer = self.ask(process, "GET", f"/deployments/{key}/replicas", headers)
        if answer is None or answer.status != 200:
            return
        self.recorder.note(
            Call(
                client=self.number,
                pod=pod,
                kind=Kind.SHOWN,
                key=key,
                began=began,
                ended=self.recorder.now(),
                outcome=Outcome.DONE,
                status=200,
                count=answer.json["replicas"],
                wanted=wanted,
                age=int(answer.headers["age"]),
            )
        )


class Direct(Client):
    """Asks the API server itself, past the product: reads that are up to date, and writes as kubectl makes them."""

    def __init__(
        self, plane: ControlPlane, number: int, keys: Sequence[str], recorder: Recorder, newest: Newest, *, writes: bool
    ) -> None:
        super().__init__(number, keys, recorder, newest)
        self._plane = plane
        self._writes = writes

    def step(self, key: str) -> None:
        """Read or write once."""
        namespace, name = key.split("/")
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        count = self.recorder.fresh() if self._writes else UNKNOWN
        body = b'{"spec":{"replicas":%d}}' % count if self._writes else None
        kind, method = (Kind.WRITE, "PATCH") if self._writes else (Kind.READ, "GET")
        began, status, version = self.recorder.now(), 0, UNKNOWN
        with suppress(OSError, HTTPException, ValueError):
            status, content = self._plane.request(method, path, body=body, content_type="application/merge-patch+json")
            if status == 200:
                found = msgspec.json.decode(content)
                count, version = found["spec"]["replicas"], int(found["metadata"]["resourceVersion"])
        outcome = Outcome.DONE if version != UNKNOWN else Outcome.UNKNOWN if self._writes else Outcome.REFUSED
        self.recorder.note(
            Call(
                client=self.number,
                pod="kubectl",
                kind=kind,
                key=key,
                began=began,
                ended=self.recorder.now(),
                outcome=outcome,
                status=status,
                count=count,
                version=version,
            )
        )
