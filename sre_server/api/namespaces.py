"""Family B, `/namespaces`: RFD 1's API, kept exactly as that document draws it."""

from typing import Final

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource

from sre_server.api.asked import Permitted
from sre_server.api.bodies import Body, one
from sre_server.api.counts import replicas_in_path
from sre_server.api.gate import Gate
from sre_server.api.lists import ListBodies
from sre_server.api.newness import Newness
from sre_server.api.routes import Read, count_route, list_route, write_route
from sre_server.api.routing import WILDCARD, json_app
from sre_server.api.statuses import FAMILY_B
from sre_server.api.writing import Writer
from sre_server.cache import ClusterCache
from sre_server.model import Deployment
from sre_server.security.authorization import View

_REPLICA_COUNT: Final = b'{"namespace":"%s","deployment":"%s","replica_count":%d}\n'


class NamespacesAPI:
    """Answers family B from the cache, and writes through `writer`."""

    _app: Klein = json_app(FAMILY_B)
    reads: list[Read] = []  # noqa: RUF012  # filled below, by the routes, and never after

    def __init__(
        self,
        cache: ClusterCache,
        gate: Gate,
        newness: Newness,
        writer: Writer,
        names: ListBodies,
        counts: ListBodies,
    ) -> None:
        self.cache = cache
        self.gate = gate
        self.newness = newness
        self._writer = writer
        self._names = names
        self._counts = counts

    def resource(self) -> IResource:
        """The resource of every URL of the family."""
        return self._app.resource()

    @list_route(_app, reads, "/namespaces")
    def namespaces(self, view: View) -> Body | Deferred[Body]:
        """`GET /namespaces`: all of them, with or without Deployments."""
        return self._names.of_namespaces(view)

    @list_route(_app, reads, f"/namespaces/{WILDCARD}/deployments")
    def all_deployments(self, view: View) -> Body | Deferred[Body]:
        """`GET /namespaces/ANY/deployments`: every namespace that has Deployments, with their names."""
        return self._names.of_all(view)

    @list_route(_app, reads, "/namespaces/<namespace:namespace>/deployments")
    def deployments(self, view: View, namespace: str) -> Body:
        """`GET /namespaces/{ns}/deployments`: the names of its Deployments."""
        return self._names.of_one(namespace, view)

    @list_route(_app, reads, f"/namespaces/{WILDCARD}/deployments/{WILDCARD}/replica_count")
    def all_replica_counts(self, view: View) -> Body | Deferred[Body]:
        """`GET /namespaces/ANY/deployments/ANY/replica_count`: the counts of every namespace that has Deployments."""
        return self._counts.of_all(view)

    @list_route(_app, reads, f"/namespaces/<namespace:namespace>/deployments/{WILDCARD}/replica_count")
    def replica_counts(self, view: View, namespace: str) -> Body:
        """`GET /namespaces/{ns}/deployments/ANY/replica_count`: the counts of one namespace."""
        return self._counts.of_one(namespace, view)

    @count_route(_app, reads, "/namespaces/<namespace:namespace>/deployments/<deployment:name>/replica_count")
    @staticmethod
    def replica_count(deployment: Deployment) -> Body:
        """`GET /namespaces/{ns}/deployments/{name}/replica_count`: the desired count."""
        return one(_REPLICA_COUNT, deployment)

    @write_route(_app, "/namespaces/<namespace:namespace>/deployments/<deployment:name>/replica_count/<count>")
    async def set_replica_count(self, permitted: Permitted, count: str) -> object:
        """`PUT .../replica_count/{n}`: set the desired count; no body is read."""
        scaled = await self._writer.scale(permitted, replicas_in_path(count))
        return {"namespace": permitted.namespace, "deployment": permitted.name, "replica_count": scaled.replicas}
