"""What a kubeconfig must not say: what kubectl refuses, what it would ask a terminal for, what this server cannot do.

Each refusal names the field. None quotes a value, apart from paths and names.
"""

import posixpath
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from sre_server.cluster.kubeconfig import Chosen, Cluster, Exec, User
from sre_server.errors import CredentialsError

EXEC_VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
_PROXY_SCHEMES: Final = ("http", "https", "socks5")
_NOT_IN_URLS: Final = re.compile(r"[\x00-\x20\x7f]")


def server_url(cluster: Cluster) -> str:
    """Return where the cluster is, to put paths behind; a bare host and port is plain HTTP, as for kubectl.

    Raises ValueError if it is no URL.
    """
    parts = _parts(cluster.server)
    if not (parts.scheme and parts.netloc):
        parts = _parts(f"http://{cluster.server}")
        if parts.path.strip("/"):
            raise ValueError("a path needs a scheme")
    if parts.scheme not in ("http", "https"):
        raise ValueError("another scheme")
    prefix = posixpath.normpath("/" + unquote(parts.path).lstrip("/"))
    return f"{parts.scheme}://{parts.netloc}{quote(prefix.rstrip('/'))}"


def _parts(url: str) -> SplitResult:
    """Take a URL apart; raises ValueError for one that only Python would accept, or nobody."""
    if _NOT_IN_URLS.search(url):
        raise ValueError("white space")
    parts = urlsplit(url)
    if parts.netloc and not (parts.hostname and (parts.port is None or parts.port)):
        raise ValueError("no host")
    return parts


def check(chosen: Chosen) -> None:
    """Raise CredentialsError for what cannot mean here what it means to kubectl."""
    for fault in _faults_of_cluster(chosen.cluster):
        raise CredentialsError(f"{chosen.cluster_at}: {fault}.")
    for fault in _faults_of_user(chosen.user, server_url(chosen.cluster)):
        raise CredentialsError(f"{chosen.user_at}: {fault}.")


def _faults_of_cluster(cluster: Cluster) -> Iterator[str]:
    if not cluster.server:
        yield "server is not set"
    try:
        url = server_url(cluster)
    except ValueError:
        yield "server is no URL such as https://cluster.example.org:6443"
        return
    if "@" in url:
        yield "server names a user; put username and password into the user's entry"
    authority = cluster.certificate_authority or cluster.certificate_authority_data
    if cluster.certificate_authority and cluster.certificate_authority_data:
        yield "certificate-authority and certificate-authority-data are both set"
    if cluster.insecure_skip_tls_verify and authority and url.startswith("https:"):
        yield "insecure-skip-tls-verify and a certificate-authority are both set"
    if cluster.proxy_url:
        try:
            proxy = _parts(cluster.proxy_url)
        except ValueError:
            yield "proxy-url is no URL"
            return
        if proxy.scheme not in _PROXY_SCHEMES or not proxy.netloc:
            yield "proxy-url is no URL of a proxy that speaks http, https or socks5"
        if proxy.scheme == "https" and cluster.tls_server_name:
            yield "tls-server-name with a proxy-url of https is not supported"


def _faults_of_user(user: User, url: str) -> Iterator[str]:
    if user.auth_provider is not None:
        yield "auth-provider is not supported; use an exec plugin"
    for name in ("client_certificate", "client_key"):
        if user.has_certificate and getattr(user, name) and getattr(user, f"{name}_data"):
            dashed = name.replace("_", "-")
            yield f"{dashed} and {dashed}-data are both set"
    if user.has_certificate and not (user.client_key or user.client_key_data):
        yield "client-certificate is set, and client-key is not"
    if (user.username or user.password) and (user.token or (user.token_file and user.username)):
        yield "username or password is set as well as token or tokenFile"
    if (user.as_uid or user.as_groups or user.as_user_extra) and not user.impersonate:
        yield "as-uid, as-groups and as-user-extra need an as"
    if user.exec is not None:
        yield from _faults_of_plugin(user.exec)
    proof = user.token or user.token_file or user.username or user.has_certificate or user.exec
    if url.startswith("https:") and not proof:
        yield "there is no credential; kubectl would ask for a username"


def _faults_of_plugin(plugin: Exec) -> Iterator[str]:
    if not plugin.command:
        yield "exec.command is not set"
    if plugin.api_version not in EXEC_VERSIONS:
        yield f"exec.apiVersion must be {' or '.join(EXEC_VERSIONS)}"
    if any(not variable.name for variable in plugin.env):
        yield "exec.env has a variable without a name"
    mode = plugin.interactive_mode or ("IfAvailable" if plugin.api_version == EXEC_VERSIONS[1] else "")
    if mode not in ("Never", "IfAvailable"):
        yield "exec.interactiveMode must be Never or IfAvailable, as there is no terminal here"
