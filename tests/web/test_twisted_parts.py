"""The private parts of Twisted's channel that ours needs, and which releases of Twisted have them."""

import ast
import inspect
import re
from collections.abc import Sequence
from importlib.metadata import requires, version
from types import ModuleType

from packaging.requirements import Requirement
from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.protocols import tls
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http import HTTPChannel

from sre_server.web import bounded, channel, transport, twisted_channel, twisted_tcp, twisted_tls

TRIED = ("26.10",)
"""The releases of Twisted that these tests have passed on; the next one is tried before setup.py admits it."""


class PrivatePartsTests(SynchronousTestCase):
    """What the adapter takes for granted."""

    def test_they_are_there(self) -> None:
        """Twisted's channel and its TLS, or what they are made of, have each name."""
        adapters: list[tuple[Sequence[str], list[ModuleType | type]]] = [
            (twisted_channel.PRIVATE, [HTTPChannel, LineReceiver]),
            (twisted_tls.PRIVATE, [tls]),
            (twisted_tcp.PRIVATE, [FileDescriptor, tcp]),
        ]
        for private, parts in adapters:
            source = "".join(map(inspect.getsource, parts))
            self.assertEqual([name for name in private if not re.search(rf"\b{name}\b", source)], [])

    def test_releases(self) -> None:
        """The Twisted that is installed has been tried, and setup.py refuses those of another year."""
        self.assertIn(".".join(version("twisted").split(".")[:2]), TRIED)
        (twisted,) = [each for each in map(Requirement, requires("sre-server") or ()) if each.name == "twisted"]
        year = max(int(tried.split(".")[0]) for tried in TRIED)
        self.assertTrue(all(twisted.specifier.contains(tried) for tried in TRIED))
        self.assertFalse(twisted.specifier.contains(f"{year + 1}.1"))

    def test_they_are_named_once(self) -> None:
        """`PRIVATE` is what each adapter uses, and what stands on it uses none of them."""
        for adapter, user in (
            (twisted_channel, bounded),
            (twisted_channel, channel),
            (twisted_tls, transport),
            (twisted_tcp, transport),
        ):
            self.assertEqual(_used(adapter, adapter.PRIVATE), set(adapter.PRIVATE))
            self.assertEqual(_used(user, adapter.PRIVATE), set())


def _used(module: ModuleType, private: Sequence[str]) -> set[str]:
    """Name the private parts that a module touches, as attributes or by their names; its own list is neither."""
    tree = ast.parse(inspect.getsource(module))
    listed = [node for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Tuple)]
    own = {id(constant) for node in listed for constant in ast.walk(node)}
    nodes = [node for node in ast.walk(tree) if id(node) not in own]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return (attributes | functions | strings) & set(private)
