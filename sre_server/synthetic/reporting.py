"""How the outcome is told: as lines, as JSON, as metrics on stdout, in a file, or pushed to a Pushgateway."""

import json
import time
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, generate_latest, pushadd_to_gateway

from sre_server.synthetic.checks import Report

JOB: Final = "sre-server-synthetic"
LAST_SUCCESS: Final = "sre_server_synthetic_last_success_timestamp_seconds"


def registry_of(report: Report, ended_at: float) -> CollectorRegistry:
    """Return the metrics of a run that ended at this time; only a success says when the last success was."""
    registry = CollectorRegistry()

    def gauge(name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"sre_server_synthetic_{name}", text, labels, registry=registry)

    gauge("success", "1 if every check of the last run succeeded.").set(report.success)
    gauge("duration_seconds", "How long the last run took.").set(report.seconds)
    gauge("last_run_timestamp_seconds", "When the last run ended.").set(ended_at)
    if report.success:
        gauge("last_success_timestamp_seconds", "When the last run that succeeded ended.").set(ended_at)
    if report.certificate_ends is not None:
        gauge("certificate_expiry_timestamp_seconds", "When the certificate ends that the server showed.").set(
            report.certificate_ends
        )
    success = gauge("check_success", "1 if this check of the last run succeeded.", "check")
    duration = gauge("check_duration_seconds", "How long this check of the last run took.", "check")
    for outcome in report.outcomes:
        success.labels(outcome.check).set(outcome.success)
        duration.labels(outcome.check).set(outcome.seconds)
    return registry


def as_text(report: Report) -> str:
    """Return one line for each check, and one for all."""
    lines = [
        f"{'ok' if outcome.success else 'FAILED':6} {outcome.check:11} {outcome.seconds:7.3f} s  {outcome.message}"
        for outcome in report.outcomes
    ]
    verdict = "ok" if report.success else "FAILED"
    return "\n".join([*lines, f"{verdict:6} {'all':11} {report.seconds:7.3f} s"]) + "\n"


def as_json(report: Report) -> str:
    """Return one line of JSON."""
    checks = [outcome._asdict() for outcome in report.outcomes]
    return json.dumps({"success": report.success, "seconds": report.seconds, "checks": checks}) + "\n"


def as_metrics(registry: CollectorRegistry) -> str:
    """Return Prometheus' text format."""
    return generate_latest(registry).decode()


def write_file(registry: CollectorRegistry, path: Path) -> None:
    """Write metrics for node_exporter's textfile collector, at once or not at all; raises OSError.

    The file of a failed run keeps what the one before said of the last success.
    """
    text = as_metrics(registry)
    if f"\n{LAST_SUCCESS} " not in text and path.exists():
        text += "".join(line for line in path.read_text().splitlines(keepends=True) if LAST_SUCCESS in line)
    beside = path.with_name(f".{path.name}.{time.time_ns():x}")
    try:
        beside.write_text(text)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def push(registry: CollectorRegistry, gateway: str, instance: str, seconds: float) -> None:
    """Push to a Pushgateway, which keeps what this run says nothing of, such as the last success; raises OSError."""
    pushadd_to_gateway(gateway, JOB, registry, grouping_key={"instance": instance}, timeout=seconds)
