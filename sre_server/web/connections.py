"""Who is connected: how many connections there are, of which address and whose, and how many more there may be."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from sre_server.errors import TooManyRequests
from sre_server.security.limits import Rate, TokenBuckets
from sre_server.telemetry.metrics import Metrics

_ALL: Final = ""


class ConnectionLimits(Struct, frozen=True):
    """How many connections may be open at a time, and how many handshakes may begin; None is without limit."""

    total: int | None = None
    per_address: int | None = None
    per_identity: int | None = None
    handshakes: Rate | None = None


class Connections:
    """Counts connections in and out; `now` is a monotonic clock in seconds."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics, now: Callable[[], float]) -> None:
        self._limits = limits
        self._metrics = metrics
        self._handshakes = _handshake_buckets(limits.handshakes, now) if limits.handshakes else ()
        self._open = 0
        self._of_address: Counter[str] = Counter()
        self._of_identity: Counter[str] = Counter()

    def admits(self, address: str) -> bool:
        """Tell whether one more connection, from this address, may begin its handshake."""
        limits = self._limits
        if limits.total is not None and self._open >= limits.total:
            reason = "total"
        elif limits.per_address is not None and self._of_address[address] >= limits.per_address:
            reason = "address"
        elif not self._may_shake_hands(address):
            reason = "handshakes"
        else:
            return True
        self._metrics.connections_refused.labels(reason).inc()
        return False

    def _may_shake_hands(self, address: str) -> bool:
        return all(buckets.take(whom).allowed for buckets, whom in zip(self._handshakes, (address, _ALL), strict=False))

    def opened(self, address: str) -> None:
        """Count a connection in."""
        self._open += 1
        self._of_address[address] += 1
        self._metrics.connections.inc()

    def identified(self, name: str) -> None:
        """Note who is at the other end of one more connection; raises TooManyRequests if that is one too many."""
        limit = self._limits.per_identity
        if limit is not None and self._of_identity[name] >= limit:
            self._metrics.connections_refused.labels("identity").inc()
            self._metrics.by_identity.refused(name, "too many connections")
            raise TooManyRequests(f"'{name}' has {limit} connections already, and that is the limit.", 1)
        self._of_identity[name] += 1

    def closed(self, address: str, name: str | None) -> None:
        """Count a connection out, and whose it was if that was noted."""
        self._open -= 1
        _count_out(self._of_address, address)
        if name is not None:
            _count_out(self._of_identity, name)
        self._metrics.connections.dec()

    @property
    def identities(self) -> int:
        """How many different clients have a connection open, of those that were identified."""
        return len(self._of_identity)


def _handshake_buckets(rate: Rate, now: Callable[[], float]) -> tuple[TokenBuckets, TokenBuckets]:
    """Return a bucket for each address, and one for all: no address may use up more than half of what there is."""
    half = Rate(rate.per_second / 2, max(1, rate.burst // 2))
    return TokenBuckets(half, now), TokenBuckets(rate, now)


def _count_out(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
