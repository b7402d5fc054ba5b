"""Reading one HTTP request: query options, the wanted form of the answer, the body."""

import re
from typing import Any

import msgspec
from twisted.web.iweb import IRequest

from sre_server.simulator import protobuf
from sre_server.simulator.kinds import Object
from sre_server.simulator.statuses import Refusal, bad_request, invalid, status

LARGEST_BODY = 3 * 1024 * 1024
_OPTIONS = "ListOptions"
_NUMBER = re.compile(r"[0-9]+")
_OPTION_KINDS = {
    b"POST": "CreateOptions",
    b"PUT": "UpdateOptions",
    b"PATCH": "PatchOptions",
    b"DELETE": "DeleteOptions",
}


class ListOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The query of a list or a watch."""

    limit: int = 0
    continue_token: str = ""
    label_selector: str = ""
    field_selector: str = ""
    version: int | None = None
    version_match: str = ""
    watch: bool = False
    timeout: float | None = None
    bookmarks: bool = False
    initial_events: bool | None = None


def list_options(request: IRequest) -> ListOptions:
    """Return the query of a list or a watch, refused where the API server would refuse it."""
    options = ListOptions(
        limit=max(0, _number(request, "limit") or 0),
        continue_token=_argument(request, "continue"),
        label_selector=_argument(request, "labelSelector"),
        field_selector=_argument(request, "fieldSelector"),
        version=_version(_argument(request, "resourceVersion")),
        version_match=_argument(request, "resourceVersionMatch"),
        watch=bool(_flag(request, "watch")),
        timeout=_number(request, "timeoutSeconds") or None,
        bookmarks=bool(_flag(request, "allowWatchBookmarks")),
        initial_events=_flag(request, "sendInitialEvents"),
    )
    _check(options)
    return options


def wanted_version(request: IRequest) -> int:
    """Return the version that a single object must have reached, or 0."""
    return _version(_argument(request, "resourceVersion")) or 0


def wants_watch(request: IRequest) -> bool:
    """Tell whether a request of a collection is a watch; a malformed flag is refused later."""
    return _argument(request, "watch").lower() in ("1", "true", "t")


def is_continued(request: IRequest) -> bool:
    """Tell whether a list asks for a page after the first."""
    return bool(_argument(request, "continue"))


def wants_dry_run(request: IRequest) -> bool:
    """Tell whether a write asks to change nothing."""
    directives = [value.decode("utf-8", "replace") for value in _arguments(request, "dryRun")]
    return check_dry_run(request, directives)


def check_dry_run(request: IRequest, directives: object) -> bool:
    """Tell whether a write's dryRun directives ask to change nothing; only "All" is known."""
    if not directives:
        return False
    if directives != ["All"]:
        problem = f'Unsupported value: {msgspec.json.encode(directives).decode()}: supported values: "All"'
        raise invalid("meta.k8s.io", _OPTION_KINDS[request.method], "", "dryRun", problem)
    return True


def accepted_form(request: IRequest) -> str:
    """Return the first form among those the client accepts that can be given: "Table" or ""."""
    header = request.getHeader("accept") or "*/*"
    for accepted in header.split(","):
        media, _, rest = accepted.strip().partition(";")
        if media not in ("application/json", "application/*", "*/*"):
            continue
        parameters = dict(part.strip().partition("=")[::2] for part in rest.split(";") if part)
        form = parameters.get("as", "")
        if not form:
            return ""
        if (form, parameters.get("v"), parameters.get("g")) == ("Table", "v1", "meta.k8s.io"):
            return "Table"
    raise Refusal(
        status(
            406,
            "only the following media types are accepted: application/json, "
            "application/json;as=Table;v=v1;g=meta.k8s.io",
        )
    )


def content_type(request: IRequest) -> str:
    """Return the media type of the body, without parameters."""
    return (request.getHeader("content-type") or "application/json").partition(";")[0].strip()


def body(request: IRequest, what: str = "couldn't get version/kind; json parse error") -> Any:  # noqa: ANN401 - JSON
    """Return the decoded body of a request."""
    data = raw_body(request)
    try:
        return msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise bad_request(f"{what}: {error}") from error


def object_body(request: IRequest) -> Object:
    """Return the decoded body of a request that must be one JSON object."""
    if content_type(request) == protobuf.MEDIA_TYPE:
        return protobuf.decoded(raw_body(request))
    if content_type(request) != "application/json":
        raise unsupported("application/json", protobuf.MEDIA_TYPE)
    value = body(request)
    if not isinstance(value, dict):
        raise bad_request("couldn't get version/kind; json parse error: the body is not an object")
    return value


def raw_body(request: IRequest) -> bytes:
    """Return the body of a request, unless it is too large."""
    content = request.content
    if content is None:
        return b""
    content.seek(0)
    data: bytes = content.read(LARGEST_BODY + 1)
    if len(data) > LARGEST_BODY:
        raise Refusal(status(413, f"Request entity too large: limit is {LARGEST_BODY}"))
    return data


def unsupported(*accepted: str) -> Refusal:
    """Return the refusal of a body in a media type that is not read here."""
    kinds = ", ".join(accepted)
    message = f"the body of the request was in an unknown format - accepted media types include: {kinds}"
    return Refusal(status(415, message))


def _check(options: ListOptions) -> None:
    if options.continue_token and options.version:
        raise bad_request("specifying resource version is not allowed when using continue")
    match, initial = options.version_match, options.initial_events
    if match not in ("", "Exact", "NotOlderThan"):
        supported = 'supported values: "Exact", "NotOlderThan", ""'
        raise _forbidden("resourceVersionMatch", f'Unsupported value: "{match}": {supported}')
    if initial is not None and not options.watch:
        raise _forbidden("sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list")
    if initial is not None and match != "NotOlderThan":
        problem = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise _forbidden("resourceVersionMatch", problem)
    if match and options.watch and initial is None:
        problem = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        raise _forbidden("resourceVersionMatch", problem)
    if match and not options.watch and options.version is None:
        problem = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        raise _forbidden("resourceVersionMatch", problem)
    if match == "Exact" and not options.version:
        problem = 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        raise _forbidden("resourceVersionMatch", problem)


def streams_are_off() -> Refusal:
    """Return the refusal of a streamed list where the API server's WatchList gate is off."""
    problem = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
    return _forbidden("sendInitialEvents", problem)


def _forbidden(field: str, problem: str) -> Refusal:
    return invalid("meta.k8s.io", _OPTIONS, "", field, problem)


def _arguments(request: IRequest, name: str) -> list[bytes]:
    values: list[bytes] = (request.args or {}).get(name.encode(), [])
    return values


def _argument(request: IRequest, name: str) -> str:
    values = _arguments(request, name)
    return values[0].decode("utf-8", "replace") if values else ""


def _number(request: IRequest, name: str) -> int | None:
    text = _argument(request, name)
    if not text:
        return None
    if not _NUMBER.fullmatch(text.removeprefix("-")):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _flag(request: IRequest, name: str) -> bool | None:
    text = _argument(request, name).lower()
    if not text:
        return None
    return text not in ("0", "false", "f")


def _version(text: str) -> int | None:
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        problem = f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise bad_request(f"invalid resource version: resourceVersion: {problem}")
    return int(text)
