"""The private parts of Twisted's channel that ours needs, and which releases of Twisted have them."""

import ast
import inspect
import re
from importlib.metadata import requires, version

from packaging.requirements import Requirement
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPChannel

from sre_server.web import channel, twisted_channel
from sre_server.web.twisted_channel import PRIVATE

TRIED = ("26.10",)
"""The releases of Twisted that these tests have passed on; the next one is tried before setup.py admits it."""


class PrivatePartsTests(SynchronousTestCase):
    """What the adapter takes for granted."""

    def test_they_are_there(self) -> None:
        """Twisted's channel, or the parser below it, has each name."""
        source = inspect.getsource(HTTPChannel) + inspect.getsource(LineReceiver)
        missing = [name for name in PRIVATE if not re.search(rf"\b{name}\b", source)]
        self.assertEqual(missing, [])

    def test_releases(self) -> None:
        """The Twisted that is installed has been tried, and setup.py refuses those of another year."""
        self.assertIn(".".join(version("twisted").split(".")[:2]), TRIED)
        (twisted,) = [each for each in map(Requirement, requires("sre-server") or ()) if each.name == "twisted"]
        year = max(int(tried.split(".")[0]) for tried in TRIED)
        self.assertTrue(all(twisted.specifier.contains(tried) for tried in TRIED))
        self.assertFalse(twisted.specifier.contains(f"{year + 1}.1"))

    def test_they_are_named_once(self) -> None:
        """`PRIVATE` is what the adapter uses, and the channel itself uses none of them."""

        def used(module: object) -> set[str]:
            tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]  # a module
            names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            strings = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
            return {name for name in PRIVATE if name in names | strings}

        self.assertEqual(used(twisted_channel), set(PRIVATE))
        self.assertEqual(used(channel), set())
