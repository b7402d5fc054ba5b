"""What a new simulated cluster holds: namespaces and Deployments with believable names."""

from collections.abc import Iterator

import msgspec

NAMESPACES = (
    "default",
    "kube-node-lease",
    "kube-public",
    "kube-system",
    "monitoring",
    "payments",
    "shop",
    "staging",
)

_KNOWN = (
    ("shop", "storefront", 6),
    ("shop", "cart", 3),
    ("payments", "gateway", 4),
    ("kube-system", "coredns", 2),
    ("monitoring", "grafana", 1),
    ("shop", "checkout", 3),
    ("payments", "ledger", 3),
    ("shop", "catalog", 5),
    ("monitoring", "alert-router", 2),
    ("payments", "fraud-check", 2),
    ("default", "status-page", 1),
    ("shop", "recommendations", 0),
    ("kube-system", "metrics-server", 1),
)

_PARTS = ("orders", "mail", "billing", "export", "session", "quota", "report", "webhook", "geo", "stock", "audit")
_ROLES = ("api", "worker", "consumer", "gateway", "scheduler", "proxy", "indexer")
_PER_TEAM = 200


class Inhabitant(msgspec.Struct, frozen=True):
    """A Deployment of the starting population."""

    namespace: str
    name: str
    replicas: int


def inhabitants(count: int) -> Iterator[Inhabitant]:
    """Yield the first `count` Deployments; the same ones every time."""
    for namespace, name, replicas in _KNOWN[:count]:
        yield Inhabitant(namespace, name, replicas)
    for number in range(count - len(_KNOWN)):
        part, role = _PARTS[number % len(_PARTS)], _ROLES[number % len(_ROLES)]
        team = f"team-{number // _PER_TEAM:03d}"
        yield Inhabitant(team, f"{part}-{role}-{number:05d}", number * 5 % 7)


def namespaces(count: int) -> list[str]:
    """Return every namespace of a cluster that starts with `count` Deployments."""
    teams = -(-max(0, count - len(_KNOWN)) // _PER_TEAM)
    return [*NAMESPACES, *(f"team-{number:03d}" for number in range(teams))]
