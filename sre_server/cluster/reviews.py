"""Asking the cluster what somebody else may do: SubjectAccessReviews, in threads of their own."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from sre_server.cluster.connection import refusal
from sre_server.cluster.decoding import decode_review, decode_status
from sre_server.cluster.transport import STATUS_BYTES, Transport
from sre_server.cluster.workers import IThreadingReactor
from sre_server.errors import ClusterError, Unavailable

READ_TIMEOUT: Final = 5.0
CONCURRENT_REVIEWS: Final = 8
WAITING_REVIEWS: Final = 256
RETRY_SECONDS: Final = 2
PATH: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


def review(transport: Transport, spec: Mapping[str, object]) -> bool:
    """Ask whether the user of a SubjectAccessReview spec may do what it says; blocks. Raises ClusterError."""
    question = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    body, headers = msgspec.json.encode(question), {"Content-Type": "application/json"}
    with transport.request("POST", PATH, {}, headers=headers, body=body, read_timeout=READ_TIMEOUT) as reply:
        answer = reply.read(STATUS_BYTES, READ_TIMEOUT)
        if reply.status != 201:
            raise refusal(reply, decode_status(answer).message)
    return decode_review(answer)


class ReviewService(Service):
    """Answers specs with Deferreds; fails with Unavailable when the cluster does not say, or too many ask."""

    log = Logger()

    def __init__(self, reactor: IThreadingReactor, pool: ThreadPool, connect: Callable[[], Transport]) -> None:
        self._reactor = reactor
        self._pool = pool
        self._connect = connect
        self._idle: list[Transport] = []
        self._asked = 0

    def startService(self) -> None:
        """Start the pool."""
        super().startService()
        self._pool.start()

    def review(self, spec: Mapping[str, object]) -> Deferred[bool]:
        """Ask; fires with the cluster's yes or no."""
        if self._asked >= WAITING_REVIEWS:
            return fail(Unavailable("Too many requests are waiting for the cluster's permission.", RETRY_SECONDS))
        self._asked += 1
        return deferToThreadPool(self._reactor, self._pool, self._review, spec).addBoth(self._answered)

    def _review(self, spec: Mapping[str, object]) -> bool:
        """Run in a thread: list.pop and list.append are atomic, so each connection is one thread's at a time."""
        try:
            transport = self._idle.pop()
        except IndexError:
            transport = self._connect()
        try:
            return review(transport, spec)
        finally:
            self._idle.append(transport)

    def _answered(self, answer: bool | Failure) -> bool | Failure:
        self._asked -= 1
        if isinstance(answer, Failure):
            if answer.check(ClusterError) is None:
                self.log.failure("a SubjectAccessReview failed unexpectedly", failure=answer)
            else:
                self.log.warn("a SubjectAccessReview failed: {error}", error=answer.value)
            raise Unavailable("The cluster cannot say now whether you may do this.", RETRY_SECONDS)
        return answer

    def stopService(self) -> None:
        """Let the idle threads go; a review that still hangs is left to die with the process."""
        super().stopService()
        if not self._asked:
            self._pool.stop()
