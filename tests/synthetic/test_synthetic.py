"""The synthetic query in memory: what it asks of a server, what it makes of the answers, and how it tells."""

import io
import json
from collections.abc import Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families as parse
from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Deployment
from sre_server.synthetic.__main__ import main
from sre_server.synthetic.checks import CHECKS, Report, make_checks
from sre_server.synthetic.client import Address, Answer, Trouble
from sre_server.synthetic.reporting import as_json, as_metrics, as_text, registry_of, write_file
from tests.fakes import deployment, namespace, temporary_folder
from tests.memory_server import MemoryServer

ENDS = 1_800_000_000.0


class MemoryClient:
    """Asks a server in memory; `altered` answers take the place of its own, one after the other, the last for ever."""

    def __init__(self, server: MemoryServer, altered: Mapping[str, list[Answer]] | None = None) -> None:
        self._server = server
        self._altered = dict(altered or {})
        self.asked: list[str] = []
        self.unreachable = False

    def connect(self) -> float:
        """See `Asker.connect`."""
        if self.unreachable:
            raise Trouble("no connection: Connection refused")
        return ENDS

    def get(self, path: str) -> Answer:
        """See `Asker.get`."""
        self.asked.append(path)
        if answers := self._altered.get(path):
            return answers.pop(0) if len(answers) > 1 else answers[0]
        answer = self._server.get(path)
        return Answer(answer.status, answer.json())


class SyntheticTests(SynchronousTestCase):
    """A server that has two Deployments."""

    def setUp(self) -> None:
        """Fill it."""
        self.web = deployment("web", "shop")
        self.server = self.synced(self.web, deployment("api", "pay", replicas=7))

    @staticmethod
    def synced(*deployments: Deployment) -> MemoryServer:
        """Return a server that knows three namespaces and these Deployments."""
        return MemoryServer().sync(namespace("shop"), namespace("pay"), namespace("empty"), *deployments)

    def check(self, altered: Mapping[str, list[Answer]] | None = None) -> Report:
        """Make the checks."""
        return make_checks(MemoryClient(self.server, altered))

    def failed(self, report: Report) -> dict[str, str]:
        """What failed, and why."""
        return {outcome.check: outcome.message for outcome in report.outcomes if not outcome.success}


class ChecksTests(SyntheticTests):
    """What is asked, and what is made of the answers."""

    def test_all_is_well(self) -> None:
        """Every check is made, in order, with a line that says what was seen; the end of the certificate is known."""
        report = self.check()
        self.assertEqual(self.failed(report), {})
        self.assertTrue(report.success)
        self.assertEqual(tuple(outcome.check for outcome in report.outcomes), CHECKS)
        self.assertEqual(report.certificate_ends, ENDS)
        said = {outcome.check: outcome.message for outcome in report.outcomes}
        self.assertEqual(said["namespaces"], "3 namespaces")
        self.assertEqual(said["deployments"], "2 Deployments in 2 namespaces")
        self.assertEqual(said["replicas"], "pay/api has 7")

    def test_it_only_reads(self) -> None:
        """Nothing is ever written."""
        self.check()
        self.assertEqual(self.server.writes, [])

    def test_no_connection(self) -> None:
        """Without one everything has failed, and nothing is asked."""
        client = MemoryClient(self.server)
        client.unreachable = True
        report = make_checks(client)
        self.assertEqual(set(self.failed(report)), set(CHECKS))
        self.assertEqual((client.asked, report.certificate_ends), ([], None))

    def test_not_synced(self) -> None:
        """A server that lives and knows nothing fails all that needs knowledge, with the server's own words."""
        self.server = MemoryServer()
        failed = self.failed(self.check())
        self.assertEqual(set(failed), set(CHECKS) - {"connect", "livez"})
        self.assertIn("503: ", failed["readyz"])

    def test_stale(self) -> None:
        """So does one whose cluster has been silent for too long."""
        self.server.clock.advance(121)
        self.assertEqual(set(self.failed(self.check())), set(CHECKS) - {"connect", "livez"})

    def test_no_deployments(self) -> None:
        """A cluster without Deployments is no failure."""
        self.server = self.synced()
        self.assertEqual(self.failed(self.check()), {})

    def test_a_deployment_that_goes(self) -> None:
        """One that goes between two requests is no failure: the next one is read."""
        gone = Answer(404, {"message": "There is no Deployment 'api' in 'pay'."})
        also_gone = Answer(410, gone.json)
        altered = {
            "/deployments/pay/api/replicas": [gone],
            "/namespaces/pay/deployments/api/replica_count": [also_gone],
        }
        report = self.check(altered)
        self.assertEqual(self.failed(report), {})
        self.assertEqual(report.outcomes[CHECKS.index("replicas")].message, "shop/web has 3")

    def test_a_change_while_it_is_read(self) -> None:
        """What differs once is read again; what differs every time is a failure."""
        path = "/namespaces/pay/deployments/api/replica_count"
        before, now = (Answer(200, {"namespace": "pay", "deployment": "api", "replica_count": n}) for n in (6, 7))
        self.assertEqual(self.failed(self.check({path: [before, now]})), {})
        failed = self.failed(self.check({path: [before]}))
        self.assertEqual(failed, {"agreement": "pay/api has 7 replicas in one family and 6 in the other"})

    def test_families_that_differ(self) -> None:
        """A Deployment or a namespace that only one family knows is a failure."""
        one = [Answer(200, [{"namespace": "pay", "deployments": ["api"]}])]
        self.assertEqual(set(self.failed(self.check({"/namespaces/ANY/deployments": one}))), {"agreement"})
        fewer = [Answer(200, {"namespaces": ["shop"]})]
        self.assertEqual(set(self.failed(self.check({"/namespaces": fewer}))), {"agreement"})

    def test_answers_of_another_shape(self) -> None:
        """200 is not enough: the body must be what was promised."""
        for path, bodies, broken in (
            ("/namespaces", ([], {}, {"namespaces": [1]}, {"namespaces": None}, None), "namespaces"),
            (
                "/deployments",
                ({}, [1], [{"namespace": "a"}], [{"namespace": 1, "deployments": []}], None),
                "deployments",
            ),
            (
                "/deployments/pay/api/replicas",
                (
                    [],
                    {},
                    {"namespace": "pay", "deployment": "api", "replicas": True},
                    {"namespace": "pay", "deployment": "api", "replicas": "7"},
                    {"namespace": "pay", "deployment": "web", "replicas": 7},
                ),
                "replicas",
            ),
        ):
            for body in bodies:
                self.assertIn(broken, self.failed(self.check({path: [Answer(200, body)]})), (path, body))

    def test_a_refusal(self) -> None:
        """What the server refuses is told in its own words."""
        refused = [Answer(403, {"message": "'probe' may not read."})]
        failed = self.failed(self.check({"/deployments": refused}))
        self.assertEqual(failed["deployments"], "GET /deployments was answered 403: 'probe' may not read.")


class ReportingTests(SyntheticTests):
    """How it is told."""

    def samples(self, text: str) -> dict[tuple[str, str], float]:
        """The samples of a text, by name and check."""
        found = (sample for family in parse(text) for sample in family.samples)
        return {
            (sample.name.removeprefix("sre_server_synthetic_"), sample.labels.get("check", "")): sample.value
            for sample in found
        }

    def unready(self) -> Report:
        """Return the report of a server that is not synced."""
        return make_checks(MemoryClient(MemoryServer()))

    def test_metrics(self) -> None:
        """A success says that it was one, how long it took, and when; each check says so for itself."""
        report = self.check()
        found = self.samples(as_metrics(registry_of(report, 1000.0)))
        self.assertEqual((found["success", ""], found["last_success_timestamp_seconds", ""]), (1, 1000))
        self.assertEqual(
            (found["last_run_timestamp_seconds", ""], found["duration_seconds", ""]), (1000, report.seconds)
        )
        self.assertEqual(found["certificate_expiry_timestamp_seconds", ""], ENDS)
        self.assertEqual({check for name, check in found if name == "check_success"}, set(CHECKS))
        self.assertEqual({check for name, check in found if name == "check_duration_seconds"}, set(CHECKS))

    def test_metrics_of_a_failure(self) -> None:
        """A failure says nothing of the last success, which stays what it was."""
        found = self.samples(as_metrics(registry_of(self.unready(), 2000.0)))
        self.assertEqual((found["success", ""], found["last_run_timestamp_seconds", ""]), (0, 2000))
        self.assertNotIn(("last_success_timestamp_seconds", ""), found)
        self.assertEqual((found["check_success", "livez"], found["check_success", "readyz"]), (1, 0))

    def test_the_file(self) -> None:
        """It is replaced as a whole; a failure keeps the time of the last success, however many follow."""
        path = temporary_folder(self) / "sre.prom"
        write_file(registry_of(self.unready(), 500.0), path)
        self.assertNotIn(("last_success_timestamp_seconds", ""), self.samples(path.read_text()))
        write_file(registry_of(self.check(), 1000.0), path)
        for at in (2000.0, 3000.0):
            write_file(registry_of(self.unready(), at), path)
            found = self.samples(path.read_text())
            self.assertEqual((found["success", ""], found["last_run_timestamp_seconds", ""]), (0, at))
            self.assertEqual(found["last_success_timestamp_seconds", ""], 1000)
        self.assertEqual([each.name for each in path.parent.iterdir()], ["sre.prom"])

    def test_a_file_that_cannot_be_written(self) -> None:
        """That is an error, and leaves nothing behind."""
        self.assertRaises(OSError, write_file, CollectorRegistry(), Path("/nowhere/sre.prom"))

    def test_lines(self) -> None:
        """One line for each check and one for all, as text; or one of JSON."""
        text = as_text(self.unready()).splitlines()
        self.assertEqual(len(text), len(CHECKS) + 1)
        self.assertEqual(
            [line.split()[:2] for line in text[:3]], [["ok", "connect"], ["ok", "livez"], ["FAILED", "readyz"]]
        )
        self.assertEqual(text[-1].split()[:2], ["FAILED", "all"])
        found = json.loads(as_json(self.check()))
        self.assertEqual((found["success"], [check["check"] for check in found["checks"]]), (True, list(CHECKS)))


class UsageTests(SynchronousTestCase):
    """The command line."""

    def refused(self, *arguments: str, **environment: str) -> None:
        """Check that this is bad usage."""
        with self.assertRaises(SystemExit) as raised:
            main(arguments, environment, io.StringIO(), io.StringIO())
        self.assertEqual(raised.exception.code, 2, arguments)

    def test_bad_usage(self) -> None:
        """Missing, unknown or senseless options, and files that cannot be used, are told apart from a failed check."""
        files = ("--certificate=/nowhere", "--private-key=/nowhere", "--server-ca=/nowhere")
        self.refused()
        self.refused("--url=https://localhost", *files[1:])
        self.refused("--url=https://localhost", *files)
        self.refused("--url=https://localhost", *files, "--nonsense")
        for timeout in ("0", "-1", "nan", "inf", "soon"):
            self.refused("--url=https://localhost", *files, f"--timeout={timeout}")
        self.refused("--url=https://localhost", *files, "--output=xml")

    def test_urls(self) -> None:
        """Only an https URL of a server will do."""
        self.assertEqual(Address.of("https://sre-server:8443"), ("sre-server", 8443))
        self.assertEqual(Address.of("https://sre-server/"), ("sre-server", 443))
        for url in ("http://a", "a:8443", "https://", "https://a/path", "https://a:many", "https://a?x", ""):
            self.assertRaises(ValueError, Address.of, url)
