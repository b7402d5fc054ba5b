"""The Table form of answers, which `kubectl get` prints as it comes."""

from datetime import datetime

import msgspec

from sre_server.simulator.collection import Stored
from sre_server.simulator.kinds import DEPLOYMENTS, Kind, Object

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_NAME = "Name must be unique within a namespace."
_AGE = "The time at which the server created the object."


def columns(kind: Kind) -> list[Object]:
    """Return the column definitions of a resource."""
    name = _column("Name", _NAME, form="name")
    age = _column("Age", _AGE)
    if kind is not DEPLOYMENTS:
        return [name, _column("Status", "The status of the namespace"), age]
    return [
        name,
        _column("Ready", "Number of the pod with ready state"),
        _column("Up-to-date", "Number of replicas that have the latest spec", kind="integer"),
        _column("Available", "Number of available replicas", kind="integer"),
        age,
        _column("Containers", "Names of each container in the template.", priority=1),
        _column("Images", "Images referenced by each container in the template.", priority=1),
        _column("Selector", "Label selector for pods.", priority=1),
    ]


def row(kind: Kind, stored: Stored, now: float, include: str) -> Object:
    """Return the row of one object; `include` says how much of the object goes with it."""
    value = stored.decoded()
    cells = _deployment_cells(value) if kind is DEPLOYMENTS else [value["status"].get("phase", "")]
    age = _age(now, value["metadata"]["creationTimestamp"])
    shown: Object = {"cells": [value["metadata"]["name"], *cells[:3], age, *cells[3:]]}
    if include == "Object":
        shown["object"] = {"kind": kind.name, "apiVersion": kind.api_version, **value}
    elif include != "None":
        shown["object"] = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": value["metadata"],
        }
    return shown


def empty_row(kind: Kind, metadata: Object) -> Object:
    """Return the row of a bookmark, which is an object without anything to show."""
    cells = ["", "0/0", 0, 0, "<unknown>", "", "", ""] if kind is DEPLOYMENTS else ["", "", "<unknown>"]
    shown = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return {"cells": cells, "object": shown}


def table(rows: list[Object], definitions: list[Object] | None, metadata: Object) -> bytes:
    """Return a Table, encoded; later events of a watch come without definitions."""
    answer: Object = {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    }
    return msgspec.json.encode(answer)


def duration(seconds: float) -> str:
    """Return an age in the short form that kubectl shows."""
    whole = int(seconds)
    if whole < 0:
        return "0s" if whole > -2 else "<invalid>"
    for below, unit, rest, limit in _FORMS:
        if whole < below:
            return _two(whole, unit, rest, limit)
    return _two(whole, "y", "d", 8 * 365 * _DAY)


def _two(seconds: int, unit: str, rest: str, limit: int) -> str:
    sizes = {"s": 1, "m": _MINUTE, "h": _HOUR, "d": _DAY, "y": 365 * _DAY}
    big, left = divmod(seconds, sizes[unit])
    small = left // sizes[rest] if rest and seconds < limit else 0
    return f"{big}{unit}{small}{rest}" if small else f"{big}{unit}"


# Below so many seconds: the unit, and the smaller unit that is still told below the last number.
_FORMS = (
    (2 * _MINUTE, "s", "", 0),
    (3 * _HOUR, "m", "s", 10 * _MINUTE),
    (2 * _DAY, "h", "m", 8 * _HOUR),
    (2 * 365 * _DAY, "d", "h", 8 * _DAY),
)


def _deployment_cells(value: Object) -> list[str | int]:
    status, spec = value.get("status", {}), value["spec"]
    containers = spec["template"]["spec"].get("containers", [])
    labels = spec.get("selector", {}).get("matchLabels", {})
    return [
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        ",".join(container.get("name", "") for container in containers),
        ",".join(container.get("image", "") for container in containers),
        ",".join(f"{label}={text}" for label, text in sorted(labels.items())),
    ]


def _age(now: float, created: str) -> str:
    return duration(now - datetime.fromisoformat(created).timestamp())


def _column(name: str, description: str, *, kind: str = "string", form: str = "", priority: int = 0) -> Object:
    return {"name": name, "type": kind, "format": form, "description": description, "priority": priority}
