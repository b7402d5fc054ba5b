"""JSON merge patch and JSON patch, as far as objects go that hold no lists; nothing given is changed in place."""

import copy
from typing import Any

from sre_server.simulator.kinds import Object
from sre_server.simulator.statuses import Refusal, bad_request


def merged(target: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON value may stand at either side
    """Return a JSON merge patch (RFC 7386) applied."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for field, value in patch.items():
        if value is None:
            result.pop(field, None)
        else:
            result[field] = merged(result.get(field), value)
    return result


def json_patched(target: Object, steps: list[Object]) -> Object:
    """Return a JSON patch (RFC 6902) applied: its steps add, replace, remove and test."""
    result = copy.deepcopy(target)
    for step in steps:
        _apply(result, step)
    return result


def _apply(document: Object, step: Object) -> None:
    operation, path = step.get("op"), step.get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        raise bad_request(f"error decoding patch: {path!r} is not the path of a field")
    *parents, field = (part.replace("~1", "/").replace("~0", "~") for part in path[1:].split("/"))
    holder: Any = document
    for parent in parents:
        holder = holder.get(parent) if isinstance(holder, dict) else None
    if not isinstance(holder, dict):
        raise _inapplicable(step)
    if operation == "test":
        # As in the library of the API server, a field that is absent equals null.
        if holder.get(field) != step.get("value"):
            raise _inapplicable(step)
    elif operation == "add" or (operation == "replace" and field in holder):
        holder[field] = step.get("value")
    elif operation == "remove" and field in holder:
        del holder[field]
    else:
        raise _inapplicable(step)


def _inapplicable(step: Object) -> Refusal:
    return Refusal(422, f"the server rejected our request due to an error in our request: {step}")
