"""What a real apiserver's admission makes of writes: webhooks of every code, policies, counts that are changed."""

import base64
import http.server
import json
import os
import ssl
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.certificates import Authority
from tests.fakes import temporary_folder
from tests.functional.daemon import Answer, Daemon

from .workload import own_cluster

Response = Callable[[dict[str, Any]], dict[str, Any]]
LOOPBACK = "127.0.0.1"
POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{{apiGroups: [apps], apiVersions: [v1], operations: [UPDATE], resources: [deployments/scale]}}]
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
  validations: [{{expression: "object.spec.replicas <= 7", message: "seven is the most", reason: {reason}}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}, validationActions: [{action}]}}
"""


def allow(request: dict[str, Any]) -> dict[str, Any]:
    """Let a write through."""
    return {"allowed": True}


class Webhook(http.server.ThreadingHTTPServer):
    """A webhook over TLS that answers as `respond` says."""

    def __init__(self, test: SynchronousTestCase, authority: Authority) -> None:
        super().__init__((LOOPBACK, 0), _Review)
        self.respond: Response = allow
        self.asked = threading.Event()
        pair = authority.issue("webhook", alternative_names=[x509.IPAddress(IPv4Address(LOOPBACK))])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        test.addCleanup(thread.join, 10)
        test.addCleanup(self.server_close)
        test.addCleanup(self.shutdown)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a connection that breaks."""


class _Review(http.server.BaseHTTPRequestHandler):
    server: Webhook

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        response = {"uid": review["request"]["uid"], **self.server.respond(review["request"])}
        self.server.asked.set()
        body = json.dumps({**review, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class AdmissionTests(SynchronousTestCase):
    """A server, a namespace with Deployments, and admission for writes there."""

    def setUp(self) -> None:
        """Make the namespace and start the server."""
        if os.environ.get("KUBECONFIG"):
            raise SkipTest("webhooks of a test have no place in the cluster of $KUBECONFIG")
        self.cluster = own_cluster()
        self.namespace = self.cluster.make_namespace()
        self.addCleanup(self.cluster.kubectl, "delete", "namespace", self.namespace, "--wait=false")
        self.folder = temporary_folder(self)
        self.audit = self.folder / "audit.log"
        kubeconfig = f"--kubeconfig={self.cluster.server_kubeconfig}"
        guardrails = Path(self.folder) / "guardrails.yaml"
        guardrails.write_text("largest_step: 10\n")
        files = (f"--audit-log={self.audit}", f"--guardrails={guardrails}")
        options = ("--cluster=kubeconfig", kubeconfig, *files, "--write-rate=1000:1000")
        self.daemon = Daemon(self.folder, *options)
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()
        self.web = f"/deployments/{self.namespace}/web/replicas"
        self.daemon.wait_for(lambda: self.daemon.get(self.web).status == 200, "knowing the Deployment")

    def put(self, replicas: int, **fields: str) -> Answer:
        """Write."""
        return self.daemon.put(self.web, {"replicas": replicas}, **fields)

    def webhook(self, kind: str) -> Webhook:
        """Have a webhook, validating or mutating, and wait until the apiserver asks it."""
        authority = Authority(self.folder, "Webhook CA")
        hook = Webhook(self, authority)
        bundle = base64.b64encode(authority.file.read_bytes()).decode()
        one = {
            "name": "hook.example.org",
            "clientConfig": {"url": f"https://{LOOPBACK}:{hook.server_address[1]}/", "caBundle": bundle},
            "rules": [
                {
                    "apiGroups": ["apps"],
                    "apiVersions": ["v1"],
                    "operations": ["UPDATE"],
                    "resources": ["deployments/scale"],
                }
            ],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": self.namespace},
            "webhooks": [one],
        }
        self.cluster.kubectl("apply", "--filename=-", input=json.dumps(configuration))
        self.addCleanup(self.cluster.kubectl, "delete", f"{kind}WebhookConfiguration".lower(), self.namespace)

        def is_asked() -> bool:
            self.put(4)
            return hook.asked.is_set()

        self.daemon.wait_for(is_asked, "asking the webhook")
        return hook

    def test_denied_with_any_code(self) -> None:
        """A webhook's denial is 422 with its message, whatever code it chose, and with If-Match, too."""
        hook = self.webhook("Validating")
        etag = self.daemon.get(self.web).headers["etag"]
        for code, reason in ((0, ""), (400, ""), (401, ""), (403, "Forbidden"), (404, "NotFound"), (409, "Conflict")):
            self.check_denied(hook, etag, {"code": code, "reason": reason, "message": "not so many"})
        for code in (422, 500, 503, 504):
            self.check_denied(hook, etag, {"code": code, "message": "not so many"})
        self.assertEqual(self.cluster.replicas(self.namespace, "web"), 4)
        hook.respond = lambda _: {"allowed": False, "status": {"code": 429, "message": "not so many"}}
        throttled = self.put(5)
        self.assertEqual((throttled.status, throttled.headers["retry-after"]), (503, "1"))

    def check_denied(self, hook: Webhook, etag: str, status: dict[str, Any]) -> None:
        """Let the webhook deny with a Status, and write with and without a condition."""
        hook.respond = lambda _: {"allowed": False, "status": status, "warnings": ["mind the gap"]}
        for fields in ({}, {"If-Match": etag}):
            answer = self.put(5, **fields)
            self.assertEqual((answer.status, answer.json["message"][-11:]), (422, "not so many"), status)
            self.assertEqual(answer.headers["warning"], '299 - "mind the gap"', status)

    def test_made_another_count(self) -> None:
        """What a mutating webhook made of the count is answered, audited, recorded and read; warnings are passed on."""
        hook = self.webhook("Mutating")
        patch = base64.b64encode(b'[{"op": "replace", "path": "/spec/replicas", "value": 3}]').decode()
        answered = {"allowed": True, "patchType": "JSONPatch", "patch": patch, "warnings": ["three is enough"]}
        hook.respond = lambda _: answered
        written = self.put(9)
        self.assertEqual((written.status, written.headers["warning"]), (200, '299 - "three is enough"'))
        self.assertTrue(written.json["message"].endswith("for the deployment, admission made it 3"), written.json)
        self.assertEqual((self.daemon.get(self.web).json["replicas"], self._in_cluster()), (3, 3))
        line = json.loads(self.audit.read_text().splitlines()[-1])
        self.assertEqual((line["requested_replicas"], line["new_replicas"], line["status"]), (9, 3, 200))
        path = f"/namespaces/{self.namespace}/deployments/web/replica_count"
        self.assertEqual(self.daemon.request("PUT", f"{path}/9").json["replica_count"], 3)
        output = ("--field-selector=reason=ScaledOnRequest", "--output=jsonpath={.items[*].message}")
        events = ("get", "events", f"--namespace={self.namespace}", *output)
        said = "from 4 to 3 (9 was asked for, admission made it that)"
        self.daemon.wait_for(lambda: said in self.cluster.kubectl(*events), "an Event")

    def _in_cluster(self) -> int:
        return self.cluster.replicas(self.namespace, "web")

    def policy(self, reason: str, action: str = "Deny") -> None:
        """Have a policy that allows no more than seven."""
        text = POLICY.format(name=self.namespace, namespace=self.namespace, reason=reason, action=action)
        self.cluster.kubectl("apply", "--filename=-", input=text)
        for kind in ("validatingadmissionpolicy", "validatingadmissionpolicybinding"):
            self.addCleanup(self.cluster.kubectl, "delete", kind, self.namespace, "--ignore-not-found")

    def test_policies(self) -> None:
        """A policy's refusal is 422, whatever its reason is, and its warning is passed on."""
        for reason in ("Invalid", "Forbidden", "RequestEntityTooLarge"):
            self.policy(reason)
            self.daemon.wait_for(lambda: self.put(8).status == 422, f"refusing as {reason}")
            etag = self.daemon.get(self.web).headers["etag"]
            for fields in ({}, {"If-Match": etag}):
                answer = self.put(9, **fields)
                self.assertEqual((answer.status, answer.json["message"][-17:]), (422, "seven is the most"), reason)
            self.cluster.kubectl("delete", "validatingadmissionpolicybinding", self.namespace)
            self.daemon.wait_for(lambda: self.put(8).status == 200, "allowing again")
        self.policy("Invalid", "Warn")
        self.daemon.wait_for(lambda: "seven is the most" in self.put(9).headers.get("warning", ""), "warning")

    def test_the_right_that_is_missing(self) -> None:
        """A 403 for want of the server's own right is 502."""
        self.cluster.kubectl("delete", "clusterrolebinding", "sre-server")
        self.addCleanup(own_cluster)
        self.daemon.wait_for(lambda: self.put(5).status == 502, "refused")
        self.assertIn("cannot patch", self.put(5).json["message"])

    def test_what_a_write_is_judged_on(self) -> None:
        """Whatever the watch has told by then, it is the cluster's own count and Deployment that are judged."""
        self.cluster.scale(self.namespace, "web", 30)
        self.daemon.wait_for(lambda: self.daemon.get(self.web).json["replicas"] == 30, "following")
        etag = self.daemon.get(self.web).headers["etag"]
        for replicas, status in ((0, 422), (500, 422), (30, 200)):
            self.cluster.scale(self.namespace, "web", replicas)
            self.assertEqual(self.put(25).status, status, replicas)
        late = self.put(26, **{"If-Match": etag})
        self.assertEqual((late.status, late.headers["etag"]), (412, self.daemon.get(self.web).headers["etag"]))
        command = ("create", "deployment", "web", f"--namespace={self.namespace}", "--image=pause", "--replicas=25")
        made = json.loads(self.cluster.kubectl(*command, "--dry-run=client", "--output=json"))
        made["metadata"]["annotations"] = {"sre-server/protected": "true"}
        self.cluster.kubectl("delete", "deployment", "web", f"--namespace={self.namespace}")
        self.assertEqual(self.put(26).status, 404)
        self.cluster.kubectl("create", "--filename=-", input=json.dumps(made))
        self.assertEqual(self.put(26).status, 422)
        self.assertEqual(self._in_cluster(), 25)
