"""The seam to twistd: the plugin names our factory, and costs nothing until it is chosen."""

import ast
from pathlib import Path

from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sre_server import tap
from twisted.plugins import sre_server_plugin
from twisted.plugins.sre_server_plugin import sre_server as plugin


class PluginTests(SynchronousTestCase):
    """`twistd sre-server`."""

    def test_it_is_a_service_maker(self) -> None:
        """The dropin is a plugin and an `IServiceMaker`, under the name that operators type."""
        verifyObject(IServiceMaker, plugin)
        verifyObject(IPlugin, plugin)
        self.assertEqual(plugin.tapname, "sre-server")

    def test_it_makes_our_service(self) -> None:
        """Options and factory are those of `tap`."""
        self.assertIs(plugin.makeService, tap.makeService)
        self.assertIs(plugin.options, tap.Options)

    def test_it_imports_nothing_of_ours(self) -> None:
        """`twistd --help` loads every plugin file: this one imports Twisted's ServiceMaker and nothing else."""
        tree = ast.parse(Path(sre_server_plugin.__file__).read_text())
        imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        self.assertEqual(
            [ast.unparse(node) for node in imports], ["from twisted.application.service import ServiceMaker"]
        )
