"""What Prometheus and Grafana are given, taken apart: alerts, panels, and the metrics that they speak of."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from prometheus_client import CollectorRegistry

from sre_server.synthetic.checks import CHECKS, Outcome, Report
from sre_server.synthetic.reporting import registry_of
from sre_server.telemetry.metrics import Metrics

CHECKOUT: Final = Path(__file__).parents[1]
ALERTS: Final = CHECKOUT / "helm/sre-server/files/alerts.yaml"
DASHBOARD: Final = CHECKOUT / "helm/sre-server/files/dashboard.json"
ALERT_TESTS: Final = CHECKOUT / "tests/alerts"
RUNBOOKS: Final = CHECKOUT / "docs/runbooks"

KUBE_STATE_METRICS: Final = frozenset(
    {
        "kube_cronjob_spec_suspend",
        "kube_cronjob_status_last_successful_time",
        "kube_deployment_spec_replicas",
        "kube_deployment_status_replicas_available",
        "kube_pod_container_status_restarts_total",
    }
)
"""The metrics of others that alerts may rest on, as kube-state-metrics' documentation has them."""

_SUFFIXES: Final = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "info": ("_info",)}
_METRIC: Final = re.compile(r"\b(?:sre_server|process|python|kube)_[a-z0-9_]+\b")
_SELECTOR: Final = re.compile(rf"({_METRIC.pattern})(\{{[^}}]*\}})?")


class Panel(NamedTuple):
    """One panel of the dashboard."""

    title: str
    description: str
    unit: str
    queries: list[tuple[str, str]]
    """Expressions and legends."""


def alerts() -> list[dict[str, Any]]:
    """Return every rule of the alerts file."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def panels() -> Iterator[Panel]:
    """Yield every panel of the dashboard that shows something."""
    for panel in dashboard()["panels"]:
        if panel["type"] != "row":
            queries = [(target["expr"], target["legendFormat"]) for target in panel["targets"]]
            yield Panel(panel["title"], panel["description"], panel["fieldConfig"]["defaults"]["unit"], queries)


def metrics_in(expression: str) -> set[str]:
    """Return the names of the metrics that an expression speaks of."""
    return set(_METRIC.findall(expression))


def selectors_in(expression: str) -> set[str]:
    """Return every metric of an expression together with the labels that it is to have."""
    return {name + labels for name, labels in _SELECTOR.findall(expression)}


def known_metrics() -> set[str]:
    """Return the names of all that the server and the synthetic query expose."""
    report = Report([Outcome(name, True, 0.0, "") for name in CHECKS], 0.0)
    return set(_names((Metrics().registry, registry_of(report, 0.0))))


def _names(registries: Iterable[CollectorRegistry]) -> Iterator[str]:
    for registry in registries:
        for family in registry.collect():
            yield from (family.name + suffix for suffix in _SUFFIXES.get(family.type, ("",)))
