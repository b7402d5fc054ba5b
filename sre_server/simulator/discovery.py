"""What the API server tells about itself: version, groups, resources."""

from sre_server.simulator.kinds import DEPLOYMENTS, NAMESPACES, Kind, Object

_KINDS = (NAMESPACES, DEPLOYMENTS)
_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]

VERSION: Object = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0+simulated",
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
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group("apps")]}


def group(name: str) -> Object:
    """Return the answer of /apis/<group>."""
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}


def core_resources() -> Object:
    """Return the answer of /api/v1."""
    return _resources("v1", [_resource(NAMESPACES)])


def apps_resources() -> Object:
    """Return the answer of /apis/apps/v1."""
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
    return _resources("apps/v1", [_resource(DEPLOYMENTS), scale, status])


def autoscaling_resources() -> Object:
    """Return the answer of /apis/autoscaling/v1: the group has a Scale and nothing to list."""
    return _resources("autoscaling/v1", [])


def openapi_index() -> Object:
    """Return the answer of /openapi/v3."""
    paths = {_openapi_path(kind): {"serverRelativeURL": f"/openapi/v3/{_openapi_path(kind)}"} for kind in _KINDS}
    return {"paths": paths}


def openapi(kind: Kind) -> Object:
    """Return just enough of a schema to tell kubectl that the server validates and runs dry itself."""
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("dryRun", "fieldValidation")]
    about = {"group": kind.group, "version": kind.version, "kind": kind.name}
    scope = "/namespaces/{namespace}" if kind.namespaced else ""
    operation = {"parameters": parameters, "x-kubernetes-group-version-kind": about, "responses": {}}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": VERSION["gitVersion"]},
        "paths": {f"/{_openapi_path(kind)}{scope}/{kind.plural}/{{name}}": {"patch": operation}},
    }


def _openapi_path(kind: Kind) -> str:
    return f"apis/{kind.api_version}" if kind.group else f"api/{kind.api_version}"


def _resource(kind: Kind) -> Object:
    return {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": _VERBS,
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
