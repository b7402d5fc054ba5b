"""Whole test modules once more, without a fast lane in their servers: both ways of a read keep the same promises."""

from functools import partialmethod
from importlib import import_module
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.memory_server import MemoryServer

AGAIN: Final = (
    "api.test_audited_requests",
    "api.test_deployments",
    "api.test_gate",
    "api.test_gate_late",
    "api.test_limiting",
    "api.test_namespaces",
    "api.test_routing",
    "web.test_site",
    "web.test_site_ambiguity",
    "web.test_site_limits",
)


def _without_the_lane(tests: str) -> None:
    """Define the tests of a module once more, for servers that have no lane."""
    module = import_module(f"tests.{tests}")
    for name, case in vars(module).items():
        if isinstance(case, type) and issubclass(case, SynchronousTestCase) and case.__module__ == module.__name__:
            again = type(f"{tests.replace('.', '_')}_{name}", (_WithoutLane, case), {"__module__": __name__})
            globals()[again.__name__] = again


class _WithoutLane(SynchronousTestCase):
    """Servers have no lane. This has no tests of its own."""

    def setUp(self) -> None:
        """Take it from every server."""
        self.patch(MemoryServer, "__init__", partialmethod(MemoryServer.__init__, lane=False))
        super().setUp()


for _tests in AGAIN:
    _without_the_lane(_tests)
