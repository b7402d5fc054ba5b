"""What a client wrote, checked and completed as the API server does before it stores anything."""

import re
from typing import Any

from sre_server.simulator import events, objects
from sre_server.simulator.kinds import DEPLOYMENTS, EVENTS, Kind, Object
from sre_server.simulator.statuses import Refusal, bad_request, invalid, status

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_LARGEST = 2**31 - 1
_LONGEST_PREFIX = 58
_KEPT = ("name", "generateName", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion")
_RULES = {
    _LABEL: "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN: "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
}


def named(written: Object, suffix: str) -> Object:
    """Return an object to create with the name that its generateName asks for, unless it has one."""
    metadata = _metadata(written)
    prefix = metadata.get("generateName")
    if metadata.get("name") or not prefix:
        return written
    if not isinstance(prefix, str):
        raise bad_request("json: cannot unmarshal metadata.generateName into a string")
    return {**written, "metadata": {**metadata, "name": prefix[:_LONGEST_PREFIX] + suffix}}


def check_type(kind: Kind, written: Object) -> None:
    """Refuse an object that says it is of another kind."""
    given = (written.get("apiVersion", kind.api_version), written.get("kind", kind.name))
    if given != (kind.api_version, kind.name):
        raise bad_request(
            f"the API version in the data ({given[0]}, Kind={given[1]}) does not match the expected "
            f"API version ({kind.api_version}, Kind={kind.name})"
        )


def new_object(kind: Kind, namespace: str, written: Object) -> tuple[str, Object]:
    """Return the name and the completed form of an object to create."""
    check_type(kind, written)
    metadata = _metadata(written)
    name = metadata.get("name") or ""
    if not name:
        raise invalid(kind.group, kind.name, "", "metadata.name", "Required value: name or generateName is required")
    pattern, longest = (_SUBDOMAIN, 253) if kind.namespaced else (_LABEL, 63)
    if not isinstance(name, str) or not pattern.fullmatch(name) or len(name) > longest:
        problem = f'Invalid value: "{name}": {_RULES[pattern]}'
        raise invalid(kind.group, kind.name, str(name), "metadata.name", problem)
    if metadata.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    kept = {field: metadata[field] for field in ("generateName", "labels", "annotations") if metadata.get(field)}
    if kind.namespaced and metadata.get("namespace") not in (None, "", namespace):
        raise bad_request("the namespace of the provided object does not match the request")
    if kind is EVENTS:
        return name, events.completed(namespace, name, {**kept, "name": name, "namespace": namespace}, written)
    if kind is DEPLOYMENTS:
        return name, _new_deployment(namespace, name, kept, written)
    fresh = objects.namespace(name, labels=kept.get("labels"))
    fresh["metadata"] = {**kept, **fresh["metadata"]}
    return name, fresh


def written_object(kind: Kind, written: Any, before: Object) -> Object:  # noqa: ANN401 - any JSON
    """Return an update of an object, checked against the object that it is meant for."""
    if not isinstance(written, dict):
        raise bad_request("json: cannot unmarshal the body into an object")
    check_type(kind, written)
    metadata = _metadata(written)
    for field in ("name", "namespace"):
        given, found = metadata.get(field), before["metadata"].get(field)
        if given and given != found:
            raise bad_request(f"the {field} of the object ({given}) does not match the {field} on the URL ({found})")
    return {**written, "metadata": metadata}


def merged_update(kind: Kind, before: Object, written: Object) -> Object:
    """Return the object that an update leaves: the client's fields, and the ones that are not its to write."""
    old = before["metadata"]
    metadata = {field: value for field, value in written["metadata"].items() if value is not None}
    metadata |= {field: old[field] for field in _KEPT if field in old}
    metadata.pop("managedFields", None)
    after = {**before, "metadata": metadata}
    if kind is not DEPLOYMENTS:
        return after
    completed = objects.with_defaults({"spec": written.get("spec")})
    name = old["name"]
    _check_replicas("apps", "Deployment", "DeploymentSpec", name, completed["spec"].get("replicas"))
    if completed["spec"].get("selector") != before["spec"].get("selector"):
        raise invalid("apps", "Deployment", name, "spec.selector", "Invalid value: field is immutable")
    return {**after, "spec": completed["spec"]}


def written_scale(name: str, scale: Any) -> tuple[Object, int]:  # noqa: ANN401 - any JSON
    """Return the metadata and the replicas of a Scale that a client wrote."""
    if not isinstance(scale, dict):
        raise bad_request("json: cannot unmarshal the body into an object")
    spec = scale.get("spec") or {}
    if not isinstance(spec, dict):
        raise bad_request("json: cannot unmarshal spec into an object")
    # Absent is zero: the Go type is no pointer.
    replicas = spec.get("replicas")
    replicas = 0 if replicas is None else replicas
    _check_replicas("autoscaling", "Scale", "ScaleSpec", name, replicas)
    metadata = _metadata(scale)
    if metadata.get("name") not in (None, "", name):
        raise bad_request("the name of the object does not match the name on the URL")
    return metadata, int(replicas)


def _new_deployment(namespace: str, name: str, kept: Object, written: Object) -> Object:
    if not isinstance(written.get("spec"), dict):
        raise invalid("apps", "Deployment", name, "spec.selector", "Required value")
    completed = objects.with_defaults(written)
    spec = completed["spec"]
    _check_replicas("apps", "Deployment", "DeploymentSpec", name, spec["replicas"])
    labels = spec.get("selector", {}).get("matchLabels") or {}
    carried = spec["template"].get("metadata", {}).get("labels") or {}
    if not labels:
        raise invalid("apps", "Deployment", name, "spec.selector", "Required value")
    if not labels.items() <= carried.items():
        problem = "Invalid value: `selector` does not match template `labels`"
        raise invalid("apps", "Deployment", name, "spec.template.metadata.labels", problem)
    annotations = {"deployment.kubernetes.io/revision": "1", **kept.get("annotations", {})}
    return {
        "metadata": {
            **kept,
            "name": name,
            "namespace": namespace,
            "generation": 1,
            "annotations": annotations,
        },
        "spec": spec,
        "status": {},
    }


def _metadata(written: Object) -> Object:
    metadata = written.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise bad_request("json: cannot unmarshal metadata into an object")
    return metadata


def _check_replicas(group: str, kind: str, spec: str, name: str, replicas: object) -> None:
    if isinstance(replicas, int) and not isinstance(replicas, bool):
        if abs(replicas) > _LARGEST:
            raise _unmarshalable(spec, f"number {replicas}")
        if replicas < 0:
            problem = f"Invalid value: {replicas}: must be greater than or equal to 0"
            raise invalid(group, kind, name, "spec.replicas", problem)
        return
    names: dict[type, str] = {str: "string", bool: "bool", list: "array", dict: "object"}
    raise _unmarshalable(spec, names.get(type(replicas), f"number {replicas}"))


def _unmarshalable(spec: str, what: str) -> Refusal:
    problem = f"json: cannot unmarshal {what} into Go struct field {spec}.spec.replicas of type int32"
    causes = [{"reason": "FieldValueInvalid", "message": problem, "field": "patch"}]
    return Refusal(status(422, f'"" is invalid: patch: {problem}', details={"causes": causes}))
