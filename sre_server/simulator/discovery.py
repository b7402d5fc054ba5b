"""What the API server tells about itself: version, groups, resources."""

from sre_server.simulator.kinds import DEPLOYMENTS, REVIEWS, SELF_REVIEWS, SERVED, Kind, Object

_KINDS = (*SERVED, REVIEWS, SELF_REVIEWS)

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
CORE_VERSIONS: Object = {"kind": "APIVersions", "versions": ["v1"]}


def groups() -> Object:
    """Return the answer of /apis."""
    versions = {
        kind.group: {"groupVersion": kind.api_version, "version": kind.version} for kind in _KINDS if kind.group
    }
    groups = [{"name": name, "versions": [version], "preferredVersion": version} for name, version in versions.items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def resources(group: str, version: str) -> Object:
    """Return the answer of /apis/<group>/<version>, or of /api/<version>, whose group has no name."""
    named = [_resource(kind) for kind in _KINDS if (kind.group, kind.version) == (group, version)]
    if group == DEPLOYMENTS.group:
        scale = {"kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get", "patch", "update"]}
        named.append({"name": "deployments/scale", "singularName": "", "namespaced": True, **scale})
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": named,
    }


def _resource(kind: Kind) -> Object:
    return {
        "name": kind.plural,
        "singularName": kind.name.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.name,
        "verbs": kind.verbs,
        "shortNames": kind.short_names,
    }
