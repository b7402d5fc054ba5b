"""The chart, rendered by the real helm, as documents that a test can look into."""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from unittest import SkipTest

import yaml

from tests.controlplane.build import find_program

CHART = Path(__file__).parents[2] / "helm/sre-server"
RELEASE, NAMESPACE = "blue", "sre"
FULL_NAME = "blue-sre-server"
COMPONENT = "app.kubernetes.io/component"
# Else helm takes the Kubernetes of its own day, which may be older than the chart allows.
KUBERNETES = "--kube-version=1.37.0"

# The C parser is ten times faster, where there is one.
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Values = Mapping[str, Any]
Document = dict[str, Any]

MODES: dict[str, Values] = {
    "defaults": {},
    "any client": {"authorization": "any"},
    "policy": {"authorization": "policy", "policy": {"rules": [{"groups": ["sre"], "verbs": ["read"]}]}},
    "guardrails": {"guardrails": {"maximum": 2000000, "largest_step": 5, "protected": [{"namespaces": ["*-prod"]}]}},
    "no restart": {"guardrails": {"minimum": 1}, "restartOnConfigChange": False},
    "namespaces": {"namespaces": ["shop", "bank"]},
    "no autoscalers": {"server": {"autoscalers": False}},
    "pods' causes": {"server": {"podCauses": True}},
    "pods' causes, namespaces": {"namespaces": ["shop", "bank"], "server": {"podCauses": True}},
    "no authors": {"server": {"autoscalers": False, "authors": False}},
    "namespaces and policy": {
        "namespaces": ["shop"],
        "authorization": "policy",
        "policy": {"rules": [{"identities": ["*"], "verbs": ["read", "scale"], "namespaces": ["shop"]}]},
    },
    "cert-manager": {"tls": {"source": "certManager"}},
    "cert-manager, own issuer": {
        "tls": {
            "source": "certManager",
            "certManager": {
                "existingIssuer": {"enabled": True, "kind": "ClusterIssuer", "name": "corporate"},
                "privateKey": {"algorithm": "ECDSA", "size": 256},
                "extraDnsNames": ["sre.example.org"],
                "ipAddresses": ["192.0.2.1"],
                "annotations": {"example.org/owner": "sre"},
            },
        }
    },
    "self-signed": {"tls": {"source": "selfSigned", "selfSigned": {"notForProduction": True}}},
    "CAs and lists": {"tls": {"clientCA": {"configMapName": "cas"}, "crl": {"secretName": "lists"}}},
    "autoscaling": {
        "autoscaling": {
            "enabled": True,
            "targetMemoryUtilizationPercentage": 80,
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
        }
    },
    "minimum available": {"podDisruptionBudget": {"minAvailable": 0}},
    "percent unavailable": {
        "podDisruptionBudget": {"maxUnavailable": "25%", "unhealthyPodEvictionPolicy": "IfHealthyBudget"}
    },
    "bare": {
        "podDisruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False},
        "rbac": {"create": False},
        "tests": {"enabled": False},
        "topologySpreadConstraints": [],
        "preStopSeconds": 0,
        "server": {"auditLog": ""},
        "networkPolicy": {"enabled": False},
    },
    "network policy": {"networkPolicy": {"enabled": True}},
    "network policy, narrow": {
        "networkPolicy": {
            "enabled": True,
            "clients": [{"podSelector": {"matchLabels": {"app": "console"}}}],
            "monitoring": [],
            "apiserver": {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [16443]},
            "dns": {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]},
            "extraIngress": [{"ports": [{"port": 8443}]}],
            "extraEgress": [{"ports": [{"port": 9}]}],
        },
        "syntheticQueries": {
            "enabled": True,
            "pushTo": "http://push.monitoring:9091/metrics",
            "clientCertificate": {"secretName": "prober"},
        },
    },
    "service monitor": {
        "serviceMonitor": {
            "enabled": True,
            "namespace": "monitoring",
            "additionalLabels": {"release": "prometheus"},
            "annotations": {"example.org/owner": "sre"},
            "scrapeTimeout": "5s",
            "honorLabels": True,
            "relabelings": [{"action": "labeldrop", "regex": "pod"}],
            "metricRelabelings": [{"action": "drop", "regex": "x"}],
            "targetLabels": ["app.kubernetes.io/version"],
            "sampleLimit": 5000,
        }
    },
    "pod monitor": {"podMonitor": {"enabled": True, "podTargetLabels": ["pod-template-hash"]}},
    "rules and dashboard": {
        "prometheusRule": {"enabled": True, "rules": [{"alert": "Mine", "expr": "vector(1)"}]},
        "dashboard": {"enabled": True, "namespace": "monitoring"},
    },
    "synthetic queries": {"syntheticQueries": {"enabled": True, "clientCertificate": {"secretName": "prober"}}},
    "synthetic queries, cert-manager": {"syntheticQueries": {"enabled": True}, "tls": {"source": "certManager"}},
    "another cluster": {"cluster": {"kind": "kubeconfig", "kubeconfig": {"secretName": "there", "context": "blue"}}},
    "simulated": {"cluster": {"kind": "simulated", "simulatedDeployments": 100000}},
    "shared cache": {
        "sharedCache": {
            "enabled": True,
            "url": "rediss://redis.example.org:6380/2",
            "name": "blue",
            "seal": {"secretName": "seal", "key": "keys"},
            "ca": {"configMapName": "redis-ca"},
            "certificate": {"secretName": "redis-client"},
            "api": {"user": "api", "password": {"secretName": "redis-api"}},
            "watcher": {
                "user": "watcher",
                "password": {"secretName": "redis-watcher", "key": "watcher"},
                "replicaCount": 3,
                "podDisruptionBudget": {"maxUnavailable": "50%"},
                "podAnnotations": {"example.org/owner": "watchers"},
                "podLabels": {"tier": "watchers"},
                "serviceAccount": {"annotations": {"example.org/role": "w"}, "labels": {"a": "b"}},
                "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
            },
        },
        "podAnnotations": {"example.org/owner": "sre"},
        "guardrails": {"maximum": 9},
    },
    "shared cache, plain": {
        "sharedCache": {"enabled": True, "url": "redis://redis", "seal": {"secretName": "seal"}},
        "networkPolicy": {"enabled": True, "monitoring": []},
        "serviceMonitor": {"enabled": True},
        "autoscaling": {"enabled": True},
        "strategy": {"type": "Recreate"},
    },
    "shared cache, sentinel": {
        "sharedCache": {
            "enabled": True,
            "url": "rediss+sentinel://sentinel-0.redis,sentinel-1.redis:5000/main/1",
            "sentinel": {"user": "us", "password": {"secretName": "sentinels"}},
            "seal": {"secretName": "seal"},
            "watcher": {"serviceAccount": {"create": False, "name": "given"}},
        },
        "namespaces": ["shop"],
        "networkPolicy": {
            "enabled": True,
            "sharedCache": {"to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "redis"}}}]},
        },
        "podMonitor": {"enabled": True},
    },
    "load balancer": {
        "service": {
            "type": "LoadBalancer",
            "port": 443,
            "nodePort": 30443,
            "annotations": {"example.org/internal": "true"},
            "labels": {"tier": "ops"},
            "ipFamilies": ["IPv6", "IPv4"],
            "ipFamilyPolicy": "PreferDualStack",
            "sessionAffinity": "ClientIP",
            "loadBalancerClass": "example.org/lb",
            "loadBalancerSourceRanges": ["192.0.2.0/24"],
            "externalTrafficPolicy": "Local",
            "trafficDistribution": "PreferSameZone",
        },
        "server": {"listenAddress": "::", "maxConnections": 1000000},
    },
    "names": {
        "fullnameOverride": "front",
        "nameOverride": "door",
        "namespaceOverride": "elsewhere",
        "commonLabels": {"team": "7", "app.kubernetes.io/name": "not-this"},
        "podLabels": {"tier": "ops", "app.kubernetes.io/instance": "not-this"},
    },
    "image": {
        "global": {"imageRegistry": "mirror.example.org"},
        "image": {"registry": "registry.example.org", "repository": "ops/sre-server", "digest": f"sha256:{'0' * 64}"},
        "imagePullSecrets": [{"name": "registry"}],
    },
    "pod settings": {
        "hostUsers": False,
        "priorityClassName": "system-cluster-critical",
        "runtimeClassName": "gvisor",
        "schedulerName": "other",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "ops", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["192.0.2.53"]},
        "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["old"]}],
        "strategy": {"type": "Recreate"},
        "annotations": {"example.org/owner": "sre"},
        "podAnnotations": {"example.org/owner": "sre"},
        "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
        "serviceAccount": {"annotations": {"example.org/role": "r"}, "labels": {"a": "b"}, "name": "given"},
    },
    "extras": {
        "extraArgs": ["--max-staleness=60"],
        "extraEnv": [{"name": "SRE_SERVER_WRITE_RATE", "value": "1"}],
        "envFrom": [{"configMapRef": {"name": "environment"}}],
        "extraVolumes": [{"name": "audit", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "audit", "mountPath": "/audit"}],
        "initContainers": [{"name": "before", "image": "busybox"}],
        "extraContainers": [{"name": "beside", "image": "busybox"}],
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}-extra"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}-text\n",
        ],
    },
}
"""Values that turn each feature on or off; every one of them is a chart that installs."""


@cache
def helm() -> str:
    """Return the helm on the PATH, or the one that was built for the integration tests; raises SkipTest."""
    found = find_program("helm")
    if found is None:
        raise SkipTest("helm is not installed; `make integration-tests` builds one")
    return found


def run_helm(command: str, values: Values, *arguments: str, chart: Path = CHART) -> subprocess.CompletedProcess[str]:
    """Run `helm COMMAND` with these values, knowing nothing of the machine that it runs on."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "values.yaml"
        file.write_text(yaml.safe_dump(dict(values)), encoding="utf-8")
        line = [helm(), command, *arguments, str(chart), f"--values={file}", f"--namespace={NAMESPACE}"]
        environment = {"HOME": folder, "PATH": "/usr/bin:/bin"}
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, env=environment)


def render(values: Values, release: str = RELEASE) -> list[Document]:
    """Return every object of the chart under these values; raises AssertionError with what helm said if it refuses."""
    documents: list[Document] = json.loads(_rendered(json.dumps(values, sort_keys=True), release))
    return documents


@cache
def _rendered(values: str, release: str) -> str:
    """Render once for all tests; as text, so that no test can change what another gets."""
    done = run_helm("template", json.loads(values), release, KUBERNETES)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return json.dumps([document for document in yaml.load_all(done.stdout, Loader) if document])


def refusal(values: Values) -> str:
    """Return why helm does not render the chart under these values; raises AssertionError if it does."""
    done = run_helm("template", values, RELEASE, KUBERNETES)
    if done.returncode == 0:
        raise AssertionError(f"{values} was accepted")
    return done.stderr


def notes_of(values: Values) -> str:
    """Return what helm says in the end under these values."""
    text = '{apiVersion: v1, kind: ConfigMap, metadata: {name: notes}, data: {notes: {{ include "%s" . | quote }}}}'
    notes = {"extraObjects": [text % "sre-server/templates/NOTES.txt"]}
    return str(named(render({**values, **notes}), "ConfigMap", "notes")["data"]["notes"])


def is_temporary(document: Document) -> bool:
    """Tell whether an object is there for temporary counts; `test_chart_temporary` is about those."""
    return str(document["metadata"]["name"]).startswith(f"{FULL_NAME}-temporary")


def named(documents: list[Document], kind: str, name: str = FULL_NAME) -> Document:
    """Return the one object of this kind and name."""
    (found,) = (d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name)
    return found


def kinds(documents: list[Document]) -> set[str]:
    """Return the kinds that there are."""
    return {document["kind"] for document in documents}


def pod_specs(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Yield the name of the workload and the spec of its pods, for every object that makes pods."""
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if document["kind"] in ("Deployment", "CronJob"):
            yield document["kind"], spec["template"]["spec"]
        elif document["kind"] == "Pod":
            yield "Pod", spec


def deployment(documents: list[Document], component: str = "server") -> Document:
    """Return the Deployment of the pods that serve, or that of the watchers."""
    of_component = ("Deployment", component)
    (found,) = (d for d in documents if (d["kind"], d["metadata"].get("labels", {}).get(COMPONENT)) == of_component)
    return found


def server_container(documents: list[Document], component: str = "server") -> Document:
    """Return the container of the server, in the role of this component."""
    found: Document = deployment(documents, component)["spec"]["template"]["spec"]["containers"][0]
    return found
