"""The chart's place for temporary counts: one ConfigMap, who may do what with it, and that no upgrade touches it."""

import pytest
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.helm import FULL_NAME, MODES, NAMESPACE, Document, notes_of, render, server_container

pytestmark = pytest.mark.xdist_group("chart")

NAME = f"{FULL_NAME}-temporary"
OPTION = f"--temporary-store={NAMESPACE}/{NAME}"


def stores(documents: list[Document]) -> list[Document]:
    """Return the ConfigMaps for temporary counts."""
    return [each for each in documents if each["kind"] == "ConfigMap" and each["metadata"]["name"] == NAME]


def granted(documents: list[Document]) -> dict[str, list[str]]:
    """Return what each service account may do with that ConfigMap, and with nothing else."""
    found = {}
    roles = {each["metadata"]["name"]: each for each in documents if each["kind"] == "Role"}
    for binding in (each for each in documents if each["kind"] == "RoleBinding"):
        for rule in roles[binding["roleRef"]["name"]]["rules"]:
            if rule["resources"] == ["configmaps"]:
                assert rule["resourceNames"] == [NAME], rule
                assert binding["metadata"]["namespace"] == NAMESPACE, binding
                found[binding["subjects"][0]["name"]] = rule["verbs"]
    return found


class TemporaryTests(SynchronousTestCase):
    """The ConfigMap, the option, and the Roles."""

    def test_defaults(self) -> None:
        """An empty ConfigMap that is kept, whose data no manifest has, so that no upgrade resets it."""
        documents = render({})
        (store,) = stores(documents)
        self.assertEqual(store["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
        self.assertEqual(set(store), {"apiVersion", "kind", "metadata"})
        self.assertIn(OPTION, server_container(documents)["args"])
        self.assertEqual(granted(documents), {FULL_NAME: ["get", "list", "watch", "patch"]})

    def test_switched_off(self) -> None:
        """There is neither ConfigMap nor option nor right."""
        documents = render({"temporary": {"enabled": False}})
        self.assertEqual((stores(documents), granted(documents)), ([], {}))
        self.assertNotIn("temporary", " ".join(server_container(documents)["args"]))

    def test_shared_cache(self) -> None:
        """The watcher watches it, the pods that serve read and patch it."""
        documents = render(MODES["shared cache"])
        for component in ("server", "watcher"):
            self.assertIn(OPTION, server_container(documents, component)["args"])
        self.assertEqual(granted(documents), {FULL_NAME: ["get", "patch"], f"{FULL_NAME}-watcher": ["list", "watch"]})

    def test_other_clusters(self) -> None:
        """In another cluster than the chart's the ConfigMap is its owner's business; the simulated one has its own."""
        documents = render(MODES["another cluster"])
        self.assertEqual((stores(documents), granted(documents)), ([], {}))
        self.assertIn(OPTION, server_container(documents)["args"])
        create = f"kubectl create configmap {NAME} --namespace {NAMESPACE}\n"
        self.assertIn(create, notes_of(MODES["another cluster"]))
        self.assertNotIn("configmap", notes_of(MODES["simulated"]))
        simulated = render(MODES["simulated"])
        self.assertIn("--temporary-store=default/temporary-counts", server_container(simulated)["args"])
