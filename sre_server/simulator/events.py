"""Events: what a client says happened to an object, checked and completed, and the fields that select it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

import msgspec

from sre_server.simulator.kinds import EVENTS, Object
from sre_server.simulator.statuses import bad_request, invalid

KEPT = 1000
"""How many Events there are at most; the oldest make room."""

EMPTY: Object = {
    "involvedObject": {},
    "source": {},
    "firstTimestamp": None,
    "lastTimestamp": None,
    "eventTime": None,
    "reportingComponent": "",
    "reportingInstance": "",
}
"""What the Go type shows of an Event that says nothing."""

_REFERENCED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
FIELDS = (*(f"involvedObject.{field}" for field in _REFERENCED), "reason", "reportingComponent", "source", "type")

_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _Reference(msgspec.Struct, frozen=True, rename="camel"):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class _Source(msgspec.Struct, frozen=True):
    component: str = ""
    host: str = ""


class _Series(msgspec.Struct, rename="camel"):
    count: int = 0
    last_observed_time: _Time | None = None


class _Event(msgspec.Struct, rename="camel"):
    involved_object: _Reference = _Reference()
    reason: str = ""
    message: str = ""
    source: _Source = _Source()
    first_timestamp: _Time | None = None
    last_timestamp: _Time | None = None
    count: int = 0
    type: str = ""
    event_time: _Time | None = None
    series: _Series | None = None
    action: str = ""
    related: _Reference | None = None
    reporting_component: str = ""
    reporting_instance: str = ""


_KNOWN = tuple(field.encode_name for field in msgspec.structs.fields(_Event))


def completed(namespace: str, name: str, metadata: Object, written: Object) -> Object:
    """Return an Event to create, with the fields that every Event shows; unknown ones are dropped."""
    given = {field: written[field] for field in _KNOWN if written.get(field) is not None}
    try:
        event = msgspec.convert(given, _Event)
    except msgspec.ValidationError as error:
        raise bad_request(f'Event in version "v1" cannot be handled as a Event: {error}') from error
    concerned = event.involved_object.namespace
    # What belongs to no namespace has its Events in "default".
    if concerned != namespace and (concerned or namespace != "default"):
        problem = f'Invalid value: "{concerned}": does not match event.namespace'
        raise invalid(EVENTS.group, EVENTS.name, name, "involvedObject.namespace", problem)
    return {"metadata": metadata, **EMPTY, **given}


def selectable(event: Object) -> Mapping[str, str]:
    """Return the fields of an Event by which it can be selected, besides its name and namespace."""
    found = {f"involvedObject.{field}": event["involvedObject"].get(field) or "" for field in _REFERENCED}
    component = event["reportingComponent"]
    return {
        **found,
        "reason": event.get("reason", ""),
        "reportingComponent": component,
        "source": event["source"].get("component") or component,
        "type": event.get("type", ""),
    }
