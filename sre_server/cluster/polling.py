"""The namespaces of a limited install, looked up one by one.

A Role in a namespace can grant `get` of that Namespace object, but neither list nor watch. So, with `--namespace`, the
few that are served are looked up in turn.
"""

import time
from collections.abc import Callable, Sequence
from threading import Event
from typing import Final

from sre_server.cluster.decoding import decode_namespace
from sre_server.cluster.transport import PAGE_SECONDS, STATUS_BYTES, Transport, check
from sre_server.cluster.watching import Emit
from sre_server.errors import ClusterRefused
from sre_server.model import Listed, Namespace, Resource, Source

POLL_SECONDS: Final = 30.0
READ_TIMEOUT: Final = 10.0


class NamespacePoller:
    """Emits, twice a minute, which of `names` exist; all but `interrupt` belongs to one thread."""

    def __init__(self, names: Sequence[str], connection: Transport, now: Callable[[], float] = time.monotonic) -> None:
        self.source = Source(Resource.NAMESPACES)
        self._names = names
        self._connection = connection
        self._now = now
        self._interrupted = Event()

    def interrupt(self) -> None:
        """End a running cycle, and every later one at once."""
        self._interrupted.set()
        self._connection.interrupt()

    def cycle(self, emit: Emit) -> None:
        """Look each namespace up once, emit those that exist as a list, then sleep; raises ClusterError."""
        started_at = self._now()
        found = [namespace for name in self._names if (namespace := self._look_up(name))]
        emit(Listed(self.source, "0", started_at, namespaces={namespace.name: namespace for namespace in found}))
        self._interrupted.wait(POLL_SECONDS)

    def _look_up(self, name: str) -> Namespace | None:
        path = f"/api/v1/namespaces/{name}"
        with self._connection.request("GET", path, {}, read_timeout=READ_TIMEOUT) as reply:
            try:
                check(reply)
            except ClusterRefused as error:
                if error.status == 404:
                    return None
                raise
            return decode_namespace(reply.read(STATUS_BYTES, PAGE_SECONDS))
