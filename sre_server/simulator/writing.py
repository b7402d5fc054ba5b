"""Writes: what a request's body makes of an object."""

from collections.abc import Callable

import msgspec
from twisted.web.iweb import IRequest

from sre_server.simulator import calls, patching
from sre_server.simulator.kinds import Object
from sre_server.simulator.statuses import bad_request, invalid

Change = Callable[[Object], Object]

_UNDECODABLE = "error decoding patch"
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)


def replacement(request: IRequest) -> Change:
    """Return the change that a PUT asks for."""
    written = calls.object_body(request)
    return lambda _: written


def patch(request: IRequest) -> Change:
    """Return the change that a PATCH asks for."""
    form = calls.content_type(request)
    if form not in _PATCHES:
        raise calls.unsupported(*_PATCHES)
    if form == "application/json-patch+json":
        operations = calls.body(request, _UNDECODABLE)
        return lambda before: _object(patching.json_patched(before, operations))
    if form == "application/apply-patch+yaml":
        applied = applied_object(request)
        return lambda before: _object(patching.strategically_merged(before, applied))
    written = calls.body(request, _UNDECODABLE)
    if not isinstance(written, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal into an object")
    if form == "application/merge-patch+json":
        return lambda before: _object(patching.merged(before, written))
    return lambda before: _object(patching.strategically_merged(before, written))


def applied_object(request: IRequest) -> Object:
    """Return the body of a server-side apply; of YAML, only the part that is JSON is understood."""
    if not (request.args or {}).get(b"fieldManager"):
        problem = "Required value: is required for apply patch"
        raise invalid("meta.k8s.io", "PatchOptions", "", "fieldManager", problem)
    try:
        written = msgspec.json.decode(calls.raw_body(request))
    except msgspec.DecodeError as error:
        raise bad_request(f"error decoding YAML: only JSON is understood in apply patches here: {error}") from error
    return _object(written)


def is_apply(request: IRequest) -> bool:
    """Tell whether a request is a server-side apply, which may also create."""
    return request.method == b"PATCH" and calls.content_type(request) == "application/apply-patch+yaml"


class Deletion(msgspec.Struct, frozen=True):
    """What the body and the query of a DELETE ask for."""

    preconditions: Object
    dry_run: bool


def deletion(request: IRequest) -> Deletion:
    """Return what a DELETE asks for; its body is optional."""
    options: Object = {}
    if calls.raw_body(request):
        options = calls.object_body(request)
    preconditions = options.get("preconditions") or {}
    if not isinstance(preconditions, dict):
        raise bad_request("json: cannot unmarshal preconditions into an object")
    dry_run = calls.check_dry_run(request, options.get("dryRun")) or calls.wants_dry_run(request)
    return Deletion(preconditions, dry_run)


def _object(value: object) -> Object:
    if not isinstance(value, dict):
        raise bad_request("json: cannot unmarshal the result of the patch into an object")
    return value
