"""Asking the cluster what somebody else may do: SubjectAccessReviews.

Those that a write waits for have threads and a queue of their own: however many reads are to be decided, none of them
takes a place that a write needs.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from sre_server.cluster.decoding import decode_review
from sre_server.cluster.permissions import CREATE_REVIEWS, Pauses, Told, is_refusal, never, untold
from sre_server.cluster.transport import Transport, read_answer
from sre_server.cluster.workers import Bounds, ConnectedWorkers
from sre_server.errors import ClusterError, Unavailable

READ_TIMEOUT: Final = 5.0
RETRY_SECONDS: Final = 2
_NO_ANSWER: Final = "The cluster cannot say now whether you may do this."
PATH: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
SELF_PATH: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
READ_BOUNDS: Final = Bounds(running=8, running_per_client=4, queued=256, queued_per_client=64)
WRITE_BOUNDS: Final = Bounds(running=8, running_per_client=4, queued=64, queued_per_client=16)


def review(transport: Transport, spec: Mapping[str, object]) -> bool:
    """Ask whether the user of a SubjectAccessReview spec may do what it says; blocks. Raises ClusterError."""
    return _ask(transport, PATH, "SubjectAccessReview", spec)


def may_scale(transport: Transport, namespace: str, name: str) -> bool:
    """Ask whether the server itself may patch the scale of this Deployment; blocks. Raises ClusterError."""
    attributes = {"namespace": namespace, "verb": "patch", "group": "apps", "resource": "deployments"}
    spec = {"resourceAttributes": {**attributes, "subresource": "scale", "name": name}}
    return _ask(transport, SELF_PATH, "SelfSubjectAccessReview", spec)


def _ask(transport: Transport, path: str, kind: str, spec: Mapping[str, object]) -> bool:
    question = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "spec": spec}
    body, headers = msgspec.json.encode(question), {"Content-Type": "application/json"}
    with transport.request("POST", path, {}, headers=headers, body=body, read_timeout=READ_TIMEOUT) as reply:
        return decode_review(read_answer(reply, READ_TIMEOUT, expected=201))


class Reviews:
    """Asks in threads of `for_reads`, and where a write waits for the answer, in those of `for_writes`.

    `told` is told whether the cluster lets the server ask; nothing is asked while it `pauses`, after a no.
    """

    log = Logger()

    def __init__(
        self,
        for_reads: ConnectedWorkers,
        for_writes: ConnectedWorkers,
        told: Told = untold,
        pauses: Pauses = never,
    ) -> None:
        self._for_reads = for_reads
        self._for_writes = for_writes
        self._told = told
        self._pauses = pauses

    def review(self, spec: Mapping[str, object], *, for_write: bool) -> Deferred[bool]:
        """Ask for the client that is the `user` of the spec; fires with the cluster's yes or no.

        Fails with Unavailable when the cluster does not say, or too many ask.
        """
        if self._pauses(CREATE_REVIEWS):
            return fail(Unavailable(_NO_ANSWER, RETRY_SECONDS))
        workers = self._for_writes if for_write else self._for_reads
        asked = workers.call(lambda transport: review(transport, spec), spec["user"])
        return asked.addCallbacks(self._answered, self._failed)

    def _answered(self, verdict: bool) -> bool:
        self._told(CREATE_REVIEWS, None)
        return verdict

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(CancelledError, Unavailable):
            return failure
        self._told(CREATE_REVIEWS, failure.value)
        if is_refusal(CREATE_REVIEWS, failure.value):
            self.log.debug("a SubjectAccessReview was refused: {error}", error=failure.value)
        elif failure.check(ClusterError):
            self.log.warn("a SubjectAccessReview failed: {error}", error=failure.value)
        else:
            self.log.failure("a SubjectAccessReview failed unexpectedly", failure=failure)
        return Failure(Unavailable(_NO_ANSWER, RETRY_SECONDS))
