"""Selectors: which objects of a list or a watch a client wants, by equality of fields or labels."""

from collections.abc import Callable
from typing import Any

from sre_server.simulator.collection import Stored
from sre_server.simulator.kinds import Object
from sre_server.simulator.statuses import bad_request

# An Event's source was one field before it became an object; the selector kept the name.
_FIELDS = {
    "metadata.name": ("metadata", "name"),
    "metadata.namespace": ("metadata", "namespace"),
    "reason": ("reason",),
    "source": ("source", "component"),
    "type": ("type",),
    "involvedObject.kind": ("involvedObject", "kind"),
    "involvedObject.name": ("involvedObject", "name"),
    "involvedObject.uid": ("involvedObject", "uid"),
    "status.phase": ("status", "phase"),
}
_Terms = dict[str, str]


def require(fields: str, labels: str) -> None:
    """Refuse selectors that are not understood here."""
    for field in _terms(fields):
        if field not in _FIELDS:
            raise bad_request(f"the simulator selects by {', '.join(_FIELDS)} only")
    _terms(labels)


def selector(fields: str, labels: str) -> Callable[[Stored], bool]:
    """Return what tells whether an object is wanted; of most it needs to see no more than the name."""
    by_field, by_label = _terms(fields), _terms(labels)
    name = by_field.pop("metadata.name", "")

    def selects(stored: Stored) -> bool:
        if name not in ("", stored.key[1]):
            return False
        return not (by_field or by_label) or _meets(stored.decoded(), by_field, by_label)

    return selects


def _meets(value: Object, by_field: _Terms, by_label: _Terms) -> bool:
    labels = value["metadata"].get("labels") or {}
    return all(_field(value, field) == wanted for field, wanted in by_field.items()) and all(
        labels.get(label) == wanted for label, wanted in by_label.items()
    )


def _field(value: Any, field: str) -> object:  # noqa: ANN401 - any JSON value
    for part in _FIELDS[field]:
        value = value.get(part) if isinstance(value, dict) else None
    return "" if value is None else value


def _terms(selector: str) -> _Terms:
    terms = {}
    for term in filter(None, selector.split(",")):
        name, found, value = term.partition("=")
        if not found or name.endswith("!") or not name:
            raise bad_request(f"the simulator selects by equality only, not by {term!r}")
        terms[name] = value.removeprefix("=")
    return terms
