"""Looking around a Deployment for a plan: the quotas and the disruption budgets of its namespace, and its template.

Nobody watches these: a plan is rare, and a list of one namespace cheap. What the server has no right to is not known,
which is no error; whatever else goes wrong is worth another try.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from sre_server.cluster.looking import OBJECT_BYTES, READ_TIMEOUT, get_deployment, unavailable
from sre_server.cluster.permissions import LIST_BUDGETS, LIST_QUOTAS, Pauses, Told, check_permitted, never, untold
from sre_server.cluster.quotas import decode_budgets, decode_quotas, decode_workload
from sre_server.cluster.transport import Transport
from sre_server.cluster.workers import Bounds, ConnectedWorkers
from sre_server.errors import ClusterError, ClusterRefused, SreServerError
from sre_server.model import Quota, Surroundings

BOUNDS: Final = Bounds(running=8, running_per_client=2, queued=64, queued_per_client=8)
_NOT_KNOWN: Final = frozenset({403, 404})
_T = TypeVar("_T")


class Surveys:
    """Looks around in threads of `workers`, for one client at a time; without `workers` nothing is known.

    `told` is told what the cluster permits the server itself; what it refused is not asked for while it `pauses`.
    """

    def __init__(self, workers: ConnectedWorkers | None, told: Told = untold, pauses: Pauses = never) -> None:
        self._workers = workers
        self._told = told
        self._pauses = pauses

    def survey(self, client: str, namespace: str, name: str) -> Deferred[Surroundings | None]:
        """Look around a Deployment for a client; fails with NotFound, or Unavailable if the cluster does not say."""

        def look(transport: Transport) -> Surroundings | None:
            quotas = self._quotas(transport, namespace)
            path = f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets"
            budgets = self._list(transport, path, LIST_BUDGETS, decode_budgets)
            # Last, as the connection is closed after it.
            return get_deployment(transport, namespace, name, decode_workload, {}).surroundings(quotas, budgets)

        if self._workers is None:
            return succeed(None)
        return self._workers.call(look, client).addErrback(self._failed)

    def quotas(self, client: str, namespace: str) -> Deferred[tuple[Quota, ...] | None]:
        """List the quotas of a namespace, for a client; None if they are not known. Fails with Unavailable."""
        if self._workers is None:
            return succeed(None)
        return self._workers.call(lambda transport: self._quotas(transport, namespace), client)

    def _failed(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, SreServerError) and error.missing_right:
            self._told(error.missing_right, error)
        return failure

    def _quotas(self, transport: Transport, namespace: str) -> tuple[Quota, ...] | None:
        path = f"/api/v1/namespaces/{namespace}/resourcequotas"
        return self._list(transport, path, LIST_QUOTAS, decode_quotas)

    def _list(self, transport: Transport, path: str, right: str, decode: Callable[[bytes], _T]) -> _T | None:
        if self._pauses(right):
            return None
        try:
            with transport.request("GET", path, {}, read_timeout=READ_TIMEOUT) as reply:
                check_permitted(reply, right, self._told)
                return decode(reply.read(OBJECT_BYTES, READ_TIMEOUT))
        except ClusterError as error:
            if isinstance(error, ClusterRefused) and error.status in _NOT_KNOWN:
                return None
            raise unavailable(str(error)) from error
