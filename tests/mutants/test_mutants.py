"""What is mutated, and which mutants are tried."""

import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.mutants.__main__ import sampled

ROOT = Path(__file__).parents[2]


class MutantsTests(SynchronousTestCase):
    """A sample of the mutants of modules that are there."""

    def test_every_module_is_there(self) -> None:
        """A module that got another name is not left out in silence."""
        settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
        for pattern in settings["only_mutate"] + settings["do_not_mutate"]:
            self.assertTrue(list(ROOT.glob(pattern)), pattern)
        left_out = [
            each.partition("=")[2].partition("::")[0] for each in settings["pytest_add_cli_args_test_selection"][1:]
        ]
        self.assertEqual([path for path in left_out if not (ROOT / path).exists()], [])

    def test_samples(self) -> None:
        """The same seed chooses the same mutants, in whichever order they are told; another one others."""
        names = [f"mutant_{number}" for number in range(1000)]
        chosen = sampled(names, 50, 1)
        self.assertEqual(len(set(chosen)), 50)
        self.assertEqual(sampled(names[::-1], 50, 1), chosen)
        self.assertNotEqual(sampled(names, 50, 2), chosen)
        self.assertEqual(sorted(sampled(names[:9], 50, 1)), names[:9])
