"""The kinds of routes that a family has: reads and writes of one Deployment, and lists; each passes the gate.

A kind asks for its own verb, so that no route can forget to. What reads the cache is noted as a `Read`, too, for the
fast lane to look it up.
"""

import math
import re
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Final, Protocol, cast

from klein import Klein
from msgspec import Struct

from sre_server.api.bodies import Body, warning_of
from sre_server.api.gate import Gate, map_now_or_later
from sre_server.api.routing import SEGMENT, Handler, json_route, template_of
from sre_server.cache import ClusterCache
from sre_server.model import Deployment
from sre_server.security.authorization import Tree, Verb
from sre_server.web.request import APIRequest

_MAX_STALE: Final = re.compile(r"(?:^|[\s,])max-stale(?:\s*=\s*\"?(\d{1,9})\"?)?(?=[\s,]|$)", re.IGNORECASE)
_NAME: Final = "([a-z0-9.-]+)"
"""Whatever could name something; what is in the cache has a proper name."""


class Read(Struct, frozen=True):
    """A route that reads the cache.

    `template` names it for metrics; `pattern` matches its path as it is commonly written, with a group for each of the
    `names` in it: a namespace, or a namespace and a Deployment. `look` takes those, without asking who wants to know.
    """

    template: str
    pattern: str
    names: int
    look: Callable[..., Body]


class Family(Protocol):
    """One of the two APIs: a cache to read, a gate before it, and the routes that read."""

    cache: ClusterCache
    gate: Gate
    reads: list[Read]


def read_route(app: Klein, reads: list[Read], rule: str) -> Callable[[Handler], Handler]:
    """Serve GET of one Deployment from the cache, to clients that may READ it; 503 unless the cache is fresh enough.

    The handler takes the `namespace` and the `name` of the rule, and returns a body.
    """

    def decorate(handler: Handler) -> Handler:
        def read(family: Family, request: APIRequest, namespace: str, name: str) -> object:
            identity = family.gate.admit(request, Verb.READ, namespace, name)

            def serve(_: None) -> object:
                _check_fresh(family.cache, request, namespace)
                return handler(family, namespace, name)

            return map_now_or_later(family.gate.permit(request, identity, Verb.READ, namespace, name), serve)

        json_route(app, rule)(wraps(handler)(read))
        reads.append(_read(rule, handler))
        return handler

    return decorate


def list_route(app: Klein, reads: list[Read], rule: str) -> Callable[[Handler], Handler]:
    """Serve GET of the Deployments of one namespace, or of all, as far as the client may READ them.

    The handler takes the tree of them, by namespace and name, or those of one namespace, by name, and the `namespace`
    if the rule has one; it returns a body.
    """

    def decorate(handler: Handler) -> Handler:
        def read(family: Family, request: APIRequest, namespace: str | None = None) -> object:
            identity = family.gate.admit(request, Verb.READ, namespace, None)

            def serve(readable: Tree[Deployment]) -> object:
                _check_fresh(family.cache, request, namespace)
                return show(family, readable, namespace)

            tree = family.cache.tree(namespace)
            return map_now_or_later(family.gate.readable(request, identity, tree, namespace), serve)

        def show(family: Family, tree: Tree[Deployment], namespace: str | None) -> object:
            if namespace is None:
                return handler(family, tree)
            family.cache.check_namespace(namespace)
            return handler(family, tree[namespace], namespace)

        def look(family: Family, namespace: str | None = None) -> object:
            return show(family, family.cache.tree(namespace), namespace)

        json_route(app, rule)(wraps(handler)(read))
        reads.append(_read(rule, look))
        return handler

    return decorate


def write_route(app: Klein, rule: str) -> Callable[[Handler], Handler]:
    """Serve PUT of one Deployment to clients that may SCALE it; the handler is a coroutine of request and identity."""

    def decorate(handler: Handler) -> Handler:
        async def write(family: Family, request: APIRequest, namespace: str, name: str, **more: str) -> object:
            identity = family.gate.admit(request, Verb.SCALE, namespace, name)
            permitted = family.gate.permit(request, identity, Verb.SCALE, namespace, name)
            if permitted is not None:
                await permitted
            return await cast("Awaitable[object]", handler(family, request, identity, namespace, name, **more))

        json_route(app, rule, "PUT")(wraps(handler)(write))
        return handler

    return decorate


def _read(rule: str, look: Callable[..., object]) -> Read:
    pattern = SEGMENT.sub(_NAME, rule)
    return Read(template_of(rule), pattern, len(SEGMENT.findall(rule)), cast("Callable[..., Body]", look))


def _check_fresh(cache: ClusterCache, request: APIRequest, namespace: str | None) -> None:
    """Raise Unavailable unless what is known is fresh enough for this client; say how old it is, and what it lacks."""
    tolerance = max_stale(request.getHeader(b"cache-control"))
    if namespace is not None:
        cache.check_served(namespace)
    cache.check_synced(namespace, tolerance)
    request.setHeader(b"Age", shown_age(cache.age(namespace)))
    request.setHeader(b"Cache-Control", b"no-cache")
    known = cache.check_fresh(namespace, tolerance)
    if known.missing:
        request.responseHeaders.addRawHeader(b"Warning", warning_of("what was not read yet is left out", known.missing))


def shown_age(age: float) -> bytes:
    """Return the value of an Age field (RFC 9111, 5.1): whole seconds, rounded up, so that it never says too little."""
    return b"%d" % math.ceil(age)


def max_stale(cache_control: bytes | None) -> float:
    """Seconds past the staleness bound that a client accepts by `Cache-Control: max-stale[=N]` (RFC 9111, 5.2.1.2)."""
    asked = _MAX_STALE.search(cache_control.decode("latin-1")) if cache_control else None
    if asked is None:
        return 0.0
    return float(asked[1]) if asked[1] else float("inf")
