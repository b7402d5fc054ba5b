"""Whether reviews may be asked for, before anybody needs one: a server that may not ask can serve nobody.

Such a server is not ready, so that nobody asks it for anything: only what is asked for nobody's sake shows that it has
got the permission meanwhile.
"""

from collections.abc import Callable, Mapping
from typing import Final

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from sre_server.cluster.permissions import CREATE_REVIEWS, Permissions
from sre_server.cluster.reviews import review
from sre_server.cluster.transport import Transport
from sre_server.cluster.workers import IThreadingReactor
from sre_server.errors import ClusterError

PROBE_SECONDS: Final = 30.0
QUESTION: Final[Mapping[str, object]] = {
    "user": "sre-server:probe",
    "resourceAttributes": {"group": "apps", "resource": "deployments", "verb": "get"},
}
"""Of a user that nobody is; what the answer is does not matter."""


class ReviewProbe(Service):
    """Asks for a review at the start, until there is an answer, and twice a minute while the permission is missing."""

    log = Logger()

    def __init__(
        self,
        reactor: IThreadingReactor,
        pool: ThreadPool,
        connect: Callable[[], Transport],
        permissions: Permissions,
    ) -> None:
        self._reactor = reactor
        self._pool = pool
        self._connect = connect
        self._permissions = permissions
        self._answered = self._asking = False
        self._transport: Transport | None = None
        self._loop = LoopingCall(self._probe)
        self._loop.clock = reactor

    def startService(self) -> None:
        """Begin to ask."""
        super().startService()
        self._pool.start()
        self._loop.start(PROBE_SECONDS)

    async def _probe(self) -> None:
        if self._answered and not self._permissions.lacks(CREATE_REVIEWS):
            return
        self._asking = True
        try:
            await deferToThreadPool(self._reactor, self._pool, self._ask)
        except Exception:  # noqa: BLE001  # whatever it was, ask again later
            self.log.failure("a probe failed unexpectedly")
        finally:
            self._asking = False

    def _ask(self) -> None:
        if self._transport is None:
            self._transport = self._connect()
        try:
            review(self._transport, QUESTION)
        except ClusterError as error:
            self._permissions.told(CREATE_REVIEWS, error)
        else:
            self._answered = True
            self._permissions.told(CREATE_REVIEWS, None)

    def stopService(self) -> None:
        """Ask no more; a question that still hangs is left to die with the process."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
        if self._transport is not None:
            self._transport.interrupt()
        if not self._asking:
            self._pool.stop()
