"""The kinds of objects that are listed and watched: where the API server has them, and how they are decoded."""

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Struct

from sre_server.cluster.decoding import NamespaceObject
from sre_server.cluster.notes import ConfigMapObject
from sre_server.cluster.scalings import SCALINGS_ONLY, EventObject
from sre_server.cluster.workloads import AutoscalerObject, DeploymentObject, PlainDeploymentObject
from sre_server.news import Resource, Source

_Item = TypeVar("_Item")


class ListMetadata(Struct, rename={"continue_": "continue"}):
    """The metadata of a page of a list."""

    resourceVersion: str
    continue_: str = ""


class PageOf(Struct, Generic[_Item]):
    """One page of a list, as the API server writes it."""

    metadata: ListMetadata
    items: list[_Item] | None = None


class LineOf(Struct, Generic[_Item]):
    """One line of a watch, as the API server writes it."""

    type: str
    object: _Item


class Kind(Struct, frozen=True):
    """One kind: its group's path, its name in URLs and in objects, and what decodes it, alone and in what holds it.

    Of an object that `item` cannot read, `plain` may still read what is needed most. Where not all of a kind are of
    interest, `fields` selects those that are.
    """

    group: str
    plural: str
    name: str
    item: msgspec.json.Decoder[Any]
    plain: msgspec.json.Decoder[Any]
    page: msgspec.json.Decoder[Any]
    line: msgspec.json.Decoder[Any]
    fields: str = ""

    @property
    def everywhere(self) -> str:
        """The URL path of all of them."""
        return f"{self.group}/{self.plural}"


def _kind(
    group: str,
    plural: str,
    name: str,
    item: Any,  # noqa: ANN401  # a type
    plain: Any = None,  # noqa: ANN401  # a type
    fields: str = "",
) -> Kind:
    return Kind(
        group,
        plural,
        name,
        msgspec.json.Decoder(item),
        msgspec.json.Decoder(plain or item),
        msgspec.json.Decoder(PageOf[item]),
        msgspec.json.Decoder(LineOf[item]),
        fields,
    )


KINDS: Final[Mapping[Resource, Kind]] = {
    Resource.NAMESPACES: _kind("/api/v1", "namespaces", "Namespace", NamespaceObject),
    Resource.DEPLOYMENTS: _kind("/apis/apps/v1", "deployments", "Deployment", DeploymentObject, PlainDeploymentObject),
    Resource.AUTOSCALERS: _kind(
        "/apis/autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", AutoscalerObject
    ),
    Resource.TEMPORARY: _kind("/api/v1", "configmaps", "ConfigMap", ConfigMapObject),
    Resource.SCALINGS: _kind("/api/v1", "events", "Event", EventObject, fields=SCALINGS_ONLY),
}


def collection_path(source: Source) -> str:
    """The URL path of the collection that a source lists and watches."""
    kind = KINDS[source.resource]
    return f"{kind.group}/namespaces/{source.namespace}/{kind.plural}" if source.namespace else kind.everywhere


def selection(source: Source) -> dict[str, str | int]:
    """The query that limits a list or a watch to what the source is of."""
    fields = f"metadata.name={source.name}" if source.name else KINDS[source.resource].fields
    return {"fieldSelector": fields} if fields else {}
