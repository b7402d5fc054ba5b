"""What goes on the wire besides a handler's own value: error bodies, request ids, and the statuses' reasons."""

import re
from http import HTTPStatus
from random import getrandbits
from typing import Final

import msgspec
from twisted.web.http import datetimeToString

JSON: Final = b"application/json"
_SANE_ID: Final = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=@-]{0,127}")


def encode(value: object) -> bytes:
    """Encode plain data as one line of JSON, ended by a newline for the sake of terminals."""
    return msgspec.json.encode(value) + b"\n"


def error_body(message: str) -> bytes:
    """Make the body that every non-2xx/3xx answer has."""
    return encode({"message": message})


def request_id(offered: bytes | None) -> str:
    """Return the client's own request id if it is sane (1 to 128 plain characters), else a new one."""
    if offered is not None and _SANE_ID.fullmatch(offered):
        return offered.decode("ascii")
    return f"{getrandbits(64):016x}"


def bare_response(status: HTTPStatus, message: str, known_as: str) -> bytes:
    """Make a whole response that closes the connection, for requests too broken to reach a Request object."""
    body = error_body(message)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nDate: {datetimeToString().decode('ascii')}\r\n"
        f"X-Request-Id: {known_as}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
