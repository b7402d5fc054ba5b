"""What the API server says when it refuses: Status objects, worded as it words them."""

from sre_server.simulator.kinds import Kind, Object

REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class Refusal(Exception):
    """The API server answers with a Status instead of what was asked for."""

    def __init__(
        self,
        code: int,
        message: str,
        *,
        reason: str = "",
        details: Object | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after
        seconds = {} if retry_after is None else {"retryAfterSeconds": retry_after}
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason or REASONS.get(code, ""),
            "details": {**(details or {}), **seconds},
            "code": code,
        }


def bad_request(message: str) -> Refusal:
    """Return the refusal of a request that makes no sense, or that this simulator does not understand."""
    return Refusal(400, message)


def not_found(kind: Kind, name: str) -> Refusal:
    """Return the refusal of a request for an object that does not exist."""
    return Refusal(404, f'{kind.qualified} "{name}" not found', details=_details(kind, name))


def already_exists(kind: Kind, name: str) -> Refusal:
    """Return the refusal to create an object twice."""
    message = f'{kind.qualified} "{name}" already exists'
    return Refusal(409, message, reason="AlreadyExists", details=_details(kind, name))


def conflict(kind: Kind, name: str, problem: str) -> Refusal:
    """Return the refusal of a write whose precondition does not hold."""
    message = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {problem}'
    return Refusal(409, message, details=_details(kind, name))


def invalid(name: str, field: str, problem: str) -> Refusal:
    """Return the refusal of an object, or of the options of a request, with a field that does not validate."""
    causes = [{"reason": "FieldValueInvalid", "message": problem, "field": field}]
    return Refusal(422, f'"{name}" is invalid: {field}: {problem}', details={"name": name, "causes": causes})


def expired(version: int, oldest: int) -> Refusal:
    """Return the refusal to go on from a version whose successors are forgotten."""
    return Refusal(410, f"too old resource version: {version} ({oldest})")


def too_large(version: int, current: int) -> Refusal:
    """Return the refusal to show a version that the cluster has not reached."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {version}, current: {current}"
    return Refusal(504, message, details={"causes": causes}, retry_after=1)


def _details(kind: Kind, name: str) -> Object:
    return {"name": name, "kind": kind.plural} | ({"group": kind.group} if kind.group else {})
