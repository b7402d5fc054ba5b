"""The chart with a shared cache: two roles, of which neither is taken for the other, and nothing of it without."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml
from twisted.trial.unittest import SynchronousTestCase

from sre_server.daemon.config import ServerConfig
from sre_server.daemon.sharing import Lease
from tests.fakes import temporary_folder
from tests.functional.helm import (
    CHART,
    COMPONENT,
    FULL_NAME,
    MODES,
    NAMESPACE,
    Document,
    Values,
    deployment,
    is_temporary,
    named,
    notes_of,
    render,
    server_container,
)
from tests.functional.sharing import user_of_the_page
from tests.functional.test_chart_server import options_of

pytestmark = pytest.mark.xdist_group("chart")

WATCHER = f"{FULL_NAME}-watcher"
SHARED = {name: values for name, values in MODES.items() if name.startswith("shared cache")}
OFF = {"sharedCache": {"enabled": False}}
CACHE_MOUNT = "/etc/sre-server/cache"


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector matches labels, as Kubernetes has it; expressions are all `In` here."""
    expressions = selector.get("matchExpressions", [])
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        expression["operator"] == "In" and labels.get(expression["key"]) in expression["values"]
        for expression in expressions
    )


def selectors(documents: list[Document]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield the component, the kind and the selector of everything that selects pods of one role."""
    for document in documents:
        kind, component = document["kind"], document["metadata"]["labels"].get(COMPONENT, "")
        if kind in ("Deployment", "PodDisruptionBudget"):
            yield component, kind, document["spec"]["selector"]
        elif kind == "NetworkPolicy":
            yield component, kind, document["spec"]["podSelector"]
        elif kind == "Service":
            whose = "watcher" if document["metadata"]["name"] == WATCHER else "server"
            yield whose, kind, {"matchLabels": document["spec"]["selector"]}
        if kind == "Deployment":
            for constraint in document["spec"]["template"]["spec"]["topologySpreadConstraints"]:
                yield component, "topology", constraint["labelSelector"]


def labels_of(documents: list[Document], component: str) -> dict[str, str]:
    """Return the labels of the pods of a role."""
    found: dict[str, str] = deployment(documents, component)["spec"]["template"]["metadata"]["labels"]
    return found


def cache_files(documents: list[Document], component: str) -> dict[str, tuple[str, str]]:
    """Return where each file of the shared cache comes from: its Secret or ConfigMap, and the key there."""
    volumes = deployment(documents, component)["spec"]["template"]["spec"]["volumes"]
    (cache,) = (volume for volume in volumes if volume["name"] == "cache")
    sources = [what for source in cache["projected"]["sources"] for what in source.values()]
    return {item["path"]: (source["name"], item["key"]) for source in sources for item in source["items"]}


class SelectorTests(SynchronousTestCase):
    """Who belongs to what."""

    def test_switching_on_and_off(self) -> None:
        """The Deployment that serves keeps its name, and its selector, which nobody may change; so does the Service."""
        for name, values in SHARED.items():
            on, off = (deployment(render(each)) for each in (values, {**values, **OFF}))
            self.assertEqual(on["metadata"]["name"], off["metadata"]["name"], name)
            self.assertEqual(on["spec"]["selector"], off["spec"]["selector"], name)
            self.assertEqual(on["spec"].get("strategy"), off["spec"].get("strategy"), name)
            services = [named(render(each), "Service")["spec"] for each in (values, {**values, **OFF})]
            self.assertEqual(*services)

    def test_never_the_others(self) -> None:
        """No selector of either role matches a pod of the other, whatever labels the values give them."""
        taken = {COMPONENT: "server", "app.kubernetes.io/name": "sre-server"}
        for values in (
            *SHARED.values(),
            {"sharedCache": {**SHARED["shared cache"]["sharedCache"], "watcher": {"podLabels": taken}}},
        ):
            documents = render(values)
            found = list(selectors(documents))
            self.assertGreaterEqual(len(found), 8)
            for component, kind, selector in found:
                for role in ("server", "watcher"):
                    matches = selects(selector, labels_of(documents, role))
                    self.assertEqual(matches, role == component, f"{component} {kind} and pods of {role}")

    def test_without(self) -> None:
        """Switched off, there is nothing of it but what the values say of other things."""
        for values in SHARED.values():
            documents = render({**values, **OFF})
            self.assertNotIn("watcher", str(documents))
            self.assertNotIn(CACHE_MOUNT, str(documents))

    def test_autoscaling(self) -> None:
        """Only the pods that serve are autoscaled; of watchers there are as many as the values say."""
        documents = render(SHARED["shared cache, plain"])
        scaler = named(documents, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
        self.assertEqual(scaler["name"], FULL_NAME)
        self.assertNotIn("replicas", deployment(documents)["spec"])
        self.assertEqual(deployment(documents, "watcher")["spec"]["replicas"], 2)
        self.assertEqual(deployment(render(SHARED["shared cache"]), "watcher")["spec"]["replicas"], 3)


class RoleTests(SynchronousTestCase):
    """What each role is told, and given."""

    def _configs(self, values: Values) -> tuple[ServerConfig, ServerConfig]:
        documents = render(values)
        api, watcher = (options_of(documents, temporary_folder(self), role) for role in ("server", "watcher"))
        self.assertEqual((api["role"], watcher["role"]), ("api", "watcher"))
        self.assertIsNone(watcher.tls)
        return api.config, watcher.config

    def test_options(self) -> None:
        """Both have the same Redis, name and seal, each its own user; a watcher has a Lease named after it."""
        api, watcher = self._configs(SHARED["shared cache"])
        assert api.sharing is not None
        assert watcher.sharing is not None
        self.assertEqual(str(api.sharing.store), "rediss://redis.example.org:6380/2")
        self.assertEqual(str(watcher.sharing.store), str(api.sharing.store))
        self.assertEqual((api.sharing.store.name, watcher.sharing.store.name), ("blue", "blue"))
        self.assertEqual((api.sharing.store.user, watcher.sharing.store.user), ("api", "watcher"))
        self.assertEqual((api.sharing.lease, watcher.sharing.lease), (None, Lease(NAMESPACE, WATCHER)))
        self.assertEqual(api.max_staleness, watcher.max_staleness)

    def test_sentinels(self) -> None:
        """The sentinels' address and user reach both roles."""
        for config in self._configs(SHARED["shared cache, sentinel"]):
            assert config.sharing is not None
            store = config.sharing.store
            self.assertEqual(str(store), "rediss+sentinel://sentinel-0.redis:26379,sentinel-1.redis:5000/main/1")
            self.assertEqual((store.sentinel_user, config.namespaces), ("us", ("shop",)))

    def test_files(self) -> None:
        """The seal, the CA and the certificate are the same for both, the password is each one's own."""
        documents = render(SHARED["shared cache"])
        both = {
            "seal": ("seal", "keys"),
            "ca.crt": ("redis-ca", "ca.crt"),
            "tls.crt": ("redis-client", "tls.crt"),
            "tls.key": ("redis-client", "tls.key"),
        }
        self.assertEqual(cache_files(documents, "server"), {**both, "password": ("redis-api", "password")})
        self.assertEqual(cache_files(documents, "watcher"), {**both, "password": ("redis-watcher", "watcher")})
        self.assertEqual(cache_files(render(SHARED["shared cache, plain"]), "server"), {"seal": ("seal", "seal")})
        sentinels = cache_files(render(SHARED["shared cache, sentinel"]), "watcher")
        self.assertEqual(sentinels, {"seal": ("seal", "seal"), "sentinel-password": ("sentinels", "password")})
        volumes = {volume["name"] for volume in deployment(documents, "watcher")["spec"]["template"]["spec"]["volumes"]}
        self.assertEqual(volumes, {"cache"})

    def test_watcher_serves_nobody(self) -> None:
        """A watcher has the ops port alone, for probes and metrics, and ends at once, so that the next one begins."""
        container = server_container(render(SHARED["shared cache"]), "watcher")
        self.assertEqual([port["name"] for port in container["ports"]], ["ops"])
        self.assertNotIn("lifecycle", container)
        self.assertEqual(container["readinessProbe"]["httpGet"], {"path": "/readyz", "port": "ops"})
        self.assertNotIn("--tls-", str(container["args"]))
        self.assertIn("lifecycle", server_container(render(SHARED["shared cache"])))

    def test_own_settings(self) -> None:
        """What the values say of watchers is theirs alone; what they do not, is as for the pods that serve."""
        documents = render({**SHARED["shared cache"], "nodeSelector": {"a": "b"}, "extraArgs": ["--max-staleness=60"]})
        api, watcher = (deployment(documents, role)["spec"]["template"] for role in ("server", "watcher"))
        owner = "example.org/owner"
        annotations = (api["metadata"]["annotations"], watcher["metadata"]["annotations"])
        self.assertEqual([each[owner] for each in annotations], ["sre", "watchers"])
        self.assertEqual(["checksum/config" in each for each in annotations], [True, False])
        self.assertEqual(
            (api["metadata"]["labels"].get("tier"), watcher["metadata"]["labels"]["tier"]), (None, "watchers")
        )
        self.assertEqual(("affinity" in api["spec"], "affinity" in watcher["spec"]), (False, True))
        for pod in (api["spec"], watcher["spec"]):
            self.assertEqual(pod["nodeSelector"], {"a": "b"})
            self.assertEqual(pod["containers"][0]["args"][-1], "--max-staleness=60")
        accounts = (api["spec"]["serviceAccountName"], watcher["spec"]["serviceAccountName"])
        self.assertEqual(accounts, (FULL_NAME, WATCHER))
        budget = named(documents, "PodDisruptionBudget", WATCHER)["spec"]
        self.assertEqual(budget["maxUnavailable"], "50%")

    def test_standby_is_warm(self) -> None:
        """A watcher is replaced by one that is ready, even where the pods that serve all go first."""
        documents = render(SHARED["shared cache, plain"])
        self.assertEqual(deployment(documents)["spec"]["strategy"], {"type": "Recreate"})
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        self.assertEqual(deployment(documents, "watcher")["spec"]["strategy"], rolling)

    def test_notes(self) -> None:
        """What helm says in the end is to wait for both Deployments; a new install has no pods of before."""
        told = notes_of(SHARED["shared cache"])
        for name in (FULL_NAME, WATCHER):
            self.assertIn(f"kubectl rollout status deployment/{name} --namespace {NAMESPACE}\n", told)
        self.assertNotIn("listing and watching", told)
        without = notes_of({**SHARED["shared cache"], **OFF})
        self.assertNotIn("watcher", without)


API = [
    ("deployments", "", ["get"]),
    ("deployments/scale", "", ["patch"]),
    ("resourcequotas", "", ["list"]),
    ("poddisruptionbudgets", "", ["list"]),
    ("events", "", ["create"]),
]


class AccessTests(SynchronousTestCase):
    """What each role may do in the cluster, and whom it may talk to."""

    def _rules(self, documents: list[Document], kind: str, component: str) -> dict[str, list[Any]]:
        of_kind = [d for d in documents if d["kind"] == kind and not is_temporary(d)]
        roles = [d for d in of_kind if d["metadata"]["labels"][COMPONENT] == component]
        return {
            role["metadata"].get("namespace", ""): [
                (rule["resources"][0], rule.get("resourceNames", [""])[0], rule["verbs"]) for rule in role["rules"]
            ]
            for role in roles
        }

    def test_permissions(self) -> None:
        """Pods that serve may neither list nor watch; a watcher may do nothing else, but for its Lease."""
        documents = render(SHARED["shared cache"])
        cluster = ("namespaces", "kube-system", ["get"])
        reviews = ("subjectaccessreviews", "", ["create"])
        self.assertEqual(self._rules(documents, "ClusterRole", "server"), {"": [*API, cluster, reviews]})
        autoscalers = ("horizontalpodautoscalers", "", ["list", "watch"])
        listing = [(kind, "", ["list", "watch"]) for kind in ("deployments", "namespaces")]
        watching = [*listing, autoscalers, ("events", "", ["list", "watch"]), cluster]
        self.assertEqual(self._rules(documents, "ClusterRole", "watcher"), {"": watching})
        lease = [("leases", WATCHER, ["get", "update"]), ("leases", "", ["create"])]
        noted = ("configmaps", f"{FULL_NAME}-temporary", ["list", "watch"])
        self.assertEqual(self._rules(documents, "Role", "watcher"), {NAMESPACE: [*lease, noted]})
        self.assertEqual(self._rules(documents, "Role", "server"), {})

    def test_pods(self) -> None:
        """Pods are looked at by those that serve; a watcher has no right to, and is not told to do without."""
        shared = SHARED["shared cache"]
        for wanted in (False, True):
            documents = render({**shared, "server": {**shared.get("server", {}), "podCauses": wanted}})
            granted = {
                component: ("pods", "", ["list"]) in self._rules(documents, "ClusterRole", component)[""]
                for component in ("server", "watcher")
            }
            self.assertEqual(granted, {"server": wanted, "watcher": False})
            without = [
                {argument for argument in server_container(documents, component)["args"] if "--without" in argument}
                for component in ("server", "watcher")
            ]
            self.assertEqual(without, [set() if wanted else {"--without=pods"}, set()])

    def test_namespaces(self) -> None:
        """In chosen namespaces the same, with a Role in each; of the whole cluster they know its name alone."""
        documents = render(SHARED["shared cache, sentinel"])
        cluster = ("namespaces", "kube-system", ["get"])
        self.assertEqual(self._rules(documents, "Role", "server"), {"shop": API})
        reviews = ("subjectaccessreviews", "", ["create"])
        self.assertEqual(self._rules(documents, "ClusterRole", "server"), {"": [cluster, reviews]})
        autoscalers = ("horizontalpodautoscalers", "", ["list", "watch"])
        watching = [("deployments", "", ["list", "watch"]), ("namespaces", "shop", ["get"]), autoscalers]
        watching.append(("events", "", ["list", "watch"]))
        self.assertEqual(self._rules(documents, "Role", "watcher")["shop"], watching)
        self.assertEqual(self._rules(documents, "ClusterRole", "watcher"), {"": [cluster]})

    def test_subjects(self) -> None:
        """Each binding of a role is to the account that its own pods have, which is made unless it is given."""
        for mode, account in (("shared cache", WATCHER), ("shared cache, sentinel", "given")):
            documents = render(SHARED[mode])
            for component, name in (("server", FULL_NAME), ("watcher", account)):
                bindings = [
                    d
                    for d in documents
                    if d["kind"].endswith("RoleBinding") and d["metadata"]["labels"][COMPONENT] == component
                ]
                self.assertGreaterEqual(len(bindings), 1)
                for binding in bindings:
                    subject = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
                    self.assertEqual(binding["subjects"], [subject])
                    role = (binding["roleRef"]["kind"], binding["roleRef"]["name"])
                    self.assertIn(role, [(d["kind"], d["metadata"]["name"]) for d in documents])
            made = [d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount"]
            self.assertEqual(made, [FULL_NAME] + [WATCHER] * (account == WATCHER))

    def test_network(self) -> None:
        """Both reach Redis; nobody reaches a watcher but monitoring, on the ops port."""
        documents = render(SHARED["shared cache, sentinel"])
        server, watcher = (named(documents, "NetworkPolicy", name)["spec"] for name in (FULL_NAME, WATCHER))
        (ops,) = watcher["ingress"]
        self.assertEqual([port["port"] for port in ops["ports"]], [8080])
        self.assertIn("from", ops)
        self.assertEqual(server["egress"], watcher["egress"])
        *_, redis = watcher["egress"]
        self.assertEqual([port["port"] for port in redis["ports"]], [6379, 26379, 5000])
        self.assertEqual(redis["to"], SHARED["shared cache, sentinel"]["networkPolicy"]["sharedCache"]["to"])
        alone = named(render(SHARED["shared cache, plain"]), "NetworkPolicy", WATCHER)["spec"]
        self.assertNotIn("ingress", alone)
        self.assertEqual(alone["policyTypes"], ["Ingress", "Egress"])

    def test_ports(self) -> None:
        """The ports that are let out are those of the address, whatever form it has; with Sentinel, Redis' own, too."""
        for url, ports in (
            ("redis://redis", [6379]),
            ("rediss://redis.example.org:6380/2", [6380]),
            ("redis://[2001:db8::6]:7000/0", [7000]),
            ("redis://[2001:db8::6]", [6379]),
            ("redis+sentinel://a:26379,b/mymaster", [6379, 26379]),
            ("redis+sentinel://a:5000,b:5001/mymaster/0", [6379, 5000, 5001]),
        ):
            values = {**SHARED["shared cache, plain"]["sharedCache"], "url": url}
            documents = render({"sharedCache": values, "networkPolicy": {"enabled": True}})
            rule = named(documents, "NetworkPolicy", WATCHER)["spec"]["egress"][-1]
            self.assertEqual([port["port"] for port in rule["ports"]], ports, url)

    def test_monitoring(self) -> None:
        """Prometheus finds the pods of both roles, under one job."""
        documents = render(SHARED["shared cache, sentinel"])
        monitor = named(documents, "PodMonitor")["spec"]
        for role in ("server", "watcher"):
            self.assertTrue(selects(monitor["selector"], labels_of(documents, role)), role)
        self.assertFalse(
            selects(monitor["selector"], named(documents, "Pod", f"{FULL_NAME}-test")["metadata"]["labels"])
        )
        documents = render(SHARED["shared cache, plain"])
        monitor = named(documents, "ServiceMonitor")["spec"]
        services = [
            d for d in documents if d["kind"] == "Service" and selects(monitor["selector"], d["metadata"]["labels"])
        ]
        for role in ("server", "watcher"):
            found = [d for d in services if d["spec"]["selector"].items() <= labels_of(documents, role).items()]
            self.assertEqual([d["spec"]["clusterIP"] for d in found], ["None"], role)


class GuideTests(SynchronousTestCase):
    """What docs/scale.md says to put into values."""

    def _blocks(self) -> list[dict[str, Any]]:
        page = (CHART.parents[1] / "docs/scale.md").read_text(encoding="utf-8")
        return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]

    def test_values(self) -> None:
        """Those for the chart make both roles, with users whose passwords are in the Secret that was made."""
        _, values = self._blocks()
        documents = render(values)
        for component, user in (("server", "api"), ("watcher", "watcher")):
            self.assertIn(f"--cache-user={user}", server_container(documents, component)["args"])
            files = {"seal": ("sre-server-seal", "seal"), "password": ("sre-server-cache", user)}
            self.assertEqual(cache_files(documents, component), files)

    def test_users(self) -> None:
        """Those for Valkey's chart give its users what the lines of the same page give them."""
        valkey, _ = self._blocks()
        users = valkey["auth"]["aclUsers"]
        for name in ("watcher", "api"):
            self.assertEqual(
                ["on", ">secret", *users[name]["permissions"].split()], user_of_the_page(name, "secret")[1:]
            )
        self.assertEqual(set(users), {"default", "watcher", "api"})
