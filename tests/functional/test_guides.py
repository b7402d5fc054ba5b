"""The guides on installing and operating: no command that is neither run nor marked."""

import re
import shlex
import subprocess

import yaml
from twisted.trial.unittest import SynchronousTestCase

from sre_server.telemetry.metrics import Metrics
from tests.functional.helm import CHART, KUBERNETES, helm
from tests.guides import DOCS, Block, blocks

GUIDES = ("install.md", "operate.md")
NEEDS = {
    "a registry, and a tool that builds images",
    "a release",
    "an install by kubectl apply",
    "an install without Helm's own upgrade, and a Redis",
    "cert-manager in the cluster",
    "cert-manager in the cluster, and an issuer",
    "nodes that run containers",
}


class CommandTests(SynchronousTestCase):
    """Every block is one that the integration tests run, or says what it needs besides."""

    def test_every_block(self) -> None:
        """Blocks are shell, marked with something that a control plane does not have, or run."""
        for guide in GUIDES:
            text = (DOCS / guide).read_text(encoding="utf-8")
            found = blocks(guide)
            self.assertEqual(text.count("\n```"), 2 * len(found), guide)
            self.assertEqual(text.count("<!--"), len([block for block in found if block.needs]), guide)
            self.assertLessEqual({block.needs for block in found} - {None}, NEEDS, guide)
            self.assertGreater(len([block for block in found if not block.needs]), 5, guide)

    def test_marked_installs(self) -> None:
        """What cannot be installed in a test can at least be rendered: its values exist, and go together."""
        every = (block for guide in GUIDES for block in blocks(guide))
        marked = [block for block in every if block.needs and block.needs.startswith("cert-manager")]
        self.assertEqual(len(marked), 2)
        for block in marked:
            self._render(block)

    def _render(self, block: Block) -> None:
        words = shlex.split(block.commands.replace("\\\n", " "))
        self.assertEqual(words[:2], ["helm", "install"])
        command = [helm(), "template", *words[2:], KUBERNETES]
        done = subprocess.run(command, cwd=CHART.parents[1], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        kinds = {document["kind"] for document in yaml.safe_load_all(done.stdout)}
        self.assertIn("Certificate", kinds)

    def test_names(self) -> None:
        """Every value and metric that the guides name is one that exists."""
        values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
        exposed = Metrics().expose("")[0].decode()
        for guide in GUIDES:
            text = (DOCS / guide).read_text(encoding="utf-8")
            for metric in re.findall(r"`(sre_server_\w+)`", text):
                self.assertIn(metric, exposed, guide)
            for path in re.findall(r"`([a-z]\w+(?:\.[a-z]\w+)+)[`:]", text):
                if path.split(".")[0] not in values:
                    self.assertTrue(path.endswith((".yaml", ".pem")), f"{guide}: {path}")
                    continue
                where = values
                for key in path.split("."):
                    self.assertIn(key, where, f"{guide}: {path}")
                    where = where[key]
