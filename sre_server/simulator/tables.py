"""The Table form of answers, which `kubectl get` prints as it comes."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from sre_server.simulator.collection import Stored
from sre_server.simulator.kinds import DEPLOYMENTS, EVENTS, Kind, Object

_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_NAME = "Name must be unique within a namespace."
_AGE = "The time at which the server created the object."


def columns(kind: Kind) -> list[Object]:
    """Return the column definitions of a resource."""
    name = _column("Name", _NAME, form="name")
    age = _column("Age", _AGE)
    if kind is EVENTS:
        return _event_columns(name)
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
    shown: Object = {"cells": _CELLS[kind.plural](value, now)}
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
    shown = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return {"cells": _EMPTY_CELLS[kind.plural], "object": shown}


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


def _event_columns(name: Object) -> list[Object]:
    return [
        _column("Last Seen", "The time at which the most recent occurrence of this event was recorded."),
        _column("Type", "Type of this event (Normal, Warning), new types could be added in the future"),
        _column("Reason", "This should be a short, machine understandable string that gives the reason."),
        _column("Object", "The object that this event is about."),
        _column("Subobject", "The part of the object that this event is about.", priority=1),
        _column("Source", "The component reporting this event.", priority=1),
        _column("Message", "A human-readable description of the status of this operation."),
        _column("First Seen", "The time at which the event was first recorded.", priority=1),
        _column("Count", "The number of times this event has occurred.", priority=1),
        {**name, "priority": 1},
    ]


def _namespace_cells(value: Object, now: float) -> list[str | int]:
    metadata = value["metadata"]
    return [metadata["name"], value["status"].get("phase", ""), _age(now, metadata["creationTimestamp"])]


def _event_cells(value: Object, now: float) -> list[str | int]:
    concerned, source, series = value["involvedObject"], value["source"], value.get("series") or {}
    first = _age(now, value["firstTimestamp"] or value["eventTime"])
    last = series.get("lastObservedTime") or value["lastTimestamp"]
    target = (concerned.get("kind", "").lower(), concerned.get("name", ""))
    where = (
        source.get("component") or value["reportingComponent"],
        source.get("host") or value["reportingInstance"],
    )
    return [
        _age(now, last) if last else first,
        value.get("type", ""),
        value.get("reason", ""),
        "/".join(part for part in target if part),
        concerned.get("fieldPath", ""),
        ", ".join(part for part in where if part),
        value.get("message", "").strip(),
        first,
        series.get("count") or value.get("count") or 1,
        value["metadata"]["name"],
    ]


def _deployment_cells(value: Object, now: float) -> list[str | int]:
    status, spec = value.get("status", {}), value["spec"]
    containers = spec["template"]["spec"].get("containers", [])
    labels = spec.get("selector", {}).get("matchLabels", {})
    return [
        value["metadata"]["name"],
        f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 1)}",
        status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0),
        _age(now, value["metadata"]["creationTimestamp"]),
        ",".join(container.get("name", "") for container in containers),
        ",".join(container.get("image", "") for container in containers),
        ",".join(f"{label}={text}" for label, text in sorted(labels.items())),
    ]


_CELLS: dict[str, Callable[[Object, float], list[str | int]]] = {
    "namespaces": _namespace_cells,
    "events": _event_cells,
    "deployments": _deployment_cells,
}
_EMPTY_CELLS: dict[str, list[str | int]] = {
    "namespaces": ["", "", "<unknown>"],
    "events": ["<unknown>", "", "", "", "", "", "", "<unknown>", 1, ""],
    "deployments": ["", "0/0", 0, 0, "<unknown>", "", "", ""],
}


def _age(now: float, since: str | None) -> str:
    return duration(now - datetime.fromisoformat(since).timestamp()) if since else "<unknown>"


def _column(name: str, description: str, *, kind: str = "string", form: str = "", priority: int = 0) -> Object:
    return {"name": name, "type": kind, "format": form, "description": description, "priority": priority}
