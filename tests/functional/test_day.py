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
    r"^```shell\n(?P<commands>(?:(?!```).*\n)+)```\n\n```(?:json|text)\n(?P<answer>(?:(?!```).*\n)+)```$", re.MULTILINE
)
VARYING: Final = {"after", "at", "complete_since", "etag", "request_id", "until"}
"""Fields whose values are of the moment: that they are there is enough."""


class Step(NamedTuple):
    """Commands, and what they print."""

    commands: str
    answer: str


def situations() -> dict[str, list[Step]]:
    """Return the steps of each situation, by its title."""
    text = (DOCS / "day.md").read_text(encoding="utf-8")
    titles = list(_SITUATION.finditer(text))
    ends = [*(found.start() for found in titles[1:]), text.index("\n## ", titles[-1].end())]
    return {
        found["title"]: [Step(step["commands"], step["answer"]) for step in _STEP.finditer(text, found.end(), end)]
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
        options = ("--cluster=simulated", "--temporary-store=default/temporary-counts")
        self.daemon = Daemon(folder, *options, server=self.pair, client_ca=self.pair.certificate)
        self.addCleanup(self.daemon.close)
        self.daemon.wait_until_ready()

    def paste(self, steps: list[Step]) -> list[str]:
        """Run steps in one shell whose `sre` and `$SRE` are those of the page, and return what each of them prints."""
        pair = f"--cert {self.pair.certificate} --key {self.pair.key} --cacert {self.pair.certificate}"
        script = [f'sre() {{ curl -sS {pair} "$@"; }}', f"SRE=https://localhost:{self.daemon.port}"]
        for step in steps:
            script += [step.commands, "printf '\\036'"]
        ended = subprocess.run(
            ["sh", "-c", "\n".join(script)], cwd=self.folder, capture_output=True, text=True, timeout=180, check=True
        )
        self.assertEqual(ended.stderr, "")
        return ended.stdout.split("\036")[:-1]

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
        self.assertEqual((len(found), [title for title, steps in found.items() if not steps]), (10, []))
        for title, steps in found.items():
            for step, printed in zip(steps, self.paste(steps), strict=True):
                where = f"{title}: {step.commands}"
                if step.answer.startswith("{"):
                    self.assert_like(json.loads(printed), json.loads(step.answer), where)
                else:
                    self.assert_like(printed, step.answer, where)
