"""The dashboard that the chart ships: drawn from the metrics of a live server, as a real Prometheus has them."""

import contextlib
import math
import re
import subprocess
import sys
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from helm.dashboard.__main__ import as_json
from tests.certificates import Authority, Pair
from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon, environment
from tests.functional.prometheus import Exporter, Prometheus, tool
from tests.functional.redis import RedisServer
from tests.functional.sharing import Watcher
from tests.functional.simulated import Simulator
from tests.monitoring import ALERTS, DASHBOARD, alerts, dashboard, known_metrics, metrics_in, panels, selectors_in

POLICY = """\
rules:
  - {identities: [intern], verbs: [scale], effect: deny}
  - {identities: ["*"]}
"""
KUBE_STATE = """\
kube_cronjob_spec_suspend{namespace="sre",cronjob="sre-server-synthetic"} 0
kube_cronjob_status_last_successful_time{namespace="sre",cronjob="sre-server-synthetic"} 1
kube_deployment_spec_replicas{namespace="sre",deployment="sre-server"} 2
kube_deployment_status_replicas_available{namespace="sre",deployment="sre-server"} 2
kube_pod_container_status_restarts_total{namespace="sre",pod="sre-server-0",container="sre-server"} 0
"""
SECONDS = 20.0
"""In which all must have been scraped twice, and be drawn."""


class FileTests(SynchronousTestCase):
    """What every panel has."""

    def test_the_file_is_what_the_code_makes(self) -> None:
        """Change helm/dashboard/ and run `python -m helm.dashboard`; the file is never edited by hand."""
        self.assertEqual(DASHBOARD.read_text(), as_json())

    def test_every_panel_says_what_it_shows(self) -> None:
        """A title of its own, a description, a unit, and a legend for each of its queries."""
        titles = [panel.title for panel in panels()]
        self.assertGreater(len(titles), 35)
        for panel in panels():
            self.assertTrue(panel.title and panel.description.endswith(".") and panel.unit, panel.title)
            self.assertTrue(panel.queries and all(legend for _, legend in panel.queries), panel.title)

    def test_metrics(self) -> None:
        """Panels speak of metrics that the server or the synthetic query has, and every metric of ours is on one."""
        shown = {name for panel in panels() for expression, _ in panel.queries for name in metrics_in(expression)}
        self.assertEqual(shown - known_metrics(), set())
        ours = {re.sub(r"_(bucket|count|sum)$", "", name) for name in known_metrics() if name.startswith("sre_server_")}
        shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
        self.assertEqual(ours - shown, {"sre_server_cache_last_event_timestamp_seconds"})

    def test_legends(self) -> None:
        """A legend names labels that its query keeps."""
        for panel in panels():
            for expression, legend in panel.queries:
                for kept in re.findall(r"by \(([^)]*)\)", expression)[:1]:
                    labels = set(re.findall(r"{{(\w+)}}", legend))
                    self.assertEqual(labels - {label.strip() for label in kept.split(",")}, set(), panel.title)

    def test_places(self) -> None:
        """Panels lie within 24 columns, do not overlap, and have ids of their own."""
        taken: set[tuple[int, int]] = set()
        for panel in dashboard()["panels"]:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(taken & cells, panel["title"])
            self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
            taken |= cells
        ids = [panel["id"] for panel in dashboard()["panels"]]
        self.assertEqual(len(ids), len(set(ids)))

    def test_variables(self) -> None:
        """There is one for the data source, which every query uses, and one each for namespace, job and instance."""
        names = [variable["name"] for variable in dashboard()["templating"]["list"]]
        self.assertEqual(names, ["datasource", "namespace", "job", "instance"])
        for panel in dashboard()["panels"]:
            for target in panel.get("targets", []):
                self.assertEqual(target["datasource"], {"type": "prometheus", "uid": "${datasource}"})


class LiveServer:
    """A server under a little traffic of every kind, in front of a cluster that does not always do what it should."""

    def __init__(self, test: SynchronousTestCase, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.simulator = Simulator(folder)
        test.addCleanup(self.simulator.close)
        self.simulator.faults({"kind": "status", "code": 403, "verb": "discover", "times": 1})
        self.policy = folder / "policy.yaml"
        self.policy.write_text(POLICY)
        crl = folder / "crl.pem"
        crl.write_bytes(self.authority.revocation_list())
        options = [
            "--cluster=kubeconfig",
            f"--kubeconfig={self.simulator.kubeconfig}",
            f"--authorization=policy:{self.policy}",
            f"--tls-crl={crl}",
            f"--audit-log={folder / 'audit.jsonl'}",
            "--read-rate=50:60",
            "--temporary-store=default/temporary-counts",
            "--max-connections-per-identity=3",
        ]
        self.daemon = Daemon(folder, *options, authority=self.authority)
        test.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()

    def connect(self, who: Pair) -> HTTPSConnection:
        """Return a connection of some client."""
        return HTTPSConnection("localhost", self.daemon.port, context=self.daemon.context(who), timeout=20)

    def status(self, connection: HTTPSConnection, method: str, path: str) -> int:
        """Make a request and return its status."""
        connection.request(method, path)
        response = connection.getresponse()
        response.read()
        return response.status

    def load(self) -> None:
        """Read, write, ask for what is not there, be refused in every way, and break the watches."""
        self.read_and_write()
        self._be_refused()
        self._break_things()

    def read_and_write(self) -> None:
        """Do what clients do, and what an autoscaler does after that, or would do."""
        daemon = self.daemon
        assert daemon.put("/deployments/shop/storefront/replicas", {"replicas": 1}).status == 422
        assert daemon.put("/deployments/shop/catalog/replicas", {"replicas": 4}, Prefer="wait=20").status == 200
        temporary = "/deployments/shop/checkout/temporary"
        assert daemon.put(temporary, {"replicas": 4, "for": "1h"}).status == 201
        assert daemon.request("DELETE", temporary).status == 200
        assert daemon.get("/deployments").status == 200
        assert daemon.get("/namespaces/shop/deployments/nope/replica_count").status == 410
        assert daemon.put("/deployments/shop/cart/replicas", {"replicas": 5}).status == 200
        self.simulator.scale("shop", "cart", 2)
        daemon.wait_for(lambda: daemon.get("/deployments/shop/cart/replicas").json["replicas"] == 2, "reverted")

    def _be_refused(self) -> None:
        daemon = self.daemon
        intern, greedy, nobody = (self.authority.issue(name) for name in ("intern", "greedy", "nobody"))
        assert daemon.put("/deployments/shop/cart/replicas", {"replicas": 100_000}).status == 422
        with contextlib.closing(self.connect(intern)) as refused:
            assert self.status(refused, "PUT", "/namespaces/shop/deployments/cart/replica_count/3") == 401
        connection = self.connect(greedy)
        while self.status(connection, "GET", "/namespaces") != 429:
            pass
        connections = [self.connect(nobody) for _ in range(4)]
        assert [self.status(each, "GET", "/namespaces") for each in connections] == [200, 200, 200, 429]
        for each in (connection, *connections):
            each.close()
        with contextlib.closing(daemon.connect()) as raw:
            raw.connect()
            raw.sock.sendall(b"garbage\r\n\r\n")
            assert raw.sock.recv(100).startswith(b"HTTP/1.1 400")

    def _break_things(self) -> None:
        daemon, failing = self.daemon, {"kind": "status", "verb": "patch", "code": 500}
        self.simulator.faults(failing, {"kind": "error-event", "code": 410}, {"kind": "cut", "skip": 2})
        assert daemon.put("/deployments/shop/cart/replicas", {"replicas": 6}).status == 502
        daemon.wait_for(lambda: self.counted("watch_restarts_total", "Expired"), "relisting")
        self.simulator.faults()
        self.policy.write_text("rules: nonsense")
        daemon.wait_for(lambda: self.counted("reloads_total", "refused"), "refusing a policy")

    def counted(self, metric: str, label: str) -> bool:
        """Tell whether a metric has a series with this value of a label."""
        return f'"{label}"' in "".join(line for line in self.metrics().splitlines() if metric in line)

    def metrics(self) -> str:
        """Return what the server exposes now."""
        command = [sys.executable, "-c", _FETCH, f"http://127.0.0.1:{self.daemon.ops_port}/metrics"]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout

    def synthetic(self) -> str:
        """Return the metrics of one synthetic query."""
        probe = self.authority.issue("probe")
        command = [
            *(sys.executable, "-m", "sre_server.synthetic", "--output=metrics"),
            f"--url=https://localhost:{self.daemon.port}",
            f"--certificate={probe.certificate}",
            f"--private-key={probe.key}",
            f"--server-ca={self.authority.file}",
        ]
        return subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout


class SharedCache:
    """A watcher and an api process, and a Redis that went away once and came back empty."""

    def __init__(self, test: SynchronousTestCase, folder: Path, server: LiveServer) -> None:
        redis = RedisServer()
        redis.start()
        test.addCleanup(redis.kill)
        seal = folder / "seal"
        seal.write_text("one key of the tests\n")
        options = [f"--kubeconfig={server.simulator.kubeconfig}", f"--cache={redis.url}", f"--cache-seal={seal}"]
        watcher = Watcher(folder, "--lease=default/sre-server", *options)
        test.addCleanup(watcher.close)
        self.api = Daemon(folder, "--role=api", *options, authority=server.authority)
        test.addCleanup(self.api.close)
        self.api.wait_until_ready()
        redis.kill()
        self.api.wait_for_line("following redis://.*Next try")
        redis.start()
        self.ports = [int(watcher.wait_for_line(r"ops port: listening on 127\.0\.0\.1:(\d+)")[1]), self.api.ops_port]


_FETCH = "import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1]).read().decode())"


class DrawnTests(SynchronousTestCase):
    """One server and one Prometheus, which is most of the work, and every query against them."""

    def test_nothing_stays_empty(self) -> None:
        """Every query of every panel and every selector of every alert finds a series; every alert can be evaluated."""
        program, folder = tool(self, "prometheus"), temporary_folder(self)
        server = LiveServer(self, folder)
        others = Exporter(self, KUBE_STATE + server.synthetic())
        shared = SharedCache(self, folder, server)
        targets = {"sre-server": [server.daemon.ops_port], "shared": shared.ports, "others": [others.server_port]}
        prometheus = Prometheus(program, folder, targets, ALERTS)
        self.addCleanup(prometheus.close)
        server.read_and_write()  # a counter that is born at 1 has no rate until it grows
        counted = 'sre_server_http_requests_total{method="PUT"}'
        server.daemon.wait_for(lambda: bool(prometheus.query(counted)), "scraped")
        kept = server.connect(server.daemon.client)
        self.addCleanup(kept.close)
        server.status(kept, "GET", "/deployments")
        server.load()

        instance = f"127.0.0.1:{server.daemon.ops_port}"
        sharing = "|".join(f"127.0.0.1:{port}" for port in shared.ports)
        self.check_variables(prometheus, instance)
        missing = {
            f"{panel.title}: {query}": (
                filled(query, sharing, "shared") if "_store_" in query else filled(query, instance),
                set(re.findall(r"{{(\w+)}}", legend)),
            )
            for panel in panels()
            for query, legend in panel.queries
        }
        missing |= {
            f"{rule['alert']}: {each}": (each, set()) for rule in alerts() for each in selectors_in(rule["expr"])
        }

        def all_found() -> bool:
            for name, (expression, labels) in list(missing.items()):
                if has_series(prometheus, expression, labels):
                    del missing[name]
            return not missing

        with contextlib.suppress(AssertionError):
            server.daemon.wait_for(all_found, "drawn", SECONDS)
        self.assertEqual(sorted(missing), [])
        self.check_alerts(server.daemon, prometheus)
        self.check_gauges(prometheus)
        self.assertEqual(server.daemon.get("/readyz").status, 200)

    def check_gauges(self, prometheus: Prometheus) -> None:
        """Check the numbers that are read off something else whenever they are asked for."""

        def shows(query: str, values: list[float]) -> bool:
            return [found for _, found in prometheus.query(f"sre_server_{query}")] == values

        objects = 'cache_objects{resource="deployments", job="sre-server"}'
        gauges = {"ready": [1] * 3, "cache_synced": [1] * 3, "max_staleness_seconds": [120] * 3, objects: [12]}
        for query, values in gauges.items():
            prometheus.wait_for(partial(shows, query, list(map(float, values))), query)
        ((_, clients),) = prometheus.query('max_over_time(sre_server_clients_connected{job="sre-server"}[10m])')
        self.assertGreaterEqual(clients, 1)

    def check_variables(self, prometheus: Prometheus, instance: str) -> None:
        """Check that each variable has the values that its query asks for."""
        found = {}
        for variable in dashboard()["templating"]["list"][1:]:
            parts = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
            assert parts is not None
            selector = filled(parts[1], instance)
            found[variable["name"]] = prometheus.call(f"label/{parts[2]}/values", **{"match[]": selector})
        self.assertEqual(found, {"namespace": ["sre"], "job": ["shared", "sre-server"], "instance": [instance]})

    def check_alerts(self, daemon: Daemon, prometheus: Prometheus) -> None:
        """Check that all are evaluated without an error, and that what is wrong here is noticed by some, no others."""

        def rules() -> list[dict[str, str]]:
            return [rule for group in prometheus.call("rules")["groups"] for rule in group["rules"]]

        daemon.wait_for(lambda: all(rule["health"] != "unknown" for rule in rules()), "evaluated")
        self.assertEqual({rule["name"]: rule.get("lastError") for rule in rules() if rule["health"] != "ok"}, {})
        wrong = {"SREServerReloadFailing", "SREServerCertificateExpiryImminent", "SREServerClientCertificateExpiring"}
        quiet = {"SREServerDown", "SREServerNotReady", "SREServerCacheStale", "SREServerAuditFailing"}

        def as_it_is() -> bool:
            noticed = {rule["name"] for rule in rules() if rule["state"] != "inactive"}
            return wrong <= noticed and not quiet & noticed

        daemon.wait_for(as_it_is, "noticed for what it is")


def filled(expression: str, instance: str, job: str = "sre-server") -> str:
    """Return an expression with the dashboard's variables filled in, as Grafana would."""
    values = {"$namespace": "sre", "$job": job, "$instance": instance, "$__rate_interval": "1m"}
    for name, value in values.items():
        expression = expression.replace(name, value)
    return expression


def has_series(prometheus: Prometheus, expression: str, labels: set[str]) -> bool:
    """Tell whether an expression yields a number now, in a series that has the labels of its legend."""
    found = prometheus.query(expression)
    return any(not math.isnan(value) and labels <= set(series) for series, value in found)
