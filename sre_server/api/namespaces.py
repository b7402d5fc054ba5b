"""Family B, `/namespaces`: RFD 1's API, kept exactly as that document draws it."""

from collections.abc import Mapping

from klein import Klein
from twisted.web.resource import IResource

from sre_server.api.app import WILDCARD, json_app, list_route, names_in, read_route, write_route
from sre_server.api.gate import Gate
from sre_server.api.request import APIRequest
from sre_server.api.statuses import FAMILY_B
from sre_server.api.writing import Writer, replicas_in_path
from sre_server.cache import ClusterCache
from sre_server.model import Deployment
from sre_server.security.authorization import Tree
from sre_server.security.identity import Identity


class NamespacesAPI:
    """Answers family B from the cache, and writes through `writer`."""

    _app: Klein = json_app(FAMILY_B)

    def __init__(self, cache: ClusterCache, gate: Gate, writer: Writer) -> None:
        self.cache = cache
        self.gate = gate
        self._writer = writer

    def resource(self) -> IResource:
        """The resource of every URL of the family."""
        return self._app.resource()

    @list_route(_app, "/namespaces")
    def namespaces(self, tree: Tree[Deployment]) -> object:
        """`GET /namespaces`: all of them, with or without Deployments."""
        return {"namespaces": sorted(tree)}

    @list_route(_app, f"/namespaces/{WILDCARD}/deployments")
    def all_deployments(self, tree: Tree[Deployment]) -> list[object]:
        """`GET /namespaces/ANY/deployments`: every namespace that has Deployments, with their names."""
        return [names_in(namespace, by_name) for namespace, by_name in sorted(tree.items()) if by_name]

    @list_route(_app, "/namespaces/<namespace:namespace>/deployments")
    def deployments(self, by_name: Mapping[str, Deployment], namespace: str) -> object:
        """`GET /namespaces/{ns}/deployments`: the names of its Deployments."""
        return names_in(namespace, by_name)

    @list_route(_app, f"/namespaces/{WILDCARD}/deployments/{WILDCARD}/replica_count")
    def all_replica_counts(self, tree: Tree[Deployment]) -> list[object]:
        """`GET /namespaces/ANY/deployments/ANY/replica_count`: the counts of every namespace that has Deployments."""
        return [_counts(namespace, by_name) for namespace, by_name in sorted(tree.items()) if by_name]

    @list_route(_app, f"/namespaces/<namespace:namespace>/deployments/{WILDCARD}/replica_count")
    def replica_counts(self, by_name: Mapping[str, Deployment], namespace: str) -> object:
        """`GET /namespaces/{ns}/deployments/ANY/replica_count`: the counts of one namespace."""
        return _counts(namespace, by_name)

    @read_route(_app, "/namespaces/<namespace:namespace>/deployments/<deployment:name>/replica_count")
    def replica_count(self, namespace: str, name: str) -> object:
        """`GET /namespaces/{ns}/deployments/{name}/replica_count`: the desired count."""
        return _count(namespace, self.cache.deployment(namespace, name))

    @write_route(_app, "/namespaces/<namespace:namespace>/deployments/<deployment:name>/replica_count/<count>")
    async def set_replica_count(
        self, request: APIRequest, identity: Identity, namespace: str, name: str, count: str
    ) -> object:
        """`PUT .../replica_count/{n}`: set the desired count; no body is read."""
        replicas = replicas_in_path(count)
        return _count(namespace, await self._writer.scale(request, identity, namespace, name, replicas))


def _count(namespace: str, deployment: Deployment) -> object:
    return {"namespace": namespace, "deployment": deployment.name, "replica_count": deployment.replicas}


def _counts(namespace: str, by_name: Mapping[str, Deployment]) -> object:
    deployments = [{"deployment": name, "replica_count": by_name[name].replicas} for name in sorted(by_name)]
    return {"namespace": namespace, "deployments": deployments}
