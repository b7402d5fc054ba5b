"""What the stub serves: Deployments as large as real ones are (5.3 kB of JSON), made from a name and a number."""

from collections.abc import Iterator, Sequence

import msgspec

from sre_server.simulator.objects import deployment, settled_status
from sre_server.simulator.population import Inhabitant, inhabitants

OBJECT_BYTES = 5300
_SINCE = "2026-01-07T09:12:44Z"
_MANAGED = {"apiVersion": "apps/v1", "fieldsType": "FieldsV1", "operation": "Update", "time": _SINCE}
_STATUS: dict[str, dict[str, str]] = {
    f"f:{field}": {} for field in ("availableReplicas", "readyReplicas", "replicas", "updatedReplicas")
}
_NAMESPACE, _NAME, _UID, _VERSION, _COUNT = "@namespace@", "@name@", "@uid@", "@version@", 1_888_888


def _template() -> tuple[bytes, ...]:
    """Return a Deployment's JSON cut at what differs between two of them, each piece but the last ending at a mark."""
    made = deployment(_NAMESPACE, "app", image="images.example/shop/app:1.4.2")
    applied = msgspec.json.encode({"apiVersion": "apps/v1", "kind": "Deployment", **made}).decode()
    fields: dict[str, object] = {"f:progressDeadlineSeconds": {}, "f:replicas": {}, "f:selector": {}}
    applier = {**_MANAGED, "manager": "kubectl-client-side-apply", "fieldsV1": {"f:metadata": {}, "f:spec": fields}}
    controller = {
        **_MANAGED,
        "manager": "kube-controller-manager",
        "fieldsV1": {"f:metadata": {"f:annotations": {".": {}}}, "f:status": _STATUS},
        "subresource": "status",
    }
    metadata = {
        "name": _NAME,
        "namespace": _NAMESPACE,
        "uid": _UID,
        "resourceVersion": _VERSION,
        "generation": 4,
        "creationTimestamp": _SINCE,
        "labels": made["metadata"]["labels"],
        "annotations": {
            "deployment.kubernetes.io/revision": "4",
            "kubectl.kubernetes.io/last-applied-configuration": applied.replace(_NAMESPACE, "default"),
        },
        "managedFields": [applier, controller],
    }
    spec = {**made["spec"], "replicas": _COUNT}
    whole = {"metadata": metadata, "spec": spec, "status": settled_status(3, 4, _SINCE)}
    while len(msgspec.json.encode(whole)) < OBJECT_BYTES:
        fields[f"f:field{len(fields):03d}"] = {".": {}, "f:value": {}}
    text = msgspec.json.encode(whole)
    pieces = []
    for mark in (_NAME, _NAMESPACE, _UID, _VERSION, str(_COUNT)):
        before, found, text = text.partition(mark.encode())
        if not found:
            raise ValueError(f"{mark} is not where it was thought to be")
        pieces.append(before)
    return (*pieces, text)


class Objects:
    """So many Deployments, the same ones every time."""

    def __init__(self, count: int) -> None:
        self.inhabitants: list[Inhabitant] = list(inhabitants(count))
        self.namespaces = sorted({inhabitant.namespace for inhabitant in self.inhabitants} | {"default"})
        self._template = _template()

    def deployment(self, index: int, version: int, replicas: int) -> bytes:
        """Return one Deployment's JSON, without kind and apiVersion, as in a list."""
        inhabitant = self.inhabitants[index]
        start, to_namespace, to_uid, to_version, to_count, rest = self._template
        return b"%b%b%b%b%b%08x-0000-4000-8000-000000000000%b%d%b%d%b" % (
            start, inhabitant.name.encode(), to_namespace, inhabitant.namespace.encode(), to_uid, index,
            to_version, version, to_count, replicas, rest,
        )  # fmt: skip

    def deployments(self, start: int, end: int, version: int) -> Iterator[bytes]:
        """Yield some of them, as they are in the beginning."""
        for index in range(start, min(end, len(self.inhabitants))):
            yield self.deployment(index, version, self.inhabitants[index].replicas)

    def namespace(self, name: str, version: int) -> bytes:
        """Return one Namespace's JSON."""
        labels = {"kubernetes.io/metadata.name": name}
        metadata = {"name": name, "uid": f"ns-{name}", "resourceVersion": str(version), "labels": labels}
        return msgspec.json.encode({"metadata": metadata, "status": {"phase": "Active"}})


def half(namespaces: Sequence[str]) -> Sequence[str]:
    """Return the namespaces that a client may read who may read half of them."""
    return namespaces[::2]
