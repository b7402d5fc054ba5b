"""Family B, `/namespaces`: RFD 1's API, kept exactly as that document draws it."""

from collections.abc import Mapping

from klein import Klein
from twisted.web.resource import IResource

from sre_server.api.app import FAMILY_B, WILDCARD, json_app, json_route, read_route
from sre_server.api.site import APIRequest
from sre_server.api.writing import Writer, replicas_in_path
from sre_server.cache import ClusterCache
from sre_server.model import Deployment


class NamespacesAPI:
    """Answers family B from the cache, and writes through `writer`."""

    _app: Klein = json_app(FAMILY_B)

    def __init__(self, cache: ClusterCache, writer: Writer) -> None:
        self.cache = cache
        self._writer = writer

    def resource(self) -> IResource:
        """The resource of every URL of the family."""
        return self._app.resource()

    @read_route(_app, "/namespaces")
    def namespaces(self) -> object:
        """`GET /namespaces`: all of them, with or without Deployments."""
        return {"namespaces": self.cache.namespaces()}

    @read_route(_app, f"/namespaces/{WILDCARD}/deployments")
    def all_deployments(self) -> list[object]:
        """`GET /namespaces/ANY/deployments`: every namespace that has Deployments, with their names."""
        return [
            {"namespace": namespace, "deployments": sorted(by_name)}
            for namespace, by_name in sorted(self.cache.deployments().items())
        ]

    @read_route(_app, "/namespaces/<namespace:namespace>/deployments")
    def deployments(self, namespace: str) -> object:
        """`GET /namespaces/{ns}/deployments`: the names of its Deployments."""
        return {"namespace": namespace, "deployments": sorted(self.cache.deployments_in(namespace))}

    @read_route(_app, f"/namespaces/{WILDCARD}/deployments/{WILDCARD}/replica_count")
    def all_replica_counts(self) -> list[object]:
        """`GET /namespaces/ANY/deployments/ANY/replica_count`: the counts of every namespace that has Deployments."""
        return [_counts(namespace, by_name) for namespace, by_name in sorted(self.cache.deployments().items())]

    @read_route(_app, f"/namespaces/<namespace:namespace>/deployments/{WILDCARD}/replica_count")
    def replica_counts(self, namespace: str) -> object:
        """`GET /namespaces/{ns}/deployments/ANY/replica_count`: the counts of one namespace."""
        return _counts(namespace, self.cache.deployments_in(namespace))

    @read_route(_app, "/namespaces/<namespace:namespace>/deployments/<deployment:name>/replica_count")
    def replica_count(self, namespace: str, name: str) -> object:
        """`GET /namespaces/{ns}/deployments/{name}/replica_count`: the desired count."""
        return _count(namespace, self.cache.deployment(namespace, name))

    @json_route(_app, "/namespaces/<namespace:namespace>/deployments/<deployment:name>/replica_count/<count>", "PUT")
    async def set_replica_count(self, _: APIRequest, namespace: str, name: str, count: str) -> object:
        """`PUT .../replica_count/{n}`: set the desired count; no body is read."""
        return _count(namespace, await self._writer.scale(namespace, name, replicas_in_path(count)))


def _count(namespace: str, deployment: Deployment) -> object:
    return {"namespace": namespace, "deployment": deployment.name, "replica_count": deployment.replicas}


def _counts(namespace: str, by_name: Mapping[str, Deployment]) -> object:
    deployments = [{"deployment": name, "replica_count": by_name[name].replicas} for name in sorted(by_name)]
    return {"namespace": namespace, "deployments": deployments}
