"""A thread's way to what is shared about one cluster: one connection after the other, until the server stops."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event as Flag
from typing import TYPE_CHECKING

from sre_server.store.interruptible import Interruptible
from sre_server.store.options import StoreOptions
from sre_server.store.records import Keys, Seal
from sre_server.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from sre_server.store.connection import Store


class Link:
    """Opens connections; all but `interrupt` belongs to one thread. `identify` asks the cluster who it is."""

    def __init__(self, options: StoreOptions, identify: Callable[[], str], metrics: Metrics) -> None:
        self._options = options
        self._identify = identify
        self._metrics = metrics
        self._interruptible = Interruptible()
        self._cluster: str | None = None

    @property
    def interrupted(self) -> Flag:
        """Set once the server stops."""
        return self._interruptible.interrupted

    def interrupt(self) -> None:
        """End what waits for Redis, and every later connection at once; may be called from any thread."""
        self._interruptible.interrupt()

    def find_cluster(self) -> str:
        """Return what the cluster calls itself, which it is asked once; raises ClusterError."""
        if self._cluster is None:
            self._cluster = self._identify()
        return self._cluster

    @contextmanager
    def open(self) -> Iterator[tuple["Store", Keys, Seal]]:
        """Connect, with the keys of the cluster and the seal as its file is now; raises StoreError and ClusterError."""
        from sre_server.store.connection import Store  # noqa: PLC0415  # redis-py is an extra

        keys, seal = Keys(self.find_cluster(), self._options.name), Seal.read(self._options.seal)
        with Store(self._options, self._interruptible) as store:
            self._metrics.store_connects.inc()
            yield store, keys, seal
