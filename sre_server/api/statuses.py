"""Which HTTP status each error of the domain is: one table for each family, as each was promised to its clients."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from sre_server.errors import (
    AdmissionRefused,
    ClusterError,
    ClusterThrottled,
    ClusterTimedOut,
    Conflict,
    GuardrailRefused,
    Malformed,
    NotFound,
    NotIdentified,
    NotPermitted,
    PreconditionFailed,
    SreServerError,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
)

StatusTable = Mapping[type[SreServerError], HTTPStatus]

_BOTH_FAMILIES: Final[StatusTable] = {
    Malformed: HTTPStatus.BAD_REQUEST,
    UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    GuardrailRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    Conflict: HTTPStatus.CONFLICT,
    AdmissionRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    ClusterThrottled: HTTPStatus.SERVICE_UNAVAILABLE,
    ClusterTimedOut: HTTPStatus.GATEWAY_TIMEOUT,
    ClusterError: HTTPStatus.BAD_GATEWAY,
}
FAMILY_A: Final[StatusTable] = {
    **_BOTH_FAMILIES,
    NotFound: HTTPStatus.NOT_FOUND,
    NotPermitted: HTTPStatus.FORBIDDEN,
    NotIdentified: HTTPStatus.UNAUTHORIZED,
}
"""RFD 0's table, which is RFC 9110's."""
FAMILY_B: Final[StatusTable] = {
    **_BOTH_FAMILIES,
    NotFound: HTTPStatus.GONE,
    NotPermitted: HTTPStatus.UNAUTHORIZED,
    NotIdentified: HTTPStatus.FORBIDDEN,
}
"""RFD 1's table: 401 and 403 are the other way round than in RFC 9110, and its clients were promised that."""


def status_of(error: BaseException, statuses: StatusTable) -> HTTPStatus:
    """Return the status of an error, by the nearest of its classes that the table has; 500 if there is none."""
    found = (statuses[kind] for kind in type(error).__mro__ if kind in statuses)
    return next(found, HTTPStatus.INTERNAL_SERVER_ERROR)
