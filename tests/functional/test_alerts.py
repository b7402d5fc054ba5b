"""The alerts that the chart ships: promtool's verdict, and that each has what whoever is woken by it needs."""

import re
import subprocess

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.prometheus import tool
from tests.monitoring import (
    ALERT_TESTS,
    ALERTS,
    CHECKOUT,
    KUBE_STATE_METRICS,
    RUNBOOKS,
    alerts,
    known_metrics,
    metrics_in,
)

SECTIONS = ["What it means", "Impact", "How to check", "How to mend", "How to silence"]


class PromtoolTests(SynchronousTestCase):
    """What Prometheus' own tool says of them."""

    def promtool(self, *arguments: object) -> str:
        """Run promtool, which must be content; return what it printed."""
        command = [tool(self, "promtool"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_the_rules_are_valid(self) -> None:
        """Every expression and template can be read."""
        self.assertIn(f"{len(alerts())} rules found", self.promtool("check", "rules", ALERTS))

    def test_histories(self) -> None:
        """Every alert fires, and does not fire, in the histories that it should."""
        self.promtool("test", "rules", *sorted(ALERT_TESTS.glob("*.yaml")))


class RulesTests(SynchronousTestCase):
    """What every alert has."""

    def test_labels_and_annotations(self) -> None:
        """A severity, a summary without variables, a description, and the path of its own runbook; names are unique."""
        names = [rule["alert"] for rule in alerts()]
        self.assertEqual(len(names), len(set(names)))
        self.assertGreaterEqual(len(names), 20)
        for rule in alerts():
            name, annotations = rule["alert"], rule["annotations"]
            self.assertIn(rule["labels"]["severity"], ("critical", "warning", "info"), name)
            self.assertEqual(set(annotations), {"summary", "description", "runbook_url"}, name)
            self.assertEqual(annotations["runbook_url"], f"docs/runbooks/{name}.md")
            self.assertNotIn("{{", annotations["summary"], name)

    def test_what_the_rfd_asks_for(self) -> None:
        """There is an alert for each thing that RFD 1 names, and for what endangers the server besides."""
        wanted = {
            "SREServerInaccessible",
            "SREServerNotReady",
            "SREServerErrorRate",
            "SREServerReadLatency",
            "SREServerInstanceTurnover",
            "SREServerCacheStale",
            "SREServerCertificateExpiring",
            "SREServerCertificateExpiryImminent",
            "SREServerWriteFailures",
            "SREServerReloadFailing",
            "SREServerAuditFailing",
        }
        self.assertEqual(wanted - {rule["alert"] for rule in alerts()}, set())

    def test_metrics(self) -> None:
        """They speak of metrics that the server, the synthetic query or kube-state-metrics has, and of no others."""
        known = known_metrics() | KUBE_STATE_METRICS
        for rule in alerts():
            found = metrics_in(rule["expr"])
            self.assertTrue(found, rule["alert"])
            self.assertEqual(found - known, set(), rule["alert"])

    def test_each_has_histories(self) -> None:
        """Each is tested by promtool with a history in which it fires, and with one in which it does not."""
        fires: set[str] = set()
        silent: set[str] = set()
        for path in ALERT_TESTS.glob("*.yaml"):
            for history in yaml.safe_load(path.read_text())["tests"]:
                for test in history["promql_expr_test"]:
                    for name in re.findall(r'alertname="(\w+)"', test["expr"]):
                        (fires if test["exp_samples"] else silent).add(name)
        names = {rule["alert"] for rule in alerts()}
        self.assertEqual(names - fires, set())
        self.assertEqual(fires - names, set())
        self.assertEqual(silent - names, set())
        quiet = (ALERT_TESTS / "quiet.yaml").read_text()
        unseen = {rule["alert"] for rule in alerts() if not all(name in quiet for name in metrics_in(rule["expr"]))}
        self.assertEqual(unseen - silent, set())


class RunbookTests(SynchronousTestCase):
    """What to do about each."""

    def test_one_for_each(self) -> None:
        """Each alert has a runbook, and each runbook an alert."""
        self.assertEqual({path.stem for path in RUNBOOKS.glob("*.md")}, {rule["alert"] for rule in alerts()})

    def test_sections(self) -> None:
        """Each says what it means, how to check with commands, how to mend and to silence; and how urgent it is."""
        for rule in alerts():
            text = (RUNBOOKS / f"{rule['alert']}.md").read_text()
            self.assertTrue(
                text.startswith(f"# {rule['alert']}\n\nSeverity: {rule['labels']['severity']}.\n"), text[:80]
            )
            self.assertEqual(re.findall(r"^## (.*)$", text, re.MULTILINE), SECTIONS, rule["alert"])
            check = text.partition("## How to check")[2].partition("## How to mend")[0]
            self.assertRegex(check, "```(shell|promql)\n", rule["alert"])
            self.assertIn(f"alertname={rule['alert']} ", text)

    def test_links(self) -> None:
        """What they point to is there."""
        for path in [*RUNBOOKS.glob("*.md"), CHECKOUT / "docs/observability.md"]:
            for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
                self.assertTrue((path.parent / target).exists(), f"{path.name}: {target}")

    def test_metrics(self) -> None:
        """Their queries speak of metrics that there are."""
        known = known_metrics() | KUBE_STATE_METRICS
        for path in RUNBOOKS.glob("*.md"):
            for block in re.findall(r"```promql\n(.*?)```", path.read_text(), re.DOTALL):
                self.assertEqual(metrics_in(block) - known, set(), path.name)


class DocumentationTests(SynchronousTestCase):
    """What docs/observability.md says."""

    def test_every_metric(self) -> None:
        """It names every metric of the server and of the synthetic query, and no others."""
        text = (CHECKOUT / "docs/observability.md").read_text()
        told = {name for name in re.findall(r"`(sre_server_[a-z_]+)`", text) if not name.endswith("_")}
        exposed = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known_metrics()}
        self.assertEqual(told, {name for name in exposed if name.startswith("sre_server_")})

    def test_every_alert(self) -> None:
        """It has a row for each alert, with its severity and a link to its runbook."""
        text = (CHECKOUT / "docs/observability.md").read_text()
        for rule in alerts():
            self.assertIn(f"| [{rule['alert']}](runbooks/{rule['alert']}.md) | {rule['labels']['severity']} |", text)
