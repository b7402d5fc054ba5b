"""Family A, `/deployments`: RFD 0's API and the canonical tree, where new features grow."""

from collections.abc import Iterable
from typing import Final

from klein import Klein
from twisted.web.resource import IResource

from sre_server.api.app import FAMILY_A, json_app, json_route, read_route
from sre_server.api.site import APIRequest
from sre_server.api.writing import Writer, replicas_in_body
from sre_server.cache import ClusterCache

UPDATED: Final = "Successfully updated the replica count for the deployment"


class DeploymentsAPI:
    """Answers family A from the cache, and writes through `writer`."""

    _app: Klein = json_app(FAMILY_A)

    def __init__(self, cache: ClusterCache, writer: Writer) -> None:
        self.cache = cache
        self._writer = writer

    def resource(self) -> IResource:
        """The resource of every URL of the family; it also refuses those that nobody knows."""
        return self._app.resource()

    @read_route(_app, "/deployments")
    def deployments(self) -> list[object]:
        """`GET /deployments`: every namespace that has Deployments, with their names."""
        return [_names(namespace, by_name) for namespace, by_name in sorted(self.cache.deployments().items())]

    @read_route(_app, "/deployments/<namespace:namespace>")
    def deployments_in(self, namespace: str) -> list[object]:
        """`GET /deployments/{ns}`: the same shape, with exactly one element."""
        return [_names(namespace, self.cache.deployments_in(namespace))]

    @read_route(_app, "/deployments/<namespace:namespace>/<deployment:name>/replicas")
    def replicas(self, namespace: str, name: str) -> object:
        """`GET /deployments/{ns}/{name}/replicas`: the desired count."""
        return {"namespace": namespace, "deployment": name, "replicas": self.cache.deployment(namespace, name).replicas}

    @json_route(_app, "/deployments/<namespace:namespace>/<deployment:name>/replicas", "PUT")
    async def set_replicas(self, request: APIRequest, namespace: str, name: str) -> object:
        """`PUT /deployments/{ns}/{name}/replicas` with `{"replicas": 20}`: set the desired count."""
        await self._writer.scale(namespace, name, replicas_in_body(request))
        return {"message": UPDATED}


def _names(namespace: str, names: Iterable[str]) -> object:
    return {"namespace": namespace, "deployments": sorted(names)}
