"""Which proxy leads to the cluster: the kubeconfig's, or, where it names none, the environment's, as for kubectl."""

from base64 import b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from kubernetes.client import Configuration

_LOOPBACK: Final = "localhost,127.0.0.0/8,::1"


def set_proxy(configuration: "Configuration", named: str, environ: Mapping[str, str]) -> None:
    """Make `configuration`, whose host is set, use the proxy that is `named`, or else one of the environment.

    $NO_PROXY, and that loopback needs no proxy, hold for the environment's only.
    """
    proxy, direct = named, ""
    if not proxy:
        scheme = urlsplit(configuration.host).scheme
        proxy = _variable(environ, f"{scheme}_proxy")
        if proxy and "://" not in proxy:
            proxy = f"http://{proxy}"
        direct = ",".join((*_variable(environ, "no_proxy").replace("*.", ".").split(), _LOOPBACK))
    parts = urlsplit(proxy)
    if parts.scheme == "socks5":
        proxy = f"socks5h{proxy.removeprefix('socks5')}"  # the proxy looks names up, as Go has it
    elif parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        configuration.proxy_headers = {"Proxy-Authorization": f"Basic {b64encode(user.encode()).decode()}"}
    configuration.proxy, configuration.no_proxy = proxy or None, direct


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.upper()) or environ.get(name) or ""
