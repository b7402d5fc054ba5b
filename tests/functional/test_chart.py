"""The chart under every kind of values: what it makes is valid, and what it cannot make it refuses with a reason."""

import json
from typing import Any

import pytest
import yaml
from twisted.trial.unittest import SynchronousTestCase

import sre_server
from tests.functional.helm import (
    CHART,
    MODES,
    Values,
    deployment,
    is_temporary,
    kinds,
    named,
    notes_of,
    refusal,
    render,
    run_helm,
)
from tests.functional.manifests import faults

pytestmark = pytest.mark.xdist_group("chart")

SHARED: Values = {"sharedCache": {"enabled": True, "url": "redis://redis", "seal": {"secretName": "seal"}}}


def shared(**more: Any) -> Values:
    """Return values with a shared cache, of which some are others."""
    return {"sharedCache": {**SHARED["sharedCache"], **more}}


TYPOS: tuple[tuple[str, Values], ...] = (
    ("replicas", {"replicas": 3}),
    ("image.tga", {"image": {"tga": "1"}}),
    ("tls.certManager.existingIssuer.nane", {"tls": {"certManager": {"existingIssuer": {"nane": "x"}}}}),
    ("server.maxStalenes", {"server": {"maxStalenes": 1}}),
    ("guardrails.maximun", {"guardrails": {"maximun": 1}}),
    ("policy.rules[].verb", {"policy": {"rules": [{"groups": ["a"], "verb": ["read"]}]}}),
    ("resources.request", {"resources": {"request": {"cpu": 1}}}),
    ("securityContext.privilege", {"securityContext": {"privilege": False}}),
    ("readinessProbe.period", {"readinessProbe": {"period": 1}}),
    ("networkPolicy.client", {"networkPolicy": {"client": []}}),
    (
        "networkPolicy.monitoring[].namespaceSelector.matchLabel",
        {"networkPolicy": {"monitoring": [{"namespaceSelector": {"matchLabel": {"a": "b"}}}]}},
    ),
    (
        "topologySpreadConstraints[].labelSelector.matchlabels",
        {"topologySpreadConstraints": [{"labelSelector": {"matchlabels": {"a": "b"}}}]},
    ),
    ("tolerations[].operater", {"tolerations": [{"operater": "Exists"}]}),
    ("topologySpreadConstraints[].skew", {"topologySpreadConstraints": [{"skew": 1}]}),
    ("syntheticQueries.clientCertificate.secret", {"syntheticQueries": {"clientCertificate": {"secret": "x"}}}),
)
OUT_OF_RANGE: tuple[tuple[str, Values], ...] = (
    ("/authorization", {"authorization": "everyone"}),
    ("/systemNames", {"systemNames": "everyone"}),
    ("/replicaCount", {"replicaCount": "2"}),
    ("/server/port", {"server": {"port": 443}}),
    ("/server/readRate", {"server": {"readRate": "fast"}}),
    ("/server/readRate", {"server": {"readRate": "0:0"}}),
    ("/server/writeRate", {"server": {"writeRate": "10:0"}}),
    ("/server/writeRate", {"server": {"writeRate": "10:2.5"}}),
    ("/server/writeRate", {"server": {"writeRate": "0.0001"}}),
    ("/server/handshakeRate", {"server": {"handshakeRate": "1000001"}}),
    ("/image/registry", {"image": {"registry": "https://registry.example.org"}}),
    ("/image/repository", {"image": {"repository": "https://registry.example.org/sre-server"}}),
    ("/global/imageRegistry", {"global": {"imageRegistry": "https://registry.example.org"}}),
    ("/server/expiryWarning", {"server": {"expiryWarning": "7 days"}}),
    ("/namespaces/0", {"namespaces": ["Shop"]}),
    ("/image/digest", {"image": {"digest": "latest"}}),
    ("/extraArgs/0", {"extraArgs": ["max-staleness=60"]}),
    ("/policy/rules/0", {"authorization": "policy", "policy": {"rules": [{"verbs": ["read"]}]}}),
    ("/commonLabels/a", {"commonLabels": {"a": 1}}),
    ("/podAnnotations/a", {"podAnnotations": {"a": None, "b": True}}),
    ("/livenessProbe", {"livenessProbe": {"exec": {"command": ["true"]}}}),
    ("/prometheusRule/runbookBaseUrl", {"prometheusRule": {"runbookBaseUrl": "https://wiki/a: b"}}),
    ("/enabled", {"enabled": "yes"}),
    ("/sharedCache/name", {"sharedCache": {"name": "Blue"}}),
)
CONTRADICTIONS: tuple[tuple[str, Values], ...] = (
    ("policy needs policy.rules", {"authorization": "policy"}),
    ("no effect", {"policy": {"rules": [{"groups": ["a"]}]}}),
    ("notForProduction", {"tls": {"source": "selfSigned"}}),
    ("not both", {"tls": {"clientCA": {"secretName": "a", "configMapName": "b"}}}),
    ("not both", {"tls": {"crl": {"secretName": "a", "configMapName": "b"}}}),
    ("existingIssuer.name", {"tls": {"source": "certManager", "certManager": {"existingIssuer": {"enabled": True}}}}),
    ("tls.existingSecret.name", {"tls": {"existingSecret": {"name": ""}}}),
    ("kubeconfig.secretName", {"cluster": {"kind": "kubeconfig"}}),
    ("must differ", {"server": {"opsPort": 8443}}),
    ("cut off", {"preStopSeconds": 16}),
    ("not both", {"podDisruptionBudget": {"minAvailable": 0, "maxUnavailable": 0}}),
    ("choose one", {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}),
    ("greater than", {"autoscaling": {"enabled": True, "minReplicas": 11}}),
    ("resources.requests.cpu", {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}),
    ("needs a target", {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": None}}),
    ("clientCertificate.secretName", {"syntheticQueries": {"enabled": True}}),
    ("set it to true", {"networkPolicy": {"extraEgress": [{"ports": [{"port": 9}]}]}}),
    ("charts that contain this one", {"enabled": False}),
    ("needs sharedCache.url", {"sharedCache": {"enabled": True, "seal": {"secretName": "seal"}}}),
    ("needs sharedCache.seal.secretName", {"sharedCache": {"enabled": True, "url": "redis://redis"}}),
    ("needs a real cluster", {**SHARED, "cluster": {"kind": "simulated"}}),
    ("needs sharedCache.api.password.secretName", shared(api={"user": "api"})),
    ("needs sharedCache.watcher.password.secretName", shared(watcher={"user": "watcher"})),
    ("needs sharedCache.sentinel.password.secretName", shared(sentinel={"user": "us"})),
    ("sharedCache.sentinel has no effect", shared(sentinel={"password": {"secretName": "a"}})),
    ("not both", shared(url="rediss://redis", ca={"secretName": "a", "configMapName": "b"})),
    ("no effect with redis://", shared(ca={"secretName": "a"})),
    ("no effect with redis://", shared(url="redis+sentinel://a/main", certificate={"secretName": "a"})),
    ("not both", shared(watcher={"podDisruptionBudget": {"minAvailable": 0, "maxUnavailable": 0}})),
    ("sharedCache.url is not redis://HOST:PORT", {"sharedCache": {"url": "redis:6379"}}),
    ("sharedCache.url is not redis://HOST:PORT", shared(url="redis+sentinel://redis:26379")),
    ("must not be that of serviceAccount", shared(watcher={"serviceAccount": {"name": "blue-sre-server"}})),
)


class MatrixTests(SynchronousTestCase):
    """Every feature on and off."""

    def test_lint(self) -> None:
        """`helm lint --strict` is content in every mode, and with the values in ci/."""
        files = {path.name: yaml.safe_load(path.read_text()) for path in sorted((CHART / "ci").glob("*-values.yaml"))}
        self.assertGreaterEqual(len(files), 3)
        for name, values in {**MODES, **files}.items():
            done = run_helm("lint", values, "--strict")
            self.assertEqual(done.returncode, 0, f"{name}: {done.stdout}{done.stderr}")

    def test_valid(self) -> None:
        """Every object fits the schemas of the oldest and newest Kubernetes, and has no nulls, no unknown fields."""
        for name, values in MODES.items():
            for document in render(values):
                self.assertEqual(faults(document), [], f"{name}: {document['kind']} {document['metadata']['name']}")

    def test_names_and_labels(self) -> None:
        """Every object has the recommended labels and a name of its own, and selectors select the server's pods."""
        for name, values in MODES.items():
            documents = [d for d in render(values) if not d["metadata"]["name"].startswith("blue-extra")]
            documents = [d for d in documents if not d["metadata"]["name"].startswith("blue-text")]
            identities = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in documents]
            self.assertEqual(len(identities), len(set(identities)), name)
            for document in documents:
                labels = document["metadata"]["labels"]
                expected = {"app.kubernetes.io/version": sre_server.__version__, "helm.sh/chart": "sre-server-0.1.0"}
                self.assertEqual({key: labels[key] for key in expected}, expected, name)
                self.assertEqual(labels["app.kubernetes.io/managed-by"], "Helm")
            spec = deployment(documents)["spec"]
            (service,) = (d for d in documents if d["kind"] == "Service" and d["spec"].get("clusterIP") != "None")
            pod = spec["template"]["metadata"]["labels"]
            for selector in (spec["selector"]["matchLabels"], service["spec"]["selector"]):
                self.assertLessEqual(selector.items(), pod.items(), name)

    def test_numeric_release(self) -> None:
        """A release whose name is a number has labels that are text all the same."""
        for document in render({}, release="7"):
            self.assertEqual(faults(document), [])

    def test_version(self) -> None:
        """The chart is of the server's version, and names the image of that version."""
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual((chart["version"], chart["appVersion"]), (sre_server.__version__, sre_server.__version__))
        (image,) = yaml.safe_load(chart["annotations"]["artifacthub.io/images"])
        self.assertEqual(image["image"], f"sre-server:{sre_server.__version__}")


class RefusalTests(SynchronousTestCase):
    """Values that nobody can have meant."""

    def test_typos(self) -> None:
        """A misspelt key is refused by name, at every depth."""
        for path, values in TYPOS:
            said = refusal(values)
            self.assertIn("additional propert", said.lower(), path)
            self.assertIn(path.rpartition(".")[2], said, path)

    def test_out_of_range(self) -> None:
        """A value of the wrong type or beyond its bounds is refused, and its place named."""
        for path, values in OUT_OF_RANGE:
            said, dotted = refusal(values), path[1:].replace("/", ".")
            self.assertTrue(f"at '{path}" in said or f"- {dotted}" in said, said)  # as newer and older Helm put it

    def test_contradictions(self) -> None:
        """Values that are good alone but not together are refused with a sentence that says why."""
        for sentence, values in CONTRADICTIONS:
            self.assertIn(sentence, refusal(values), str(values))

    def test_secrets(self) -> None:
        """What may have a password in it is not repeated."""
        for values in (
            {"sharedCache": {"url": "redis://:secret@redis:6379"}},
            shared(url="rediss+sentinel://user:secret@redis:26379/main"),
            {"syntheticQueries": {"pushTo": "http://user:secret@pushgateway:9091"}},
        ):
            said = refusal(values)
            self.assertIn("password", said)
            self.assertNotIn("secret", said)


class FeatureTests(SynchronousTestCase):
    """What a value brings."""

    def test_objects(self) -> None:
        """Each feature brings its objects, and nothing is made that was not asked for; temporary counts have a test."""
        cluster_wide = {"ClusterRole", "ClusterRoleBinding"}
        default = cluster_wide | {
            "ServiceAccount",
            "Service",
            "Deployment",
            "PodDisruptionBudget",
            "Pod",
            "NetworkPolicy",
        }
        expected = {
            "defaults": default,
            "policy": default | {"ConfigMap"},
            "guardrails": default | {"ConfigMap"},
            "namespaces": default | {"Role", "RoleBinding"},
            "namespaces and policy": default - cluster_wide | {"ConfigMap", "Role", "RoleBinding"},
            "cert-manager": default | {"Certificate", "Issuer"},
            "cert-manager, own issuer": default | {"Certificate"},
            "autoscaling": default | {"HorizontalPodAutoscaler"},
            "bare": {"Service", "Deployment"},
            "network policy": default,
            "service monitor": default | {"ServiceMonitor"},
            "pod monitor": default | {"PodMonitor"},
            "rules and dashboard": default | {"PrometheusRule", "ConfigMap"},
            "synthetic queries": default | {"CronJob", "Role", "RoleBinding"},
            "another cluster": default - cluster_wide,
            "shared cache": default | {"ConfigMap", "Role", "RoleBinding"},
        }
        for name, objects in expected.items():
            documents = [document for document in render(MODES[name]) if not is_temporary(document)]
            self.assertEqual(kinds(documents), objects, name)

    def test_image(self) -> None:
        """Registry, tag and digest make the reference that the runtime understands; the global registry wins."""
        cases: tuple[tuple[Values, str], ...] = (
            ({}, f"sre-server:{sre_server.__version__}"),
            ({"image": {"tag": "edge"}}, "sre-server:edge"),
            (MODES["image"], f"mirror.example.org/ops/sre-server@sha256:{'0' * 64}"),
            ({"image": {"registry": "r.example.org:5000", "tag": "1"}}, "r.example.org:5000/sre-server:1"),
            ({"image": {"registry": "[::1]:5000/ops/", "tag": "1"}}, "[::1]:5000/ops/sre-server:1"),
        )
        for values, image in cases:
            documents = render(values)
            for pod in (
                d["spec"] if d["kind"] == "Pod" else d["spec"]["template"]["spec"]
                for d in documents
                if d["kind"] in ("Pod", "Deployment")
            ):
                self.assertEqual(pod["containers"][0]["image"], image)

    def test_autoscaling(self) -> None:
        """Autoscaling leaves the count out where no Deployment is seen, and says so; the target is 40 % of the CPU."""
        documents = render(MODES["autoscaling"])
        scaled = named(documents, "Deployment")
        self.assertNotIn("replicas", scaled["spec"])
        self.assertEqual(scaled["metadata"]["annotations"], {"sre-server/replicas": "autoscaled"})
        self.assertNotIn("annotations", named(render({}), "Deployment")["metadata"])
        cpu = named(documents, "HorizontalPodAutoscaler")["spec"]["metrics"][0]["resource"]
        self.assertEqual(cpu, {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 40}})
        self.assertEqual(named(render({}), "Deployment")["spec"]["replicas"], 2)

    def test_disruption_budget(self) -> None:
        """It says either how many stay or how many may go; 0 is an answer, too."""
        for name, rule in (
            ("defaults", {"maxUnavailable": 1}),
            ("minimum available", {"minAvailable": 0}),
            ("percent unavailable", {"maxUnavailable": "25%"}),
        ):
            spec = named(render(MODES[name]), "PodDisruptionBudget")["spec"]
            self.assertEqual({key: spec[key] for key in spec if key.endswith("vailable")}, rule, name)

    def test_alerts_and_dashboard(self) -> None:
        """The rules and the dashboard are those of the files, to the letter, and rules of one's own come after them."""
        documents = render(MODES["rules and dashboard"])
        about_queries, *alerts = yaml.safe_load((CHART / "files/alerts.yaml").read_text())["groups"]
        *groups, own = named(documents, "PrometheusRule")["spec"]["groups"]
        self.assertEqual((about_queries["name"], groups), ("sre-server-synthetic", alerts))
        self.assertEqual(own["rules"], MODES["rules and dashboard"]["prometheusRule"]["rules"])
        dashboard = next(d for d in documents if d["kind"] == "ConfigMap")
        self.assertEqual(dashboard["metadata"]["namespace"], "monitoring")
        self.assertEqual(dashboard["metadata"]["labels"]["grafana_dashboard"], "1")
        self.assertEqual(
            json.loads(dashboard["data"]["sre-server.json"]), json.loads((CHART / "files/dashboard.json").read_text())
        )

    def test_alerts_about_queries(self) -> None:
        """The alerts about synthetic queries are for those who have them; runbooks are where one says they are."""
        rules = {"enabled": True, "runbookBaseUrl": "https://runbooks.example/sre/"}
        documents = render({**MODES["synthetic queries"], "prometheusRule": rules})
        groups = named(documents, "PrometheusRule")["spec"]["groups"]
        self.assertEqual(groups[0]["name"], "sre-server-synthetic")
        for rule in (rule for group in groups for rule in group["rules"]):
            url = f"https://runbooks.example/sre/{rule['alert']}.md"
            self.assertEqual(rule["annotations"]["runbook_url"], url)

    def test_notes(self) -> None:
        """What helm says in the end is numbered without a gap, and names nothing that this release does not have."""
        off = {"tests": {"enabled": False}, "rbac": {"create": False}}
        own: Values = {"authorization": "any", "cluster": {"kind": "simulated"}, "rbac": {"create": False}}
        cases: tuple[tuple[Values, int, bool, bool], ...] = (
            ({}, 3, True, False),
            (off, 2, False, True),
            (own, 3, True, False),
        )
        for values, steps, tested, wanting in cases:
            told = notes_of(values)
            numbers = [line[0] for line in told.splitlines() if line[1:3] == ". "]
            self.assertEqual(numbers, [str(number + 1) for number in range(steps)], told)
            self.assertEqual(("helm test" in told, "docs/iam.md" in told), (tested, wanting), told)
            self.assertIn("deployment/blue-sre-server --namespace sre\n", told)

    def test_config_change(self) -> None:
        """Another policy is another pod template, unless the pods are to stay; one's own annotations win."""

        def annotations(maximum: int, **more: Any) -> Any:
            documents = render({"guardrails": {"maximum": maximum}, **more})
            return named(documents, "Deployment")["spec"]["template"]["metadata"]["annotations"]

        self.assertNotEqual(annotations(1), annotations(2))
        self.assertEqual(annotations(1), annotations(1))
        self.assertEqual(annotations(1, restartOnConfigChange=False), annotations(2, restartOnConfigChange=False))
        self.assertEqual(annotations(1), annotations(1, commonLabels={"team": "other"}))
        key = "kubectl.kubernetes.io/default-container"
        self.assertEqual(annotations(1, podAnnotations={key: "beside"})[key], "beside")

    def test_extra_objects(self) -> None:
        """Objects of one's own are there, with their templates evaluated, as a map and as text."""
        documents = render(MODES["extras"])
        named(documents, "ConfigMap", "blue-extra")
        named(documents, "ConfigMap", "blue-text")
