"""The patch formats of the API server, applied to plain dictionaries; nothing given is changed in place."""

import copy
from typing import Any

from sre_server.simulator.kinds import Object
from sre_server.simulator.statuses import Refusal, bad_request, status

_LIST_KEYS = {"containers": "name", "initContainers": "name", "conditions": "type", "env": "name"}
_MISSING = object()


def merged(target: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON value may stand at either side
    """Return a JSON merge patch (RFC 7386) applied."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for field, value in patch.items():
        if value is None:
            result.pop(field, None)
        else:
            result[field] = merged(result.get(field), value)
    return result


def strategically_merged(target: Any, patch: Any, field: str = "") -> Any:  # noqa: ANN401 - as above
    """Return a strategic merge patch applied; lists that have a merge key in Deployments are merged by it."""
    if isinstance(patch, list) and isinstance(target, list) and field in _LIST_KEYS:
        return _merged_list(target, patch, _LIST_KEYS[field])
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    replace = patch.get("$patch") == "replace"
    result = dict(target) if isinstance(target, dict) and not replace else {}
    for name, value in patch.items():
        if name.startswith("$"):
            continue
        if value is None:
            result.pop(name, None)
        else:
            result[name] = strategically_merged(result.get(name), value, name)
    return result


def json_patched(target: Object, operations: Any) -> Any:  # noqa: ANN401 - whatever the client sent
    """Return a JSON patch (RFC 6902) applied."""
    if not isinstance(operations, list) or not all(isinstance(step, dict) for step in operations):
        raise bad_request("error decoding patch: json: cannot unmarshal into a list of operations")
    result: Any = copy.deepcopy(target)
    for step in operations:
        result = _operated(result, step)
    return result


def _merged_list(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    result = list(target)
    for item in patch:
        if not isinstance(item, dict):
            return copy.deepcopy(patch)
        same = [index for index, old in enumerate(result) if isinstance(old, dict) and old.get(key) == item.get(key)]
        if item.get("$patch") == "delete":
            result = [old for index, old in enumerate(result) if index not in same]
        elif same:
            result[same[0]] = strategically_merged(result[same[0]], item)
        else:
            result.append(strategically_merged({}, item))
    return result


def _operated(document: Any, step: Object) -> Any:  # noqa: ANN401 - a JSON document
    operation = step.get("op")
    path = _path(step.get("path"))
    if operation in ("add", "replace", "test") and "value" not in step:
        raise _unprocessable()
    if operation == "test":
        if _found(document, path) != step["value"]:
            raise _unprocessable()
        return document
    if operation in ("remove", "replace") and _found(document, path) is _MISSING:
        raise _unprocessable()
    if operation in ("add", "replace"):
        return _placed(document, path, copy.deepcopy(step["value"]), operation == "add")
    if operation == "remove":
        return _removed(document, path)
    if operation in ("copy", "move"):
        source = _path(step.get("from"))
        value = copy.deepcopy(_found(document, source))
        if value is _MISSING:
            raise _unprocessable()
        document = _removed(document, source) if operation == "move" else document
        return _placed(document, path, value, True)
    raise _unprocessable()


def _path(pointer: object) -> list[str]:
    if pointer == "":
        return []
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        raise _unprocessable()
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def _found(document: Any, path: list[str]) -> Any:  # noqa: ANN401 - a JSON value
    for part in path:
        if isinstance(document, dict):
            document = document.get(part, _MISSING)
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return _MISSING
    return document


def _placed(document: Any, path: list[str], value: Any, insert: bool) -> Any:  # noqa: ANN401 - JSON
    if not path:
        return value
    parent, last = _found(document, path[:-1]), path[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list) and last == "-" and insert:
        parent.append(value)
    elif isinstance(parent, list) and last.isdigit() and int(last) <= len(parent):
        parent[int(last) : int(last) + (0 if insert else 1)] = [value]
    else:
        raise _unprocessable()
    return document


def _removed(document: Any, path: list[str]) -> Any:  # noqa: ANN401 - a JSON document
    parent = _found(document, path[:-1])
    if not path or _found(document, path) is _MISSING:
        raise _unprocessable()
    del parent[int(path[-1]) if isinstance(parent, list) else path[-1]]
    return document


def _unprocessable() -> Refusal:
    message = "the server rejected our request due to an error in our request"
    return Refusal(status(422, message, details={}))
