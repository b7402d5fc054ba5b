"""Is the server in this container alive? Run as `python -m sre_server.daemon.healthcheck`, the image's HEALTHCHECK.

With an ops port it asks /livez there. Without one it makes a TLS handshake with the API port and sends nothing: in TLS
1.3 a client is through before the server looks at its certificate, so this needs none, and only a server whose reactor
turns can answer it. The exit status is 0 for alive, 1 for not, with one line that says why.
"""

import os
import re
import socket
import ssl
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Final

SECONDS: Final = 3.0
SERVER: Final = Path("/proc/1/cmdline")
_DEFAULT_LISTEN: Final = "tcp:8443"
_ANYWHERE: Final = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # asked at, not bound to


def option(name: str, command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return what the server was told for an option, by its command line or else by its environment."""
    flag = f"--{name}"
    for index in reversed(range(len(command))):
        if command[index].startswith(f"{flag}="):
            return command[index].partition("=")[2]
        if command[index] == flag and index + 1 < len(command):
            return command[index + 1]
    return environ.get(f"SRE_SERVER_{name.upper().replace('-', '_')}") or None


def connect(endpoint: str) -> socket.socket:
    """Connect to what listens at an endpoint string (tcp, tcp6 or unix); raises ValueError for any other."""
    kind, *parts = (re.sub(r"\\(.)", r"\1", part) for part in re.split(r"(?<!\\):", endpoint))
    named = dict(part.split("=", 1) for part in parts if "=" in part)
    first = next((part for part in parts if "=" not in part), "")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(SECONDS)
        connection.connect(named.get("address", first))
        return connection
    if kind not in ("tcp", "tcp6"):
        raise ValueError(f"an endpoint of kind {kind} cannot be asked")
    host = named.get("interface", "::" if kind == "tcp6" else "")
    return socket.create_connection((_ANYWHERE.get(host, host), int(named.get("port", first))), SECONDS)


def check(command: Sequence[str], environ: Mapping[str, str]) -> str:
    """Return what was found alive; raises OSError, HTTPException or ValueError if nothing was."""
    ops = option("ops-listen", command, environ)
    if ops is None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # it is this machine's own server, and is told nothing
        with connect(option("listen", command, environ) or _DEFAULT_LISTEN) as plain, context.wrap_socket(plain):
            return "the API port answers"
    with connect(ops) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        with HTTPResponse(connection, method="GET") as response:
            response.begin()
            if response.status != 200:
                raise ValueError(f"/livez answers {response.status}")
    return "/livez answers 200"


def main(server: Path = SERVER, environ: Mapping[str, str] = os.environ) -> int:
    """Check, print the verdict, and return the exit status."""
    try:
        sys.stdout.write(f"{check(server.read_text().split(chr(0)), environ)}\n")
    except (OSError, HTTPException, ValueError) as error:
        sys.stdout.write(f"not alive: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
