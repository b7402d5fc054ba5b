"""The command line of `twistd sre-server`: options, their environment variables, and what makes them unusable."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from twisted.internet.ssl import CertificateOptions
from twisted.logger import ILogObserver
from twisted.python.logfile import LogFile
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from sre_server import __version__
from sre_server.cluster.credentials import CredentialsError, InCluster, Kubeconfig
from sre_server.config import ClusterKind, ServerConfig
from sre_server.logs import json_observer
from sre_server.model import is_namespace_name
from sre_server.security.tls import TLSFilesError, server_options

ENVIRONMENT_PREFIX: Final = "SRE_SERVER_"
DEFAULT_KUBECONFIG: Final = "~/.kube/config"


class Options(UsageOptions):
    """The command line of `twistd sre-server`; `config` and `tls` hold what it came to, once it is parsed."""

    synopsis = "[options]"
    longdesc = (
        "Serves the replica counts of Kubernetes Deployments over mutual TLS 1.3. Each option also reads an "
        f"environment variable: {ENVIRONMENT_PREFIX} and its name in capitals, with underscores; the command line wins."
    )
    optParameters = (
        ("listen", None, "tcp:8443", "endpoint that is wrapped in mutual TLS"),
        ("tls-certificate", None, None, "PEM file with the server's certificate, or its chain, leaf first (required)"),
        ("tls-private-key", None, None, "PEM file with the certificate's private key (required)"),
        ("tls-client-ca", None, None, "PEM file with the CAs that vouch for clients (required)"),
        ("cluster", None, "auto", "auto, in-cluster, kubeconfig, or simulated"),
        ("kubeconfig", None, None, "kubeconfig file [default: $KUBECONFIG, else ~/.kube/config]"),
        ("context", None, None, "context of the kubeconfig [default: its current one]"),
        ("ops-listen", None, None, "endpoint of a plain-HTTP port with /livez and /readyz [default: none]"),
        ("max-staleness", None, "120", "seconds without news of the cluster after which reads answer 503"),
        ("log-format", None, "text", "text or json"),
        ("simulated-deployments", None, "12", "how many Deployments the simulated cluster starts with"),
    )
    config: ServerConfig
    tls: CertificateOptions
    parent: UsageOptions | None = None

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self._environ = environ
        self._namespaces: list[str] = []
        self._namespaces_from_environment = False

    def opt_namespace(self, name: str) -> None:
        """Limit the server to this namespace; may be given several times [default: all namespaces]."""
        if self._namespaces_from_environment:
            self._namespaces, self._namespaces_from_environment = [], False
        if not is_namespace_name(name):
            raise UsageError(f"--namespace: '{name}' cannot be the name of a namespace")
        if name not in self._namespaces:
            self._namespaces.append(name)

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
        for name in ("tls-certificate", "tls-private-key", "tls-client-ca"):
            if not self[name]:
                raise UsageError(f"--{name} is required")
        if self["log-format"] not in ("text", "json"):
            raise UsageError(f"--log-format is text or json, not '{self['log-format']}'")
        self.config = ServerConfig(
            listen=self["listen"],
            ops_listen=self["ops-listen"] or None,
            tls_certificate=Path(self["tls-certificate"]).absolute(),
            tls_private_key=Path(self["tls-private-key"]).absolute(),
            tls_client_ca=Path(self["tls-client-ca"]).absolute(),
            cluster=self._cluster(),
            kubeconfig=self._kubeconfig(),
            context=self["context"],
            namespaces=tuple(self._namespaces),
            max_staleness=self._number("max-staleness", float, 1, 86_400),
            simulated_deployments=int(self._number("simulated-deployments", int, 0, 200_000)),
        )
        try:
            self.tls = server_options(
                self.config.tls_certificate, self.config.tls_private_key, self.config.tls_client_ca
            )
            if self.config.cluster is ClusterKind.KUBECONFIG:
                Kubeconfig(self.config.kubeconfig, self.config.context).check()
            elif self.config.cluster is ClusterKind.IN_CLUSTER:
                InCluster(self._environ).configuration()
        except (TLSFilesError, CredentialsError) as error:
            raise UsageError(str(error)) from error
        if self["log-format"] == "json" and self.parent is not None:
            self.parent["logger"] = _json_logger(self.parent["logfile"] or "", nodaemon=bool(self.parent["nodaemon"]))

    def _number(self, name: str, read: Callable[[str], float], lowest: float, highest: float) -> float:
        try:
            number = read(self[name])
        except ValueError:
            number = lowest - 1
        if not lowest <= number <= highest:
            raise UsageError(f"--{name} is a number from {lowest} to {highest}, not '{self[name]}'")
        return number

    def _kubeconfig(self) -> str:
        given = self["kubeconfig"] or self._environ.get("KUBECONFIG") or DEFAULT_KUBECONFIG
        paths = (Path(path).expanduser().absolute() for path in given.split(os.pathsep) if path)
        return os.pathsep.join(str(path) for path in paths)

    def _cluster(self) -> ClusterKind:
        asked = self["cluster"]
        if asked != "auto":
            try:
                return ClusterKind(asked)
            except ValueError:
                raise UsageError(f"--cluster is auto, in-cluster, kubeconfig or simulated, not '{asked}'") from None
        if self["kubeconfig"] or self["context"]:
            return ClusterKind.KUBECONFIG
        if InCluster(self._environ).present():
            return ClusterKind.IN_CLUSTER
        if any(Path(path).exists() for path in self._kubeconfig().split(os.pathsep)):
            return ClusterKind.KUBECONFIG
        raise UsageError(
            f"no cluster: this is not a pod, and {self._kubeconfig()} does not exist; "
            "name one with --kubeconfig, or try --cluster=simulated"
        )


def _json_logger(logfile: str, *, nodaemon: bool) -> Callable[[], ILogObserver]:
    """Return what twistd calls to make its observer, writing to where its own would have written."""

    def observer() -> ILogObserver:
        if logfile == "-" or (nodaemon and not logfile):
            return json_observer(sys.stdout)
        return json_observer(LogFile.fromFullPath(logfile or "twistd.log"))

    return observer
