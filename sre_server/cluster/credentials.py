"""Where the cluster is and how to prove who we are: in-cluster, kubeconfig, or the simulator.

Each kind is a callable that makes a fresh `kubernetes.client.Configuration`, so that a refused credential can be read
anew. The service-account token follows client-go (transport/token_source.go): read again after a minute and after a
401; a file that cannot be read leaves the last good token in use.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import yaml
from twisted.logger import Logger

from sre_server.cluster.loading import load_sparingly

if TYPE_CHECKING:
    from kubernetes.client import Configuration

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_KUBECONFIG: Final = "~/.kube/config"
_LOOPBACK: Final = "localhost,127.0.0.0/8,::1"


class CredentialsError(Exception):
    """The cluster cannot be reached as configured; the text is one line for the operator."""


class Credentials(Protocol):
    """Makes what a connection needs to know of the cluster."""

    def configuration(self) -> "Configuration":
        """Make a fresh client configuration: host, CA and client certificate; raises CredentialsError."""

    def authorization(self, configuration: "Configuration") -> str | None:
        """The Authorization header for a request made now, if the credentials have one."""

    def refused(self) -> None:
        """Note that the cluster answered 401: whatever is remembered must be read again."""


def _blank_configuration() -> "Configuration":
    """Make a Configuration of our own, without retries: urllib3's default repeats even a PUT (util/retry.py)."""
    load_sparingly()
    from kubernetes.client import Configuration  # noqa: PLC0415  # half of the start-up time: only when needed
    from kubernetes.utils.keepalive import tcp_keepalive_socket_options  # noqa: PLC0415

    configuration = Configuration()
    configuration.retries = False
    configuration.socket_options = tcp_keepalive_socket_options(idle=10, interval=5, count=3)
    return configuration


class TokenFile:
    """A bound service-account token that the kubelet rewrites under us."""

    REREAD_AFTER: Final = 60.0
    log = Logger()

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now = now
        self._token: str | None = None
        self._read_at = 0.0

    def token(self) -> str:
        """The current token; raises CredentialsError only if there has never been one."""
        if self._token is None or self._now() - self._read_at >= self.REREAD_AFTER:
            self._read()
        if self._token is None:
            raise CredentialsError(f"The service-account token file {self._path} cannot be read, or is empty.")
        return self._token

    def forget(self) -> None:
        """Read the file again before the next use; the old token stays for the case that it cannot be read."""
        self._read_at = self._now() - self.REREAD_AFTER

    def _read(self) -> None:
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            self.log.warn("service-account token not read, the last one stays in use: {error}", error=error)
            return
        if not token:
            self.log.warn("service-account token file {path} is empty, the last token stays in use", path=self._path)
            return
        self._token = token
        self._read_at = self._now()


class InCluster:
    """The service account that Kubernetes mounts into a pod."""

    def __init__(self, environ: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> None:
        self._environ = environ
        self._folder = folder
        self._token = TokenFile(folder / "token")

    def present(self) -> bool:
        """Tell whether this process runs in a pod with a service account."""
        return bool(self._environ.get("KUBERNETES_SERVICE_HOST")) and (self._folder / "token").exists()

    def configuration(self) -> "Configuration":
        """See `Credentials.configuration`; proxies of the environment never divert in-cluster traffic."""
        host = self._environ.get("KUBERNETES_SERVICE_HOST")
        port = self._environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise CredentialsError("KUBERNETES_SERVICE_HOST is not set: this does not look like a pod.")
        authority = self._folder / "ca.crt"
        if not authority.is_file():
            raise CredentialsError(f"The cluster's CA certificate {authority} does not exist.")
        self._token.token()
        configuration = _blank_configuration()
        configuration.host = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
        configuration.ssl_ca_cert = str(authority)
        configuration.no_proxy = "*"
        return configuration

    def authorization(self, configuration: "Configuration") -> str | None:
        """See `Credentials.authorization`."""
        return f"Bearer {self._token.token()}"

    def refused(self) -> None:
        """See `Credentials.refused`."""
        self._token.forget()


class Kubeconfig:
    """A context of one kubeconfig file, or of several joined by the path separator, as kubectl reads them."""

    def __init__(self, path: str, context: str | None = None) -> None:
        self._path = path
        self._context = context
        self._proves_identity = False

    def check(self) -> None:
        """Raise CredentialsError unless the file, its context and that context's cluster are there."""
        self._load(lambda loader: None)

    def configuration(self) -> "Configuration":
        """See `Credentials.configuration`; runs the context's exec plugin where it names one."""
        configuration = _blank_configuration()
        self._load(lambda loader: loader.load_and_set(configuration))
        if self._proves_identity and not (configuration.api_key or configuration.cert_file):
            raise CredentialsError(f"The kubeconfig {self._path} cannot be used: its user's plugin gave no credential.")
        configuration.no_proxy = ",".join(filter(None, (configuration.no_proxy, _LOOPBACK)))
        return configuration

    def _load(self, use: Callable[[Any], None]) -> None:
        load_sparingly()
        from kubernetes.config import ConfigException  # noqa: PLC0415
        from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger  # noqa: PLC0415

        try:
            merger = KubeConfigMerger(self._path)
            if merger.config is None:
                raise CredentialsError(f"The kubeconfig {self._path} does not exist, or is empty.")
            # The merger lets the last file decide, kubectl the first: with it we might write to another cluster.
            current = (file.get("current-context") for file in merger.config_files.values())
            loader = KubeConfigLoader(merger.config, active_context=self._context or next(filter(None, current), None))
            context = loader.current_context["context"]
            user = context["user"] if "user" in context else ""  # noqa: SIM401  # no dict
            named = merger.config["users"].get_with_name(user)["user"] if user else {}
            self._proves_identity = "exec" in named or "auth-provider" in named
            use(loader)
        except (ConfigException, OSError, yaml.YAMLError, TypeError, AttributeError, KeyError, ValueError) as error:
            text = " ".join(str(error).split())
            raise CredentialsError(f"The kubeconfig {self._path} cannot be used: {text}") from error

    def authorization(self, configuration: "Configuration") -> str | None:
        """See `Credentials.authorization`."""
        return configuration.get_api_key_with_prefix("BearerToken")

    def refused(self) -> None:
        """See `Credentials.refused`; nothing is remembered between two configurations."""


class Unauthenticated:
    """A cluster at a URL that asks nothing: the simulator on loopback."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url

    def configuration(self) -> "Configuration":
        """See `Credentials.configuration`."""
        configuration = _blank_configuration()
        configuration.host = self._url()
        configuration.no_proxy = "*"
        return configuration

    def authorization(self, configuration: "Configuration") -> str | None:
        """See `Credentials.authorization`; there is none."""
        return None

    def refused(self) -> None:
        """See `Credentials.refused`; there is nothing to read again."""
