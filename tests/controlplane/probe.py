"""One HTTP request at a time to the parts of the control plane, with nothing but the standard library."""

import http.client
import ssl
from collections.abc import Mapping
from urllib.parse import urlsplit

HEALTH_SECONDS = 5.0
ANSWER_SECONDS = 60.0


def fetch(
    url: str,
    context: ssl.SSLContext | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = ANSWER_SECONDS,
) -> tuple[int, bytes]:
    """Make a request, over TLS if there is a context, and return the status and content of the answer."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=seconds, context=context)
    target = f"{address.path}?{address.query}" if address.query else address.path
    try:
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def healthy(url: str, context: ssl.SSLContext | None = None) -> bool:
    """Tell whether a health endpoint can be reached and says that all is well."""
    try:
        return fetch(url, context, seconds=HEALTH_SECONDS)[0] == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
