"""`.github/workflows/`: what actionlint and zizmor do not see: that commands exist, and what a run may do and take."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github/workflows"

Mapping = dict[str, Any]


def workflows() -> dict[str, Mapping]:
    """Return the workflows by their files' names; YAML 1.1 takes their key `on` for true."""
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.iterdir())}


def jobs() -> Iterator[tuple[str, Mapping]]:
    """Return every job with its name."""
    for file, workflow in workflows().items():
        for name, job in workflow["jobs"].items():
            yield f"{file}: {name}", job


class WorkflowTests(SynchronousTestCase):
    """Rules that hold for every workflow."""

    def test_targets(self) -> None:
        """Each `make` in a step, and in a script that steps call, names a target of the Makefile."""
        scripts = [step["run"] for _, job in jobs() for step in job["steps"] if "run" in step]
        scripts += [path.read_text(encoding="utf-8") for path in (ROOT / ".ci").iterdir() if path.is_file()]
        called = set()
        for script in scripts:
            code = "\n".join(line for line in script.splitlines() if not line.lstrip().startswith("#"))
            called |= {
                target for line in re.findall(r"^\s*make ([^\n|&;>]+)", code, re.MULTILINE) for target in line.split()
            }
        targets = {target for target in called if "=" not in target}
        self.assertIn("lint", targets)
        rules = re.findall(r"^([^\s:=#][^:=#]*):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        known = {name.replace("$(VENV)", ".venv") for rule in rules for name in rule.split()}
        self.assertEqual(targets - known, set())

    def test_scripts(self) -> None:
        """Each script of the repository that a step calls can be executed, or is one for Python."""
        texts = [step.get("run", "") for _, job in jobs() for step in job["steps"]]
        called = {word for text in texts for word in re.findall(r"(?<!python )\.ci/[\w./-]+", text)}
        self.assertIn(".ci/run", called)
        self.assertEqual([name for name in sorted(called) if not os.access(ROOT / name, os.X_OK)], [])

    def test_bounded(self) -> None:
        """Every job has a time limit, and only the one that publishes may write anything."""
        writing = {name for name, job in jobs() if "write" in job["permissions"].values()}
        self.assertEqual(writing, {"release.yml: publish"})
        for name, job in jobs():
            self.assertLessEqual(job["timeout-minutes"], 60, name)

    def test_required(self) -> None:
        """`required` waits for all other jobs of CI, runs whatever became of them, and passes if all have succeeded."""
        every = workflows()["ci.yml"]["jobs"]
        required = every["required"]
        self.assertEqual(set(required["needs"]), set(every) - {"required"})
        self.assertEqual(required["if"], "always()")
        script = required["steps"][0]["run"]
        for results, status in (
            ("success success", 0),
            ("success failure", 1),
            ("skipped success", 1),
            ("success cancelled success", 1),
        ):
            env = {**os.environ, "RESULTS": results}
            ended = subprocess.run(["bash", "-e", "-c", script], env=env, capture_output=True, check=False)
            self.assertEqual(ended.returncode, status, results)

    def test_tested_pythons(self) -> None:
        """CI runs the tests on exactly the Pythons that the package says it supports, each in an image of its own."""
        include = workflows()["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]["include"]
        declared = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.py").read_text(encoding="utf-8"))
        self.assertEqual([entry["python"] for entry in include], declared)
        for entry in include:
            self.assertTrue(entry["image"].startswith(f"python:{entry['python']}."), entry)

    def test_release_is_built_apart(self) -> None:
        """What is attested is built where no test has run, by pinned tools; it is published if both succeed."""
        release = workflows()["release.yml"]["jobs"]
        run = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in release.items()}
        self.assertEqual(run["test"], ["make test"])
        self.assertEqual(run["build"], ["make release PLATFORMS=linux/amd64,linux/arm64"])
        self.assertLessEqual({"test", "build"}, set(release["publish"]["needs"]))
        for step in release["build"]["steps"]:
            action, _, _ = step.get("uses", "").partition("@")
            if action == "docker/setup-qemu-action":
                self.assertIn("@sha256:", step["with"]["image"])
            if action == "docker/setup-buildx-action":
                self.assertIn("@sha256:", step["with"]["driver-opts"])

    def test_release_order(self) -> None:
        """A release is attested before it is published, and no version is published twice at once."""
        publish = workflows()["release.yml"]["jobs"]["publish"]
        self.assertIn("needs.plan.outputs.version", publish["concurrency"]["group"])
        texts = [step.get("run", step.get("uses", "")) for step in publish["steps"]]
        wanted = ["verify", "tag", "image", "chart", "attest-build", "attest-build", "release"]
        order = [next((word for word in dict.fromkeys(wanted) if word in text), "") for text in texts]
        self.assertEqual([word for word in order if word], wanted)
