"""What a case of a kubeconfig is, and the pieces of which most are made."""

from collections.abc import Mapping
from typing import NamedTuple

CLUSTER = '{server: "$TLS", certificate-authority-data: $CA}'
NAMED = '{server: "https://cluster.example:6443", certificate-authority-data: $CA}'
PLAIN = '{server: "$PLAIN"}'
PAIR = "client-certificate-data: $CERTIFICATE, client-key-data: $KEY"
V1 = "client.authentication.k8s.io/v1"
HALF_ARGUMENT = ', args: ["\\ud800"]'


class Case(NamedTuple):
    """One document, and what arrives: `sent` has what is not as usual. Or it is refused, with a text that says why."""

    name: str
    user: str = "{token: secret-one}"
    cluster: str = CLUSTER
    context: str = "{cluster: k, user: u}"
    more: str = ""
    sent: Mapping[str, object] = {}
    refused: str | None = None
    only_here: bool = False
    """kubectl does something with it that this server cannot, or should not."""
    environ: Mapping[str, str] = {}
    via: str = ""
    """The proxy that was asked, and for what."""
    files: str = "$FOLDER/config"
    """$KUBECONFIG."""

    def document(self) -> str:
        """Write it, unless it is all of `more`."""
        if self.more.startswith("!"):
            return self.more[1:]
        return f"""apiVersion: v1
kind: Config
current-context: c
clusters: [{{name: k, cluster: {self.cluster}}}]
users: [{{name: u, user: {self.user}}}]
contexts: [{{name: c, context: {self.context}}}]
{self.more}
"""


def plugin(command: str = "bin/plugin", version: str = V1, mode: str = "Never", more: str = "") -> str:
    """Write a user's exec plugin."""
    mode = f", interactiveMode: {mode}" if mode else ""
    return f"exec: {{apiVersion: {version}, command: {command}{mode}{more}}}"


def bearer(token: str) -> dict[str, object]:
    """What arrives with this token."""
    return {"authorization": f"Bearer {token}"}


NOBODY: dict[str, object] = {"authorization": None}
ALICE: dict[str, object] = {"authorization": None, "certificate": "alice"}
FIRST: dict[str, object] = {"server_name": "cluster.example"}
AS = "as: joe"
