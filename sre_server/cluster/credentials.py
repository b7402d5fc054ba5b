"""Where the cluster is and how to prove who we are: in-cluster, kubeconfig, or the simulator.

Each kind says, for each request anew, what it takes to make it. What stands in files is read again in time, and after a
401, as client-go does; where it cannot be, the last good state stays in use.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

from sre_server.cluster.access import Access, direct_to
from sre_server.cluster.kubeconfig import Chosen, read_kubeconfig
from sre_server.cluster.kubeconfig_rules import check
from sre_server.cluster.session import Session
from sre_server.cluster.tls import PEM, TLSFiles
from sre_server.cluster.tokens import TokenFile, header_value
from sre_server.errors import CredentialsError

if TYPE_CHECKING:
    from kubernetes.client import Configuration

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
DEFAULT_KUBECONFIG: Final = "~/.kube/config"


class InCluster:
    """The service account that Kubernetes mounts into a pod; proxies of the environment never divert its traffic."""

    def __init__(self, environ: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> None:
        self._environ = environ
        self._folder = folder
        self._token = TokenFile(folder / "token")
        self._tls = TLSFiles(PEM("The cluster's CA certificate", path=folder / "ca.crt"))
        self._configuration: Configuration | None = None

    def present(self) -> bool:
        """Tell whether this process runs in a pod with a service account."""
        return bool(self._environ.get("KUBERNETES_SERVICE_HOST")) and (self._folder / "token").exists()

    def access(self) -> Access:
        """See `Credentials.access`."""
        host = self._environ.get("KUBERNETES_SERVICE_HOST")
        port = self._environ.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise CredentialsError("KUBERNETES_SERVICE_HOST is not set: this does not look like a pod.")
        tls = self._tls.material()
        token = header_value("The service-account token", f"Bearer {self._token.token()}")
        if self._configuration is None:
            self._configuration = direct_to(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}")
        return Access(self._configuration, tls, (("Authorization", token),))

    def renewed(self, refused: Access) -> bool:
        """See `Credentials.renewed`."""
        self._token.forget()
        if self.access() != refused:
            return True
        self._token.forget()
        return False

    def interrupt(self) -> None:
        """See `Credentials.interrupt`; nothing here waits."""


class Kubeconfig:
    """A context of one kubeconfig file, or of several joined by the path separator, as kubectl reads them."""

    def __init__(self, path: str, context: str | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._path = path
        self._context = context
        self._environ = environ
        self._lock = Lock()
        self._session: Session | None = None

    def check(self) -> None:
        """Raise CredentialsError for whatever is wrong with it that can be told without running a plugin."""
        self._opened().check()

    def access(self) -> Access:
        """See `Credentials.access`."""
        return self._opened().access()

    def _opened(self) -> Session:
        with self._lock:
            if self._session is None:
                self._session = Session(self._read(), self._environ)
            return self._session

    def _read(self) -> Chosen:
        chosen = read_kubeconfig(self._path, self._context)
        check(chosen)
        return chosen

    def renewed(self, refused: Access) -> bool:
        """See `Credentials.renewed`; the kubeconfig itself is read again as well."""
        chosen = self._read()
        with self._lock:
            session = self._session
            if session is None or session.chosen != chosen:
                self._session = None
                return True
        return session.renewed(refused)

    def interrupt(self) -> None:
        """See `Credentials.interrupt`."""
        with self._lock:
            if self._session is not None:
                self._session.interrupt()


class Unauthenticated:
    """A cluster at a URL that asks nothing: the simulator on loopback."""

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._configuration: Configuration | None = None

    def access(self) -> Access:
        """See `Credentials.access`."""
        url = self._url()
        if self._configuration is None or self._configuration.host != url:
            self._configuration = direct_to(url)
        return Access(self._configuration)

    def renewed(self, refused: Access) -> bool:
        """See `Credentials.renewed`; there is nothing to read again."""
        return False

    def interrupt(self) -> None:
        """See `Credentials.interrupt`; nothing here waits."""
