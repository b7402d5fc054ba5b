"""`.github/workflows/`: every command exists, and nothing runs with more rights, or longer, than it needs."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github/workflows"
PINNED = re.compile(
    r"- uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\s+uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+"
)
# Programs of the runner's image that steps may call, besides what the shell itself has.
PROGRAMS = {"apt-get", "echo", "helm", "make", "test"}

Mapping = dict[str, Any]


def workflows() -> dict[str, Mapping]:
    """Return the workflows by their files' names; YAML 1.1 takes their key `on` for true."""
    return {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.iterdir())}


def jobs() -> Iterator[tuple[str, Mapping, Mapping]]:
    """Return every job with its name and its workflow."""
    for file, workflow in workflows().items():
        for name, job in workflow["jobs"].items():
            yield f"{file}: {name}", job, workflow


def commands(script: str) -> Iterator[list[str]]:
    """Return the simple commands of a step's script, as words, leaving out what is the shell's grammar."""
    joined = re.sub(r"\\\n\s*", " ", script)
    for part in re.split(r"\n|;|&&|\|\|?", joined):
        words = part.split()
        while words and words[0] in {"do", "{", "then", "else", "if", "!"}:
            words = words[1:]
        if words and words[0] not in {"for", "done", "}", "fi", "exit", "set"}:
            yield words


def steps() -> Iterator[tuple[str, Mapping]]:
    """Return every step, with its job's name."""
    for name, job, _ in jobs():
        for step in job["steps"]:
            yield name, step


class WorkflowTests(SynchronousTestCase):
    """Rules that hold for every workflow."""

    def test_targets(self) -> None:
        """Each `make` in a step, and in a script that steps call, names a target of the Makefile."""
        scripts = [step["run"] for _, step in steps() if "run" in step]
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

    def test_programs(self) -> None:
        """Each step calls a script of the repository that can be executed, or a program that every runner has."""
        seen = 0
        for name, step in steps():
            for words in commands(step.get("run", "")):
                seen += 1
                program = words[0]
                if program.startswith(".ci/"):
                    self.assertTrue(os.access(ROOT / program, os.X_OK), (name, program))
                elif program == ".venv/bin/python":
                    self.assertEqual(words[1], "-m", (name, words))
                    self.assertIn(words[2], ("pytest", "twisted.trial"), (name, words))
                else:
                    self.assertIn(program, PROGRAMS, (name, words))
                paths = [word for word in words[1:] if re.match(r"(sre_server|tests|helm|docs|\.ci)(/|$)", word)]
                for path in paths:
                    self.assertTrue(list(ROOT.glob(path.rstrip("/"))), (name, path))
        self.assertGreater(seen, 15)

    def test_pinned(self) -> None:
        """Actions are named by full commit hash, with the version beside it; one action has one hash everywhere."""
        hashes: dict[str, set[str]] = {}
        for path in FOLDER.iterdir():
            for line in path.read_text(encoding="utf-8").splitlines():
                if "uses:" in line:
                    self.assertRegex(line.strip() if "- uses" in line else line, PINNED, path.name)
                    action, _, pin = line.split("uses: ")[1].partition("@")
                    hashes.setdefault(action, set()).add(pin)
        self.assertIn("actions/checkout", hashes)
        self.assertEqual({action: pins for action, pins in hashes.items() if len(pins) > 1}, {})

    def test_images_pinned(self) -> None:
        """Containers and node images are named by digest, and those of one Python are that Python's."""
        texts = [path.read_text(encoding="utf-8") for path in (*FOLDER.iterdir(), ROOT / ".ci/kind")]
        images = re.findall(r"\b(?:python|golang|kindest/node|moby/buildkit|tonistiigi/binfmt):\S+", "\n".join(texts))
        self.assertEqual(len(images), 7)
        for image in images:
            self.assertRegex(image, r"^[\w/]+:v?[\w.-]+@sha256:[0-9a-f]{64}$")
        for entry in workflows()["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]["include"]:
            self.assertTrue(entry["image"].startswith(f"python:{entry['python']}."), entry)

    def test_permissions(self) -> None:
        """Nothing is granted to a workflow as a whole, and only publishing writes anything."""
        for name, job, workflow in jobs():
            self.assertEqual(workflow["permissions"], {}, name)
            expected = {} if name == "ci.yml: required" else {"contents": "read"}
            if name == "release.yml: publish":
                writes = ("contents", "packages", "id-token", "attestations")
                expected = dict.fromkeys(writes, "write")
            self.assertEqual(job["permissions"], expected, name)

    def test_tokens(self) -> None:
        """No checkout leaves a token behind, no secret is used, and only steps that ask GitHub are given the token."""
        for name, step in steps():
            if "actions/checkout@" in step.get("uses", ""):
                self.assertIs(step["with"]["persist-credentials"], False, name)
        texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
        self.assertNotIn("secrets.", "".join(texts.values()))
        self.assertEqual(
            {name: text.count("github.token") for name, text in texts.items()}, {"ci.yml": 0, "release.yml": 2}
        )

    def test_injection(self) -> None:
        """No expression is pasted into a script: what comes from outside arrives in the environment."""
        for name, step in steps():
            self.assertNotIn("${{", step.get("run", ""), name)

    def test_bounded(self) -> None:
        """Every job has a time limit, and every workflow says what becomes of a run that another overtakes."""
        for name, job, workflow in jobs():
            self.assertLessEqual(job["timeout-minutes"], 60, name)
            self.assertIn("cancel-in-progress", workflow["concurrency"], name)
        self.assertIs(workflows()["release.yml"]["concurrency"]["cancel-in-progress"], False)

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
        """CI runs the tests on exactly the Pythons that the package says it supports."""
        include = workflows()["ci.yml"]["jobs"]["test"]["strategy"]["matrix"]["include"]
        declared = re.findall(r"Python :: (3\.\d+)", (ROOT / "setup.py").read_text(encoding="utf-8"))
        self.assertEqual([entry["python"] for entry in include], declared)

    def test_release_order(self) -> None:
        """A release is attested before it is published, and no version is published twice at once."""
        publish = workflows()["release.yml"]["jobs"]["publish"]
        self.assertIn("needs.plan.outputs.version", publish["concurrency"]["group"])
        texts = [step.get("run", step.get("uses", "")) for step in publish["steps"]]
        wanted = ["verify", "tag", "image", "chart", "attest-build", "attest-build", "release"]
        order = [next((word for word in dict.fromkeys(wanted) if word in text), "") for text in texts]
        self.assertEqual([word for word in order if word], wanted)

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

    def test_dependabot(self) -> None:
        """Dependabot looks after every kind of pin that there is, in folders that exist."""
        updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text(encoding="utf-8"))["updates"]
        kinds = {update["package-ecosystem"] for update in updates}
        self.assertEqual(kinds, {"pip", "github-actions", "docker", "gomod"})
        for update in updates:
            self.assertTrue((ROOT / update["directory"].strip("/")).is_dir(), update)

    def test_shell(self) -> None:
        """Every step's script is one that bash can parse."""
        if shutil.which("bash") is None:
            raise SkipTest("bash is not installed")
        for name, step in steps():
            ended = subprocess.run(
                ["bash", "-n", "-c", step.get("run", "")], capture_output=True, text=True, check=False
            )
            self.assertEqual(ended.stderr, "", name)
