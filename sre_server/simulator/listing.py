"""Lists: which version they show, how they are cut into pages, how they are encoded."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec

from sre_server.simulator import tables
from sre_server.simulator.calls import ListOptions
from sre_server.simulator.collection import Collection, Slice, Stored
from sre_server.simulator.kinds import Kind, Object
from sre_server.simulator.selection import Filter, selection
from sre_server.simulator.statuses import (
    TOO_OLD_TO_CONTINUE,
    Refusal,
    bad_request,
    status,
    too_large,
)

_ANY_VERSION = -1


class Page(msgspec.Struct, frozen=True):
    """One page of a list, and what its metadata says."""

    version: int
    items: list[Stored]
    continue_token: str
    remaining: int | None

    def metadata(self) -> Object:
        """Return the ListMeta of the page."""
        meta: Object = {"resourceVersion": str(self.version)}
        if self.continue_token:
            meta["continue"] = self.continue_token
            if self.remaining is not None:
                meta["remainingItemCount"] = self.remaining
        return meta


class _Continue(msgspec.Struct):
    v: str
    rv: int
    start: str


def page(collection: Collection, namespace: str, options: ListOptions, current: int) -> Page:
    """Return the objects that a list asks for; `current` is the cluster's version."""
    prefix = f"{namespace}/" if namespace else ""
    wanted = selection(collection.kind, options.label_selector, options.field_selector)
    if options.continue_token:
        version, after = _continued(collection, options.continue_token, current)
    else:
        version, after = _version(collection, options, current), ""
    found = collection.slice(version if version != current else None, prefix, after)
    # The watch cache answers "any version" whole, whatever the limit.
    limit = 0 if options.version == 0 and not options.continue_token else options.limit
    return _cut(found, limit, wanted, version)


def encoded(kind: Kind, shown: Page) -> bytes:
    """Return a page as the typed list of its kind; its items carry no kind of their own."""
    head = b'{"kind":"%sList","apiVersion":"%s","metadata":' % (
        kind.name.encode(),
        kind.api_version.encode(),
    )
    items = b",".join(stored.body for stored in shown.items)
    return b"".join((head, msgspec.json.encode(shown.metadata()), b',"items":[', items, b"]}\n"))


def encoded_table(kind: Kind, shown: Page, now: float, include: str) -> bytes:
    """Return a page as a Table."""
    rows = [tables.row(kind, stored, now, include) for stored in shown.items]
    return tables.table(rows, tables.columns(kind), shown.metadata())


def _version(collection: Collection, options: ListOptions, current: int) -> int:
    asked = options.version
    if not asked:
        return current
    if asked > current:
        raise too_large(asked, current)
    if options.version_match == "Exact" or (options.limit and not options.version_match):
        if asked < collection.oldest:
            raise Refusal(status(410))
        return asked
    return current


def _cut(found: Slice, limit: int, wanted: Filter | None, version: int) -> Page:
    items: list[Stored] = []
    seen = 0
    while seen < len(found) and not (limit and len(items) == limit):
        stored = found.at(seen)
        seen += 1
        if wanted is None or wanted(stored):
            items.append(stored)
    left = len(found) - seen
    token = _token(version, found.at(seen - 1).key) if left else ""
    return Page(version, items, token, left if wanted is None else None)


def _continued(collection: Collection, token: str, current: int) -> tuple[int, str]:
    try:
        decoded = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        place = msgspec.json.decode(decoded, type=_Continue)
    except (binascii.Error, ValueError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    after = place.start.removesuffix("\0")
    if place.rv == _ANY_VERSION:
        return current, after
    if place.rv < collection.oldest or place.rv > current:
        metadata = {"continue": _token(_ANY_VERSION, after)}
        raise Refusal(status(410, TOO_OLD_TO_CONTINUE, metadata=metadata))
    return place.rv, after


def _token(version: int, after: str) -> str:
    place = _Continue("meta.k8s.io/v1", version, f"{after}\0")
    return urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")
