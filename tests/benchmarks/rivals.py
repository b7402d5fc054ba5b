"""What others serve the same bytes with, on the same certificates: Go's net/http, and nginx where it is installed."""

import os
import shutil
from pathlib import Path
from typing import Final

from tests.benchmarks.building import ensure_handler
from tests.benchmarks.processes import DaemonProcess, Identities
from tests.functional.redis import free_port

_SBIN: Final = "/usr/sbin"
"""Where distributions have nginx, on the PATH of few users."""

_NGINX: Final = """\
daemon off;
master_process off;
worker_processes 1;
error_log stderr notice;
pid {folder}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/nginx;
    proxy_temp_path {folder}/nginx;
    fastcgi_temp_path {folder}/nginx;
    uwsgi_temp_path {folder}/nginx;
    scgi_temp_path {folder}/nginx;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_client_certificate {authority};
        ssl_verify_client on;
        ssl_session_tickets off;
        default_type {kind};
        {fields}
        location / {{ return 200 {body}; }}
    }}
}}
"""
_OWN: Final = {"content-length", "content-type", "date"}
"""Fields that nginx writes in its own way."""


class Handler(DaemonProcess):
    """A bare net/http handler; it uses all processors, as Go does, unless `processors` says how many."""

    def __init__(self, folder: Path, identities: Identities, answer: bytes, processors: int | None = None) -> None:
        log = folder / f"handler-{processors or 'all'}.log"
        file = log.with_suffix(".answer")
        file.write_bytes(answer)
        pair = identities.server
        options = [f"-cert={pair.certificate}", f"-key={pair.key}", f"-ca={identities.authority.file}"]
        extra = {} if processors is None else {"GOMAXPROCS": str(processors)}
        super().__init__(log, [str(ensure_handler()), *options, f"-answer={file}"], extra)
        try:
            self.target = identities.target(int(self.wait_for_line(r"listening on (\d+)")[1]))
        except BaseException:
            self.close()
            raise


class Nginx(DaemonProcess):
    """One process of nginx that returns the bytes from its configuration, and logs no access."""

    def __init__(self, program: str, folder: Path, identities: Identities, answer: bytes) -> None:
        port = free_port()
        file = folder / "nginx.conf"
        file.write_text(nginx_configuration(folder, port, identities, answer))
        super().__init__(folder / "nginx.log", [program, "-p", str(folder), "-e", "stderr", "-c", str(file)])
        try:
            self.wait_for_line(r"using the \"\w+\" event method")
            self.target = identities.target(port)
        except BaseException:
            self.close()
            raise


def find_nginx() -> str | None:
    """Return the program, None where it is not installed."""
    return shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", os.defpath), _SBIN)))


def nginx_configuration(folder: Path, port: int, identities: Identities, answer: bytes) -> str:
    """Return what makes nginx answer with the fields and the body of an answer that a server once sent."""
    head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    kept = [f"add_header {name} {_quoted(value)};" for name, value in fields.items() if name.lower() not in _OWN]
    return _NGINX.format(
        folder=folder,
        port=port,
        certificate=identities.server.certificate,
        key=identities.server.key,
        authority=identities.authority.file,
        kind=fields["Content-Type"],
        fields="\n        ".join(kept),
        body=_quoted(body),
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
