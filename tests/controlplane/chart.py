"""A release of the chart in the shared control plane, in a namespace that holds pods to the strictest standard."""

import http.client
import json
import subprocess
from base64 import b64decode
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.functional.helm import CHART

from .daemon import PlaneError, wait_until
from .fixture import shared_plane

WAIT = ("--wait", "--timeout=300s")

Rule = tuple[str, str, tuple[str, ...]]
"""API group, resource, and verbs in their order."""


class Release:
    """One release, named after its namespace; `folder` holds its CA, its values, and whatever a test adds."""

    def __init__(self, folder: Path) -> None:
        """Make the namespace and the server's Secret; nothing is installed yet."""
        self.plane = shared_plane()
        self.name = self.namespace = f"chart-{token_hex(4)}"
        self.account = f"{self.name}-sre-server"
        self.folder = folder
        self.authority = Authority(folder)
        self.kubectl("create", "namespace", self.namespace)
        restricted = "pod-security.kubernetes.io/enforce=restricted"
        self.kubectl("label", "namespace", self.namespace, restricted)
        self.make_secret("sre-server-tls", "localhost")

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl as the administrator."""
        return self.plane.kubectl(*arguments)

    def make_secret(self, secret: str, common_name: str) -> None:
        """Make a Secret with a certificate of the release's CA."""
        pair = self.authority.issue(common_name)
        files = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": self.authority.file}
        contents = (f"--from-file={key}={path}" for key, path in files.items())
        self.kubectl("create", "secret", "generic", secret, f"--namespace={self.namespace}", *contents)

    def helm(self, command: str, values: Mapping[str, Any] | None = None, *arguments: str) -> str:
        """Run helm on the release, with the chart where there are values."""
        line = [command, self.name, f"--namespace={self.namespace}"]
        if values is not None:
            file = self.folder / "values.yaml"
            file.write_text(yaml.safe_dump(dict(values)), encoding="utf-8")
            line[2:2] = [str(CHART), f"--values={file}"]
        told = self.plane.helm(*line, *arguments)
        if values is not None and "--wait" in arguments:
            self._settle()
        return told

    def _settle(self) -> None:
        """Wait for what helm does not: that Deployments say so themselves, and have no pods of before any more."""
        for item in self.items("deployments"):
            name = f"deployment/{item['metadata']['name']}"
            self.kubectl("rollout", "status", name, f"--namespace={self.namespace}", "--timeout=110s")

    def get(self, kind: str, name: str = "") -> dict[str, Any]:
        """Return an object of the release's namespace; the one that is named as the release, if no name is given."""
        shown = self.kubectl("get", kind, name or self.account, f"--namespace={self.namespace}", "--output=json")
        found: dict[str, Any] = json.loads(shown)
        return found

    def follow(self, case: SynchronousTestCase, template: str, *what: str) -> Callable[[], list[Any]]:
        """Watch a part, which is JSON, of what there is, else of the Deployment; the result returns all it has seen."""
        binary, kubeconfig = self.plane.binaries / "kubectl", f"--kubeconfig={self.plane.admin_kubeconfig}"
        watch = ("get", *(what or ("deployment", self.account)), f"--namespace={self.namespace}", "--watch")
        command = [str(binary), kubeconfig, *watch, f"--output=jsonpath={template}{{'\\n'}}"]
        seen = self.folder / f"followed-{token_hex(4)}"
        with seen.open("w") as file:
            process = subprocess.Popen(command, stdout=file)
        case.addCleanup(process.wait, 30)
        case.addCleanup(process.terminate)
        wait_until(lambda: seen.read_text().count("\n") > 0, "kubectl does not watch")
        return lambda: [json.loads(line) for line in seen.read_text().rpartition("\n")[0].splitlines()]

    def may_be_disrupted(self, name: str = "") -> bool:
        """Tell whether its disruption budget allows one pod to be evicted."""
        return bool(self.get("poddisruptionbudget", name)["status"].get("disruptionsAllowed") == 1)

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Return all objects of a kind in the release's namespace."""
        shown = self.kubectl("get", kind, f"--namespace={self.namespace}", "--output=json")
        found: list[dict[str, Any]] = json.loads(shown)["items"]
        return found

    def left(self) -> list[str]:
        """Return every object in the whole cluster that carries the release's label, and helm's own records of it."""
        kinds = self.kubectl("api-resources", "--verbs=list", "--output=name").split()
        listed = ",".join(kind for kind in kinds if not kind.startswith(("events", "componentstatuses")))
        everywhere = ("--all-namespaces", "--output=name", "--ignore-not-found")
        own = self.kubectl("get", listed, f"--selector=app.kubernetes.io/instance={self.name}", *everywhere)
        records = self.kubectl("get", "secrets", f"--selector=owner=helm,name={self.name}", *everywhere)
        return (own + records).split()

    def kept(self) -> list[str]:
        """Return what an uninstall leaves on purpose: the notes of temporary counts, which somebody may wait for."""
        return [f"configmap/{self.account}-temporary"]

    def server_options(self, name: str = "") -> list[str]:
        """Return the options of the server as they arrived in the cluster, but for ports and files of the pod.

        `name` is the Deployment's, if that is another one than the release's. What it is given of a shared cache, and
        the token of its account, are those that its pods would have.
        """
        pod = self.get("deployment", name)["spec"]["template"]["spec"]
        elsewhere = ("--listen", "--ops-listen", "--tls-", "--cluster=")
        options = [option for option in pod["containers"][0]["args"] if not option.startswith(elsewhere)]
        for key, text in self._documents().items():
            (self.folder / key).write_text(text, encoding="utf-8")
        cache = self.folder / f"cache-{name or self.account}"
        for key, content in self._shared_files(pod).items():
            cache.mkdir(exist_ok=True)
            (cache / key).write_bytes(content)
        here = {"/etc/sre-server/config": self.folder, "/etc/sre-server/cache": cache}
        for there, folder in here.items():
            options = [option.replace(there, str(folder)) for option in options]
        kubeconfig = self.plane.service_account_kubeconfig(self.namespace, pod["serviceAccountName"])
        return [*options, "--cluster=kubeconfig", f"--kubeconfig={kubeconfig}"]

    def _shared_files(self, pod: dict[str, Any]) -> dict[str, bytes]:
        """Return what the pod finds of a shared cache, by the names that it has there."""
        volumes = [volume["projected"]["sources"] for volume in pod["volumes"] if volume["name"] == "cache"]
        secrets = [source["secret"] for sources in volumes for source in sources]
        return {
            item["path"]: b64decode(self.get("secret", secret["name"])["data"][item["key"]])
            for secret in secrets
            for item in secret["items"]
        }

    def granted(self, namespace: str, account: str = "") -> set[Rule]:
        """Return what the apiserver itself says the token may do there, less what every service account may."""
        spec = {"namespace": namespace}
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
        question = json.dumps({**kind, "spec": spec}).encode()
        found = []
        for name in (account or self.account, "default"):
            token = self.plane.service_account_token(self.namespace, name)
            path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
            status, answer = self.plane.request("POST", path, token=token, body=question)
            if status != http.client.CREATED:
                raise PlaneError(f"SelfSubjectRulesReview: {status} {answer!r}")
            found.append(
                {
                    (group, resource, tuple(sorted(rule["verbs"])))
                    for rule in json.loads(answer)["status"]["resourceRules"]
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                }
            )
        return found[0] - found[1]

    def _documents(self) -> dict[str, str]:
        found = [item for item in self.items("configmaps") if item["metadata"]["name"] == self.account]
        return found[0]["data"] if found else {}

    def close(self) -> None:
        """Remove whatever is left of it."""
        if self.name in self.plane.helm("list", "--short", f"--namespace={self.namespace}").split():
            self.helm("uninstall")
        self.kubectl("delete", "namespace", self.namespace, "--wait=false")
