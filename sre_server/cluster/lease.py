"""Which of several watchers leads: whoever holds a Lease (coordination.k8s.io/v1), with the times of client-go.

client-go's leaderelection compares no clocks of two machines, and neither does this: a Lease of somebody else has run
out when it has not changed for its duration since it was first seen so, by our own monotonic clock. Ours counts from
the moment its last renewal was *sent*, and only for 10 of its 15 s, so that it ends here before it ends elsewhere.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Event as Flag
from typing import Any, Final
from uuid import uuid4

import msgspec
from twisted.logger import Logger

from sre_server.cluster.decoding import decode_status
from sre_server.cluster.permissions import CREATE_LEASES, GET_LEASES, UPDATE_LEASES, Told, untold
from sre_server.cluster.transport import STATUS_BYTES, Transport, refusal
from sre_server.errors import BadAnswer, ClusterError

DURATION: Final = 15
RENEWED_SECONDS: Final = 10.0
FRESH_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 2.0
READ_TIMEOUT: Final = 5.0
_RIGHTS: Final = {"GET": GET_LEASES, "POST": CREATE_LEASES, "PUT": UPDATE_LEASES}
_LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"


class LeaseHolder:
    """Takes and renews one Lease; `holds` and `fresh` may be asked from any thread, the rest belongs to one."""

    log = Logger()

    def __init__(
        self,
        namespace: str,
        name: str,
        transport: Transport,
        now: Callable[[], float] = time.monotonic,
        *,
        told: Told = untold,
    ) -> None:
        """Contend for the Lease of this name, under an identity of our own; `told` hears what came of it."""
        self.source = f"Lease {namespace}/{name}"
        self._namespace = namespace
        self._name = name
        self._collection = _LEASES.format(namespace)
        self._transport = transport
        self._now = now
        self._told = told
        self._identity = str(uuid4())
        self._renewed_at = float("-inf")
        self._seen: tuple[str, float] | None = None
        self._stopping = Flag()

    def holds(self) -> bool:
        """Tell whether the Lease is ours, for certain."""
        return self._now() - self._renewed_at < RENEWED_SECONDS

    def fresh(self) -> bool:
        """Tell whether it was renewed so lately that something may be begun."""
        return self._now() - self._renewed_at < FRESH_SECONDS

    def interrupt(self) -> None:
        """Let the Lease go, and end; the connection stays open for that."""
        self._stopping.set()

    def cycle(self, emit: Callable[[], object]) -> None:
        """Take the Lease when it is free and renew it, until interrupted; raises ClusterError."""
        while not self._stopping.is_set():
            self.attempt()
            emit()
            self._stopping.wait(RETRY_SECONDS)
        if self.holds():
            self._renewed_at = float("-inf")
            found = self._request("GET", f"{self._collection}/{self._name}")
            if found is not None and found.get("spec", {}).get("holderIdentity") == self._identity:
                # As client-go lets go: without a holder, and about to end.
                self._write(
                    "PUT", {**found, "spec": {**found["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}}
                )

    def attempt(self) -> None:
        """Read the Lease once, and write it if it is ours, nobody's or has run out."""
        asked_at = self._now()
        found = self._request("GET", f"{self._collection}/{self._name}")
        if found is None:
            metadata = {"name": self._name, "namespace": self._namespace}
            self._take({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}, "POST")
            return
        self._told(CREATE_LEASES, None)  # whoever made it: nobody needs that right any more
        spec, version = found.get("spec") or {}, found["metadata"]["resourceVersion"]
        holder, duration = spec.get("holderIdentity"), spec.get("leaseDurationSeconds") or DURATION
        if self._seen is None or self._seen[0] != version:
            if self._seen is not None and holder not in (None, "", self._identity):
                self._told(UPDATE_LEASES, None)  # another watcher may, and this one does not try while that one leads
            self._seen = (version, asked_at)
        if holder != self._identity:
            self._renewed_at = float("-inf")
        if not holder or holder == self._identity or self._now() - self._seen[1] > duration:
            self._take(found, "PUT")

    def _take(self, lease: dict[str, Any], method: str) -> None:
        before = lease.get("spec") or {}
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")  # for people: nobody here compares it
        ours = before.get("holderIdentity") == self._identity
        spec = {
            **before,
            "holderIdentity": self._identity,
            "leaseDurationSeconds": DURATION,
            "acquireTime": before.get("acquireTime", at) if ours else at,
            "renewTime": at,
            "leaseTransitions": before.get("leaseTransitions", 0) + (0 if ours or method == "POST" else 1),
        }
        sent_at = self._now()
        if self._write(method, {**lease, "spec": spec}):
            if not self.holds():
                self.log.info("{source}: this watcher leads", source=self.source)
            self._renewed_at = sent_at

    def _write(self, method: str, lease: dict[str, Any]) -> bool:
        """Write the Lease; return False if somebody else was faster."""
        path = self._collection if method == "POST" else f"{self._collection}/{self._name}"
        return self._request(method, path, msgspec.json.encode(lease)) is not None

    def _request(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any] | None:
        """Return what the cluster answers; None if it is not there, or is no longer as it was."""
        try:
            answer = self._ask(method, path, body)
        except ClusterError as error:
            self._told(_RIGHTS[method], error)
            raise
        self._told(_RIGHTS[method], None)
        return answer

    def _ask(self, method: str, path: str, body: bytes | None) -> dict[str, Any] | None:
        headers = {"Content-Type": "application/json"} if body else {}
        with self._transport.request(method, path, {}, headers=headers, body=body, read_timeout=READ_TIMEOUT) as reply:
            answer = reply.read(STATUS_BYTES, READ_TIMEOUT)
            if reply.status == 409 or (reply.status == 404 and method != "POST"):
                return None
            if reply.status not in (200, 201):
                raise refusal(reply, decode_status(answer).message)
        try:
            return msgspec.json.decode(answer, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise BadAnswer(f"The cluster's Lease cannot be read: {error}.") from error
