"""The kinds of routes that a family has: reads and writes of one Deployment, and lists; each passes the gate.

A kind asks for its own verb, so that no route can forget to. What reads the cache is noted as a `Read`, too, for the
fast lane to look it up.
"""

import math
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import Final, Protocol, cast

from klein import Klein
from msgspec import Struct
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from werkzeug.datastructures import RequestCacheControl
from werkzeug.http import parse_cache_control_header

from sre_server.api.bodies import Body, warning_of
from sre_server.api.gate import Gate, map_now_or_later
from sre_server.api.newness import Newness, Wanted, version_in
from sre_server.api.routing import SEGMENT, Handler, is_known_to, json_route, template_of
from sre_server.cache import ClusterCache
from sre_server.errors import NotFound
from sre_server.model import Deployment
from sre_server.security.authorization import Verb, View
from sre_server.security.identity import Identity
from sre_server.web.request import APIRequest

_NAME: Final = "([a-z0-9.-]+)"
"""Whatever could name something; what is in the cache has a proper name."""


class Read(Struct, frozen=True):
    """A route that reads the cache.

    `template` names it for metrics; `pattern` matches its path as it is commonly written, with a group for each of the
    `names` in it: a namespace, or a namespace and a Deployment. `look` takes the family, what the client is known to
    see, and those, without asking who wants to know. Where the body says nothing but what one Deployment does, `alone`
    makes it of that.
    """

    template: str
    pattern: str
    names: int
    look: Callable[..., Body | Deferred[Body]]
    alone: Callable[[Deployment], Body] | None = None


class Family(Protocol):
    """One of the two APIs: a cache to read, a gate before it, who waits for news of it, and the routes that read."""

    cache: ClusterCache
    gate: Gate
    newness: Newness
    reads: list[Read]


class BlockingFamily(Family, Protocol):
    """One whose clients may wait for news of a Deployment."""

    def hold(
        self, request: APIRequest, identity: Identity, namespace: str, name: str, draw: Callable[[], Body]
    ) -> Deferred[None] | None:
        """Have a client wait until it would be told news; see `sre_server.api.waiting.Waiting.hold`."""


def read_route(app: Klein, reads: list[Read], rule: str, *, blocking: bool = False) -> Callable[[Handler], Handler]:
    """Serve GET of one Deployment from the cache, to clients that may READ it; 503 unless the cache is fresh enough.

    The handler takes the `namespace` and the `name` of the rule, and returns a body. What is `blocking` may be waited
    for, until it is news to the client.
    """

    def decorate(handler: Handler) -> Handler:
        def read(family: Family, request: APIRequest, namespace: str, name: str) -> object:
            identity = family.gate.admit(request, Verb.READ, namespace, name)
            wanted = _wanted(request, namespace, name)

            def serve(_: None) -> object:
                _check_fresh(family, request, namespace, wanted)
                try:
                    return handler(family, namespace, name)
                except NotFound as error:
                    raise family.gate.missing(identity, namespace, name, error) from None

            def permitted(then: Callable[[None], object]) -> object:
                return map_now_or_later(family.gate.permit(request, identity, Verb.READ, namespace, name), then)

            def after(waiting: Deferred[None] | None, then: Callable[[None], object]) -> object:
                return then(None) if waiting is None else waiting.addCallback(lambda _: permitted(then))

            def wait(_: None) -> object:
                return after(family.newness.wait(wanted), hold if blocking else serve)

            def hold(_: None) -> object:
                draw = cast("Callable[[], Body]", partial(handler, family, namespace, name))
                return after(cast("BlockingFamily", family).hold(request, identity, namespace, name, draw), serve)

            return permitted(wait)

        def look(family: Family, _: View, namespace: str, name: str) -> object:
            return handler(family, namespace, name)

        json_route(app, rule)(wraps(handler)(read))
        reads.append(_read(rule, look))
        return handler

    return decorate


def count_route(app: Klein, reads: list[Read], rule: str) -> Callable[[Callable[[Deployment], Body]], object]:
    """Serve GET of what one Deployment says by itself, as `read_route` does; the function makes the body of that."""

    def decorate(alone: Callable[[Deployment], Body]) -> object:
        def read(family: Family, namespace: str, name: str) -> Body:
            return alone(family.cache.deployment(namespace, name))

        read_route(app, reads, rule)(wraps(alone)(read))
        reads[-1] = replace(reads[-1], alone=alone)
        return alone

    return decorate


def list_route(
    app: Klein,
    reads: list[Read],
    rule: str,
    asked: Callable[[APIRequest], object] | None = None,
) -> Callable[[Handler], Handler]:
    """Serve GET of the Deployments of one namespace, or of all, as far as the client may READ them.

    The handler takes the client's view, and the `namespace` if the rule has one; it returns a body, or a Deferred of
    one. What `asked` reads off the request, where it is given, comes last, and keeps the route off the fast lane.
    """

    def decorate(handler: Handler) -> Handler:
        def read(family: Family, request: APIRequest, namespace: str | None = None) -> object:
            identity = family.gate.admit(request, Verb.READ, namespace, None)
            wanted = _wanted(request, namespace)
            named: list[object] = [] if namespace is None else [namespace]
            if asked is not None:
                named.append(asked(request))

            def view(_: None) -> object:
                return map_now_or_later(family.gate.view(request, identity, namespace), serve)

            def serve(view: View) -> object:
                _check_fresh(family, request, namespace, wanted)
                return map_now_or_later(look(family, view, *named), charged)

            def charged(body: Body) -> Body:
                if not is_known_to(request, body):
                    family.gate.limits.charge_more(request, body.extra_tokens())
                return body

            return map_now_or_later(family.newness.wait(wanted), view)

        def look(family: Family, view: View, *named: object) -> Body | Deferred[Body]:
            return cast("Body | Deferred[Body]", handler(family, view, *named))

        json_route(app, rule)(wraps(handler)(read))
        if asked is None:
            reads.append(_read(rule, look))
        return handler

    return decorate


def write_route(app: Klein, rule: str, method: str = "PUT", *charged: Verb) -> Callable[[Handler], Handler]:
    """Serve a method of one Deployment to clients that may SCALE it; the handler is a coroutine of what is `Permitted`.

    It takes a token of each verb in `charged`; of SCALE alone unless that says more.
    """

    def decorate(handler: Handler) -> Handler:
        async def write(family: Family, request: APIRequest, namespace: str, name: str, **more: str) -> object:
            identity = family.gate.admit(request, Verb.SCALE, namespace, name, *charged)
            permitted = await family.gate.permit_write(request, identity, namespace, name)
            try:
                return await cast("Awaitable[object]", handler(family, permitted, **more))
            except NotFound as error:
                raise family.gate.missing(identity, namespace, name, error) from None

        json_route(app, rule, method)(wraps(handler)(write))
        return handler

    return decorate


def _read(rule: str, look: Callable[..., object]) -> Read:
    pattern = SEGMENT.sub(_NAME, rule)
    return Read(
        template_of(rule), pattern, len(SEGMENT.findall(rule)), cast("Callable[..., Body | Deferred[Body]]", look)
    )


def _wanted(request: APIRequest, namespace: str | None, name: str | None = None) -> Wanted | None:
    """Return how new the cache must be for this client, if it says so."""
    version = version_in(request.getHeader(b"x-min-resource-version"))
    return None if version is None else Wanted(version, namespace, name)


def _check_fresh(family: Family, request: APIRequest, namespace: str | None, wanted: Wanted | None) -> None:
    """Raise Unavailable unless what is known is new enough for this client; say how old it is, and what it lacks."""
    cache = family.cache
    tolerance = max_stale(request.getHeader(b"cache-control"))
    if namespace is not None:
        cache.check_served(namespace)
    cache.check_synced(namespace, tolerance)
    request.setHeader(b"Age", shown_age(cache.age(namespace)))
    request.setHeader(b"Cache-Control", b"no-cache")
    known = cache.check_fresh(namespace, tolerance)
    family.newness.check(wanted)
    if known.missing:
        request.responseHeaders.addRawHeader(b"Warning", warning_of("what was not read yet is left out", known.missing))


def shown_age(age: float) -> bytes:
    """Return the value of an Age field (RFC 9111, 5.1): whole seconds, rounded up, so that it never says too little."""
    return b"%d" % math.ceil(age)


def max_stale(cache_control: bytes | None) -> float:
    """Seconds past the staleness bound that a client accepts by `Cache-Control: max-stale[=N]` (RFC 9111, 5.2.1.2)."""
    if not cache_control:
        return 0.0
    asked = parse_cache_control_header(cache_control.decode("latin-1").lower(), cls=RequestCacheControl).max_stale
    return float("inf") if asked is True else max(0.0, float(asked or 0))
