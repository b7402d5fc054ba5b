"""Bytes of the Kubernetes API into model objects, reduced to the few fields that the server keeps.

A list page is decoded in one go. If an object in it has a shape that Kubernetes promises never to send, the page is
decoded again, object by object, and that one is left out, so that it cannot keep the others from being served.
"""

from sys import intern
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct
from twisted.logger import Logger

from sre_server.errors import BadAnswer, Expired
from sre_server.model import MAX_REPLICAS, Change, Deleted, Deployment, Guards, Namespace, Put, Resource

MESSAGE_LENGTH: Final = 4096
_Text = Annotated[str, Meta(min_length=1)]
_Count = Annotated[int, Meta(ge=0, le=MAX_REPLICAS)]


class _Metadata(Struct, frozen=True, gc=False):
    name: _Text
    uid: _Text
    resourceVersion: _Text


class Annotations(
    Struct,
    frozen=True,
    gc=False,
    rename={
        "minimum": "sre-server/min-replicas",
        "maximum": "sre-server/max-replicas",
        "protected": "sre-server/protected",
    },
):
    """The annotations of a Deployment that bound its own count."""

    minimum: str = ""
    maximum: str = ""
    protected: str = ""

    def guards(self) -> Guards | None:
        """None for the Deployments without such annotations, which are nearly all."""
        if self.minimum or self.maximum or self.protected:
            return Guards(self.minimum, self.maximum, self.protected)
        return None


class _NamespacedMetadata(_Metadata, frozen=True, kw_only=True, gc=False):
    namespace: _Text
    annotations: Annotations | None = None


class _Spec(Struct, frozen=True, gc=False):
    replicas: _Count | None = None


class _Deployment(Struct, frozen=True, gc=False):
    metadata: _NamespacedMetadata
    spec: _Spec = _Spec()
    kind: str = ""

    def model(self) -> Deployment:
        """A Deployment that leaves out its count has one replica, as in Kubernetes."""
        metadata = self.metadata
        replicas = 1 if self.spec.replicas is None else self.spec.replicas
        guards = metadata.annotations.guards() if metadata.annotations else None
        namespace = intern(metadata.namespace)  # one text for all that are in it
        return Deployment(namespace, metadata.name, metadata.uid, metadata.resourceVersion, replicas, guards)


class _Namespace(Struct, frozen=True, gc=False):
    metadata: _Metadata
    kind: str = ""

    def model(self) -> Namespace:
        """The namespace as the cache keeps it."""
        return Namespace(self.metadata.name, self.metadata.uid, self.metadata.resourceVersion)


class _ReviewStatus(Struct):
    allowed: bool = False
    evaluationError: str = ""


class _Review(Struct):
    """`authorization.k8s.io/v1` SubjectAccessReview, answered."""

    status: _ReviewStatus


class _ListMetadata(Struct, rename={"continue_": "continue"}):
    resourceVersion: _Text
    continue_: str = ""


class _RawPage(Struct):
    metadata: _ListMetadata
    items: list[Raw] | None = None


class _DeploymentPage(Struct):
    metadata: _ListMetadata
    items: list[_Deployment] | None = None


class _NamespacePage(Struct):
    metadata: _ListMetadata
    items: list[_Namespace] | None = None


class _DeploymentLine(Struct):
    type: str
    object: _Deployment


class _NamespaceLine(Struct):
    type: str
    object: _Namespace


class _RawLine(Struct):
    type: str
    object: Raw


class _BookmarkAnnotations(Struct, rename={"initial_events_end": "k8s.io/initial-events-end"}):
    initial_events_end: str = ""


class _BookmarkMetadata(Struct):
    resourceVersion: _Text
    annotations: _BookmarkAnnotations | None = None


class _Bookmark(Struct):
    metadata: _BookmarkMetadata


class _Details(Struct, frozen=True):
    name: str = ""
    kind: str = ""


class Status(Struct):
    """A Kubernetes Status: what went wrong, in the cluster's own words, made fit to be shown."""

    message: str = ""
    reason: str = ""
    code: int = 0
    kind: str = ""
    details: _Details | None = None

    def __post_init__(self) -> None:
        """Clean the texts, which go into answers and logs."""
        self.message = clean(self.message, MESSAGE_LENGTH)
        self.reason = clean(self.reason, 64)

    @property
    def is_status(self) -> bool:
        """Whether the cluster itself has said this: it is no page of a proxy's."""
        return self.kind == "Status"

    def names(self, name: str, *kinds: str) -> bool:
        """Tell whether it is about the object of this name, of one of these kinds."""
        return self.details is not None and self.details.name == name and self.details.kind in kinds

    @property
    def names_something(self) -> bool:
        """Whether it is about an object at all, and not about how it was asked for."""
        return self.details is not None and bool(self.details.name or self.details.kind)


class Page(Struct, frozen=True):
    """One page of a list: its objects, the resourceVersion of the whole list, and the token of the next page or ''."""

    objects: list[Namespace | Deployment]
    resource_version: str
    next_token: str


class WatchEvent(Struct, frozen=True, gc=False):
    """One line of a watch: the resourceVersion to continue from, and the change; None for a bookmark.

    `initial_events_end` marks the bookmark that follows the initial events of a streamed list (KEP-3157).
    """

    resource_version: str
    change: Change | None
    initial_events_end: bool = False


_KIND: Final = {Resource.DEPLOYMENTS: "Deployment", Resource.NAMESPACES: "Namespace"}
_item_decoders: Final[dict[Resource, msgspec.json.Decoder[Any]]] = {
    Resource.DEPLOYMENTS: msgspec.json.Decoder(_Deployment),
    Resource.NAMESPACES: msgspec.json.Decoder(_Namespace),
}
_page_decoders: Final[dict[Resource, msgspec.json.Decoder[Any]]] = {
    Resource.DEPLOYMENTS: msgspec.json.Decoder(_DeploymentPage),
    Resource.NAMESPACES: msgspec.json.Decoder(_NamespacePage),
}
_raw_page_decoder: Final = msgspec.json.Decoder(_RawPage)
_line_decoders: Final[dict[Resource, msgspec.json.Decoder[Any]]] = {
    Resource.DEPLOYMENTS: msgspec.json.Decoder(_DeploymentLine),
    Resource.NAMESPACES: msgspec.json.Decoder(_NamespaceLine),
}
_raw_line_decoder: Final = msgspec.json.Decoder(_RawLine)
_bookmark_decoder: Final = msgspec.json.Decoder(_Bookmark)
_status_decoder: Final = msgspec.json.Decoder(Status)
_review_decoder: Final = msgspec.json.Decoder(_Review)
# msgspec raises UnicodeDecodeError for bad UTF-8 inside a string, and RecursionError for too deep a nesting.
NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_log = Logger()


def clean(text: str, limit: int) -> str:
    """Make a text of the cluster's fit for answers, header fields and logs: one line, printable, bounded."""
    shown = "".join(character if character.isprintable() else " " for character in text[: limit + 1]).strip()
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def decode_page(resource: Resource, body: bytes) -> Page:
    """Decode one page of a list, without objects of an impossible shape; raises BadAnswer if it is not a list."""
    try:
        page = _page_decoders[resource].decode(body)
        objects = [item.model() for item in page.items or ()]
    except NOT_JSON:
        page, objects = _decode_page_item_by_item(resource, body)
    return Page(objects, page.metadata.resourceVersion, page.metadata.continue_)


def _decode_page_item_by_item(resource: Resource, body: bytes) -> tuple[_RawPage, list[Namespace | Deployment]]:
    try:
        page = _raw_page_decoder.decode(body)
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a list of {resource.value}: {error}.") from error
    objects = []
    for raw in page.items or ():
        try:
            objects.append(_item_decoders[resource].decode(raw).model())
        except NOT_JSON as error:
            _log.error("one of the listed {resource} is left out: {error}", resource=resource.value, error=error)
    return page, objects


def decode_line(resource: Resource, line: bytes) -> WatchEvent:
    """Decode one line of a watch; raises Expired for a 410, BadAnswer for any other ERROR or what is not an event."""
    try:
        event = _line_decoders[resource].decode(line)
    except NOT_JSON as error:
        return _decode_bookmark(resource, line, error)
    if event.type not in ("ADDED", "MODIFIED", "DELETED"):
        return _decode_bookmark(resource, line, None)
    item = event.object
    if item.kind != _KIND[resource]:
        raise BadAnswer(f"The cluster sent a {item.kind} in a watch of {resource.value}.")
    model = item.model()
    return WatchEvent(model.resource_version, Deleted(model) if event.type == "DELETED" else Put(model))


def _decode_bookmark(resource: Resource, line: bytes, problem: Exception | None) -> WatchEvent:
    """Decode a line that is not about an object: a bookmark or an ERROR; raises BadAnswer for anything else."""
    try:
        event = _raw_line_decoder.decode(line)
        if event.type == "BOOKMARK":
            metadata = _bookmark_decoder.decode(event.object).metadata
            initial_events_end = metadata.annotations is not None and metadata.annotations.initial_events_end == "true"
            return WatchEvent(metadata.resourceVersion, None, initial_events_end)
        if event.type == "ERROR":
            raise _error_event(_status_decoder.decode(event.object))
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster sent what is not an event of {resource.value}: {error}.") from error
    if problem is None:
        raise BadAnswer(f"The cluster sent an event of the unknown type '{event.type}'.")
    raise BadAnswer(f"The cluster sent what is not an event of {resource.value}: {problem}.") from problem


def _error_event(status: Status) -> Expired | BadAnswer:
    if status.code == 410 or status.reason in ("Expired", "Gone"):
        return Expired(f"The watch is too old: {status.message}")
    return BadAnswer(f"The cluster ended the watch with an error ({status.code} {status.reason}): {status.message}")


def decode_namespace(body: bytes) -> Namespace:
    """Decode a single Namespace; raises BadAnswer if it is not one."""
    try:
        item = _item_decoders[Resource.NAMESPACES].decode(body)
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a Namespace: {error}.") from error
    return Namespace(item.metadata.name, item.metadata.uid, item.metadata.resourceVersion)


def decode_review(body: bytes) -> bool:
    """Decode the verdict of a SubjectAccessReview; raises BadAnswer if there is none or the cluster cannot decide."""
    try:
        status = _review_decoder.decode(body).status
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a SubjectAccessReview: {error}.") from error
    if status.evaluationError and not status.allowed:
        raise BadAnswer(f"The cluster could not decide: {clean(status.evaluationError, MESSAGE_LENGTH)}")
    return status.allowed


def decode_status(body: bytes) -> Status:
    """Decode the Status that came with a refusal; whatever is not a Status counts as an empty one."""
    try:
        return _status_decoder.decode(body)
    except NOT_JSON:
        return Status()
