"""Who is connected: how many connections there are, of which address and whose, and how many more there may be."""

from collections import Counter, OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_network
from typing import Final

from msgspec import Struct

from sre_server.errors import TooManyRequests
from sre_server.security.limits import Rate, TokenBuckets
from sre_server.telemetry.metrics import Metrics

PROVEN_NETWORKS: Final = 10_000
"""So many networks are remembered for having had a client with a certificate, those of the latest clients."""
_ALL: Final = "all"
_STRANGERS: Final = "strangers"


class ConnectionLimits(Struct, frozen=True):
    """How many connections may be open at a time, and how many handshakes may begin; None is without limit."""

    total: int | None = None
    per_address: int | None = None
    per_identity: int | None = None
    handshakes: Rate | None = None


class Connections:
    """Counts connections in and out; `now` is a monotonic clock in seconds.

    An address stands for its network where that is one client's own: a /64 of IPv6 (RFC 6177).
    """

    def __init__(self, limits: ConnectionLimits, metrics: Metrics, now: Callable[[], float]) -> None:
        self._limits = limits
        self._metrics = metrics
        self._handshakes = _Handshakes(limits.handshakes, now) if limits.handshakes else None
        self._open = 0
        self._of_network: Counter[str] = Counter()
        self._of_identity: Counter[str] = Counter()

    @property
    def _is_full(self) -> bool:
        return self._limits.total is not None and self._open >= self._limits.total

    def admits(self, address: str, make_room: Callable[[], object]) -> bool:
        """Tell whether there is room for one more connection from this address, once `make_room` did what it can."""
        limit = self._limits.per_address
        if limit is not None and self._of_network[network_of(address)] >= limit:
            return self._refused("address")
        if self._is_full:
            make_room()
        return not self._is_full or self._refused("total")

    def may_shake_hands(self, address: str) -> bool:
        """Tell whether a connection from this address may have its handshake, which is the costly part, now."""
        if self._handshakes is None or self._handshakes.take(network_of(address)):
            return True
        return self._refused("handshakes")

    def _refused(self, reason: str) -> bool:
        self._metrics.connections_refused.labels(reason).inc()
        return False

    def opened(self, address: str) -> None:
        """Count a connection in."""
        self._open += 1
        self._of_network[network_of(address)] += 1

    def identified(self, address: str, name: str) -> None:
        """Note who is at the other end of one more connection; raises TooManyRequests if that is one too many."""
        if self._handshakes is not None:
            self._handshakes.proved(network_of(address))
        limit = self._limits.per_identity
        if limit is not None and self._of_identity[name] >= limit:
            self._refused("identity")
            self._metrics.by_identity.refused(name, "too many connections")
            raise TooManyRequests(f"'{name}' has {limit} connections already, and that is the limit.", 1)
        self._of_identity[name] += 1

    def closed(self, address: str, name: str | None) -> None:
        """Count a connection out, and whose it was if that was noted."""
        self._open -= 1
        _count_out(self._of_network, network_of(address))
        if name is not None:
            _count_out(self._of_identity, name)

    @property
    def identities(self) -> int:
        """How many different clients have a connection open, of those that were identified."""
        return len(self._of_identity)


class _Handshakes:
    """Buckets of handshakes: at most half of all are one network's, and half those of networks with no client yet."""

    def __init__(self, rate: Rate, now: Callable[[], float]) -> None:
        half = Rate(rate.per_second / 2, max(1, rate.burst // 2))
        self._halves = TokenBuckets(half, now)
        self._all = TokenBuckets(rate, now)
        self._proven: OrderedDict[str, None] = OrderedDict()

    def take(self, network: str) -> bool:
        """Take a token for a network, if there is one."""
        if not self._halves.take(network).allowed:
            return False
        if network not in self._proven and not self._halves.take(_STRANGERS).allowed:
            return False
        return self._all.take(_ALL).allowed

    def proved(self, network: str) -> None:
        """Remember that a client there has a certificate that is trusted."""
        self._proven[network] = None
        self._proven.move_to_end(network)
        if len(self._proven) > PROVEN_NETWORKS:
            self._proven.popitem(last=False)


@lru_cache(1024)
def network_of(address: str) -> str:
    """Return the network that an address stands for: the /64 of one of IPv6, and any other itself."""
    try:
        parsed = IPv6Address(address)
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), 64), strict=False))


def _count_out(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
