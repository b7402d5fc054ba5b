"""Lists: which version they show, and how they are cut into pages."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from itertools import islice

import msgspec

from sre_server.simulator import selecting
from sre_server.simulator.collection import Collection
from sre_server.simulator.kinds import Key, Object
from sre_server.simulator.queries import Options
from sre_server.simulator.statuses import Refusal, too_large


def list_page(collection: Collection, namespace: str, options: Options, current: int) -> bytes:
    """Return the JSON of a list, or of a page of it; `current` is the cluster's version."""
    if options.resource_version > current:
        raise too_large(options.resource_version, current)
    version, after = current, ("", "")
    if options.continue_token:
        version, after = _continued(options.continue_token)
    items = collection.items(version, namespace, after)
    select = selecting.selector(options.field_selector, options.label_selector)
    selected = (stored for stored in items if select(stored))
    page = list(islice(selected, options.limit or None))
    metadata: Object = {"resourceVersion": str(version)}
    if next(selected, None) is not None:
        metadata["continue"] = _token(version, page[-1].key)
    kind = collection.kind
    return b'{"kind":"%bList","apiVersion":"%b","metadata":%b,"items":[%b]}\n' % (
        kind.name.encode(),
        kind.api_version.encode(),
        msgspec.json.encode(metadata),
        b",".join(stored.body for stored in page),
    )


def _token(version: int, after: Key) -> str:
    return urlsafe_b64encode(msgspec.json.encode((version, after))).decode()


def _continued(token: str) -> tuple[int, Key]:
    try:
        return msgspec.json.decode(urlsafe_b64decode(token), type=tuple[int, Key])
    except ValueError as error:
        raise Refusal(400, f"continue key is not valid: {error}") from error
