"""What both families do to write: read the count strictly, ask the cluster once, explain what does not exist."""

import json
import re
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

from sre_server.api.site import APIRequest
from sre_server.cache import ClusterCache
from sre_server.errors import Malformed, NotFound, UnsupportedMediaType
from sre_server.model import MAX_REPLICAS, Deployment

_RANGE: Final = f"0..{MAX_REPLICAS}"
_SHAPE: Final = f'The body must be a JSON object with exactly one integer "replicas" in {_RANGE}'
_WHOLE_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_JSON_TYPE: Final = re.compile(rb'application/json\s*(?:;\s*charset\s*=\s*"?utf-?8"?\s*)?', re.IGNORECASE)


class Writer:
    """Writes a count through `scale`, which asks the cluster and fails with errors of the domain."""

    def __init__(self, cache: ClusterCache, scale: Callable[[str, str, int], Deferred[Deployment]]) -> None:
        self._cache = cache
        self._scale = scale

    async def scale(self, namespace: str, name: str, replicas: int) -> Deployment:
        """Set the desired count and return the Deployment as it then is.

        The cluster decides what exists, as it may know of a Deployment that the watch has yet to tell of. Raises
        NotFound, saying which of the two does not exist, and whatever the cluster's refusal is.
        """
        self._cache.check_synced()
        self._cache.check_served(namespace)
        try:
            return await self._scale(namespace, name, replicas)
        except NotFound:
            self._cache.deployments_in(namespace)
            raise


def replicas_in_path(text: str) -> int:
    """Read the count that ends a URL of family B; raises Malformed for all but plain decimal digits in range."""
    if not _WHOLE_NUMBER.fullmatch(text) or int(text) > MAX_REPLICAS:
        raise Malformed(f"The replica count must be a whole number in {_RANGE}.")
    return int(text)


def replicas_in_body(request: APIRequest) -> int:
    """Read the count from a body of family A; raises Malformed, or UnsupportedMediaType if it is not sent as JSON."""
    media_type = request.getHeader(b"content-type")
    if (media_type is not None and not _JSON_TYPE.fullmatch(media_type)) or request.getHeader(b"content-encoding"):
        raise UnsupportedMediaType("The body must be plain UTF-8 JSON, sent with 'Content-Type: application/json'.")
    try:
        pairs = json.loads(request.content.read().decode("utf-8"), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{_SHAPE}; this is not JSON.") from error
    if not isinstance(pairs, _Pairs) or [key for key, _ in pairs] != ["replicas"]:
        raise Malformed(f"{_SHAPE}, and nothing else.")
    replicas = pairs[0][1]
    if type(replicas) is not int or not 0 <= replicas <= MAX_REPLICAS:
        raise Malformed(f"{_SHAPE}.")
    return replicas


class _Pairs(list[tuple[str, object]]):
    """A JSON object with its repeated keys."""
