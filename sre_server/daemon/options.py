"""The command line of `twistd sre-server`: options, their environment variables, and what makes them unusable."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from sre_server import __version__
from sre_server.cluster.credentials import InCluster, Kubeconfig
from sre_server.daemon.clusters import choose_cluster, kubeconfig_paths
from sre_server.daemon.config import OPTIONAL, Authorization, ClusterKind, ServerConfig
from sre_server.daemon.sharing import PARAMETERS, Role, parse_role, parse_sharing
from sre_server.daemon.values import absolute, parse_duration, parse_number, parse_place, parse_rate
from sre_server.errors import CredentialsError
from sre_server.news import Resource, Source
from sre_server.security.documents import DocumentError
from sre_server.security.guardrails import load_guardrails
from sre_server.security.pem import TLSFilesError
from sre_server.security.policy import load_policy as load_authorization_policy
from sre_server.security.tls import ServerTLS, TLSFiles
from sre_server.telemetry.logs import json_observer, observer_factory, text_observer
from sre_server.telemetry.output import Output
from sre_server.texts import NAMESPACE_RULE, is_namespace_name

ENVIRONMENT_PREFIX: Final = "SRE_SERVER_"


class Options(UsageOptions):
    """The command line of `twistd sre-server`; `config` and `tls` hold what it came to, once it is parsed.

    A watcher serves no clients, and has no `tls`.
    `stdout` is for whatever writes to standard output: the log, and perhaps the audit log.
    """

    synopsis = "[options]"
    longdesc = (
        "Serves the replica counts of Kubernetes Deployments over mutual TLS 1.3. Each option also reads an "
        f"environment variable: {ENVIRONMENT_PREFIX} and its name in capitals, with underscores. The command line wins,"
        " and of an option that it has twice the last one."
    )
    optParameters = (
        ("listen", None, "tcp:8443", "endpoint that is wrapped in mutual TLS"),
        ("tls-certificate", None, None, "PEM file with the server's certificate, or its chain, leaf first (required)"),
        ("tls-private-key", None, None, "PEM file with the certificate's private key (required)"),
        ("tls-client-ca", None, None, "PEM file with the CAs that vouch for clients (required)"),
        ("tls-crl", None, None, "PEM file with a revocation list of each client CA [default: nothing is revoked]"),
        ("expiry-warning", None, "7d", "tell clients whose certificate ends within this time (s, m, h or d)"),
        ("authorization", None, "any", "who may do what: any, policy:FILE, or kubernetes"),
        ("system-names", None, "refuse", "refuse or pass clients named system:... to a cluster that decides"),
        ("guardrails", None, None, "YAML file with bounds for every write [default: built-in ones]"),
        ("audit-log", None, None, "file, or - for stdout, that tells of every write and refusal [default: none]"),
        ("read-rate", None, "1000:2000", "reads a second that each client may make, and how many at once"),
        ("write-rate", None, "10:50", "writes a second that each client may make, and how many at once"),
        ("handshake-rate", None, "200:400", "TLS handshakes a second that are begun, and how many at once"),
        ("max-connections", None, "4096", "connections that may be open at a time"),
        ("max-connections-per-address", None, "1024", "the same, from one address"),
        ("max-connections-per-identity", None, "512", "the same, of one client"),
        ("cluster", None, "auto", "auto, in-cluster, kubeconfig, or simulated"),
        ("kubeconfig", None, None, "kubeconfig file [default: $KUBECONFIG, else ~/.kube/config]"),
        ("context", None, None, "context of the kubeconfig [default: its current one]"),
        ("ops-listen", None, None, "endpoint of a plain-HTTP port with /livez, /readyz and /metrics [default: none]"),
        ("without", None, None, f"what not to list beside Deployments: {', '.join(OPTIONAL)} [default: list them]"),
        ("temporary-store", None, None, "NAMESPACE/NAME of a ConfigMap for temporary counts [default: no such counts]"),
        ("max-staleness", None, "120", "seconds without news of the cluster after which reads answer 503"),
        ("log-format", None, "text", "text or json"),
        *PARAMETERS,
        ("simulated-deployments", None, "12", "how many Deployments the simulated cluster starts with"),
    )
    config: ServerConfig
    tls: ServerTLS | None
    parent: UsageOptions | None = None

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self.stdout = Output(1)
        self._environ = environ
        self._namespaces: list[str] = []
        self._namespaces_from_environment = False

    def opt_namespace(self, name: str) -> None:
        """Limit the server to this namespace; may be given several times [default: all namespaces]."""
        if self._namespaces_from_environment:
            self._namespaces, self._namespaces_from_environment = [], False
        if not is_namespace_name(name):
            hint = "; for several, give the option several times" if "," in name else ""
            raise UsageError(f"--namespace: '{name}' cannot be the name of one; names have {NAMESPACE_RULE}{hint}")
        if name not in self._namespaces:
            self._namespaces.append(name)

    def parseArgs(self, *words: str) -> None:
        """Refuse what is no option."""
        if words:
            raise UsageError(f"'{words[0]}' is not expected: there are only options, each with one value")

    def opt_version(self) -> None:
        """Print the version and exit."""
        sys.stdout.write(f"sre-server {__version__}\n")
        raise SystemExit(0)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse; under twistd a mistake is one line on stderr, where twistd itself would print two screens of help."""
        try:
            self._read_environment()
            super().parseOptions(options)
        except UsageError as error:
            if self.parent is None:
                raise
            raise SystemExit(f"sre-server: {error}") from error

    def _read_environment(self) -> None:
        for name, *_ in self.optParameters:
            if value := self._environ.get(ENVIRONMENT_PREFIX + name.upper().replace("-", "_")):
                self._dispatch[name].dispatch(name, value)
        for namespace in filter(None, self._environ.get(ENVIRONMENT_PREFIX + "NAMESPACE", "").split(",")):
            self.opt_namespace(namespace.strip())
        self._namespaces_from_environment = bool(self._namespaces)

    def postOptions(self) -> None:
        """Check everything that can be checked without a reactor, and freeze it; raises UsageError."""
        for name, *_ in self.optParameters:
            if self[name] == "":
                raise UsageError(f"--{name} is given without a value")
        role = parse_role(self["role"])
        for name in ("tls-certificate", "tls-private-key", "tls-client-ca"):
            if not self[name] and role is not Role.WATCHER:
                raise UsageError(f"--{name} is required")
        for name, *words in (("system-names", "refuse", "pass"), ("log-format", "text", "json")):
            if self[name] not in words:
                raise UsageError(f"--{name} is {' or '.join(words)}, not '{self[name]}'")
        try:
            self.config = self._config(role)
            self.tls = ServerTLS(self.config.tls) if self.config.tls is not None else None
            self._check_files()
        except (TLSFilesError, CredentialsError, DocumentError) as error:
            raise UsageError(str(error)) from error
        if self.parent is not None:
            self._check_audit_log(self.parent)
            self._choose_logger(self.parent)

    def _check_audit_log(self, twistd: UsageOptions) -> None:
        logfile = twistd.get("logfile")
        if logfile and self.config.audit_log == str(Path(logfile).absolute()):
            raise UsageError(f"--audit-log: '{logfile}' is the file of the log, which would overwrite it")
        if self.config.audit_log == "-" and not twistd.get("nodaemon"):
            raise UsageError("--audit-log=- is lost in the background: run twistd with -n, or name a file")

    def _choose_logger(self, twistd: UsageOptions) -> None:
        """Let twistd log through an observer of ours, unless the user named one, or wants plain text in syslog.

        The option of twistd's own is for the name of something to import, which it does after this: hence the detour.
        """
        plain = self["log-format"] == "text"
        if plain and (twistd.get("logger") or twistd.get("syslog")):
            return
        make = text_observer if plain else json_observer
        imported = twistd.postOptions
        twistd["logger"] = None

        def choose_logger() -> None:
            imported()
            twistd["logger"] = observer_factory(
                make, twistd["logfile"] or "", self.stdout, nodaemon=bool(twistd["nodaemon"])
            )

        twistd.postOptions = choose_logger  # type: ignore[method-assign]

    def _config(self, role: Role) -> ServerConfig:
        authorization, policy = self._authorization()
        sharing = parse_sharing(role, self)
        cluster = choose_cluster(self["cluster"], self["kubeconfig"], self["context"], self._environ)
        if authorization is not Authorization.KUBERNETES and role is not Role.WATCHER:
            self._refuse(["system-names"], "only with --authorization=kubernetes")
        if cluster is not ClusterKind.KUBECONFIG:
            self._refuse(["kubeconfig", "context"], f"not with --cluster={cluster.value}")
        if cluster is not ClusterKind.SIMULATED:
            self._refuse(["simulated-deployments"], "only with --cluster=simulated")
        if sharing is not None and cluster is ClusterKind.SIMULATED:
            raise UsageError(
                f"--role {role.value}: --cluster=simulated would be another cluster in each process; "
                "run one with python -m sre_server.simulator --kubeconfig FILE"
            )
        return ServerConfig(
            listen=self["listen"],
            ops_listen=self["ops-listen"] or None,
            tls=self._tls() if role is not Role.WATCHER else None,
            authorization=authorization,
            policy=policy,
            pass_system_names=self["system-names"] == "pass",
            guardrails=absolute(self["guardrails"]),
            audit_log=self._audit_log(),
            read_rate=parse_rate("read-rate", self["read-rate"]),
            write_rate=parse_rate("write-rate", self["write-rate"]),
            handshake_rate=parse_rate("handshake-rate", self["handshake-rate"]),
            max_connections=self._count("max-connections", 1, 1_000_000),
            max_connections_per_address=self._count("max-connections-per-address", 1, 1_000_000),
            max_connections_per_identity=self._count("max-connections-per-identity", 1, 1_000_000),
            expiry_warning=parse_duration("expiry-warning", self["expiry-warning"]),
            cluster=cluster,
            kubeconfig=kubeconfig_paths(self["kubeconfig"], self._environ),
            context=self["context"],
            namespaces=tuple(self._namespaces),
            without=self._without(),
            temporary_store=self._temporary_store(),
            max_staleness=parse_number("max-staleness", self["max-staleness"], float, 1, 86_400),
            simulated_deployments=self._count("simulated-deployments", 0, 200_000),
            sharing=sharing,
        )

    def _refuse(self, names: Sequence[str], why: str) -> None:
        """Raise UsageError if one of these options says anything, which would be ignored."""
        defaults = {name: default for name, _, default, _ in self.optParameters}
        if given := [f"--{name}" for name in names if self[name] and self[name] != defaults[name]]:
            raise UsageError(f"{', '.join(given)}: {why}")

    def _count(self, name: str, lowest: int, highest: int) -> int:
        return int(parse_number(name, self[name], int, lowest, highest))

    def _tls(self) -> TLSFiles:
        return TLSFiles(
            Path(self["tls-certificate"]).absolute(),
            Path(self["tls-private-key"]).absolute(),
            Path(self["tls-client-ca"]).absolute(),
            absolute(self["tls-crl"]),
        )

    def _check_files(self) -> None:
        """Read what else the configuration names, so that a mistake in it is found now."""
        if self.config.cluster is ClusterKind.KUBECONFIG:
            Kubeconfig(self.config.kubeconfig, self.config.context, self._environ).check()
        elif self.config.cluster is ClusterKind.IN_CLUSTER:
            InCluster(self._environ).access()
        if self.config.policy is not None:
            load_authorization_policy(self.config.policy)
        if self.config.guardrails is not None:
            load_guardrails(self.config.guardrails)

    def _without(self) -> frozenset[Resource]:
        names = [name.strip() for name in (self["without"] or "").split(",") if name.strip()]
        if unknown := [name for name in names if name not in OPTIONAL]:
            raise UsageError(f"--without knows {', '.join(OPTIONAL)}, and not '{unknown[0]}'")
        return frozenset(OPTIONAL[name] for name in names)

    def _temporary_store(self) -> Source | None:
        given = self["temporary-store"]
        return Source(Resource.TEMPORARY, *parse_place("temporary-store", given)) if given else None

    def _audit_log(self) -> str | None:
        where: str | None = self["audit-log"]
        return where if where in (None, "-") else str(absolute(where))

    def _authorization(self) -> tuple[Authorization, Path | None]:
        kind, _, file = self["authorization"].partition(":")
        if kind == "policy" and file:
            return Authorization.POLICY, Path(file).absolute()
        if file or kind not in ("any", "kubernetes"):
            raise UsageError(f"--authorization is any, policy:FILE or kubernetes, not '{self['authorization']}'")
        return Authorization(kind), None
