"""What bounds the pods of a namespace, as the API server writes it: quotas, disruption budgets, what one pod takes.

A request or limit that a template leaves out is not known: a LimitRange may add it. So is whatever else admission adds,
which a template cannot tell.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from sre_server.cluster.decoding import NOT_JSON, clean
from sre_server.cluster.loading import load_sparingly
from sre_server.errors import BadAnswer
from sre_server.model import Budget, Limit, Quota, Surroundings
from sre_server.texts import is_clean

_TEXT: Final = 128
PODS: Final = ("pods", "count/pods")
MEASURED: Final = ("cpu", "memory")


class _Named(Struct, frozen=True):
    name: str = ""


class _Expression(Struct, frozen=True):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] | None = None


class _Selector(Struct, frozen=True):
    matchLabels: Mapping[str, str] | None = None
    matchExpressions: tuple[_Expression, ...] | None = None

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether pods with these labels are selected; an empty selector selects every one."""
        if any(labels.get(key) != value for key, value in (self.matchLabels or {}).items()):
            return False
        return all(_fits(each, labels) for each in self.matchExpressions or ())


def _fits(expression: _Expression, labels: Mapping[str, str]) -> bool:
    value, values = labels.get(expression.key), expression.values or ()
    match expression.operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case _:
            return value is None


class _Resources(Struct, frozen=True):
    requests: Mapping[str, str | int | float] | None = None
    limits: Mapping[str, str | int | float] | None = None


class _Container(Struct, frozen=True):
    resources: _Resources = _Resources()
    restartPolicy: str = ""


class _PodSpec(Struct, frozen=True):
    containers: tuple[_Container, ...] = ()
    initContainers: tuple[_Container, ...] | None = None
    resources: _Resources | None = None
    overhead: Mapping[str, str | int | float] | None = None
    runtimeClassName: str | None = None


class _PodMetadata(Struct, frozen=True):
    labels: Mapping[str, str] | None = None


class _Template(Struct, frozen=True):
    metadata: _PodMetadata | None = None
    spec: _PodSpec = _PodSpec()


class _Spec(Struct, frozen=True):
    template: _Template


class _Status(Struct, frozen=True):
    replicas: int = 0


class _Metadata(Struct, frozen=True):
    uid: str


class Workload(Struct, frozen=True):
    """`apps/v1` Deployment, as far as its pods are concerned."""

    metadata: _Metadata
    spec: _Spec
    status: _Status | None = None

    def surroundings(self, quotas: tuple[Quota, ...] | None, budgets: "Iterable[BudgetObject] | None") -> Surroundings:
        """Tell what bears on its count, of these quotas and budgets of its namespace, which are None if not known."""
        metadata = self.spec.template.metadata
        labels = (metadata.labels if metadata else None) or {}
        covering = None if budgets is None else tuple(each.model() for each in budgets if each.covers(labels))
        pods = self.status.replicas if self.status else 0
        return Surroundings(self.metadata.uid, pods, _needs(self.spec.template.spec), quotas, covering)


def _needs(pod: _PodSpec) -> dict[str, Decimal]:
    needs = dict.fromkeys(PODS, Decimal(1))
    if pod.resources is not None or (pod.runtimeClassName and pod.overhead is None):
        return needs
    for resource in MEASURED:
        requested, limited = _taken(pod, resource, limits=False), _taken(pod, resource, limits=True)
        if requested is not None:
            needs[resource] = needs[f"requests.{resource}"] = requested
        if limited is not None:
            needs[f"limits.{resource}"] = limited
    return needs


def _taken(pod: _PodSpec, resource: str, *, limits: bool) -> Decimal | None:
    """Return what a pod takes, by KEP-753: its containers and sidecars, or what its init containers need before."""

    def of(container: _Container) -> Decimal | None:
        limit = (container.resources.limits or {}).get(resource)
        given = limit if limits else (container.resources.requests or {}).get(resource, limit)
        return None if given is None else quantity(given)

    peak = beside = Decimal(0)
    for container in pod.initContainers or ():
        taken = of(container)
        if taken is None:
            return None
        if container.restartPolicy == "Always":
            beside += taken
            taken = Decimal(0)
        peak = max(peak, beside + taken)
    total = beside
    for container in pod.containers:
        taken = of(container)
        if taken is None:
            return None
        total += taken
    return max(total, peak) + quantity((pod.overhead or {}).get(resource, 0))


class _QuotaSpec(Struct, frozen=True):
    hard: Mapping[str, str | int | float] | None = None
    scopes: tuple[str, ...] | None = None
    scopeSelector: msgspec.Raw = msgspec.Raw(b"null")


class _QuotaStatus(Struct, frozen=True):
    used: Mapping[str, str | int | float] | None = None


class _Quota(Struct, frozen=True):
    metadata: _Named
    spec: _QuotaSpec = _QuotaSpec()
    status: _QuotaStatus = _QuotaStatus()

    def model(self) -> Quota:
        hard, used = self.spec.hard or {}, self.status.used or {}
        selector = msgspec.json.decode(bytes(self.spec.scopeSelector), type=_ScopeSelector | None)
        selected = [each.scopeName for each in (selector.matchExpressions if selector else None) or ()]
        scopes = tuple(clean(scope, _TEXT) for scope in (*(self.spec.scopes or ()), *selected))
        stands = msgspec.json.encode([hard, scopes, bytes(self.spec.scopeSelector).decode()], order="sorted").decode()
        limits = tuple(_limit(resource, hard[resource], used.get(resource)) for resource in sorted(hard))
        return Quota(clean(self.metadata.name, 2 * _TEXT), stands, limits, scopes)


class _Scope(Struct, frozen=True):
    scopeName: str = ""


class _ScopeSelector(Struct, frozen=True):
    matchExpressions: tuple[_Scope, ...] | None = None


def _limit(resource: str, hard: str | float, used: str | float | None) -> Limit:
    most, taken = quantity(hard), quantity(0 if used is None else used)
    return Limit(clean(resource, _TEXT), str(hard), str(used or 0), most, most - taken)


class _BudgetSpec(Struct, frozen=True):
    minAvailable: str | int | None = None
    maxUnavailable: str | int | None = None
    selector: _Selector | None = None


class BudgetObject(Struct, frozen=True):
    """`policy/v1` PodDisruptionBudget."""

    metadata: _Named
    spec: _BudgetSpec = _BudgetSpec()

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Tell whether it is for pods with these labels; without a selector it is for none."""
        return self.spec.selector is not None and self.spec.selector.matches(labels)

    def model(self) -> Budget:
        """The budget as plans know it."""
        least, most = self.spec.minAvailable, self.spec.maxUnavailable
        texts = ["" if bound is None else clean(str(bound), _TEXT) for bound in (least, most)]
        return Budget(clean(self.metadata.name, 2 * _TEXT), *texts)


class _Quotas(Struct, frozen=True):
    items: list[_Quota] | None = None


class _Budgets(Struct, frozen=True):
    items: list[BudgetObject] | None = None


def quantity(text: str | float) -> Decimal:
    """Read a quantity of Kubernetes' (`500m`, `1Gi`); raises BadAnswer for what is none."""
    load_sparingly()
    from kubernetes.utils import parse_quantity  # noqa: PLC0415  # half of the start-up time: only when needed

    try:
        number: Decimal = parse_quantity(text)
    except (ValueError, ArithmeticError) as error:
        raise BadAnswer(f"The cluster's answer has '{clean(str(text), _TEXT)}' for a quantity.") from error
    return number


def decode_workload(body: bytes) -> Workload:
    """Decode a Deployment; raises BadAnswer if it is not one."""
    try:
        found = msgspec.json.decode(body, type=Workload)
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a Deployment: {error}.") from error
    if not is_clean(found.metadata.uid):
        raise BadAnswer("The cluster's answer has a uid with characters that Kubernetes never uses.")
    return found


def decode_quotas(body: bytes) -> tuple[Quota, ...]:
    """Decode a list of ResourceQuotas, sorted by name; raises BadAnswer."""
    try:
        found = msgspec.json.decode(body, type=_Quotas).items or []
        return tuple(sorted((each.model() for each in found), key=lambda quota: quota.name))
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a list of ResourceQuotas: {error}.") from error


def decode_budgets(body: bytes) -> list[BudgetObject]:
    """Decode a list of PodDisruptionBudgets; raises BadAnswer."""
    try:
        return msgspec.json.decode(body, type=_Budgets).items or []
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a list of PodDisruptionBudgets: {error}.") from error
