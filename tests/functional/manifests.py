"""What is wrong with an object of the chart, by the schemas of the oldest and the newest Kubernetes that it is for."""

import json
from collections.abc import Iterator
from functools import cache

import kubernetes_validate  # type: ignore[import-untyped]

from tests.functional.helm import Document

OLDEST, NEWEST = "1.30", "1.37"
CUSTOM = {
    "Certificate": ("cert-manager.io/v1", {"secretName", "issuerRef"}),
    "Issuer": ("cert-manager.io/v1", set()),
    "ServiceMonitor": ("monitoring.coreos.com/v1", {"selector", "endpoints", "namespaceSelector"}),
    "PodMonitor": ("monitoring.coreos.com/v1", {"selector", "podMetricsEndpoints", "namespaceSelector"}),
    "PrometheusRule": ("monitoring.coreos.com/v1", {"groups"}),
}


def faults(document: Document) -> list[str]:
    """Return what is null, unknown, missing or of the wrong type; nothing for an object that clusters take."""
    return list(_faults(json.dumps(document, sort_keys=True)))


@cache
def _faults(text: str) -> tuple[str, ...]:
    """Look once at each of the many objects that are the same in all tests."""
    document: Document = json.loads(text)
    return (*_no_text(document, ""), *_unfit(document))


def _no_text(value: object, path: str) -> Iterator[str]:
    """Yield where a value is null, or what has to be text is not: annotations, labels, names."""
    if value is None:
        yield f"{path} is null"
    elif isinstance(value, dict):
        for key, item in value.items():
            inside = f"{path}.{key}"
            if path.endswith((".annotations", ".labels", ".matchLabels", ".data")) and not isinstance(item, str):
                yield f"{inside} is no text"
            yield from _no_text(item, inside)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _no_text(item, f"{path}[{number}]")


def _unfit(document: Document) -> Iterator[str]:
    if document["kind"] in CUSTOM:
        api, needed = CUSTOM[document["kind"]]
        if document["apiVersion"] != api or needed - set(document["spec"]):
            yield f"not a {api} {document['kind']}"
        return
    for version in (OLDEST, NEWEST):
        # trafficDistribution is younger than the oldest Kubernetes; whoever sets it knows.
        if version == OLDEST and "trafficDistribution" in document.get("spec", {}):
            continue
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {error.message} at {list(error.path)}"
