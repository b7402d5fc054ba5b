"""A namespace of a limited install, looked up over and over.

A Role in a namespace can grant `get` of that Namespace object, but neither list nor watch. So, with `--namespace`, each
of the few that are served is looked up on its own, and what is wrong with one is no matter of the others.
"""

import time
from collections.abc import Callable
from threading import Event
from typing import Final

from sre_server.cluster.decoding import decode_namespace
from sre_server.cluster.permissions import Told, check_permitted, permission, untold
from sre_server.cluster.transport import PAGE_SECONDS, STATUS_BYTES, Transport
from sre_server.cluster.watching import Emit
from sre_server.errors import ClusterRefused
from sre_server.model import Namespace
from sre_server.news import Listed, Occasion, Source

POLL_SECONDS: Final = 30.0
READ_TIMEOUT: Final = 10.0


class NamespacePoller:
    """Emits, twice a minute, whether the namespace of its source exists; all but `interrupt` belongs to one thread."""

    def __init__(
        self,
        source: Source,
        connection: Transport,
        now: Callable[[], float] = time.monotonic,
        *,
        told: Told = untold,
    ) -> None:
        self.source = source
        self._connection = connection
        self._now = now
        self._told = told
        self._interrupted = Event()

    def interrupt(self) -> None:
        """End a running cycle, and every later one at once."""
        self._interrupted.set()
        self._connection.interrupt()

    def cycle(self, emit: Emit) -> None:
        """Look the namespace up once, emit a list of it or of nothing, then sleep; raises ClusterError."""
        started_at = self._now()
        found = self._look_up()
        namespaces = {found.name: found} if found else {}
        emit(Listed(self.source, "0", started_at, namespaces=namespaces, occasion=Occasion.POLL))
        self._interrupted.wait(POLL_SECONDS)

    def _look_up(self) -> Namespace | None:
        path = f"/api/v1/namespaces/{self.source.namespace}"
        with self._connection.request("GET", path, {}, read_timeout=READ_TIMEOUT) as reply:
            try:
                check_permitted(reply, permission("get", self.source), self._told)
            except ClusterRefused as error:
                if error.status == 404:
                    return None
                raise
            return decode_namespace(reply.read(STATUS_BYTES, PAGE_SECONDS))
