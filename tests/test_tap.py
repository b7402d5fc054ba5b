"""The wiring: what the daemon would run and serve, without a port, a thread or a cluster."""

import threading
from typing import cast

from msgspec.structs import replace
from twisted.application.service import IService
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sre_server import __version__, tap
from sre_server.cluster.probing import ReviewProbe
from sre_server.daemon.clusters import IServerReactor
from sre_server.daemon.config import Authorization, ClusterKind
from sre_server.daemon.lifecycle import OrderedServices
from sre_server.daemon.options import Options
from sre_server.web.site import APISite
from tests.certificates import Authority
from tests.fakes import FakeReactor, temporary_folder
from tests.memory_client import Wire


class MakeServiceTests(SynchronousTestCase):
    """`make_service`, with a reactor that does nothing."""

    def setUp(self) -> None:
        """Have files and a reactor."""
        folder = temporary_folder(self)
        authority = Authority(folder)
        pair = authority.issue("localhost")
        files = {"certificate": pair.certificate, "private-key": pair.key, "client-ca": authority.file}
        self.tls = [f"--tls-{name}={path}" for name, path in files.items()]
        self.reactor = FakeReactor()

    def make(
        self,
        cluster: ClusterKind = ClusterKind.KUBECONFIG,
        listen: str = "tcp:8443",
        ops_listen: str | None = None,
        namespaces: tuple[str, ...] = (),
        authorization: Authorization = Authorization.ANY,
    ) -> OrderedServices:
        """Make the service."""
        options = Options({})
        options.parseOptions(["--cluster=simulated", *self.tls])
        config = replace(
            options.config,
            listen=listen,
            ops_listen=ops_listen,
            cluster=cluster,
            kubeconfig="/nowhere",
            namespaces=namespaces,
            authorization=authorization,
        )
        assert options.tls is not None
        made = tap.make_service(config, options.tls, cast("IServerReactor", self.reactor), options.stdout)
        assert isinstance(made, OrderedServices)
        return made

    def test_making_does_nothing_yet(self) -> None:
        """Whatever the cluster, nothing listens, waits or runs in a thread: twistd may fork after this."""
        threads = set(threading.enumerate())
        for cluster in ClusterKind:
            for namespaces in ((), ("shop", "staff")):
                service = self.make(cluster, ops_listen="tcp:8080", namespaces=namespaces)
                verifyObject(IService, service)
                self.assertFalse(service.running)
        self.assertEqual(self.reactor.tcpServers, [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(set(threading.enumerate()), threads)

    def test_the_order(self) -> None:
        """Logs come first and unreadiness last, so that stopping begins with the one and ends with the other."""
        workers = ["ConnectedWorkers"] * 6
        core = ["SettledHeap", "Reloading", "ChangeLog", "Feed", *workers, "AuditLogService"]
        core += ["SiteService", "Unreadiness"]
        names = [type(service).__name__ for service in self.make(ops_listen="tcp:8080")._services]
        expected = ["StdlibLogs", "LogCounter", "SiteService", *core]
        self.assertEqual(names, expected)
        names = [type(service).__name__ for service in self.make(ClusterKind.SIMULATED)._services]
        expected = ["StdlibLogs", "LogCounter", "SimulatorService", *core]
        self.assertEqual(names, expected)

    def test_a_watcher(self) -> None:
        """It serves the ops port only; the Lease is let go after the last thing was published."""
        seal = temporary_folder(self) / "seal"
        seal.write_text("a key of the tests")
        shared = ["--cache=redis://r", f"--cache-seal={seal}", "--ops-listen=tcp:8080", "--namespace=shop"]
        options = Options({"KUBERNETES_SERVICE_HOST": ""})
        self.patch(options, "_check_files", lambda: None)
        options.parseOptions(["--role=watcher", "--cluster=kubeconfig", *shared, "--lease=sre/watch"])
        assert options.config.sharing is not None
        self.assertIsNone(options.tls)
        reactor = cast("IServerReactor", self.reactor)
        with capturedLogs() as events:
            made = tap.make_watcher(options.config, options.config.sharing, reactor)
        self.assertIn(": role watcher, cluster kubeconfig, namespaces shop, authorization none", formatEvent(events[0]))
        assert isinstance(made, OrderedServices)
        names = [type(service).__name__ for service in made._services]
        feeds = ["Feed"] * 3
        expected = ["StdlibLogs", "LogCounter", "SiteService", "SettledHeap", "ChangeLog", *feeds, "Unreadiness"]
        self.assertEqual(names, expected)
        self.assertEqual([cycle.source for cycle in made._services[6]._cycles], ["Lease sre/watch"])  # type: ignore[attr-defined]
        made.privilegedStartService()
        self.assertEqual([port for port, *_ in self.reactor.tcpServers], [8080])
        self.assertEqual(self.statuses(self.site(0))["/livez"], 200)

    def site(self, index: int) -> APISite:
        """What is listening as the nth port."""
        factory = self.reactor.tcpServers[index][1]
        wrapped = factory.wrappedFactory if isinstance(factory, TLSMemoryBIOFactory) else factory
        assert isinstance(wrapped, APISite)
        return wrapped

    def test_what_it_listens_to(self) -> None:
        """The API port is behind TLS where `--listen` says; the ops port, if there is one, is plain."""
        self.make(listen="tcp:8443:interface=127.0.0.1", ops_listen="tcp:8080").privilegedStartService()
        served = {
            (port, interface, isinstance(factory, TLSMemoryBIOFactory))
            for port, factory, _, interface in self.reactor.tcpServers
        }
        self.assertEqual(served, {(8080, "", False), (8443, "127.0.0.1", True)})
        self.reactor.tcpServers.clear()
        self.make().privilegedStartService()
        self.assertEqual(len(self.reactor.tcpServers), 1)

    def statuses(self, site: APISite) -> dict[str, int]:
        """The status of one URL of each part."""
        found = {}
        for path in ("/livez", "/readyz", "/deployments", "/namespaces", "/"):
            (answer,) = Wire(site).send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            found[path] = answer.check().status
        return found

    def test_what_the_ports_serve(self) -> None:
        """The API port serves both families and health; the ops port health alone."""
        self.make(ops_listen="tcp:8080").privilegedStartService()
        ops, api = self.site(0), self.site(1)
        unidentified = {"/livez": 200, "/readyz": 503, "/deployments": 401, "/namespaces": 403, "/": 404}
        self.assertEqual(self.statuses(api), unidentified)
        self.assertEqual(self.statuses(ops), unidentified | {"/deployments": 404, "/namespaces": 404})
        for site, others in ((ops, "the ops port has /livez, /readyz and /metrics"), (api, "/openapi.json lists")):
            (answer,) = Wire(site).send(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertIn(f"There is no such URL here; {others}", answer.json()["message"])

    def test_reviews_are_probed_where_they_are_needed(self) -> None:
        """Where the cluster decides who may what, whether it may be asked is found out before anybody asks."""
        for authorization, probes in ((Authorization.ANY, 0), (Authorization.KUBERNETES, 1)):
            services = self.make(authorization=authorization)._services
            self.assertEqual(sum(isinstance(service, ReviewProbe) for service in services), probes)

    def test_what_it_is(self) -> None:
        """The log begins with the version, the role, the cluster, the namespaces and who decides."""
        for namespaces, which in (((), "all namespaces"), (("a", "b"), "namespaces a, b")):
            with capturedLogs() as events:
                self.make(namespaces=namespaces, authorization=Authorization.KUBERNETES)
            line = f"sre-server {__version__}: role all, cluster kubeconfig, {which}, authorization kubernetes"
            self.assertEqual(formatEvent(events[0]), line)

    def test_too_few_descriptors(self) -> None:
        """Where the system has room for fewer connections than asked for, the log says for how many."""
        for room, lines in ((512, 1), (4096, 0)):
            self.patch(tap, "raise_descriptor_limit", lambda _, room=room: room)
            with capturedLogs() as events:
                self.make()
            told = [event for event in events if event["log_level"] is LogLevel.warn]
            expected = ["the limit on file descriptors leaves room for 512 connections at a time"] * lines
            self.assertEqual([formatEvent(event) for event in told], expected)

    def test_endpoints_that_are_none(self) -> None:
        """A string that is no endpoint ends the process with one line: the option, the value, and what it should be."""
        kinds, tcp = "its kind is one of tcp, tcp6, unix, systemd", "after tcp comes :PORT, and perhaps"
        for text, reason in {
            "": kinds,
            "8443": kinds,
            "bogus:1": kinds,
            "ssl:8443": kinds,
            "ssl:8443:privateKey=/nowhere": kinds,
            "stdio:": kinds,
            "tcp": tcp,
            "tcp:https": tcp,
            "tcp:1:nope=2": tcp,
            "tcp:1:127.0.0.1:2": tcp,
            "tcp:8443:interface=::1": tcp,
            "unix": "after unix comes :PATH",
            "systemd:domain=INET:index=0": "after systemd comes :domain=INET:index=0",
            "haproxy:tcp:8443": kinds,
        }.items():
            for name, keywords in (("--listen", {"listen": text}), ("--ops-listen", {"ops_listen": text})):
                line = str(self.assertRaises(SystemExit, self.make, **keywords).code)
                problem = f"sre-server: {name}: '{text}' is not an endpoint such as tcp:8443: {reason}"
                self.assertTrue(line.startswith(problem), line)
                self.assertEqual(len(line.splitlines()), 1, line)
                self.assertEqual(line.endswith(r"each colon is written \:"), "::1" in text, line)
                self.assertNotIn("_parse", line)
