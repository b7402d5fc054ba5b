"""What the API server tells about itself: version, groups, resources."""

from sre_server.simulator.kinds import DEPLOYMENTS, EVENTS, NAMESPACES, REVIEWS, Kind, Object

_KINDS = (NAMESPACES, EVENTS, DEPLOYMENTS, REVIEWS)
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
_FEWER_VERBS = {"events": ["create", "delete", "get", "list", "watch"], "subjectaccessreviews": ["create"]}

VERSION: Object = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+simulated",
    "gitCommit": "0" * 40,
    "gitTreeState": "clean",
    "buildDate": "2025-04-23T00:00:00Z",
    "goVersion": "none",
    "compiler": "none",
    "platform": "linux/amd64",
}


def core_versions(address: str) -> Object:
    """Return the answer of /api."""
    ranges = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": ranges}


def groups() -> Object:
    """Return the answer of /apis; a group without resources to list, as autoscaling here, would only alarm clients."""
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group("apps"), _group(REVIEWS.group)]}


def group(name: str) -> Object:
    """Return the answer of /apis/<group>."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}


def core_resources() -> Object:
    """Return the answer of /api/v1."""
    return _resources("v1", [_resource(NAMESPACES), _resource(EVENTS)])


def group_resources(name: str) -> Object:
    """Return the answer of /apis/<group>/v1; autoscaling has a Scale and nothing to list."""
    version = f"{name}/v1"
    if name == REVIEWS.group:
        return _resources(version, [_resource(REVIEWS)])
    return _resources(version, _apps_resources() if name == DEPLOYMENTS.group else [])


def _apps_resources() -> list[Object]:
    scale = {
        "name": "deployments/scale",
        "singularName": "",
        "namespaced": True,
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
        "verbs": ["get", "patch", "update"],
    }
    status = {
        "name": "deployments/status",
        "singularName": "",
        "namespaced": True,
        "kind": "Deployment",
        "verbs": ["get"],
    }
    return [_resource(DEPLOYMENTS), scale, status]


def openapi_index() -> Object:
    """Return the answer of /openapi/v3."""
    paths = {_openapi_path(kind): {"serverRelativeURL": f"/openapi/v3/{_openapi_path(kind)}"} for kind in _KINDS}
    return {"paths": paths}


def openapi(group: str) -> Object:
    """Return just enough of a group's schema to tell kubectl that the server validates and runs dry itself."""
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": {
            path: about for kind in _KINDS if kind.group == group for path, about in _openapi_paths(kind).items()
        },
    }


def _openapi_paths(kind: Kind) -> Object:
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("dryRun", "fieldValidation")]
    about = {"group": kind.group, "version": kind.version, "kind": kind.name}
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    operation = {"parameters": parameters, "x-kubernetes-group-version-kind": about, "responses": {}}
    return {f"/{_openapi_path(kind)}{scope}/{kind.plural}/{{name}}": {"patch": operation}}


def _openapi_path(kind: Kind) -> str:
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.api_version}"


def _resource(kind: Kind) -> Object:
    return {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": _FEWER_VERBS.get(kind.plural, _VERBS),
        "shortNames": list(kind.short_names),
        "categories": ["all"] if kind is DEPLOYMENTS else [],
    }


def _resources(version: str, resources: list[Object]) -> Object:
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": resources,
    }


def _group(name: str) -> Object:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}
