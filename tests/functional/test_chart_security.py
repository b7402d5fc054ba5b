"""What the chart gives away: permissions, keys, pod security, and who may talk to whom."""

import re
from typing import Any

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.helm import (
    FULL_NAME,
    MODES,
    NAMESPACE,
    Document,
    Values,
    deployment,
    is_temporary,
    named,
    pod_specs,
    render,
    server_container,
)

pytestmark = pytest.mark.xdist_group("chart")

CACHE = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]}
SCALE = {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]}
NAMESPACES = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]}
AUTOSCALERS = {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": ["list", "watch"]}
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
QUOTAS = {"apiGroups": [""], "resources": ["resourcequotas"], "verbs": ["list"]}
BUDGETS = {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ["list"]}
EVENTS = {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "list", "watch"]}
REVIEWS = {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]}


def one_namespace(name: str) -> dict[str, Any]:
    """Return the rule that lets the server look one namespace up."""
    return {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": [name], "verbs": ["get"]}


def rules(documents: list[Document], kind: str) -> dict[str, Any]:
    """Return the rules of each role of this kind, by its namespace, but for those for temporary counts."""
    roles = [document for document in documents if document["kind"] == kind and not is_temporary(document)]
    return {role["metadata"].get("namespace", ""): role["rules"] for role in roles}


class PermissionTests(SynchronousTestCase):
    """The rules of docs/iam.md, no more and no fewer."""

    def test_whole_cluster(self) -> None:
        """A ClusterRole; SubjectAccessReviews only where the cluster's RBAC decides."""
        documents = render({})
        self.assertEqual(
            rules(documents, "ClusterRole"),
            {"": [CACHE, SCALE, NAMESPACES, AUTOSCALERS, QUOTAS, BUDGETS, EVENTS, REVIEWS]},
        )
        self.assertEqual(rules(documents, "Role"), {})
        for mode in ("policy", "any client"):
            self.assertEqual(
                rules(render(MODES[mode]), "ClusterRole"),
                {"": [CACHE, SCALE, NAMESPACES, AUTOSCALERS, QUOTAS, BUDGETS, EVENTS]},
                mode,
            )

    def test_namespaces(self) -> None:
        """A Role in each namespace that is served; for the whole cluster reviews alone, and those only if needed."""
        documents = render(MODES["namespaces"])
        expected = {
            name: [CACHE, SCALE, one_namespace(name), AUTOSCALERS, QUOTAS, BUDGETS, EVENTS] for name in ("shop", "bank")
        }
        self.assertEqual(rules(documents, "Role"), expected)
        self.assertEqual(rules(documents, "ClusterRole"), {"": [REVIEWS]})
        self.assertEqual(rules(render(MODES["namespaces and policy"]), "ClusterRole"), {})

    def test_what_it_does_without(self) -> None:
        """A server that is told not to list autoscalers, or what plans look at, has no right to."""
        documents = render(MODES["no autoscalers"])
        expected = [CACHE, SCALE, NAMESPACES, QUOTAS, BUDGETS, EVENTS, REVIEWS]
        self.assertEqual(rules(documents, "ClusterRole"), {"": expected})
        self.assertIn("--without=autoscalers,pods", server_container(documents)["args"])
        documents = render({"server": {"quotas": False, "autoscalers": False}, "namespaces": ["shop"]})
        self.assertEqual(rules(documents, "Role"), {"shop": [CACHE, SCALE, one_namespace("shop"), EVENTS]})
        self.assertIn("--without=autoscalers,quotas,pods", server_container(documents)["args"])

    def test_pods(self) -> None:
        """Pods, which show what is in their environment, may be listed only where somebody wants that."""
        self.assertIn("--without=pods", server_container(render({}))["args"])
        documents = render(MODES["pods' causes"])
        expected = [CACHE, SCALE, NAMESPACES, AUTOSCALERS, QUOTAS, BUDGETS, PODS, EVENTS, REVIEWS]
        self.assertEqual(rules(documents, "ClusterRole"), {"": expected})
        self.assertEqual([arg for arg in server_container(documents)["args"] if arg.startswith("--without")], [])
        documents = render(MODES["pods' causes, namespaces"])
        roles = {
            name: [CACHE, SCALE, one_namespace(name), AUTOSCALERS, QUOTAS, BUDGETS, PODS, EVENTS]
            for name in ("shop", "bank")
        }
        self.assertEqual(rules(documents, "Role"), roles)
        self.assertEqual(rules(documents, "ClusterRole"), {"": [REVIEWS]})

    def test_without_authors(self) -> None:
        """Nor has one that is told not to list Events: it may only create them."""
        documents = render(MODES["no authors"])
        creating = {**EVENTS, "verbs": ["create"]}
        self.assertEqual(
            rules(documents, "ClusterRole"), {"": [CACHE, SCALE, NAMESPACES, QUOTAS, BUDGETS, creating, REVIEWS]}
        )
        self.assertIn("--without=autoscalers,authors,pods", server_container(documents)["args"])

    def test_subjects(self) -> None:
        """Every binding is of a role that is there, to the server's service account and nobody else."""
        account = {"kind": "ServiceAccount", "name": FULL_NAME, "namespace": NAMESPACE}
        for mode in ("defaults", "namespaces", "namespaces and policy"):
            documents = render(MODES[mode])
            for binding in (document for document in documents if document["kind"].endswith("RoleBinding")):
                self.assertEqual(binding["subjects"], [account], mode)
                role = binding["roleRef"]
                found = [
                    document
                    for document in documents
                    if (document["kind"], document["metadata"]["name"]) == (role["kind"], role["name"])
                    and document["metadata"].get("namespace") == binding["metadata"].get("namespace")
                ]
                self.assertEqual(len(found), 1, mode)

    def test_nothing_elsewhere(self) -> None:
        """A server of another cluster, or of a simulated one, has no permissions here and no token."""
        for mode in ("another cluster", "simulated"):
            documents = render(MODES[mode])
            self.assertEqual(rules(documents, "ClusterRole"), {}, mode)
            pod = deployment(documents)["spec"]["template"]["spec"]
            self.assertIs(pod["automountServiceAccountToken"], False, mode)

    def test_synthetic_client(self) -> None:
        """The client of the synthetic queries may read in the release's namespace, where RBAC decides, and no more."""
        documents = render(MODES["synthetic queries"])
        reading = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get"]}
        self.assertEqual(rules(documents, "Role"), {NAMESPACE: [reading]})
        binding = named(documents, "RoleBinding", f"{FULL_NAME}-synthetic")
        self.assertEqual(
            [(who["kind"], who["name"]) for who in binding["subjects"]], [("User", "sre-server-synthetic")]
        )
        narrower: tuple[Values, ...] = (
            {"authorization": "any"},
            {"namespaces": ["shop"]},
            {"rbac": {"create": False}},
            {"cluster": {"kind": "simulated"}},
        )
        for values in narrower:
            roles = rules(render({**MODES["synthetic queries"], **values}), "Role")
            self.assertNotIn(NAMESPACE, roles, str(values))

    def test_tokens(self) -> None:
        """Only the server's pods have a token."""
        documents = render(MODES["synthetic queries"])
        self.assertIs(named(documents, "ServiceAccount")["automountServiceAccountToken"], False)
        mounted = {kind: spec["automountServiceAccountToken"] for kind, spec in pod_specs(documents)}
        self.assertEqual(mounted, {"Deployment": True, "CronJob": False, "Pod": False})


class PodSecurityTests(SynchronousTestCase):
    """Pod Security Standard `restricted`, field by field, for every pod of every mode."""

    def test_restricted(self) -> None:
        """Nothing of the host, no privileges, not root, nothing but the volumes that are allowed."""
        allowed = {"configMap", "emptyDir", "projected", "secret"}
        for mode, values in MODES.items():
            for kind, spec in pod_specs(render(values)):
                what = f"{mode}, {kind}"
                for key in ("hostNetwork", "hostPID", "hostIPC"):
                    self.assertNotIn(key, spec, what)
                pod = spec["securityContext"]
                self.assertIs(pod["runAsNonRoot"], True, what)
                self.assertEqual({pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"]}, {65532}, what)
                self.assertEqual(pod["seccompProfile"], {"type": "RuntimeDefault"}, what)
                self.assertIs(spec["enableServiceLinks"], False, what)
                for volume in spec.get("volumes", []):
                    self.assertLessEqual(set(volume) - {"name"}, allowed, what)
                container = spec["containers"][0]
                expected = {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                self.assertEqual(container["securityContext"], expected, what)
                self.assertNotIn("hostPort", str(container.get("ports")), what)
                self.assertLessEqual({"cpu", "memory"}, set(container["resources"]["requests"]), what)

    def test_mounts(self) -> None:
        """Whatever the server is given is read-only, and readable by its group alone."""
        for mode, values in MODES.items():
            for kind, spec in pod_specs(render(values)):
                sources = {volume["name"]: volume for volume in spec.get("volumes", [])}
                for mount in spec["containers"][0].get("volumeMounts", []):
                    if mount["name"] in ("tmp", "audit"):
                        continue
                    self.assertIs(mount["readOnly"], True, f"{mode}, {kind}, {mount['name']}")
                    self.assertNotIn("subPath", mount)  # such a mount is never updated
                    source = sources[mount["name"]]
                    mode_bits = source.get("projected", source.get("secret", {})).get("defaultMode", 0o440)
                    self.assertEqual(mode_bits, 0o440)


class SecretTests(SynchronousTestCase):
    """Keys are nobody's business but the Secrets' own."""

    def test_no_keys(self) -> None:
        """No object of any mode has a private key or is a Secret, but for the self-signed trial."""
        key = re.compile(r"PRIVATE KEY|LS0tLS1CRUdJTi[A-Za-z0-9+/]*IFBSSVZBVEUg")
        for mode, values in MODES.items():
            documents = render(values)
            secrets = [document for document in documents if document["kind"] == "Secret"]
            others = [document for document in documents if document["kind"] != "Secret"]
            self.assertNotRegex(str(others), key, mode)
            self.assertEqual(bool(secrets), mode == "self-signed", mode)
            for secret in secrets:
                self.assertEqual(secret["metadata"]["annotations"], {"sre-server/not-for-production": "true"})

    def test_where_certificates_come_from(self) -> None:
        """The server's pair, the CAs of clients and the revocation lists are the ones that were named."""

        def sources(mode: str) -> list[tuple[str, str, str]]:
            volumes = named(render(MODES[mode]), "Deployment")["spec"]["template"]["spec"]["volumes"]
            listed = []
            for source in volumes[0]["projected"]["sources"]:
                ((kind, what),) = source.items()
                listed += [(f"{kind}/{what['name']}", item["key"], item["path"]) for item in what["items"]]
            return listed

        pair = [("secret/sre-server-tls", "tls.crt", "tls.crt"), ("secret/sre-server-tls", "tls.key", "tls.key")]
        self.assertEqual(sources("defaults"), [*pair, ("secret/sre-server-tls", "ca.crt", "client-ca.crt")])
        lists = [("configMap/cas", "ca.crt", "client-ca.crt"), ("secret/lists", "crl.pem", "crl.pem")]
        self.assertEqual(sources("CAs and lists"), pair + lists)
        self.assertEqual({name for name, *_ in sources("cert-manager")}, {"secret/blue-sre-server-tls"})

    def test_certificates(self) -> None:
        """cert-manager is asked for a server's certificate under every name of the Service, and for a client's."""
        documents = render(MODES["cert-manager"])
        server = named(documents, "Certificate", "blue-sre-server-tls")["spec"]
        names = ["blue-sre-server", "blue-sre-server.sre", "blue-sre-server.sre.svc"]
        self.assertEqual(server["dnsNames"], [*names, "blue-sre-server.sre.svc.cluster.local"])
        self.assertEqual(server["usages"], ["digital signature", "server auth"])
        self.assertEqual(
            server["issuerRef"], {"group": "cert-manager.io", "kind": "Issuer", "name": "blue-sre-server-ca"}
        )
        client = named(documents, "Certificate", "blue-sre-server-client")["spec"]
        self.assertEqual(client["usages"], ["digital signature", "client auth"])
        authority = named(documents, "Certificate", "blue-sre-server-ca")["spec"]
        self.assertEqual((authority["isCA"], authority["issuerRef"]["name"]), (True, "blue-sre-server-root"))
        issuer = named(documents, "Issuer", "blue-sre-server-ca")["spec"]
        self.assertEqual(issuer, {"ca": {"secretName": authority["secretName"]}})
        documents = render(MODES["cert-manager, own issuer"])
        server = named(documents, "Certificate", "blue-sre-server-tls")["spec"]
        self.assertEqual(server["issuerRef"]["name"], "corporate")
        self.assertIn("sre.example.org", server["dnsNames"])


class NetworkTests(SynchronousTestCase):
    """Who may talk to the pods, and whom they may talk to."""

    def test_default(self) -> None:
        """In: the API from anywhere, the ops port from monitoring; to the chart's checks nobody. Out, to anywhere."""
        limited = named(render(MODES["network policy"]), "NetworkPolicy")["spec"]
        spec = named(render({}), "NetworkPolicy")["spec"]
        self.assertEqual((spec["ingress"], spec["policyTypes"]), (limited["ingress"], ["Ingress"]))
        self.assertNotIn("egress", spec)
        checks = named(render({}), "NetworkPolicy", f"{FULL_NAME}-checks")["spec"]
        self.assertEqual((checks["policyTypes"], checks.keys()), (["Ingress"], {"podSelector", "policyTypes"}))

    def test_both_ways(self) -> None:
        """In: the API from anywhere, the ops port from monitoring. Out: DNS and the apiserver."""
        spec = named(render(MODES["network policy"]), "NetworkPolicy")["spec"]
        monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        expected = [
            {"ports": [{"port": 8443, "protocol": "TCP"}]},
            {"ports": [{"port": 8080, "protocol": "TCP"}], "from": [monitoring]},
        ]
        self.assertEqual(spec["ingress"], expected)
        ports = [[(port["port"], port["protocol"]) for port in rule["ports"]] for rule in spec["egress"]]
        self.assertEqual(ports, [[(53, "UDP"), (53, "TCP")], [(443, "TCP"), (6443, "TCP")]])
        self.assertEqual(spec["policyTypes"], ["Ingress", "Egress"])

    def test_narrow(self) -> None:
        """With clients chosen, nobody else but the chart's own checks gets in, and those get out to nowhere else."""
        documents = render(MODES["network policy, narrow"])
        spec = named(documents, "NetworkPolicy")["spec"]
        api, extra = spec["ingress"]
        self.assertEqual(extra, {"ports": [{"port": 8443}]})
        selectors = [peer["podSelector"]["matchLabels"] for peer in api["from"]]
        component = "app.kubernetes.io/component"
        self.assertEqual(
            [labels.get(component, labels.get("app")) for labels in selectors], ["console", "synthetic", "test"]
        )
        queries = next(document for document in documents if document["kind"] == "CronJob")
        pod = queries["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
        self.assertLessEqual(selectors[1].items(), pod.items())
        hook = named(documents, "Pod", f"{FULL_NAME}-test")["metadata"]["labels"]
        self.assertLessEqual(selectors[2].items(), hook.items())
        checks = named(documents, "NetworkPolicy", f"{FULL_NAME}-checks")["spec"]
        for rule in checks["podSelector"]["matchExpressions"]:
            self.assertIn(pod[rule["key"]], rule["values"])
            self.assertIn(hook[rule["key"]], rule["values"])
        self.assertNotIn("ingress", checks)
        ports = [[port["port"] for port in rule["ports"]] for rule in checks["egress"]]
        self.assertEqual(ports, [[53, 53], [8443], [9091]])
        self.assertEqual(spec["egress"][1]["to"], [{"ipBlock": {"cidr": "192.0.2.0/24"}}])
