"""`.ci/publish` against a GitHub and a registry that are played by one small program: what is repeated does no harm."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import temporary_folder

SCRIPT = Path(__file__).parents[2] / ".ci/publish"
COMMIT, OTHER = "1" * 40, "2" * 40
DIGEST = f"sha256:{'d' * 64}"

# Stands in for gh, skopeo, docker and helm, by the name that it is called by; what they did is kept in $WORLD.
STUB = f"""#!{sys.executable} -IS
import json, os, pathlib, sys

world = pathlib.Path(os.environ["WORLD"])
state = json.loads(world.read_text())
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
state["calls"].append([name, *arguments])
if "login" in arguments:
    state["passwords"].append(sys.stdin.read().strip())
    print("Login Succeeded")
failed = state["fail"] in " ".join([name, *arguments]) if state["fail"] else False
if failed:
    pass
elif name == "gh" and arguments[:1] == ["api"]:
    if arguments[1].endswith("/git/refs"):
        fields = dict(part.split("=", 1) for part in arguments[2:] if part != "-f")
        failed = fields["ref"] in state["tags"]
        state["tags"].setdefault(fields["ref"], fields["sha"])
    else:
        found = state["tags"].get("refs/tags/" + arguments[1].rpartition("tags%2F")[2])
        failed = found is None
        print(found or '{{"message": "No commit found"}}')
elif name == "gh":
    tag, release = arguments[2], state["releases"].get(arguments[2])
    if arguments[1] == "create":
        failed = release is not None or f"refs/tags/{{tag}}" not in state["tags"]
        notes = pathlib.Path(arguments[arguments.index("--notes-file") + 1]).read_text()
        options = {{"prerelease": "--prerelease" in arguments, "draft": "--draft" in arguments}}
        state["releases"][tag] = {{**options, "notes": notes, "files": []}}
    elif release is None:
        failed = True
    elif arguments[1] == "view":
        print(json.dumps(release["draft"]))
    elif arguments[1] == "upload":
        files = [pathlib.Path(part).name for part in arguments[3:] if part.startswith("dist/")]
        failed = "--clobber" not in arguments and bool({{*release["files"]}} & {{*files}})
        release["files"] = sorted({{*release["files"], *files}})
    elif arguments[1] == "edit":
        release["draft"] = False
elif name == "skopeo" and arguments[0] == "copy":
    pathlib.Path(arguments[arguments.index("--digestfile") + 1]).write_text("{DIGEST}")
    state["images"].append(arguments[-1])
elif name == "helm" and arguments[0] == "push":
    state["charts"].append(arguments[1:])
world.write_text(json.dumps(state))
sys.exit(1 if failed else 0)
"""


class PublishTests(SynchronousTestCase):
    """A checkout with a dist/ folder, and the commands that publish it."""

    def setUp(self) -> None:
        """Make the checkout and the stubs."""
        for tool in ("bash", "sha256sum"):
            if shutil.which(tool) is None:
                raise SkipTest(f"{tool} is not installed")
        self.folder = temporary_folder(self)
        (self.folder / ".ci").mkdir()
        shutil.copy(SCRIPT, self.folder / ".ci/publish")
        self.programs = self.folder / "programs"
        self.programs.mkdir()
        for name in ("gh", "skopeo", "docker", "helm"):
            (self.programs / name).write_text(STUB, encoding="utf-8")
            (self.programs / name).chmod(0o755)
        (self.programs / "python3").symlink_to(sys.executable)
        self.world = self.folder / "world.json"
        keys = {"tags": {}, "releases": {}, "images": [], "charts": [], "calls": [], "passwords": [], "fail": ""}
        self._change(**keys)
        self._build("1.2.3")

    def _build(self, version: str) -> None:
        """Put into dist/ what `make release` puts there."""
        dist = self.folder / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        dist.mkdir()
        python = version.replace("-rc.", "rc")
        files = [f"sre_server-{python}.tar.gz", f"sre_server-{python}-py3-none-any.whl", f"sre-server-{version}.tgz"]
        files += [f"sre-server-{version}-{name}" for name in ("image.tar", "notes.md")] + [
            f"sre-server-{python}.cdx.json"
        ]
        sums = ""
        for name in files:
            (dist / name).write_text(name, encoding="utf-8")
            sums += f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n"
        (dist / "SHA256SUMS").write_text(sums, encoding="utf-8")

    def _change(self, **keys: object) -> None:
        before = json.loads(self.world.read_text()) if self.world.exists() else {}
        self.world.write_text(json.dumps({**before, **keys}), encoding="utf-8")

    def _state(self, key: str) -> object:
        return json.loads(self.world.read_text())[key]

    def _publish(self, step: str, **environment: str) -> tuple[int, str, str]:
        env = {
            **os.environ,
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "WORLD": str(self.world),
            "GITHUB_REPOSITORY": "Example/sre-server",
            "GH_TOKEN": "token",
            "VERSION": "1.2.3",
            "COMMIT": COMMIT,
            **environment,
        }
        command = [str(self.folder / ".ci/publish"), step]
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
        return ended.returncode, ended.stdout.strip(), ended.stderr.strip()

    def _everything(self) -> str | None:
        """Run the steps as the workflow does, up to the first that fails; return which that was."""
        for step in ("wanted", "verify", "tag", "image", "chart", "release"):
            if self._publish(step)[0]:
                return step
        return None

    def test_all_steps(self) -> None:
        """One after the other they make the tag, push image and chart, and publish the notes with every file."""
        self.assertEqual(self._publish("wanted"), (0, "wanted=true", ""))
        self.assertIsNone(self._everything())
        self.assertEqual(self._state("tags"), {"refs/tags/v1.2.3": COMMIT})
        self.assertEqual(self._state("images"), ["docker://ghcr.io/example/sre-server:1.2.3"])
        self.assertEqual(self._state("charts"), [["dist/sre-server-1.2.3.tgz", "oci://ghcr.io/example/charts"]])
        published = {
            "draft": False,
            "prerelease": False,
            "notes": "sre-server-1.2.3-notes.md",
            "files": sorted(path.name for path in (self.folder / "dist").iterdir()),
        }
        self.assertEqual(self._state("releases"), {"v1.2.3": published})
        self.assertEqual(self._publish("wanted"), (0, "wanted=false", ""))

    def test_image_names_itself(self) -> None:
        """The image's name and digest are all that is printed, and no command line has the token."""
        status, out, _ = self._publish("image")
        self.assertEqual((status, out), (0, f"name=ghcr.io/example/sre-server\ndigest={DIGEST}"))
        self.assertEqual(self._state("passwords"), ["token", "token"])
        self.assertNotIn("token", json.dumps(self._state("calls")))

    def test_repeated(self) -> None:
        """All steps again change nothing."""
        self._everything()
        before = self._state("releases"), self._state("tags")
        self.assertIsNone(self._everything())
        self.assertEqual((self._state("releases"), self._state("tags")), before)

    def test_failing_half_way(self) -> None:
        """Wherever the first run broke off, the second one ends with the same release."""
        steps = {
            "git/refs": "tag",
            "docker login": "image",
            "skopeo copy": "image",
            "helm push": "chart",
            "gh release create": "release",
            "gh release upload": "release",
            "gh release edit": "release",
        }
        for breaking, step in steps.items():
            self._change(tags={}, releases={}, images=[], charts=[], fail=breaking)
            self.assertEqual(self._everything(), step)
            self._change(fail="")
            self.assertEqual(self._publish("wanted")[1], "wanted=true", breaking)
            self.assertIsNone(self._everything(), breaking)
            self.assertEqual(self._publish("wanted")[1], "wanted=false", breaking)

    def test_tag_elsewhere(self) -> None:
        """A tag that is another commit's is neither moved nor published under."""
        self._change(tags={"refs/tags/v1.2.3": OTHER})
        status, _, errors = self._publish("tag")
        self.assertEqual((status, errors), (1, f"v1.2.3 is {OTHER} already, not {COMMIT}"))
        self.assertEqual(self._state("tags"), {"refs/tags/v1.2.3": OTHER})

    def test_no_version(self) -> None:
        """Before the first version there is nothing to publish, and GitHub is not asked."""
        self.assertEqual(self._publish("wanted", VERSION=""), (0, "wanted=false", ""))
        self.assertEqual(self._state("calls"), [])

    def test_prerelease(self) -> None:
        """A version with a suffix is marked as a prerelease."""
        self._build("1.2.3-rc.1")
        for step in ("verify", "tag", "release"):
            self.assertEqual(self._publish(step, VERSION="1.2.3-rc.1")[0], 0)
        (release,) = dict(self._state("releases")).values()  # type: ignore[call-overload]
        self.assertTrue(release["prerelease"])

    def test_verify(self) -> None:
        """A file that was changed, one that is in no checksum, and one of another version are refused by name."""
        dist = self.folder / "dist"
        wheel = dist / "sre_server-1.2.3-py3-none-any.whl"
        wheel.write_text("changed", encoding="utf-8")
        status, out, errors = self._publish("verify")
        self.assertEqual(status, 1)
        self.assertIn(wheel.name, out + errors)
        self._build("1.2.3")
        (dist / "extra-1.2.3.txt").write_text("", encoding="utf-8")
        self.assertIn("dist/extra-1.2.3.txt is not in SHA256SUMS", self._publish("verify")[2])
        self._build("1.2.30")
        self.assertIn("is not of version 1.2.3", self._publish("verify")[2])

    def test_two_archives(self) -> None:
        """Where it is not clear which file is the image or the chart, none is pushed."""
        (self.folder / "dist/sre-server-1.2.3-again.tgz").write_text("", encoding="utf-8")
        self.assertEqual(self._publish("chart")[0], 1)
        (self.folder / "dist/other.tar").write_text("", encoding="utf-8")
        status, _, errors = self._publish("image")
        self.assertEqual(status, 1)
        self.assertIn("expected one dist/*.tar, found 2", errors)
        self.assertEqual((self._state("images"), self._state("charts")), ([], []))
