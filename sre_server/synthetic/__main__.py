"""The command line: `python -m sre_server.synthetic`; exits 0 if all is well, 1 if a check failed, 2 for bad usage."""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TextIO

from prometheus_client import CollectorRegistry

from sre_server.synthetic.checks import Report, make_checks
from sre_server.synthetic.client import Address, Client, tls_context
from sre_server.synthetic.reporting import as_json, as_metrics, as_text, push, registry_of, write_file

PREFIX: Final = "SRE_SERVER_SYNTHETIC_"
MAX_SECONDS: Final = 3600.0


def parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    """Make the parser; what stands in the environment is each option's default."""
    made = argparse.ArgumentParser(
        prog="python -m sre_server.synthetic",
        description="Ask a server as a client would, and tell as metrics whether all of it works.",
        epilog=f"Each option also reads an environment variable: {PREFIX} and its name in capitals.",
        allow_abbrev=False,
    )

    def add(name: str, text: str, kind: type = str, default: str | None = None, **more: object) -> None:
        given = environment.get(PREFIX + name.upper().replace("-", "_"), default)
        required = {"required": True} if given is None and not more.pop("optional", False) else {}
        made.add_argument(f"--{name}", help=text, type=kind, default=given, **required, **more)  # type: ignore[arg-type]

    add("url", "where the server is, such as https://sre-server:8443", metavar="URL")
    add("certificate", "the client certificate, or its chain, in PEM", Path, metavar="FILE")
    add("private-key", "its key", Path, metavar="FILE")
    add("server-ca", "the CA that the server's certificate must come from", Path, metavar="FILE")
    add("timeout", "seconds for all checks together (10)", float, "10", metavar="SECONDS")
    add("output", "what to print (text)", default="text", choices=("text", "json", "metrics"))
    add(
        "metrics-file",
        "write metrics here, for node_exporter's textfile collector",
        Path,
        optional=True,
        metavar="FILE",
    )
    add("push-to", "push metrics to this Pushgateway, such as http://pushgateway:9091", optional=True, metavar="URL")
    add("instance", "the instance label of what is pushed (host and port of --url)", optional=True, metavar="NAME")
    return made


def main(arguments: Sequence[str], environment: Mapping[str, str], output: TextIO, errors: TextIO) -> int:
    """Make the checks and tell what came of them; raises SystemExit(2) for bad usage."""
    usage = parser(environment)
    options = usage.parse_args(arguments)
    if not 0 < options.timeout <= MAX_SECONDS:
        usage.error(f"--timeout: it must be more than 0 and at most {MAX_SECONDS:g} seconds")
    if options.push_to is not None and "@" in options.push_to:
        usage.error("--push-to: a Pushgateway is asked without a password, and the URL would be told in the log")
    try:
        address = Address.of(options.url)
        context = tls_context(options.certificate, options.private_key, options.server_ca)
    except ValueError as error:
        usage.error(f"--url: {error}")
    except OSError as error:
        which = ", ".join(str(path) for path in (options.certificate, options.private_key, options.server_ca))
        usage.error(f"--certificate, --private-key, --server-ca: {which} cannot be used: {error}")
    with Client(address, context, options.timeout) as client:
        report = make_checks(client)
    registry = registry_of(report, time.time())
    output.write(_printed(options.output, report, registry))
    output.flush()
    try:
        if options.metrics_file is not None:
            write_file(registry, options.metrics_file)
    except OSError as error:
        errors.write(f"the metrics were not written to {options.metrics_file}: {error}\n")
    try:
        if options.push_to is not None:
            push(registry, options.push_to, options.instance or f"{address.host}:{address.port}", options.timeout)
    except (OSError, ValueError) as error:
        errors.write(f"the metrics were not pushed to {options.push_to}: {error}\n")
    return 0 if report.success else 1


def _printed(form: str, report: Report, registry: CollectorRegistry) -> str:
    match form:
        case "json":
            return as_json(report)
        case "metrics":
            return as_metrics(registry)
        case _:
            return as_text(report)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], os.environ, sys.stdout, sys.stderr))
