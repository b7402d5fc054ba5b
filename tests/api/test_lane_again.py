"""Whole test modules once more, with a fast lane in their servers: their limits, their ambiguous requests, and all."""

from importlib import import_module
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.memory_server import MemoryServer

AGAIN: Final = (
    "api.test_routing",
    "api.test_audited_requests",
    "api.test_deployments",
    "api.test_gate",
    "api.test_gate_late",
    "api.test_gate_limits",
    "api.test_health",
    "api.test_namespaces",
    "api.test_permissions",
    "web.test_site",
    "web.test_site_ambiguity",
    "web.test_site_limits",
    "api.test_writing",
)


def _through_the_lane(tests: str) -> None:
    """Define the tests of a module once more, for servers that have a lane."""
    module = import_module(f"tests.{tests}")
    for name, case in vars(module).items():
        if isinstance(case, type) and issubclass(case, SynchronousTestCase) and case.__module__ == module.__name__:
            again = type(f"{tests.replace('.', '_')}_{name}", (_WithLane, case), {"__module__": __name__})
            globals()[again.__name__] = again


class _WithLane(SynchronousTestCase):
    """Servers have a lane. This has no tests of its own."""

    def setUp(self) -> None:
        """Give every server one."""
        self.patch(MemoryServer, "has_lane", True)
        super().setUp()


for _tests in AGAIN:
    _through_the_lane(_tests)
