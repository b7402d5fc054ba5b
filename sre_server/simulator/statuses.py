"""What the API server says when it refuses: Status objects, worded as it words them."""

from sre_server.simulator.kinds import Kind, Object

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}

_CAUSES = {
    "Forbidden": "FieldValueForbidden",
    "Required value": "FieldValueRequired",
    "Unsupported value": "FieldValueNotSupported",
}

MESSAGES = {
    401: "Unauthorized",
    403: 'forbidden: User "system:serviceaccount:default:simulated" cannot do this',
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    410: "The resourceVersion for the provided list is too old.",
    429: "Too many requests, please try again later.",
    500: "Internal error occurred: the simulator was told to fail",
    503: "the server is currently unable to handle the request",
    504: "Timeout: request did not complete within the requested timeout",
}

TOO_OLD_TO_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def status(
    code: int,
    message: str = "",
    *,
    reason: str = "",
    details: Object | None = None,
    metadata: Object | None = None,
) -> Object:
    """Return a Failure Status object as it travels on the wire."""
    answer: Object = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": metadata or {},
        "status": "Failure",
        "message": message or MESSAGES.get(code, f"the server answered {code}"),
        "reason": reason or REASONS.get(code, ""),
        "code": code,
    }
    if details is not None:
        answer["details"] = details
    return answer


class Refusal(Exception):
    """The API server answers with a Status instead of what was asked for."""

    def __init__(self, refused: Object, retry_after: int | None = None) -> None:
        super().__init__(refused["message"])
        self.status = refused
        self.code = int(refused["code"])
        self.retry_after = retry_after


def bad_request(message: str) -> Refusal:
    """Return the refusal of a request that makes no sense."""
    return Refusal(status(400, message))


def not_found(kind: Kind, name: str) -> Refusal:
    """Return the refusal to speak of an object that is not there."""
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    return Refusal(status(404, f'{kind.qualified} "{name}" not found', details=_filled(details)))


def already_exists(kind: Kind, name: str) -> Refusal:
    """Return the refusal to create an object twice."""
    details = {"name": name, "group": kind.group, "kind": kind.plural}
    message = f'{kind.qualified} "{name}" already exists'
    return Refusal(status(409, message, reason="AlreadyExists", details=_filled(details)))


def modified(kind: Kind, name: str) -> Refusal:
    """Return the refusal of a write that was made against an older version."""
    return _conflict(
        kind,
        kind.plural,
        name,
        "the object has been modified; please apply your changes to the latest version and try again",
    )


def other_uid(kind: Kind, key: str, name: str, given: str, found: str) -> Refusal:
    """Return the refusal to replace another object of the same name than was meant."""
    problem = (
        f"StorageError: invalid object, Code: 4, Key: /registry/{kind.plural}/{key}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: {_uid_problem(given, found)}"
    )
    return _conflict(kind, kind.plural, name, problem)


def other_uid_to_scale(kind: Kind, name: str, given: str, found: str) -> Refusal:
    """Return the refusal to patch the scale of another object of the same name than was meant."""
    return _conflict(kind, f"{kind.plural}/scale", name, _uid_problem(given, found))


def other_uid_to_delete(kind: Kind, name: str, given: str, found: str) -> Refusal:
    """Return the refusal to delete another object of the same name than was meant."""
    problem = (
        f"the UID in the precondition ({given}) does not match the UID in record ({found}). "
        "The object might have been deleted and then recreated"
    )
    return _conflict(kind, kind.name, name, problem)


def modified_before_deletion(kind: Kind, name: str, given: str, found: int) -> Refusal:
    """Return the refusal to delete another version than was meant."""
    problem = (
        f"the ResourceVersion in the precondition ({given}) does not match the ResourceVersion in record ({found}). "
        "The object might have been modified"
    )
    return _conflict(kind, kind.name, name, problem)


def invalid(group: str, kind: str, name: str, field: str, problem: str) -> Refusal:
    """Return the refusal of an object whose field does not validate."""
    qualified = f"{kind}.{group}" if group else kind
    reason = next((reason for start, reason in _CAUSES.items() if problem.startswith(start)), "FieldValueInvalid")
    causes = [{"reason": reason, "message": problem, "field": field}]
    details = _filled({"name": name, "group": group, "kind": kind}) | {"causes": causes}
    return Refusal(status(422, f'{qualified} "{name}" is invalid: {field}: {problem}', details=details))


def expired(version: int, oldest: int) -> Refusal:
    """Return the refusal to watch from a version whose successors are forgotten."""
    return Refusal(status(410, f"too old resource version: {version} ({oldest})"))


def too_large(version: int, current: int) -> Refusal:
    """Return the refusal to show a version that the cluster has not reached."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {version}, current: {current}"
    return Refusal(status(504, message, details={"causes": causes, "retryAfterSeconds": 1}), retry_after=1)


def _uid_problem(given: str, found: str) -> str:
    return f"Precondition failed: UID in precondition: {given}, UID in object meta: {found}"


def _conflict(kind: Kind, resource: str, name: str, problem: str) -> Refusal:
    qualified = f"{resource}.{kind.group}" if kind.group else resource
    message = f'Operation cannot be fulfilled on {qualified} "{name}": {problem}'
    return Refusal(status(409, message, details=_filled({"name": name, "group": kind.group, "kind": resource})))


def _filled(details: Object) -> Object:
    return {field: value for field, value in details.items() if value}
