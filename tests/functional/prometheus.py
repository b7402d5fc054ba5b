"""A real Prometheus that scrapes what tests run, and is asked what it knows."""

import json
import os
import shutil
import socket
import threading
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.daemon import Process, environment

EVERY = 1.0
"""Seconds between scrapes."""


def tool(test: SynchronousTestCase, name: str) -> str:
    """Return the path of `prometheus` or `promtool`, or skip the test, saying how to get it."""
    program = os.environ.get(name.upper()) or shutil.which(name)
    if not program:
        test.skipTest(f"no {name}; name one with {name.upper()}=..., Debian's package prometheus has it")
    return program


class Prometheus(Process):
    """A Prometheus that has seen its targets, the ports of each job; `rules` is a file of alerts that it evaluates."""

    def __init__(self, program: str, folder: Path, targets: Mapping[str, Sequence[int]], rules: Path) -> None:
        jobs = [
            {
                "job_name": job,
                "honor_labels": True,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{port}" for port in ports], "labels": {"namespace": "sre"}}
                ],
            }
            for job, ports in targets.items()
        ]
        every = f"{int(EVERY * 1000)}ms"
        pace = {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every}
        configuration = folder / "prometheus.yaml"
        configuration.write_text(yaml.safe_dump({"global": pace, "rule_files": [str(rules)], "scrape_configs": jobs}))
        self.port = _free_port()
        command = [
            program,
            f"--config.file={configuration}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        super().__init__(command, environment(), folder)
        try:
            self.wait_for_line("Server is ready to receive web requests")
            seen = f"sum(up) == {sum(map(len, targets.values()))}"  # `up` is stored along with what a scrape brought
            self.wait_for(lambda: bool(self.query(seen)), "scraped")
        except BaseException:
            self.close()
            raise

    def call(self, path: str, **parameters: object) -> Any:
        """Ask its API, and return the data."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        if answer["status"] != "success":
            raise AssertionError(f"{path} {parameters}: {answer}")
        return answer["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Evaluate an expression now: the labels and value of each series."""
        found = self.call("query", query=expression)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]


def serve(test: SynchronousTestCase, server: HTTPServer) -> None:
    """Let a server answer, in a thread, until the test is over."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    test.addCleanup(thread.join, 10)
    test.addCleanup(server.server_close)
    test.addCleanup(server.shutdown)


class Exporter(HTTPServer):
    """Answers every request with the metrics that it was given."""

    def __init__(self, test: SynchronousTestCase, text: str) -> None:
        super().__init__(("127.0.0.1", 0), _Exposition)
        self.text = text.encode()
        serve(test, self)


class _Exposition(BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(self.server.text)))
        self.end_headers()
        self.wfile.write(self.server.text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _free_port() -> int:
    """Return a port that is free now: Prometheus 2 does not say which one it was given for 0."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port
