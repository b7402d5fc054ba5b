"""The command line and its environment variables: what they come to, and the one line that each mistake gets."""

import logging
import sys
from collections.abc import Mapping
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from sre_server import __version__
from sre_server.cluster.credentials import InCluster
from sre_server.daemon import clusters, options
from sre_server.daemon.config import Authorization, ClusterKind, ServerConfig
from sre_server.daemon.options import Options
from sre_server.news import Resource
from tests.certificates import Authority
from tests.fakes import temporary_folder

POD = {"KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
KUBECONFIG = """
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "http://127.0.0.1:1"}}]
users: [{name: u, user: {}}]
contexts: [{name: main, context: {cluster: c, user: u}}, {name: other, context: {cluster: c, user: u}}]
current-context: main
"""


class OptionsTests(SynchronousTestCase):
    """Options with good TLS files, in a home without a kubeconfig."""

    def setUp(self) -> None:
        """Issue a pair, and have neither a pod nor a home."""
        self.folder = temporary_folder(self)
        authority = Authority(self.folder)
        pair = authority.issue("localhost")
        self.tls = {
            "tls-certificate": str(pair.certificate),
            "tls-private-key": str(pair.key),
            "tls-client-ca": str(authority.file),
        }
        self.service_account = self.folder / "serviceaccount"
        for module in (options, clusters):
            self.patch(module, "InCluster", partial(InCluster, folder=self.service_account))
        self.patch(clusters, "DEFAULT_KUBECONFIG", str(self.folder / "home" / "config"))
        self.kubeconfig = self.folder / "kubeconfig"
        self.kubeconfig.write_text(KUBECONFIG)
        self.patch(logging.getLogger("kubernetes"), "disabled", True)

    def mount_service_account(self) -> None:
        """Be in a pod."""
        self.service_account.mkdir()
        (self.service_account / "token").write_text("t")
        (self.service_account / "ca.crt").write_bytes(Path(self.tls["tls-client-ca"]).read_bytes())

    def arguments(self, *more: str, **tls: str | None) -> list[str]:
        """A command line with the TLS files, but for those that are given, and more."""
        files = self.tls | {name.replace("_", "-"): value for name, value in tls.items()}
        return [*(f"--{name}={value}" for name, value in files.items() if value is not None), *more]

    def parse(self, *more: str, environ: Mapping[str, str] | None = None, **tls: str | None) -> ServerConfig:
        """Parse a command line."""
        parsed = Options(environ or {})
        parsed.parseOptions(self.arguments(*more, **tls))
        return parsed.config

    def refusal(self, *more: str, environ: Mapping[str, str] | None = None, **tls: Any) -> str:
        """The one line that a command line gets: as a usage error alone, and as the end of the process in twistd."""
        error = str(self.assertRaises(UsageError, self.parse, *more, environ=environ, **tls))
        self.assertEqual(len(error.splitlines()), 1, error)
        parsed = Options(environ or {})
        parsed.parent = UsageOptions()
        ended = self.assertRaises(SystemExit, parsed.parseOptions, self.arguments(*more, **tls))
        self.assertEqual(ended.code, f"sre-server: {error}")
        return error


class ValueTests(OptionsTests):
    """What the options come to."""

    def test_defaults(self) -> None:
        """What is not said has its default; the TLS files have none."""
        config = self.parse("--cluster=simulated")
        self.assertEqual((config.listen, config.ops_listen), ("tcp:8443", None))
        self.assertEqual((config.max_staleness, config.simulated_deployments, config.namespaces), (120.0, 12, ()))
        self.assertEqual((config.cluster, config.context), (ClusterKind.SIMULATED, None))
        self.assertFalse(config.pass_system_names)

    def test_without(self) -> None:
        """What is named is not listed; it keeps its place in a shared cache, where others may do with it."""
        whole = self.parse("--cluster=simulated")
        some = self.parse("--cluster=simulated", "--without=autoscalers, pods")
        self.assertEqual([source.resource for source in whole.beside], [Resource.AUTOSCALERS, Resource.SCALINGS])
        self.assertEqual([source.resource for source in some.beside], [Resource.SCALINGS])
        self.assertEqual(some.without, {Resource.AUTOSCALERS, Resource.PODS})
        self.assertEqual(whole.shared, [*whole.sources, *whole.beside])
        self.assertEqual(some.shared, whole.shared)
        self.assertIn("--without knows autoscalers, authors,", self.refusal("--cluster=simulated", "--without=hpa"))

    def test_every_option(self) -> None:
        """Each option is heard, on the command line and from its environment variable; the command line wins."""
        said: dict[str, tuple[str, object]] = {
            "listen": ("tcp:1:interface=127.0.0.1", "tcp:1:interface=127.0.0.1"),
            "ops-listen": ("tcp:2", "tcp:2"),
            "cluster": ("kubeconfig", ClusterKind.KUBECONFIG),
            "kubeconfig": (str(self.kubeconfig), str(self.kubeconfig)),
            "context": ("other", "other"),
            "namespace": ("shop", ("shop",)),
            "max-staleness": ("7.5", 7.5),
            "authorization": ("kubernetes", Authorization.KUBERNETES),
            "system-names": ("pass", True),
        }
        expected = {
            name.replace("-", "_").replace("namespace", "namespaces").replace("system_", "pass_system_"): value
            for name, (_, value) in said.items()
        }
        from_arguments = self.parse(*(f"--{name}={text}" for name, (text, _) in said.items()))
        variables = {f"SRE_SERVER_{name.upper().replace('-', '_')}": text for name, (text, _) in said.items()}
        from_environment = self.parse(environ=variables)
        for name, value in expected.items():
            self.assertEqual(getattr(from_arguments, name), value, name)
            self.assertEqual(getattr(from_environment, name), value, name)
        others = ("--listen=tcp:9", "--ops-listen=tcp:8", "--cluster=auto", "--max-staleness=9", "--namespace=a")
        both = self.parse(*others, environ=variables)
        self.assertEqual((both.listen, both.ops_listen, both.cluster), ("tcp:9", "tcp:8", ClusterKind.KUBECONFIG))
        self.assertEqual((both.max_staleness, both.namespaces), (9.0, ("a",)))
        for config in (
            self.parse("--cluster=simulated", "--simulated-deployments=3"),
            self.parse(environ={"SRE_SERVER_CLUSTER": "simulated", "SRE_SERVER_SIMULATED_DEPLOYMENTS": "3"}),
        ):
            self.assertEqual(config.simulated_deployments, 3)

    def test_tls_files_from_the_environment(self) -> None:
        """The TLS files have variables like all others; paths become absolute, as twistd may change its directory."""
        variables = {f"SRE_SERVER_{name.upper().replace('-', '_')}": path for name, path in self.tls.items()}
        parsed = Options(variables)
        parsed.parseOptions(["--cluster=simulated"])
        assert parsed.config.tls is not None
        self.assertEqual(str(parsed.config.tls.client_ca), self.tls["tls-client-ca"])
        self.assertTrue(parsed.config.tls.certificate.is_absolute())

    def test_empty_variables_say_nothing(self) -> None:
        """An empty variable, as a chart may leave it, is the default."""
        variables = {"SRE_SERVER_LISTEN": "", "SRE_SERVER_NAMESPACE": "", "SRE_SERVER_OPS_LISTEN": ""}
        config = self.parse("--cluster=simulated", environ=variables)
        self.assertEqual((config.listen, config.ops_listen, config.namespaces), ("tcp:8443", None, ()))

    def test_namespaces(self) -> None:
        """The option is repeatable, its variable separated by commas; repetitions count once, and neither is mixed."""
        parse = partial(self.parse, "--cluster=simulated")
        variables = {"SRE_SERVER_NAMESPACE": "shop, staff,,shop"}
        self.assertEqual(parse("--namespace=b", "--namespace=a", "--namespace=b").namespaces, ("b", "a"))
        self.assertEqual(parse(environ=variables).namespaces, ("shop", "staff"))
        self.assertEqual(parse("--namespace=a", "--namespace=b", environ=variables).namespaces, ("a", "b"))

    def test_the_policy_is_made_once(self) -> None:
        """The TLS files are read while parsing, and what they came to is handed on."""
        parsed = Options({})
        parsed.parseOptions(self.arguments("--cluster=simulated"))
        assert parsed.tls is not None
        self.assertEqual(parsed.tls.files, parsed.config.tls)

    def test_version(self) -> None:
        """`--version` tells ours and exits."""
        stream = StringIO()
        self.patch(sys, "stdout", stream)
        ended = self.assertRaises(SystemExit, Options({}).parseOptions, ["--version"])
        self.assertEqual((ended.code, stream.getvalue()), (0, f"sre-server {__version__}\n"))

    def test_json_logs_under_twistd(self) -> None:
        """Once twistd has read all of its own options, it has a logger; plain text spares what the user chose."""
        for log_format, chosen, expected in (
            ("json", {}, True),
            ("text", {}, True),
            ("json", {"logger": "a.b"}, True),
            ("text", {"logger": "a.b"}, False),
            ("text", {"syslog": 1}, False),
        ):
            parent: Any = UsageOptions()
            parent.update({"logfile": None, "nodaemon": 1, "logger": None, **chosen})
            parsed = Options({})
            parsed.parent = parent
            parsed.parseOptions(self.arguments("--cluster=simulated", f"--log-format={log_format}"))
            parent.postOptions()
            self.assertEqual(callable(parent["logger"]), expected, (log_format, chosen))

    def test_an_audit_log_in_the_background(self) -> None:
        """A twistd that goes there has no standard output: no line, no write, so this is refused."""
        for nodaemon, refused in ((0, True), (1, False)):
            parsed = Options({})
            parsed.parent = UsageOptions()
            parsed.parent.update({"logfile": None, "nodaemon": nodaemon, "logger": None})
            arguments = self.arguments("--cluster=simulated", "--audit-log=-")
            if refused:
                ended = self.assertRaises(SystemExit, parsed.parseOptions, arguments)
                problem = "--audit-log=- is lost in the background: run twistd with -n, or name a file"
                self.assertEqual(str(ended.code), f"sre-server: {problem}")
            else:
                parsed.parseOptions(arguments)

    def test_one_file_for_two_logs(self) -> None:
        """The audit log and the log would overwrite each other's lines in one file; on stdout they do not."""
        folder = temporary_folder(self)
        for logfile, audit_log, refused in (
            (folder / "a.log", folder / "a.log", True),
            (folder / "a.log", folder / "b.log", False),
            ("-", "-", False),
        ):
            parsed = Options({})
            parsed.parent = UsageOptions()
            parsed.parent.update({"logfile": str(logfile), "nodaemon": 1, "logger": None})
            arguments = self.arguments("--cluster=simulated", f"--audit-log={audit_log}")
            if refused:
                ended = self.assertRaises(SystemExit, parsed.parseOptions, arguments)
                self.assertIn("is the file of the log", str(ended.code))
            else:
                parsed.parseOptions(arguments)


class ClusterTests(OptionsTests):
    """`--cluster auto`."""

    def test_in_a_pod(self) -> None:
        """With a service account the pod's own cluster is meant, whatever kubeconfig lies around."""
        self.mount_service_account()
        config = self.parse(environ=POD | {"KUBECONFIG": str(self.kubeconfig)})
        self.assertIs(config.cluster, ClusterKind.IN_CLUSTER)

    def test_a_pod_without_a_token(self) -> None:
        """The variables alone make no service account."""
        self.assertIs(self.parse(environ=POD | {"KUBECONFIG": str(self.kubeconfig)}).cluster, ClusterKind.KUBECONFIG)

    def test_a_token_without_a_pod(self) -> None:
        """Nor does the token alone."""
        self.mount_service_account()
        self.assertIs(self.parse(environ={"KUBECONFIG": str(self.kubeconfig)}).cluster, ClusterKind.KUBECONFIG)

    def test_a_kubeconfig_that_is_asked_for(self) -> None:
        """`--kubeconfig` and `--context` mean a kubeconfig even in a pod."""
        self.mount_service_account()
        for more in ([f"--kubeconfig={self.kubeconfig}"], ["--context=other"]):
            config = self.parse(*more, environ=POD | {"KUBECONFIG": str(self.kubeconfig)})
            self.assertEqual((config.cluster, config.kubeconfig), (ClusterKind.KUBECONFIG, str(self.kubeconfig)))

    def test_the_kubeconfig_of_the_home(self) -> None:
        """Without a variable it is kubectl's default."""
        home = self.folder / "home"
        home.mkdir()
        (home / "config").write_text(KUBECONFIG)
        config = self.parse()
        self.assertEqual((config.cluster, config.kubeconfig), (ClusterKind.KUBECONFIG, str(home / "config")))

    def test_several_kubeconfigs(self) -> None:
        """$KUBECONFIG may name several files, some of which do not exist."""
        joined = f"{self.folder / 'nowhere'}:{self.kubeconfig}"
        self.assertEqual(self.parse(environ={"KUBECONFIG": joined}).kubeconfig, joined)

    def test_no_cluster_at_all(self) -> None:
        """Nothing is never taken for the simulator: the line tells what was looked for, and the way out."""
        text = self.refusal()
        for part in ("no cluster", str(self.folder / "home" / "config"), "--kubeconfig", "--cluster=simulated"):
            self.assertIn(part, text)

    def test_the_simulator_is_asked_for_by_name(self) -> None:
        """It is not what auto comes to, and a kubeconfig does not keep it away."""
        config = self.parse("--cluster=simulated", environ={"KUBECONFIG": str(self.kubeconfig)})
        self.assertIs(config.cluster, ClusterKind.SIMULATED)

    def test_clusters_that_are_not_there(self) -> None:
        """What is asked for and cannot be used is told at the start."""
        nowhere = self.folder / "nowhere"
        self.assertIn(str(nowhere), self.refusal(f"--kubeconfig={nowhere}"))
        self.assertIn("other-than-these", self.refusal(f"--kubeconfig={self.kubeconfig}", "--context=other-than-these"))
        self.assertIn("KUBERNETES_SERVICE_HOST", self.refusal("--cluster=in-cluster"))
        self.assertIn("ca.crt", self.refusal("--cluster=in-cluster", environ=POD))
        broken = self.folder / "broken"
        for text in ("{", "[]", "hello", "clusters: 7", "\x00", ""):
            broken.write_text(text)
            self.assertIn(str(broken), self.refusal(f"--kubeconfig={broken}"))


class UsageErrorTests(OptionsTests):
    """Mistakes, each in one line that names the option or the file."""

    def test_missing_tls_files(self) -> None:
        """None of the three has a default."""
        for name in self.tls:
            self.assertEqual(
                self.refusal("--cluster=simulated", **dict[str, Any]({name: None})), f"--{name} is required"
            )

    def test_unusable_tls_files(self) -> None:
        """Whatever is wrong with a file, the line names it."""
        empty = self.folder / "empty.pem"
        empty.write_bytes(b"")
        for name in self.tls:
            for path in (empty, self.folder, self.folder / "nowhere"):
                self.assertIn(str(path), self.refusal("--cluster=simulated", **dict[str, Any]({name: str(path)})))
        other = Authority(self.folder, "Other CA").issue("localhost")
        self.assertIn("does not belong", self.refusal("--cluster=simulated", tls_private_key=str(other.key)))

    def test_bad_numbers(self) -> None:
        """Numbers are numbers, within bounds; the line names the option."""
        for name, values in {
            "max-staleness": ("", "soon", "0", "-1", "nan", "inf", "1e9", "0x10"),
            "simulated-deployments": ("", "many", "-1", "1.5", "200001", "1e3"),
            "expiry-warning": ("", "d", "7", "7w", "-7d", "0x7d"),
            "audit-log": ("",),
        }.items():
            for value in values:
                self.assertIn(f"--{name}", self.refusal("--cluster=simulated", f"--{name}={value}"), value)
        self.assertIn("--max-staleness", self.refusal("--cluster=simulated", environ={"SRE_SERVER_MAX_STALENESS": "x"}))

    def test_bad_choices(self) -> None:
        """The line lists what there is to choose from."""
        text = "--cluster is auto, in-cluster, kubeconfig or simulated, not 'Simulated'"
        self.assertEqual(self.refusal("--cluster=Simulated"), text)
        text = "--system-names is refuse or pass, not 'yes'"
        self.assertEqual(self.refusal("--cluster=simulated", "--system-names=yes"), text)
        text = "--log-format is text or json, not 'xml'"
        self.assertEqual(self.refusal("--cluster=simulated", "--log-format=xml"), text)

    def test_no_value(self) -> None:
        """An option without a value, as of a shell variable that is not set, is not taken for its default."""
        for name in [name for name, *_ in Options().optParameters]:
            tls: dict[str, Any] = {name: ""} if name in self.tls else {}
            more = [] if tls else [f"--{name}="]
            refusal = self.refusal("--cluster=simulated", *more, **tls)
            self.assertEqual(refusal, f"--{name} is given without a value")

    def test_bad_namespaces(self) -> None:
        """A namespace that could not be one is refused, from the command line and from the environment."""
        for name in ("Shop", "a.b", "a" * 64, ""):
            self.assertIn(f"'{name}'", self.refusal("--cluster=simulated", f"--namespace={name}"))
        variables = {"SRE_SERVER_NAMESPACE": "shop,ANY"}
        self.assertIn("'ANY'", self.refusal("--cluster=simulated", environ=variables))

        text = "--namespace: '-shop' cannot be the name of one; names have at most 63 characters: a-z, 0-9 and '-', "
        self.assertEqual(self.refusal("--cluster=simulated", "--namespace=-shop"), text + "the ends a-z or 0-9")
        several = self.refusal("--cluster=simulated", "--namespace=shop,staff")
        self.assertTrue(several.endswith("the ends a-z or 0-9; for several, give the option several times"), several)

    def test_bad_rates(self) -> None:
        """The line says what a rate is, and between which numbers."""
        rule = "RATE or RATE:BURST, such as 10:50, from 0.001 to 1000000 a second and 1 to 10000000 at once"
        for option in ("--read-rate", "--write-rate", "--handshake-rate"):
            for given in ("0", "1:0", "x", "nan", ":5"):
                self.assertEqual(
                    self.refusal("--cluster=simulated", f"{option}={given}"), f"{option} is {rule}, not '{given}'"
                )

    def test_bad_places(self) -> None:
        """A ConfigMap is named along with its namespace."""
        for given in ("counts", "-a/counts", "a/b/c"):
            text = f"--temporary-store is NAMESPACE/NAME, as Kubernetes has names, not '{given}'"
            self.assertEqual(self.refusal("--cluster=simulated", f"--temporary-store={given}"), text)

    def test_options_of_another_cluster(self) -> None:
        """What would be ignored may be meant for a cluster that is not the one that is served."""
        for name, value in (("kubeconfig", str(self.kubeconfig)), ("context", "other")):
            text = f"--{name}: not with --cluster=simulated"
            self.assertEqual(self.refusal("--cluster=simulated", f"--{name}={value}"), text)
            variables = {f"SRE_SERVER_{name.upper()}": value}
            self.assertEqual(self.refusal("--cluster=simulated", environ=variables), text)
            self.assertIn(
                f"--{name}: not with --cluster=in-cluster", self.refusal("--cluster=in-cluster", f"--{name}=x")
            )
        error = self.refusal(f"--kubeconfig={self.kubeconfig}", "--simulated-deployments=5")
        self.assertEqual(error, "--simulated-deployments: only with --cluster=simulated")

    def test_names_for_a_cluster_that_is_not_asked(self) -> None:
        """Only a cluster that decides is told names of its own; to refuse them is the default, and no mistake."""
        options = ("--cluster=simulated", "--authorization=any")
        text = "--system-names: only with --authorization=kubernetes"
        self.assertEqual(self.refusal(*options, "--system-names=pass"), text)
        self.assertFalse(self.parse(*options, "--system-names=refuse").pass_system_names)

    def test_options_of_another_role(self) -> None:
        """What says how clients are served may be given to watchers, too, as one set of variables is to all pods."""
        seal = self.folder / "seal"
        seal.write_text("a key of the tests")
        watcher = ("--role=watcher", "--cache=redis://r", f"--cache-seal={seal}", f"--kubeconfig={self.kubeconfig}")
        serving = ("--listen=tcp:1", "--audit-log=-", "--max-connections=8192", "--system-names=pass")
        config = self.parse(*watcher, *serving, environ={"SRE_SERVER_WRITE_RATE": "1"})
        self.assertIsNone(config.tls)

    def test_unknown_options_and_arguments(self) -> None:
        """What is not an option is told, and so is a word too many."""
        self.assertIn("nonsense", self.refusal("--cluster=simulated", "--nonsense"))
        expected = "'word' is not expected: there are only options, each with one value"
        self.assertEqual(self.refusal("--cluster=simulated", "word", "more"), expected)
