"""Token buckets: how often each client may ask, kept for a bounded number of clients."""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from msgspec import Struct

MAX_CLIENTS: Final = 10_000
_LOWEST: Final = 0.001
_HIGHEST: Final = 1_000_000
_LARGEST: Final = 10_000_000
RATE_RULE: Final = (
    f"RATE or RATE:BURST, such as 10:50, from {_LOWEST} to {_HIGHEST} a second and 1 to {_LARGEST} at once"
)


class Rate(Struct, frozen=True):
    """The rate that is sustained, per second, and the burst that is allowed after a pause."""

    per_second: float
    burst: int


class Allowance(Struct, frozen=True):
    """Whether a request may pass, how many more may at once, and, if none, the seconds until one may."""

    allowed: bool
    remaining: int
    wait: float


class _Bucket(Struct):
    tokens: float
    at: float


class TokenBuckets:
    """One bucket for each client; `now` is a monotonic clock in seconds.

    Of more than MAX_CLIENTS, the one that was not used for the longest time is forgotten: its client begins anew, with
    a full bucket. To gain by that, a client would need ten thousand names from its CA.
    """

    def __init__(self, rate: Rate, now: Callable[[], float]) -> None:
        self.rate = rate
        self._now = now
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def take(self, client: Hashable) -> Allowance:
        """Take one token from the client's bucket if there is one."""
        left = self.left_after_one(client)
        if left < 0:
            return Allowance(allowed=False, remaining=0, wait=(1 - self._buckets[client].tokens) / self.rate.per_second)
        return Allowance(allowed=True, remaining=left, wait=0.0)

    def left_after_one(self, client: Hashable) -> int:
        """Take one token as `take` does; return how many are left, or -1 if there was none."""
        now, bucket = self._now(), self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(float(self.rate.burst), now)
            if len(self._buckets) > MAX_CLIENTS:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(client)
            if now > bucket.at:
                bucket.tokens = min(self.rate.burst, bucket.tokens + (now - bucket.at) * self.rate.per_second)
            bucket.at = now
        if bucket.tokens < 1:
            return -1
        bucket.tokens -= 1
        return int(bucket.tokens)

    def charge(self, client: Hashable, tokens: int) -> Allowance:
        """Take more tokens for what turned out to cost more, at most a whole burst; they may have to be earned yet."""
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(float(self.rate.burst), self._now())
        bucket.tokens -= min(tokens, self.rate.burst)
        wait = (1 - bucket.tokens) / self.rate.per_second if bucket.tokens < 0 else 0.0
        return Allowance(allowed=True, remaining=max(0, int(bucket.tokens)), wait=wait)


def parse_rate(text: str) -> Rate:
    """Read `RATE` or `RATE:BURST`, per second; the burst is twice the rate unless given. Raises ValueError."""
    rate, _, burst = text.partition(":")
    per_second = float(rate)
    if not _LOWEST <= per_second <= _HIGHEST:
        raise ValueError
    at_once = int(burst) if burst else math.ceil(2 * per_second)
    if not 1 <= at_once <= _LARGEST:
        raise ValueError
    return Rate(per_second, at_once)
