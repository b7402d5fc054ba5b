"""docs/day.md at 3 a.m.: each situation's commands, pasted in order, and what comes back."""

import json
import re
import shutil
import subprocess
from typing import Any, Final, NamedTuple

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon
from tests.functional.test_readme import openssl_pair
from tests.guides import DOCS

_SITUATION: Final = re.compile(r"^### \d+\. (?P<title>.+)$", re.MULTILINE)
_STEP: Final = re.compile(
    r"^```shell\n(?P<commands>(?:(?!```).*\n)+)```\n\n```json\n(?P<answer>(?:(?!```).*\n)+)```$", re.MULTILINE
)
VARYING: Final = {"after", "at", "etag", "request_id"}
"""Fields whose values are of the moment: that they are there is enough."""


class Step(NamedTuple):
    """Commands, and the JSON that the last of them prints."""

    commands: str
    answer: Any


def situations() -> dict[str, list[Step]]:
    """Return the steps of each situation, by its title."""
    text = (DOCS / "day.md").read_text(encoding="utf-8")
    titles = list(_SITUATION.finditer(text))
    ends = [*(found.start() for found in titles[1:]), text.index("\n## ", titles[-1].end())]
    return {
        found["title"]: [
            Step(step["commands"], json.loads(step["answer"])) for step in _STEP.finditer(text, found.end(), end)
        ]
        for found, end in zip(titles, ends, strict=True)
    }


class DayTests(SynchronousTestCase):
    """A daemon of a simulated cluster as `make run` starts it, and one situation after the other."""

    maxDiff = None

    def setUp(self) -> None:
        """Start both; the pair is that of `make certs`."""
        for tool in ("make", "curl", "openssl", "jq"):
            if shutil.which(tool) is None:
                raise SkipTest(f"{tool} is not installed")
        folder = temporary_folder(self)
        self.folder = folder
        self.pair = openssl_pair(folder)
        self.daemon = Daemon(folder, "--cluster=simulated", server=self.pair, client_ca=self.pair.certificate)
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()

    def paste(self, commands: str) -> str:
        """Run commands in a shell whose `sre` and `$SRE` are those of the page, and return what they print."""
        pair = f"--cert {self.pair.certificate} --key {self.pair.key} --cacert {self.pair.certificate}"
        head = f'sre() {{ curl -sS {pair} "$@"; }}\nSRE=https://localhost:{self.daemon.port}\n'
        ended = subprocess.run(
            ["sh", "-c", head + commands], cwd=self.folder, capture_output=True, text=True, timeout=120, check=False
        )
        self.assertEqual(ended.stderr, "", commands)
        return ended.stdout

    def assert_like(self, answer: Any, documented: Any, where: str) -> None:
        """An answer is the documented one, except in what is of the moment, and where that has `...`."""
        if isinstance(documented, dict):
            self.assertEqual(set(answer), set(documented), f"{where}: {answer}")
            for field, value in documented.items():
                if field not in VARYING or value is None:
                    self.assert_like(answer[field], value, f"{where}.{field}")
        elif isinstance(documented, list):
            self.assertEqual(len(answer), len(documented), f"{where}: {answer}")
            for index, (one, other) in enumerate(zip(answer, documented, strict=True)):
                self.assert_like(one, other, f"{where}[{index}]")
        elif isinstance(documented, str) and "..." in documented:
            pattern = ".*".join(re.escape(part) for part in documented.split("..."))
            self.assertRegex(str(answer), re.compile(f"^{pattern}$", re.DOTALL), where)
        else:
            self.assertEqual(answer, documented, where)

    def test_every_situation(self) -> None:
        """Each has something to paste, and what comes back is what the page shows."""
        found = situations()
        self.assertEqual((len(found), [title for title, steps in found.items() if not steps]), (4, []))
        for title, steps in found.items():
            for step in steps:
                printed = self.paste(step.commands)
                try:
                    answer = json.loads(printed)
                except ValueError:
                    self.fail(f"{title}: no JSON in {printed!r} of {step.commands}")
                self.assert_like(answer, step.answer, f"{title}: {step.commands}")
