"""Every alert against a server that is busy and healthy, with clients that make mistakes: none has anything to say."""

import re
import signal
import time
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import CLIENT, SERVER, Authority, Pair
from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon
from tests.functional.load import together
from tests.functional.prometheus import Exporter, Prometheus, tool
from tests.functional.sharing import SharedTestCase
from tests.functional.simulated import Simulator
from tests.monitoring import ALERTS, alerts

CART = "/deployments/shop/cart/replicas"
WRITES = 100
OTHERS = """\
kube_cronjob_spec_suspend{{namespace="sre",cronjob="sre-server-synthetic"}} 0
kube_cronjob_status_last_successful_time{{namespace="sre",cronjob="sre-server-synthetic"}} {now}
kube_deployment_spec_replicas{{namespace="sre",deployment="sre-server"}} 1
kube_deployment_status_replicas_available{{namespace="sre",deployment="sre-server"}} 1
kube_pod_container_status_restarts_total{{namespace="sre",pod="sre-server-0",container="sre-server"}} 0
sre_server_synthetic_success 1
sre_server_synthetic_last_run_timestamp_seconds {now}
"""


class LastingAuthority(Authority):
    """A CA whose certificates do not end within the days that alerts look ahead."""

    def issue(
        self,
        name: str,
        *,
        usages: Sequence[object] = (CLIENT, SERVER),
        valid_until: timedelta = timedelta(days=20),
        **how: object,
    ) -> Pair:
        """Issue a certificate for longer."""
        return super().issue(name, usages=usages, valid_until=valid_until, **how)  # type: ignore[arg-type]


class QuietTests(SynchronousTestCase):
    """A daemon of a simulated cluster, under load from several clients."""

    def setUp(self) -> None:
        """Start both."""
        self.folder = temporary_folder(self)
        self.simulator = Simulator(self.folder)
        self.addCleanup(self.simulator.close)
        self.daemon = self.serve(self.folder)

    def serve(self, folder: Path) -> Daemon:
        """Start a daemon with everything switched on that alerts look at."""
        authority = LastingAuthority(folder)
        crl = folder / "crl.pem"
        crl.write_bytes(authority.revocation_list())
        options = ("--cluster=kubeconfig", f"--kubeconfig={self.simulator.kubeconfig}", f"--tls-crl={crl}")
        limits = ("--write-rate=1000:1000", f"--audit-log={folder / 'audit.jsonl'}")
        daemon = Daemon(folder, *options, *limits, authority=authority)
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        return daemon

    def write(self, offset: int) -> None:
        """Write one Deployment many times, reading it in between, on one connection."""
        connection = self.daemon.connect()
        try:
            for number in range(WRITES):
                path = f"/namespaces/shop/deployments/cart/replica_count/{offset + number}"
                written = self.daemon.request("PUT", path, connection=connection)
                assert written.status == 200, written
                assert self.daemon.request("GET", CART, connection=connection).status == 200
        finally:
            connection.close()

    def err(self) -> None:
        """Make the mistakes that clients make, often."""
        for _ in range(20):
            put = partial(self.daemon.put, CART, {"replicas": 3})
            self.assertEqual(put(**{"If-Match": '"77-another"'}).status, 412)
            self.assertEqual(self.daemon.put(CART, {"replicas": 5000}).status, 422)
            self.assertEqual(self.daemon.put("/deployments/shop/nope/replicas", {"replicas": 3}).status, 404)
            self.assertEqual(self.daemon.get("/deployments/nope").status, 404)
            self.simulator.faults({"kind": "status", "code": 403, "message": "a policy", "verb": "patch"})
            self.assertEqual(put().status, 422)
            self.simulator.faults()

    def counted(self, metric: str) -> float:
        """The sum of a counter over all its labels."""
        connection = HTTPConnection("127.0.0.1", self.daemon.ops_port, timeout=20)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        return sum(map(float, re.findall(rf"^sre_server_{metric}(?:{{.*}})? (\S+)$", text, re.MULTILINE)))

    def test_own_writes_are_nobody_elses(self) -> None:
        """Of hundreds of writes of one Deployment, many at the same time, none is counted as reverted by others."""
        together(*(partial(self.write, offset) for offset in (1, 201, 401)))
        self.assertEqual(self.counted("scale_writes_total"), 3 * WRITES)
        self.assertEqual(self.counted("reverts_detected_total"), 0)
        self.simulator.scale("shop", "cart", 777)
        self.daemon.wait_for(lambda: self.counted("reverts_detected_total") == 1, "noticing somebody else")

    def test_no_alert_fires(self) -> None:
        """Not one of their expressions finds anything, over all that was counted since the start."""
        program = tool(self, "prometheus")
        others = Exporter(self, OTHERS.format(now=time.time()))
        targets = {"sre-server": [self.daemon.ops_port], "others": [others.server_port]}
        prometheus = Prometheus(program, self.folder, targets, ALERTS)
        self.addCleanup(prometheus.close)
        self.write(1)
        self.err()
        for _ in range(2):  # a counter that is born late has no increase until it grows under Prometheus' eyes
            together(*(partial(self.write, offset) for offset in (201, 401)))
            self.err()
            expected = self.counted("scale_writes_total")
            total = "sum(sre_server_scale_writes_total)"
            self.daemon.wait_for(lambda: prometheus.query(total) == [({}, expected)], "scraped again")  # noqa: B023
        self.assertGreater(prometheus.query("sum(increase(sre_server_scale_writes_total[10m]))")[0][1], WRITES)
        self.daemon.wait_for(lambda: not firing(prometheus), "at peace")


def firing(prometheus: Prometheus) -> dict[str, object]:
    """Return what the expressions of alerts find now."""
    found = {rule["alert"]: prometheus.query(rule["expr"]) for rule in alerts()}
    return {name: series for name, series in found.items() if series}


class QuietSharedTests(SharedTestCase):
    """Two watchers, and two api processes that follow them."""

    make_authority = LastingAuthority

    def test_no_alert_fires(self) -> None:
        """Not one of their expressions finds anything, before one watcher ends and after another one took over."""
        program = tool(self, "prometheus")
        standby, second = self.watch(), self.serve()
        second.wait_until_ready()
        watching = [self.watcher.wait_for_line(r"ops port: listening on 127\.0\.0\.1:(\d+)")[1]]
        watching += [standby.wait_for_line(r"ops port: listening on 127\.0\.0\.1:(\d+)")[1]]
        ports = [*map(int, watching), self.api.ops_port, second.ops_port]
        others = Exporter(self, OTHERS.format(now=time.time()))
        prometheus = Prometheus(program, self.folder, {"sre-server": ports, "others": [others.server_port]}, ALERTS)
        self.addCleanup(prometheus.close)

        def publishes(port: str) -> bool:
            leaders = [labels["instance"] for labels, _ in prometheus.query("sre_server_store_leader == 1")]
            return leaders == [f"127.0.0.1:{port}"]

        def roles() -> dict[str, float]:
            found = prometheus.query("count by (role) (sre_server_build_info)")
            return {labels["role"]: value for labels, value in found}

        self.api.wait_for(lambda: roles() == {"watcher": 2.0, "api": 2.0}, "one of two")
        self.api.wait_for(lambda: publishes(watching[0]), "scraped")
        self.follows(20)
        self.api.wait_for(lambda: not firing(prometheus), "at peace")
        self.watcher.send_signal(signal.SIGTERM)
        standby.wait_for_line("publishing from .* on")
        self.follows(21)
        self.api.wait_for(lambda: publishes(watching[1]), "scraped again")
        self.api.wait_for(lambda: not firing(prometheus), "at peace again")
