"""Label and field selectors, in the grammar of the API server."""

import re
from collections.abc import Callable, Mapping

import msgspec

from sre_server.simulator import events
from sre_server.simulator.collection import Stored
from sre_server.simulator.kinds import EVENTS, Kind
from sre_server.simulator.statuses import bad_request

Labels = Mapping[str, str]
Requirement = Callable[[Labels], bool]
Filter = Callable[[Stored], bool]

_SET = re.compile(r"^\s*(?P<label>[\w./-]+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)\s*$")
_EQUAL = re.compile(r"^\s*(?P<label>[\w./-]+)\s*(?P<operator>==|!=|=)\s*(?P<value>[\w.-]*)\s*$")
_EXISTS = re.compile(r"^\s*(?P<absent>!?)\s*(?P<label>[\w./-]+)\s*$")
_BETWEEN = re.compile(r",(?![^()]*\))")
_FIELDS = ("metadata.name", "metadata.namespace")
_FIELD = re.compile(r"^(?P<field>[\w.]+)(?P<operator>==|!=|=)(?P<value>.*)$")


class _Metadata(msgspec.Struct):
    name: str
    namespace: str = ""
    labels: dict[str, str] = {}


class _Labelled(msgspec.Struct):
    metadata: _Metadata


_decoder = msgspec.json.Decoder(_Labelled)


def selection(kind: Kind, label_selector: str, field_selector: str) -> Filter | None:
    """Return a test of stored objects for both selectors, or None when everything is selected."""
    labels = _label_requirements(label_selector)
    known = (*_FIELDS, *events.FIELDS) if kind is EVENTS else _FIELDS
    fields = _field_requirements(field_selector, known)
    if not labels and not fields:
        return None

    def selected(stored: Stored) -> bool:
        metadata = _decoder.decode(stored.body).metadata
        found = {"metadata.name": metadata.name, "metadata.namespace": metadata.namespace}
        if kind is EVENTS:
            found |= events.selectable(stored.decoded())
        return all(holds(metadata.labels) for holds in labels) and all(holds(found) for holds in fields)

    return selected


def _label_requirements(selector: str) -> list[Requirement]:
    if not selector.strip():
        return []
    return [_label_requirement(part) for part in _BETWEEN.split(selector)]


def _label_requirement(text: str) -> Requirement:
    if match := _SET.match(text):
        values = frozenset(value.strip() for value in match["values"].split(","))
        return _within(match["label"], values, match["operator"] == "in")
    if match := _EQUAL.match(text):
        return _within(match["label"], frozenset({match["value"]}), match["operator"] != "!=")
    if match := _EXISTS.match(text):
        label, present = match["label"], not match["absent"]
        return lambda labels: (label in labels) is present
    raise bad_request(f'unable to parse requirement: found "{text}", expected: a requirement')


def _field_requirements(selector: str, known: tuple[str, ...]) -> list[Requirement]:
    if not selector.strip():
        return []
    return [_field_requirement(part, known) for part in selector.split(",")]


def _field_requirement(text: str, known: tuple[str, ...]) -> Requirement:
    match = _FIELD.match(text.strip())
    if match is None:
        raise bad_request(f"invalid selector: '{text}'; can't understand '{text}'")
    if match["field"] not in known:
        names = ", ".join(f'"{name}"' for name in known)
        raise bad_request(f'"{match["field"]}" is not a known field selector: only {names}')
    return _within(match["field"], frozenset({match["value"]}), match["operator"] != "!=")


def _within(name: str, values: frozenset[str], wanted: bool) -> Requirement:
    if wanted:
        return lambda found: name in found and found[name] in values
    return lambda found: name not in found or found[name] not in values
