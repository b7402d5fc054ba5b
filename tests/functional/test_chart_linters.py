"""What others' linters of manifests say of the rendered chart: nothing but what is so for one of the reasons below."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, Final
from unittest import SkipTest

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.helm import MODES, Document, render
from tests.functional.tools import CHECKOUT, find_tool

RENDERED: Final = ("defaults", "shared cache", "synthetic queries, cert-manager", "network policy", "autoscaling")
BEST_GRADE: Final = 10
Findings = set[tuple[str, str]]
"""Kinds of objects, each with the name of a check that they do not pass."""

# Throttled, a server stops in the middle of an answer while the node has time to spare. Its share is requested, and the
# process is of one core by itself.
CPU_LIMIT: Final = {"container-resources", "CKV_K8S_11"}
# A version's tag never changes, and a pod has to start where its image is, while the registry is away, too.
PULL_POLICY: Final = {"container-image-pull-policy", "CKV_K8S_15"}
# An image has its digest once it is pushed: `image.digest` takes it from then on.
DIGEST: Final = {"CKV_K8S_43"}
# The root filesystem is read-only, and the one emptyDir is in memory. What is left is the log, which the kubelet
# rotates: a limit below what the node allows for that would evict pods that are well.
EPHEMERAL_STORAGE: Final = {"container-ephemeral-storage-request-and-limit"}
# By default egress is free, as the API server has another address and port in each cluster, and pods that do not
# reach it serve nobody. `networkPolicy.enabled: true` limits it.
EGRESS: Final = {"pod-networkpolicy"}
# `topologySpreadConstraints` spread the pods over nodes and zones, also when there are more pods than those.
ANTI_AFFINITY: Final = {"deployment-has-host-podantiaffinity"}
# The server asks the API server by its service account; the chart's checks mount none.
TOKEN: Final = {"CKV_K8S_38"}
# The pod of `helm test` runs once, for two minutes at most; its end is the answer, and nobody is sent to it.
PROBES: Final = {"CKV_K8S_8", "CKV_K8S_9"}

EVERYWHERE: Final = CPU_LIMIT | PULL_POLICY | DIGEST | EPHEMERAL_STORAGE | EGRESS
EXCEPTIONS: Final = {
    "Deployment": EVERYWHERE | ANTI_AFFINITY | TOKEN,
    "CronJob": EVERYWHERE,
    "Pod": EVERYWHERE | PROBES,
}


def _kube_score(documents: list[Document]) -> Findings:
    if not shutil.which("go"):
        raise SkipTest("no Go, which builds kube-score")
    command = ["go", "-C", ".ci/kube-score", "tool", "kube-score", "score", "--output-format=json", "-"]
    given = yaml.safe_dump_all(documents)
    done = subprocess.run(command, cwd=CHECKOUT, input=given, capture_output=True, text=True, timeout=600, check=False)
    if not done.stdout.startswith("["):
        raise AssertionError(done.stderr)
    return set(_low_grades(json.loads(done.stdout)))


def _low_grades(scored: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for thing in scored:
        for check in thing["checks"]:
            if not check["skipped"] and check["grade"] < BEST_GRADE:
                yield thing["type_meta"]["kind"], check["check"]["id"]
    if not any(thing["checks"] for thing in scored):
        raise AssertionError("nothing was checked")


class LinterTests(SynchronousTestCase):
    """Each linter over the chart's defaults and over what values add to them."""

    def _compare(self, found: Mapping[str, Findings], *, checkov: bool) -> None:
        """Check that whatever was found is excepted, and that each exception was met."""
        excepted = {
            (kind, check)
            for kind, checks in EXCEPTIONS.items()
            for check in checks
            if check.startswith("CKV") == checkov
        }
        for mode, findings in found.items():
            self.assertEqual(findings - excepted, set(), mode)
        self.assertEqual(set().union(*found.values()), excepted)

    def test_kube_score(self) -> None:
        """kube-score finds nothing else, at whatever severity."""
        self._compare({mode: _kube_score(render(MODES[mode])) for mode in RENDERED}, checkov=False)

    def test_checkov(self) -> None:
        """Checkov's checks of Kubernetes find nothing else; none of them needs its platform."""
        program = str(find_tool("checkov"))
        self._compare({mode: self._checkov(program, render(MODES[mode])) for mode in RENDERED[:3]}, checkov=True)

    def _checkov(self, program: str, documents: list[Document]) -> Findings:
        file = temporary_folder(self) / "rendered.yaml"
        file.write_text(yaml.safe_dump_all(documents))
        options = ("--framework=kubernetes", "--skip-download", "--output=json", "--file", str(file))
        done = subprocess.run([program, *options], capture_output=True, text=True, timeout=300, check=False)
        result = json.loads(done.stdout)
        self.assertEqual(result["summary"]["parsing_errors"], 0, done.stderr)
        self.assertGreater(result["summary"]["passed"], 0)
        return {(check["resource"].split(".")[0], check["check_id"]) for check in result["results"]["failed_checks"]}
