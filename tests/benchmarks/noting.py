"""The product whole, with a cache that notes when it has taken in a count of one Deployment. For `twistd --python`."""

import os
import time
from pathlib import Path
from typing import Final

from twisted.application.service import Application

from sre_server import tap
from sre_server.cache import ClusterCache
from sre_server.news import Event
from sre_server.simulator.population import inhabitants

FOLLOWED: Final = next(inhabitants(1))


class Noting(ClusterCache):
    """A line for each new count: the count, and when a read would have had it (Unix time in ns)."""

    _last = -1

    def apply(self, event: Event) -> None:
        """Take in what was heard, and note it."""
        super().apply(event)
        known = self.find(FOLLOWED.namespace, FOLLOWED.name)
        if known is not None and known.replicas != self._last:
            self._last = known.replicas
            notes.write(f"[{known.replicas}, {time.time_ns()}]\n")


file, *arguments = os.environ["NOTING"].splitlines()
notes = Path(file).open("w", buffering=1)  # noqa: SIM115  # for as long as the process lives
tap.ClusterCache = Noting  # type: ignore[attr-defined]  # nothing else than the daemon itself is to be measured
options = tap.Options({})
options.parseOptions(arguments)
application = Application("noting")
tap.makeService(options).setServiceParent(application)
