"""Releases side by side, names as long as they may be, and the chart as a part of another one."""

from collections.abc import Iterator, Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.helm import KUBERNETES, MODES, RELEASE, Document, Values, kinds, render, run_helm
from tests.functional.manifests import faults
from tests.functional.umbrella import documents_of, write_umbrella

ELSEWHERE = {"enabled": True, "namespace": "monitoring"}
MONITORED: Values = {"serviceMonitor": ELSEWHERE, "prometheusRule": ELSEWHERE, "dashboard": ELSEWHERE}
QUERIES: Values = {"syntheticQueries": {"enabled": True, "clientCertificate": {"secretName": "prober"}}}
DNS_LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
LONGEST_RELEASE, LONGEST_JOB = 53, 52


def identities(documents: list[Document]) -> set[tuple[str, str, str]]:
    """Return what tells objects of a cluster apart."""
    return {(d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]) for d in documents}


def labels(value: object) -> Iterator[Mapping[str, Any]]:
    """Yield all labels and selectors."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in ("labels", "matchLabels"):
                yield item
            yield from labels(item)
    elif isinstance(value, list):
        for item in value:
            yield from labels(item)


class SideBySideTests(SynchronousTestCase):
    """Two releases in one cluster have no object in common."""

    def _apart(self, one: Values, other: Values) -> None:
        first, second = (identities(render(values)) for values in (one, other))
        self.assertEqual(first & second, set())

    def test_same_when_joined(self) -> None:
        """`b-x` in the namespace `a` and `x` in `a-b` are two, whatever is made outside of those namespaces."""
        for more in ({}, {"namespaces": ["shop"]}, MONITORED):
            self._apart(
                {"namespaceOverride": "a", "fullnameOverride": "b-x", **more},
                {"namespaceOverride": "a-b", "fullnameOverride": "x", **more},
            )

    def test_same_beginning(self) -> None:
        """Names of namespaces and releases that differ at their end only are told apart where they are cut off."""
        long = "n" * 62
        self._apart({"namespaceOverride": f"{long}a"}, {"namespaceOverride": f"{long}b"})
        long = "r" * 49
        self._apart({"fullnameOverride": f"{long}a", **QUERIES}, {"fullnameOverride": f"{long}b", **QUERIES})

    def test_stable(self) -> None:
        """The name says whose it is, and stays the same from one upgrade to the next."""
        (role,) = (d for d in render({"podLabels": {"a": "b"}}) if d["kind"] == "ClusterRole")
        self.assertEqual(role["metadata"]["name"], "sre-blue-sre-server-57f90c14")


class LengthTests(SynchronousTestCase):
    """Names of any length that helm takes."""

    def test_longest(self) -> None:
        """With the longest names of release and namespace every object has a name and labels that clusters take."""
        for release in ("r" * LONGEST_RELEASE, f"{'r' * 49}-{'r' * 3}", "my.team.api"):
            for mode in (QUERIES, MODES["cert-manager"], MODES["namespaces"], MONITORED):
                for document in render({**mode, "namespaceOverride": "n" * 63}, release=release):
                    name = document["metadata"]["name"]
                    if document["kind"] not in ("ServiceMonitor", "PrometheusRule", "ConfigMap"):
                        self.assertRegex(name, DNS_LABEL)
                    if document["kind"] == "CronJob":
                        self.assertLessEqual(len(name), LONGEST_JOB)
                    for given in labels(document):
                        self.assertLessEqual(max(map(len, given.values())), 63)
                    self.assertEqual(faults(document), [])


class UmbrellaTests(SynchronousTestCase):
    """A chart that has this one among its dependencies."""

    def _documents(self, values: Values, *dependencies: Mapping[str, Any]) -> dict[str, list[Document]]:
        chart = write_umbrella(temporary_folder(self), values, *dependencies)
        done = run_helm("template", {}, RELEASE, KUBERNETES, chart=chart)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return documents_of(done.stdout)

    def test_condition(self) -> None:
        """`condition: sre-server.enabled` turns it on and off, and where it is not set, tags do."""
        dependency = {"condition": "sre-server.enabled", "tags": ["front"]}
        on, off = {"sre-server": {"enabled": True}}, {"sre-server": {"enabled": False}}
        expected: tuple[tuple[Values, bool], ...] = (
            ({}, True),
            (on, True),
            (off, False),
            ({"tags": {"front": False}}, False),
            ({"tags": {"front": False}, **on}, True),
            ({"tags": {"front": True}, **off}, False),
        )
        for values, there in expected:
            self.assertEqual("sre-server" in self._documents(values, dependency), there, str(values))

    def test_same_objects(self) -> None:
        """It makes what it makes alone, with labels that were commented out, too."""
        (alone,) = self._documents({"sre-server": {"enabled": True}}, {}).values()
        self.assertEqual(alone, render({}))
        (emptied,) = self._documents({"sre-server": {"commonLabels": None, "podLabels": None}}, {}).values()
        self.assertEqual(emptied, alone)

    def test_global(self) -> None:
        """Of `global` it knows the registry, and leaves what others put there alone."""
        shared = {"imageRegistry": "mirror.example.org", "storageClass": "fast", "postgresql": {"auth": {}}}
        (documents,) = self._documents({"global": shared}, {}).values()
        (deployment,) = (d for d in documents if d["kind"] == "Deployment")
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        self.assertTrue(image.startswith("mirror.example.org/sre-server:"))

    def test_aliases(self) -> None:
        """Twice in one release, under two names, it makes twice as many objects."""
        both = self._documents({"front": {"enabled": True}}, {"alias": "front"}, {"alias": "back"})
        self.assertEqual(set(both), {"front", "back"})
        front, back = both.values()
        self.assertEqual(kinds(front), kinds(back))
        self.assertEqual(identities(front) & identities(back), set())

    def test_mistakes(self) -> None:
        """A mistake in its values is still named."""
        chart = write_umbrella(temporary_folder(self), {"sre-server": {"enabled": "no", "replicas": 2}}, {})
        said = run_helm("template", {}, RELEASE, KUBERNETES, chart=chart).stderr
        self.assertIn("replicas", said)
        self.assertIn("/enabled", said)
