"""What a new simulated cluster holds: namespaces and Deployments with believable names."""

from collections.abc import Collection, Iterator

import msgspec

from sre_server.simulator.kinds import AUTOSCALERS, BUDGETS, CONFIG_MAPS, QUOTAS, Key, Kind, Object

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


class Inhabitant(msgspec.Struct, frozen=True):
    """A Deployment of the starting population.

    `manager` is the program that wrote it, `image` another one than its own, `pool` where alone its pods may run.
    """

    namespace: str
    name: str
    replicas: int
    manager: str = "kubectl-create"
    image: str = ""
    pool: str = ""


_KNOWN = (
    Inhabitant("shop", "storefront", 6),
    Inhabitant("shop", "cart", 3),
    Inhabitant("payments", "gateway", 4),
    Inhabitant("kube-system", "coredns", 2),
    Inhabitant("monitoring", "grafana", 1, image="images.example/monitoring/grafana:withdrawn"),
    Inhabitant("shop", "checkout", 3, manager="kubectl-client-side-apply"),
    Inhabitant("payments", "ledger", 3),
    Inhabitant("shop", "catalog", 5, manager="argocd-controller"),
    Inhabitant("monitoring", "alert-router", 2),
    Inhabitant("payments", "fraud-check", 2),
    Inhabitant("default", "status-page", 1, pool="edge"),
    Inhabitant("shop", "recommendations", 0),
    Inhabitant("kube-system", "metrics-server", 1),
)

_PARTS = ("orders", "mail", "billing", "export", "session", "quota", "report", "webhook", "geo", "stock", "audit")
_ROLES = ("api", "worker", "consumer", "gateway", "scheduler", "proxy", "indexer")
_PER_TEAM = 200


def inhabitants(count: int) -> Iterator[Inhabitant]:
    """Yield the first `count` Deployments; the same ones every time."""
    yield from _KNOWN[:count]
    for number in range(count - len(_KNOWN)):
        part, role = _PARTS[number % len(_PARTS)], _ROLES[number % len(_ROLES)]
        team = f"team-{number // _PER_TEAM:03d}"
        yield Inhabitant(team, f"{part}-{role}-{number:05d}", number * 5 % 7)


def surroundings(present: Collection[Key]) -> Iterator[tuple[Kind, str, Object]]:
    """Yield, with kind and namespace, what bounds those Deployments that are present; and a ConfigMap for notes."""
    yield CONFIG_MAPS, "default", {"metadata": {"name": "temporary-counts", "namespace": "default"}}
    if ("shop", "storefront") in present:
        yield AUTOSCALERS, "shop", _autoscaler("shop", "storefront", 3, 10)
    if ("payments", "gateway") in present:
        yield QUOTAS, "payments", _named("payments", "payments", {"hard": {"pods": "12"}})
    if ("payments", "ledger") in present:
        labels = {"app.kubernetes.io/name": "ledger"}
        yield (
            BUDGETS,
            "payments",
            _named("payments", "ledger", {"minAvailable": 2, "selector": {"matchLabels": labels}}),
        )


def _autoscaler(namespace: str, name: str, minimum: int, maximum: int) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    metrics = [{"type": "Resource", "resource": cpu}]
    spec = {"scaleTargetRef": target, "minReplicas": minimum, "maxReplicas": maximum, "metrics": metrics}
    return _named(namespace, name, spec)


def _named(namespace: str, name: str, spec: Object) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": spec}


def namespaces(count: int) -> list[str]:
    """Return every namespace of a cluster that starts with `count` Deployments."""
    teams = -(-max(0, count - len(_KNOWN)) // _PER_TEAM)
    return [*NAMESPACES, *(f"team-{number:03d}" for number in range(teams))]
