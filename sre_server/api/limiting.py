"""How often clients ask: the tokens that requests take, and the fields that say what is left.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from sre_server.errors import TooManyRequests
from sre_server.security.authorization import Verb
from sre_server.security.limits import Rate, TokenBuckets
from sre_server.telemetry.metrics import Metrics
from sre_server.web.request import APIRequest

_READ: Final = Verb.READ.value


class RateLimits:
    """Takes tokens of `buckets`, which has some for each verb that is limited."""

    def __init__(self, buckets: Mapping[Verb, TokenBuckets], metrics: Metrics) -> None:
        self._buckets = buckets
        self._metrics = metrics
        self._policies = {verb: _policy(verb, each.rate) for verb, each in buckets.items()}
        self._reads = buckets.get(Verb.READ)
        self._read_policy = f"RateLimit-Policy: {self._policies.get(Verb.READ)}\r\nRateLimit: "

    def pass_read(self, client: str, extra_tokens: int) -> str | None:
        """Take the tokens of a read; return the fields that it gets, as text, or None, with nothing taken."""
        if (buckets := self._reads) is None:
            return ""
        left, wait = buckets.left_after_one(client), 0.0
        if left < 0:
            return None
        if extra_tokens:
            allowance = buckets.charge(client, extra_tokens)
            left, wait = allowance.remaining, allowance.wait
        return f"{self._read_policy}{_left(_READ, left, wait)}\r\n"

    def charge(self, request: APIRequest, client: str, verbs: Sequence[Verb]) -> None:
        """Take a token of each verb, and say what is left; raises TooManyRequests."""
        request.charged = True
        taken = {verb: self._buckets[verb].take(client) for verb in verbs if verb in self._buckets}
        if taken:
            request.setHeader("RateLimit-Policy", ", ".join(self._policies[verb] for verb in taken))
            left = [_left(verb.value, allowance.remaining, allowance.wait) for verb, allowance in taken.items()]
            request.setHeader("RateLimit", ", ".join(left))
        for verb, allowance in taken.items():
            if not allowance.allowed:
                self._metrics.throttled.labels(verb.value).inc()
                request.hold_back()
                rate = self._buckets[verb].rate
                what = "reads" if verb is Verb.READ else "writes" + (", as which this counts, too" if verbs[1:] else "")
                raise TooManyRequests(
                    f"Too many {what}: {rate.per_second:g} a second are allowed, {rate.burst} at once.",
                    max(1, math.ceil(allowance.wait)),
                )

    def charge_read(self, request: APIRequest) -> None:
        """Take a read's token for what anybody may ask, unless one was taken; raises TooManyRequests."""
        if not request.charged:
            self.charge(request, request.counted_for, (Verb.READ,))

    def charge_more(self, request: APIRequest, tokens: int) -> None:
        """Take the tokens that a read costs beside the one that it took when it was admitted, and say what is left."""
        if tokens and self._reads is not None and request.identity is not None:
            allowance = self._reads.charge(request.identity.name, tokens)
            request.setHeader("RateLimit", _left(_READ, allowance.remaining, allowance.wait))


def _policy(verb: Verb, rate: Rate) -> str:
    window = max(1, round(rate.burst / rate.per_second))
    return f'"{verb.value}";q={rate.burst};w={window}'


def _left(what: str, remaining: int, wait: float) -> str:
    return f'"{what}";r={remaining};t={math.ceil(wait)}'
