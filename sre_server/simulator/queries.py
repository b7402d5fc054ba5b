"""What a request asks for beside its path: the options in its query, and its body."""

from typing import Annotated, Any, Literal

import msgspec
from twisted.web.iweb import IRequest

from sre_server.simulator import patching, selecting
from sre_server.simulator.kinds import Object
from sre_server.simulator.statuses import Refusal, invalid

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Options(msgspec.Struct, frozen=True, rename="camel"):
    """The query of a request; what is not known here is ignored, what is known in part only is refused."""

    limit: _Count = 0
    continue_token: str = msgspec.field(default="", name="continue")
    field_selector: str = ""
    label_selector: str = ""
    resource_version: _Count = 0
    resource_version_match: Literal["", "NotOlderThan"] = ""
    watch: bool = False
    timeout_seconds: _Count = 0
    allow_watch_bookmarks: bool = False
    send_initial_events: bool = False
    dry_run: Literal["", "All"] = ""
    field_manager: str = ""


def options(request: IRequest) -> Options:
    """Return the query of a request."""
    given = {name.decode(): values[0].decode() for name, values in (request.args or {}).items() if values[0]}
    asked = msgspec.convert(given, Options, strict=False)
    selecting.require(asked.field_selector, asked.label_selector)
    if asked.send_initial_events and not (asked.watch and asked.resource_version_match):
        problem = "Forbidden: sendInitialEvents requires a watch and resourceVersionMatch=NotOlderThan"
        raise invalid("", "sendInitialEvents", problem)
    return asked


def json_body(request: IRequest) -> Object:
    """Return the body of a request, which has to be a JSON object."""
    _content_type(request, JSON)
    body: Object = _decoded(request, dict[str, Any])
    return body


def metadata_only(request: IRequest) -> bool:
    """Tell whether a client wants an object as PartialObjectMetadata."""
    return "as=PartialObjectMetadata" in (request.getHeader("accept") or "")


def changed(request: IRequest, value: Object) -> Any:  # noqa: ANN401 - a patch may make anything of it
    """Return what a PUT or a PATCH makes of an object, or of a Scale."""
    if request.method == b"PUT":
        return json_body(request)
    if _content_type(request, MERGE_PATCH, JSON_PATCH) == JSON_PATCH:
        return patching.json_patched(value, _decoded(request, list[dict[str, Any]]))
    return patching.merged(value, _decoded(request, dict[str, Any]))


def manager(request: IRequest) -> str:
    """Return who a write is by: what it says, or else the program's name."""
    return options(request).field_manager or (request.getHeader("user-agent") or "unknown").partition("/")[0]


def _content_type(request: IRequest, *known: str) -> str:
    given = (request.getHeader("content-type") or JSON).partition(";")[0].strip()
    if given not in known:
        accepted = ", ".join(known)
        raise Refusal(
            415, f"the body of the request was in an unknown format - accepted media types include: {accepted}"
        )
    return given


def _decoded(request: IRequest, form: Any) -> Any:  # noqa: ANN401 - of the type that was asked for
    return msgspec.json.decode(request.content.read() if request.content else b"", type=form)
