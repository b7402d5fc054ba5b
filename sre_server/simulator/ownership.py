"""managedFields: which program owns the count of a Deployment, as far as a real API server would tell."""

import msgspec

from sre_server.simulator.kinds import Object

_COUNT: Object = {"f:spec": {"f:replicas": {}}}
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def entry(manager: str, operation: str, fields: Object, *, subresource: str = "", time: str = "") -> Object:
    """Return one entry of managedFields."""
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "apps/v1",
        **({"time": time} if time else {}),
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        **({"subresource": subresource} if subresource else {}),
    }


def left_by(manager: str, deployment: Object, since: str) -> Object:
    """Return the metadata that a program leaves on a Deployment that it wrote.

    `argocd-controller` applies from the server's side, `kubectl-client-side-apply` from its own.
    """
    operation = "Apply" if manager == "argocd-controller" else "Update"
    fields: Object = {"f:spec": {"f:replicas": {}, "f:selector": {}, "f:template": {}}}
    status = entry(
        "kube-controller-manager", "Update", {"f:status": {"f:replicas": {}}}, subresource="status", time=since
    )
    annotations = {"deployment.kubernetes.io/revision": "1"}
    if manager == "kubectl-client-side-apply":
        applied = {"apiVersion": "apps/v1", "kind": "Deployment", **deployment}
        annotations[_LAST_APPLIED] = f"{msgspec.json.encode(applied).decode()}\n"
    return {"annotations": annotations, "managedFields": [entry(manager, operation, fields, time=since), status]}


def after_scaling(entries: list[Object], manager: str, replicas: int) -> list[Object]:
    """Return managedFields after a write of the count through the Scale.

    It takes the count from whoever had it. A Scale leaves out a count of 0, which then has no owner at all, nor has
    what is written through one after that. What is written so has no time.
    """
    rest = [each for each in (_without_count(each) for each in entries) if each]
    if replicas == 0 or rest == entries:
        return rest
    return [*rest, entry(manager, "Update", _COUNT, subresource="scale")]


def _without_count(entry: Object) -> Object | None:
    fields = entry["fieldsV1"]
    if "f:replicas" not in fields.get("f:spec", {}):
        return entry
    spec = {field: value for field, value in fields["f:spec"].items() if field != "f:replicas"}
    left = {field: value for field, value in {**fields, "f:spec": spec}.items() if value}
    return {**entry, "fieldsV1": left} if left else None
