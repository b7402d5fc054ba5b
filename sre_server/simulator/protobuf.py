"""Reading the protobuf form of the few objects that kubectl creates with it, down to the fields that matter here.

Everything is answered in JSON; only what clients send in protobuf without asking has to be understood.
"""

from collections.abc import Iterator
from typing import Any

from sre_server.simulator.kinds import Object
from sre_server.simulator.statuses import bad_request

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Field number: (name, form); a form is "text", "number", "texts", "map", or [shape] and shape for nested messages.
_Shape = dict[int, tuple[str, Any]]
_METADATA: _Shape = {
    1: ("name", "text"),
    3: ("namespace", "text"),
    5: ("uid", "text"),
    6: ("resourceVersion", "text"),
    11: ("labels", "map"),
    12: ("annotations", "map"),
}
_CONTAINER: _Shape = {1: ("name", "text"), 2: ("image", "text"), 3: ("command", "texts"), 4: ("args", "texts")}
_TEMPLATE: _Shape = {1: ("metadata", _METADATA), 2: ("spec", {2: ("containers", [_CONTAINER])})}
_DEPLOYMENT_SPEC: _Shape = {
    1: ("replicas", "number"),
    2: ("selector", {1: ("matchLabels", "map")}),
    3: ("template", _TEMPLATE),
}
_SHAPES: dict[str, _Shape] = {
    "Namespace": {1: ("metadata", _METADATA)},
    "Deployment": {1: ("metadata", _METADATA), 2: ("spec", _DEPLOYMENT_SPEC)},
    "DeleteOptions": {
        5: ("dryRun", "texts"),
        2: ("preconditions", {1: ("uid", "text"), 2: ("resourceVersion", "text")}),
    },
}
_ENVELOPE: _Shape = {1: ("type", {1: ("apiVersion", "text"), 2: ("kind", "text")}), 2: ("raw", "bytes")}


def decoded(data: bytes) -> Object:
    """Return the object in a protobuf body, as if it had been written in JSON."""
    if not data.startswith(_MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message")
    try:
        envelope = _message(data[len(_MAGIC) :], _ENVELOPE)
        about = envelope.get("type", {})
        shape = _SHAPES.get(about.get("kind", ""))
        if shape is None:
            raise bad_request(f'no kind "{about.get("kind", "")}" is registered for protobuf here')
        return {**about, **_message(envelope.get("raw", b""), shape)}
    except (IndexError, UnicodeDecodeError) as error:
        raise bad_request("the protobuf message is damaged") from error


def _message(data: bytes, shape: _Shape) -> Object:
    result: Object = {}
    for number, value in _fields(data):
        name, form = shape.get(number, ("", None))
        if form is None:
            continue
        if isinstance(form, list):
            result.setdefault(name, []).append(_message(_bytes(value), form[0]))
        elif form == "texts":
            result.setdefault(name, []).append(_bytes(value).decode())
        elif form == "map":
            entry = _message(_bytes(value), {1: ("key", "text"), 2: ("value", "text")})
            result.setdefault(name, {})[entry.get("key", "")] = entry.get("value", "")
        elif value != b"":
            result[name] = _single(value, form)
    return result


def _single(value: int | bytes, form: Any) -> Any:  # noqa: ANN401 - whatever the shape says
    if form == "number":
        return int.from_bytes(int(value).to_bytes(8, "big"), "big", signed=True)
    if form == "text":
        return _bytes(value).decode()
    if form == "bytes":
        return _bytes(value)
    return _message(_bytes(value), form)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise bad_request(f"the protobuf message has a field of unknown wire type {wire}")
        if at + size > len(data):
            raise bad_request("the protobuf message is cut short")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise bad_request("the protobuf message has a number where text should be")
    return value
