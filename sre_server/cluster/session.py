"""One context of a kubeconfig in use: where it leads, and what each request proves and says of us."""

import re
import shutil
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sre_server.cluster.access import Access, direct_to
from sre_server.cluster.exec_plugin import Credential, ExecPlugin
from sre_server.cluster.kubeconfig import Chosen, Exec
from sre_server.cluster.kubeconfig_rules import server_url
from sre_server.cluster.proxies import set_proxy
from sre_server.cluster.tls import TLSFiles
from sre_server.cluster.tokens import TokenFile, header_value
from sre_server.errors import CredentialsError

EXTENSION: Final = "client.authentication.k8s.io/exec"
HINT_LENGTH: Final = 200
_NO_TOKEN: Final = re.compile(rb"[^!#$&'*+.^_`|~0-9A-Za-z-]")


class Session:
    """Says what requests need as `chosen` has it; threads may share it.

    Over plain HTTP nobody proves anything, as with kubectl: no token, no password, and no plugin that is run for one.
    """

    def __init__(self, chosen: Chosen, environ: Mapping[str, str]) -> None:
        """Open it; raises CredentialsError for a plugin that is not there, and what cannot be put into a header."""
        self.chosen = chosen
        cluster, user = chosen.cluster, chosen.user
        url = server_url(cluster)
        self._secure = url.startswith("https:")
        self._configuration = direct_to(url)
        self._configuration.tls_server_name = cluster.tls_server_name or None
        self._configuration.verify_ssl = not cluster.insecure_skip_tls_verify
        set_proxy(self._configuration, cluster.proxy_url, environ)
        self._pem = (chosen.authorities(), *(chosen.pair() or ()))
        self._tls: TLSFiles | None = None
        if self._secure:
            self._tls = TLSFiles(*self._pem, verify=not cluster.insecure_skip_tls_verify)
        elif (self._configuration.proxy or "").startswith("https:"):
            self._tls = TLSFiles(None)
        self._headers = tuple(self._said())
        self._tokens: TokenFile | None = None
        if user.token_file:
            name = f"{chosen.user_at}: tokenFile"
            self._tokens = TokenFile(Path(user.token_file), name=name, otherwise=user.token or None)
        self._plugin = self._made(user.plugin, environ) if user.plugin and self._secure else None

    def check(self) -> None:
        """Raise CredentialsError for whatever is wrong that can be told without running the plugin."""
        for pem in self._pem:
            pem.read()
        if self._tls:
            self._tls.material()
        self._authorization(None)

    def access(self) -> Access:
        """See `Credentials.access`."""
        credential = self._plugin.credential() if self._plugin else None
        tls = self._tls.material() if self._tls else None
        if tls and credential and credential.certificate:
            tls = tls._replace(certificate=credential.certificate, key=credential.key)
        authorization = self._authorization(credential)
        proof = (("Authorization", authorization),) if authorization else ()
        return Access(self._configuration, tls, (*proof, *self._headers), credential)

    def renewed(self, refused: Access) -> bool:
        """See `Credentials.renewed`."""
        if refused.configuration is not self._configuration:
            return True
        if self._plugin and refused.credential:
            self._plugin.renew(refused.credential)
            return True
        if self._tokens:
            self._tokens.forget()
        if self.access() != refused:
            return True
        if self._tokens:
            self._tokens.forget()
        return False

    def interrupt(self) -> None:
        """See `Credentials.interrupt`."""
        if self._plugin:
            self._plugin.interrupt()

    def _authorization(self, credential: Credential | None) -> str | None:
        """Return the Authorization field; what is written down goes before what a plugin printed."""
        user, at = self.chosen.user, self.chosen.user_at
        if not self._secure:
            return None
        if self._tokens:
            return header_value(f"{at}: tokenFile {user.token_file}", f"Bearer {self._tokens.token()}")
        if user.token:
            return header_value(f"{at}: token", f"Bearer {user.token}")
        if user.username:
            return f"Basic {b64encode(f'{user.username}:{user.password}'.encode()).decode()}"
        if credential and credential.token:
            return header_value(f"{at}: exec: the token", f"Bearer {credential.token}")
        return None

    def _said(self) -> Iterator[tuple[str, str]]:
        """Yield what requests say whoever makes them: whom to act as, and that nothing is to be compressed."""
        user, at = self.chosen.user, self.chosen.user_at
        if user.impersonate:
            yield "Impersonate-User", header_value(f"{at}: as", user.impersonate)
            if user.as_uid:
                yield "Impersonate-Uid", header_value(f"{at}: as-uid", user.as_uid)
            for group in user.as_groups:
                yield "Impersonate-Group", header_value(f"{at}: as-groups", group)
            for key, values in user.as_user_extra.items():
                name = _NO_TOKEN.sub(lambda byte: b"%%%02X" % ord(byte[0]), key.encode()).decode()
                for value in values:
                    yield f"Impersonate-Extra-{name}", header_value(f"{at}: as-user-extra", value)
        if self.chosen.cluster.disable_compression:
            yield "Accept-Encoding", "identity"

    def _made(self, plugin: Exec, environ: Mapping[str, str]) -> ExecPlugin:
        command = shutil.which(plugin.command, path=environ.get("PATH"))
        if command is None:
            hint = "".join(letter if letter.isprintable() else " " for letter in plugin.install_hint[:HINT_LENGTH])
            raise CredentialsError(
                f"{self.chosen.user_at}: exec.command {plugin.command} is not there, or may not be run. {hint}".rstrip()
            )
        # As Go puts them together, and the system takes them apart: a name may have a "=" in it.
        variables = dict(f"{variable.name}={variable.value}".split("=", 1) for variable in plugin.env)
        cluster = self._cluster_info() if plugin.provide_cluster_info else None
        return ExecPlugin([command, *plugin.args], plugin.api_version, {**environ, **variables}, cluster)

    def _cluster_info(self) -> dict[str, Any]:
        """Return what a plugin may be told of the cluster; what is not set is left out, apart from `config`."""
        cluster = self.chosen.cluster
        authorities = self._pem[0].read()
        told: dict[str, Any] = {
            "server": self._configuration.host,
            "tls-server-name": cluster.tls_server_name,
            "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
            "certificate-authority-data": b64encode(authorities or b"").decode(),
            "proxy-url": cluster.proxy_url,
            "disable-compression": cluster.disable_compression,
        }
        config = next((known.extension for known in cluster.extensions if known.name == EXTENSION), None)
        return {name: value for name, value in told.items() if value} | {"config": config}
