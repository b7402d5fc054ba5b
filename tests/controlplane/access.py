"""The ways into a test cluster: kubectl, helm, and kubeconfigs for whoever a test wants to be."""

import http.client
import json
import os
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .components import Layout
from .daemon import PlaneError, wait_until
from .identity import Authority, certificate_user, write_kubeconfig
from .probe import fetch

COMMAND_SECONDS = 120.0
TOKEN_LIFETIME = "24h"


class Access:
    """Clients and credentials of one cluster, which need not be running yet."""

    def __init__(self, layout: Layout, authority: Authority) -> None:
        self._layout = layout
        self._authority = authority
        # Nothing of the caller's own configuration, and no proxy, may get between the programs.
        self._environment = {"HOME": str(layout.workdir), "PATH": os.environ.get("PATH", os.defpath)}
        self.server = layout.server
        self.ca_file = layout.authority.certificate
        self.binaries = layout.binaries
        self.admin_kubeconfig = self.user_kubeconfig("admin", ["system:masters"])
        probe = authority.client("probe", ["system:masters"])
        self._anonymous = ssl.create_default_context(cafile=str(self.ca_file))
        self._context = ssl.create_default_context(cafile=str(self.ca_file))
        self._context.load_cert_chain(probe.certificate, probe.key)

    def kubectl(self, *args: str, kubeconfig: Path | None = None, input: str | None = None) -> str:  # noqa: A002
        """Run kubectl, as the administrator unless told otherwise, and return what it prints.

        Raises PlaneError, with what it said on stderr, when it fails.
        """
        credentials = kubeconfig or self.admin_kubeconfig
        return self._run(["kubectl", f"--kubeconfig={credentials}", *args], input)

    def helm(self, *args: str) -> str:
        """Run helm as the administrator and return what it prints; raises PlaneError when it fails."""
        return self._run(["helm", f"--kubeconfig={self.admin_kubeconfig}", *args], None)

    def _run(self, command: Sequence[str], given: str | None) -> str:
        """Run one of the built clients to its end."""
        program, *arguments = command
        done = subprocess.run(
            [str(self._layout.binaries / program), *arguments],
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            env=self._environment,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            shown = " ".join([program, *arguments])
            raise PlaneError(f"{shown}: exit status {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def wait_until_granted(self, user: str, *what: str) -> None:
        """Wait until the API server has heard of what permits a user something, as in `list deployments.apps`."""

        def granted() -> bool:
            try:
                self.kubectl("auth", "can-i", *what, f"--as={user}")
            except PlaneError:
                return False
            return True

        wait_until(granted, f"{user} may not {' '.join(what)}")

    def user_kubeconfig(self, user: str, groups: Sequence[str]) -> Path:
        """Write a kubeconfig for a user with a client certificate, in the given groups."""
        path = self._layout.workdir / f"{quote(user, safe='')}.kubeconfig"
        credentials = certificate_user(self._authority.client(user, groups))
        return write_kubeconfig(path, self.server, self.ca_file, credentials)

    def service_account_token(self, namespace: str, name: str) -> str:
        """Return a bearer token that the API server issues for a service account, once there is one of this name."""
        accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        wait_until(lambda: name in self._names(accounts), f"no service account {name} in {namespace}")
        lifetime = f"--duration={TOKEN_LIFETIME}"
        return self.kubectl("create", "token", name, f"--namespace={namespace}", lifetime).strip()

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """Write a kubeconfig with a new bearer token of a service account."""
        path = self._layout.workdir / f"{namespace}.{name}.kubeconfig"
        user = {"token": self.service_account_token(namespace, name)}
        return write_kubeconfig(path, self.server, self.ca_file, user)

    def audit_events(self) -> list[dict[str, Any]]:
        """Return the audit log: a dictionary for each answered request that names a resource of the policy.

        The API server writes an event just after the answer it is about, so a client may know of the answer
        before the event can be read here.  A watch has two: ResponseStarted and ResponseComplete.
        """
        if not self._layout.audit_log.exists():
            return []
        lines = self._layout.audit_log.read_bytes().split(b"\n")
        return [json.loads(line) for line in lines[:-1]]

    def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> tuple[int, bytes]:
        """Make one request of the API, with a bearer token or else as an administrator, and nothing besides.

        Returns the status and the content, whatever the status is.
        """
        headers = {"Content-Type": content_type} if body is not None else {}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        context = self._anonymous if token else self._context
        return fetch(f"{self.server}{path}", context, method=method, body=body, headers=headers)

    def _names(self, path: str) -> dict[str, Any]:
        """Return the objects of one collection of the API, by name."""
        status, content = self.request("GET", path)
        if status != http.client.OK:
            raise PlaneError(f"GET {path}: status {status}: {content.decode(errors='replace')}")
        return {item["metadata"]["name"]: item for item in json.loads(content)["items"]}
