"""Bytes of lists and watches into model objects: pages, and lines of events.

A page is decoded in one go; should one object in it be of a shape that Kubernetes promises never to send, or too large,
the page is decoded again object by object, and that one is told as unreadable, so that it cannot keep the others from
being served.
"""

from contextlib import suppress
from sys import intern
from typing import Final

import msgspec
from msgspec import Raw, Struct
from twisted.logger import Logger

from sre_server.cluster.decoding import NOT_JSON, Status
from sre_server.cluster.heads import Head, head_of_event, head_of_list, head_of_object
from sre_server.cluster.kinds import KINDS, LineOf, PageOf
from sre_server.cluster.lines import Cut, Line
from sre_server.cluster.scalings import unreadable_scaling
from sre_server.cluster.workloads import unreadable_autoscaler
from sre_server.errors import BadAnswer, Expired
from sre_server.model import Namespace, Object, Unreadable
from sre_server.news import Change, Deleted, Put, Resource
from sre_server.texts import is_clean, is_deployment_name, is_namespace_name


class _BookmarkAnnotations(Struct, rename={"initial_events_end": "k8s.io/initial-events-end"}):
    initial_events_end: str = ""


class _BookmarkMetadata(Struct):
    resourceVersion: str
    annotations: _BookmarkAnnotations | None = None


class _Bookmark(Struct):
    metadata: _BookmarkMetadata


class Page(Struct, frozen=True):
    """One page of a list: its objects, the resourceVersion of the whole list, and the token of the next page or ''."""

    objects: list[Object]
    resource_version: str
    next_token: str


class WatchEvent(Struct, frozen=True, gc=False):
    """One line of a watch: the resourceVersion that it brings us to, or "", and the change, or None for a bookmark.

    `initial_events_end` marks the bookmark after the initial events of a streamed list (KEP-3157).
    """

    resource_version: str
    change: Change | None
    initial_events_end: bool = False


_CHANGES: Final = frozenset({"ADDED", "MODIFIED", "DELETED"})
_TOO_LARGE: Final = "it is larger than Kubernetes would store"
_raw_page_decoder: Final = msgspec.json.Decoder(PageOf[Raw])
_raw_line_decoder: Final = msgspec.json.Decoder(LineOf[Raw])
_bookmark_decoder: Final = msgspec.json.Decoder(_Bookmark)
_status_decoder: Final = msgspec.json.Decoder(Status)

_log = Logger()


def decode_page(resource: Resource, body: bytes | bytearray) -> Page:
    """Decode one page of a list, objects that cannot be read as such; raises BadAnswer if it is no list."""
    try:
        page = KINDS[resource].page.decode(body)
        objects = [item.model() for item in page.items or ()]
    except NOT_JSON:
        page, objects = _decode_page_item_by_item(resource, body)
    return Page(objects, _clean(page.metadata.resourceVersion), page.metadata.continue_)


def _decode_page_item_by_item(resource: Resource, body: bytes | bytearray) -> tuple[PageOf[Raw], list[Object]]:
    try:
        page = _raw_page_decoder.decode(body)
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a list of {resource.value}: {error}.") from error
    objects = []
    for raw in page.items or ():
        item: Object | None
        try:
            item = _decode_item(resource, raw)
        except NOT_JSON as error:
            item = _unreadable(resource, head_of_object(memoryview(raw)), str(error))
        if item is not None:
            objects.append(item)
    return page, objects


def _decode_item(resource: Resource, raw: Raw) -> Object:
    """Decode an object by itself, as far as it makes sense; raises one of NOT_JSON."""
    kind = KINDS[resource]
    try:
        item: Object = kind.item.decode(raw).model()
    except NOT_JSON:
        item = kind.plain.decode(raw).model()
    return item


def _decode_plain(resource: Resource, raw: Raw) -> Object | None:
    """Decode what is needed most of an object; None if even that makes no sense, or it is of another kind."""
    with suppress(*NOT_JSON):
        found = KINDS[resource].plain.decode(raw)
        item: Object = found.model()
        return item if found.kind == KINDS[resource].name else None
    return None


def _change(kind: str, item: Object) -> WatchEvent:
    return WatchEvent(item.resource_version, Deleted(item) if kind == "DELETED" else Put(item))


def _clean(version: str) -> str:
    if not is_clean(version):
        raise BadAnswer("The cluster sent a resourceVersion with characters that Kubernetes never uses.")
    return version


def decode_cut_page(resource: Resource, body: bytes | bytearray) -> Page:
    """Decode the beginning of a page that holds a single object, which is too large; raises BadAnswer if it is none."""
    head = head_of_list(body)
    item = _unreadable(resource, head.first, _TOO_LARGE)
    if item is None:
        raise BadAnswer(f"The cluster's answer is larger than a list of one of the {resource.value} can be.")
    return Page([item], _clean(head.resource_version), head.next_token)


def _unreadable(resource: Resource, head: Head, why: str) -> Object | None:
    """Make the best of an object that cannot be read: of all but a Deployment it counts that it is there.

    Returns None, and logs that the object is left out, if even its name makes no sense.
    """
    uid, version = (text if is_clean(text) else "" for text in (head.uid, head.resource_version))
    if resource is Resource.NAMESPACES and is_namespace_name(head.name):
        return Namespace(head.name, uid, version)
    named = is_namespace_name(head.namespace) and is_deployment_name(head.name)
    if resource is Resource.AUTOSCALERS and named:
        _log.warn("the autoscaler {head.namespace}/{head.name} cannot be read: {why}", head=head, why=why)
        return unreadable_autoscaler(head.namespace, head.name, uid, version)
    if resource is Resource.SCALINGS and named:
        return unreadable_scaling(head.namespace, head.name, uid, version)
    if resource is Resource.DEPLOYMENTS and named:
        item = Unreadable(intern(head.namespace), head.name, uid, version, why=why)
        _log.warn("the Deployment {item.namespace}/{item.name} cannot be read: {item.why}", item=item)
        return item
    _log.error("one of the {resource} is left out, as it has no proper name: {why}", resource=resource.value, why=why)
    return None


def decode_line(resource: Resource, line: Line) -> WatchEvent:
    """Decode one line of a watch; raises Expired for a 410, BadAnswer for any other ERROR and for what is no event."""
    if isinstance(line, Cut):
        too_long = BadAnswer("The cluster sent a line that is too long.")
        return _decode_unreadable(resource, line.head, too_long, _TOO_LARGE)
    try:
        event = KINDS[resource].line.decode(line)
        if event.type not in _CHANGES or event.object.kind != KINDS[resource].name:
            return _decode_other(resource, line, None)
        model = event.object.model()
    except NOT_JSON as error:
        return _decode_other(resource, line, error)
    return _change(event.type, model)


def _decode_unreadable(resource: Resource, line: bytes | bytearray, otherwise: BadAnswer, why: str) -> WatchEvent:
    """Tell by its beginning which object a line is of that cannot be read; raises `otherwise` if it does not say."""
    kind, head = head_of_event(line)
    if kind not in _CHANGES or head.kind != KINDS[resource].name:
        raise otherwise
    item = _unreadable(resource, head, why)
    if item is None:
        raise otherwise
    return _change(kind, item)


def _decode_other(resource: Resource, line: bytes | bytearray, problem: Exception | None) -> WatchEvent:
    """Decode a line that has no object to be read, or is of another type: a bookmark, an ERROR, or none of ours."""
    try:
        event = _raw_line_decoder.decode(line)
        if event.type == "BOOKMARK":
            metadata = _bookmark_decoder.decode(event.object).metadata
            initial_events_end = metadata.annotations is not None and metadata.annotations.initial_events_end == "true"
            return WatchEvent(_clean(metadata.resourceVersion), None, initial_events_end)
        if event.type == "ERROR":
            raise _error_event(_status_decoder.decode(event.object))
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster sent what is not an event of {resource.value}: {error}.") from error
    if event.type not in _CHANGES:
        raise BadAnswer("The cluster sent an event of an unknown type.")
    if problem is not None and (found := _decode_plain(resource, event.object)) is not None:
        return _change(event.type, found)
    why = problem or "it is of another kind"
    otherwise = BadAnswer(f"The cluster sent what is not an event of {resource.value}: {why}.")
    if problem is None:
        raise otherwise
    return _decode_unreadable(resource, line, otherwise, str(problem))


def _error_event(status: Status) -> Expired | BadAnswer:
    if status.code == 410 or status.reason in ("Expired", "Gone"):
        return Expired(f"The watch is too old: {status.message}")
    return BadAnswer(f"The cluster ended the watch with an error ({status.code} {status.reason}): {status.message}")
