"""Whether reviews may be asked for, before anybody needs one: a server that may not ask can serve nobody.

Such a server is not ready, so that nobody asks it for anything: only what is asked for nobody's sake shows that it has
got the permission meanwhile.
"""

from collections.abc import Mapping
from typing import Final

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from sre_server.cluster.permissions import CREATE_REVIEWS, Permissions
from sre_server.cluster.reviews import Reviews
from sre_server.errors import Unavailable

PROBE_SECONDS: Final = 10.0
QUESTION: Final[Mapping[str, object]] = {
    "user": "sre-server:probe",
    "resourceAttributes": {"group": "apps", "resource": "deployments", "verb": "get"},
}
"""Of a user that nobody is; what the answer is does not matter."""


class ReviewProbe(Service):
    """Asks for a review at the start, until there is an answer, and every 20 s while the permission is missing."""

    def __init__(self, reactor: IReactorTime, reviews: Reviews, permissions: Permissions) -> None:
        self._reviews = reviews
        self._permissions = permissions
        self._answered = False
        self._loop = LoopingCall(self._probe)
        self._loop.clock = reactor

    def startService(self) -> None:
        """Begin to ask."""
        super().startService()
        self._loop.start(PROBE_SECONDS)

    async def _probe(self) -> None:
        if self._answered and not self._permissions.lacks(CREATE_REVIEWS):
            return
        try:
            await self._reviews.review(QUESTION, for_write=False)
        except Unavailable:  # it was told to `permissions`, and logged, by whoever asked
            return
        self._answered = True

    def stopService(self) -> None:
        """Ask no more."""
        super().stopService()
        if self._loop.running:
            self._loop.stop()
