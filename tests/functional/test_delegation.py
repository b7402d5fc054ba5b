"""`--authorization=kubernetes` over sockets: what reads cost the cluster, and that they go on without it."""

from collections.abc import Sequence
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon
from tests.functional.simulated import Simulator


class DelegationTests(SynchronousTestCase):
    """A daemon in front of a simulated cluster that counts what it is asked."""

    def setUp(self) -> None:
        """Start both."""
        folder = temporary_folder(self)
        self.simulator = Simulator(folder, "--deployments=300")
        self.addCleanup(self.simulator.close)
        self.daemon = Daemon(folder, f"--kubeconfig={self.simulator.kubeconfig}", "--authorization=kubernetes")
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()

    def reviews(self) -> int:
        """How many questions the cluster was asked."""
        return self.simulator.counts().get("create subjectaccessreviews", 0)

    def paths(self) -> list[str]:
        """Every Deployment that the client sees."""
        shown = self.daemon.request("GET", "/deployments").json
        return [f"/deployments/{part['namespace']}/{name}/replicas" for part in shown for name in part["deployments"]]

    def statuses(self, paths: Sequence[str]) -> set[int]:
        """What reads on one connection are answered."""
        with closing(self.daemon.connect()) as connection:
            statuses = set()
            for path in paths:
                connection.request("GET", path)
                response = connection.getresponse()
                response.read()
                statuses.add(response.status)
            return statuses

    def test_who_may_read_everything(self) -> None:
        """One question, however much is read; and none of it needs the cluster any more."""
        paths = self.paths()
        self.assertEqual(len(paths), 300)
        self.simulator.unplug(60)
        self.assertEqual(self.statuses(paths), {200})

    def test_who_may_read_one_namespace(self) -> None:
        """A list asks for each namespace once; reads in the one, nothing more."""
        self.simulator.call("PUT", "/simulator/reviews", {"rules": [{"namespace": "shop"}]})
        paths = self.paths()
        self.assertEqual({path.split("/")[2] for path in paths}, {"shop"})
        asked = self.reviews()
        self.assertEqual(self.paths(), paths)
        self.assertEqual(self.statuses(paths), {200})
        self.assertEqual(self.statuses(["/deployments/payments", "/deployments/none"]), {403})
        self.assertEqual(self.reviews(), asked + 1, "for the one that does not exist")
