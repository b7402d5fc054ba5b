"""The rules of docs/architecture.md, read from the source: who may import whom, and what every definition has."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

import sre_server

ROOT = Path(sre_server.__file__).parent
MAX_LINES = 400
_PURE = {"model", "news", "texts", "errors"}
_INNER = {*_PURE, "telemetry"}
BELOW: dict[str, set[str]] = {
    "errors": set(),
    "texts": set(),
    "model": _PURE,
    "news": _PURE,
    "telemetry": _PURE,
    "freshness": _PURE,
    "unheard": _PURE,
    "cache": {*_PURE, "freshness", "unheard"},
    "cluster": _INNER,
    "security": _INNER,
    "web": {*_INNER, "security"},
    "day": {*_INNER, "cache"},
    "api": {*_INNER, "cache", "day", "security", "web"},
    "store": _INNER,
    "daemon": {*_INNER, "cache", "cluster", "day", "security", "store", "web", "api", "simulator"},
    "tap": {*_INNER, "cache", "cluster", "day", "security", "store", "web", "api", "daemon"},
}
"""What each room may import of the others; the simulator and the synthetic query are strangers to all."""


class Imported(NamedTuple):
    """One name that a module imports, and the functions around the import."""

    module: str
    name: str
    inside: tuple[str, ...]


class Module:
    """One file of the package, parsed."""

    def __init__(self, path: Path) -> None:
        self.name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        self.room = self.name.removeprefix("sre_server").strip(".").split(".")[0]
        self.lines = path.read_text().splitlines()
        self.tree = ast.parse("\n".join(self.lines))
        self.imports = list(_imports(self.tree, ()))

    def imports_any(self, *prefixes: str) -> list[str]:
        """What the module imports of some packages or modules, wherever the import stands."""
        return [
            dotted
            for module, name, _ in self.imports
            for dotted in (f"{module}.{name}".removeprefix("."),)
            if any(f"{dotted}.".startswith(f"{prefix}.") for prefix in prefixes)
        ]

    def needs(self, modules: Iterable["Module"]) -> set[str]:
        """Name the modules of ours that it imports, wherever the import stands."""
        names = {module.name for module in modules}
        dotted = {(found.module, f"{found.module}.{found.name}".removeprefix(".")) for found in self.imports}
        return {whole if whole in names else module for module, whole in dotted if {whole, module} & names} - {
            "sre_server"
        }


def _circle(needs: Mapping[str, set[str]]) -> list[str]:
    """Return the modules of one circle, the first of them again at its end; nothing if there is none."""
    try:
        tuple(TopologicalSorter(needs).static_order())
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def _imports(node: ast.AST, inside: tuple[str, ...]) -> Iterator[Imported]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                module, _, name = alias.name.rpartition(".")
                yield Imported(module, name, inside)
        elif isinstance(child, ast.ImportFrom):
            if child.level:
                raise AssertionError("imports are absolute, so that they can be read")
            for alias in child.names:
                yield Imported(child.module or "", alias.name, inside)
        else:
            function = [child.name] if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else []
            yield from _imports(child, (*inside, *function))


def _undocumented(node: ast.AST, path: str) -> Iterator[str]:
    """Name the module, the public classes and the public functions that have no docstring."""
    if not ast.get_docstring(node):  # type: ignore[arg-type]  # modules, classes and functions only
        yield path
    for child in ast.iter_child_nodes(node) if isinstance(node, ast.Module | ast.ClassDef) else ():
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not child.name.startswith("_"):
            yield from _undocumented(child, f"{path}.{child.name}")


@cache
def package() -> list[Module]:
    """Parse the package, once for all tests."""
    return [Module(path) for path in sorted(ROOT.rglob("*.py"))]


class ArchitectureTests(SynchronousTestCase):
    """Imports point one way."""

    def setUp(self) -> None:
        """Parse the package."""
        self.modules = package()

    def assert_never(self, rooms: set[str], *prefixes: str, allowed: bool = False) -> None:
        """Check that the modules of some rooms (or, with `allowed`, of all others) import nothing of some packages."""
        broken = {
            module.name: found
            for module in self.modules
            if (module.room in rooms) is not allowed
            for found in [module.imports_any(*prefixes)]
            if found
        }
        self.assertEqual(broken, {})

    def test_there_is_something_to_read(self) -> None:
        """Every room is there, so that no rule holds for want of modules."""
        rooms = {module.room for module in self.modules}
        expected = {"api", "cache", "cluster", "daemon", "errors", "model", "security", "store", "telemetry", "web"}
        self.assertEqual((expected | {"simulator", "synthetic", "tap", ""}) - rooms, set())

    def test_no_circles(self) -> None:
        """No module needs itself by way of others, not even for the sake of types."""
        needs = {module.name: module.needs(self.modules) for module in self.modules}
        self.assertEqual(_circle(needs), [])

    def test_circles_are_found(self) -> None:
        """A circle is told as the modules that it goes through."""
        self.assertEqual(_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}), ["b", "c", "b"])
        self.assertEqual(_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}), [])

    def test_imports_point_one_way(self) -> None:
        """A room imports of the rooms below it, and of those only: see `BELOW`."""
        broken = [
            f"{module.name} needs {needed}"
            for module in self.modules
            if module.room in BELOW
            for needed in sorted(module.needs(self.modules))
            if needed.split(".")[1] not in {*BELOW[module.room], module.room}
        ]
        self.assertEqual(broken, [])
        rooms = {module.room for module in self.modules} - {""}
        self.assertEqual(rooms - BELOW.keys(), {"simulator", "synthetic"})

    def test_the_model_is_pure(self) -> None:
        """What is known, and how well, is plain Python: no Twisted, no Kubernetes, no Klein."""
        self.assert_never({"model", "errors", "freshness", "unheard", "cache"}, "twisted", "kubernetes", "klein")

    def test_the_api_never_touches_a_channel(self) -> None:
        """Connections are web/'s business: api/ asks a request, or a `Connection`."""
        self.assert_never({"api"}, "sre_server.web.channel", "sre_server.web.twisted_channel")
        touched = {
            module.name
            for module in self.modules
            for node in ast.walk(module.tree)
            if module.room == "api" and isinstance(node, ast.Attribute) and node.attr == "channel"
        }
        self.assertEqual(touched, set())

    def test_each_room_is_made_by_one_factory(self) -> None:
        """`tap` composes: of the rooms that have a factory it takes nothing that the factory makes."""
        factories = [module.name for module in self.modules if module.name.endswith(".factory")]
        (tap,) = [module for module in self.modules if module.name == "sre_server.tap"]
        self.assertEqual(set(factories) - tap.needs(self.modules), set())

    def test_the_simulator_is_a_stranger(self) -> None:
        """The simulated cluster shares no line with the product that is tested against it; only `daemon` starts it."""
        self.assert_never({"simulator"}, *(f"sre_server.{name}" for name in ("api", "cache", "cluster", "model")))
        self.assert_never({"simulator", "daemon"}, "sre_server.simulator", allowed=True)

    def test_the_synthetic_query_is_a_stranger(self) -> None:
        """It shares no line with the server that it asks, nor anything that would make its start slow."""
        ours = {module.name for module in self.modules if module.room not in ("", "synthetic")}
        self.assert_never({"synthetic"}, *ours, "twisted", "kubernetes", "klein", "OpenSSL", "cryptography", "msgspec")
        self.assert_never({"synthetic"}, "sre_server.synthetic", allowed=True)

    def test_kubernetes_is_imported_in_one_room(self) -> None:
        """The client and its HTTP library are the cluster's business."""
        self.assert_never({"cluster"}, "kubernetes", "urllib3", allowed=True)

    def test_redis_is_imported_in_one_room(self) -> None:
        """redis-py is an extra: whoever shares no cache starts without it."""
        self.assert_never({"store"}, "redis", allowed=True)

    def test_klein_is_imported_in_two_rooms(self) -> None:
        """Klein and werkzeug belong to those who speak HTTP."""
        self.assert_never({"api", "simulator"}, "klein", "werkzeug", allowed=True)

    def test_the_global_reactor(self) -> None:
        """It is imported where twistd has chosen one, inside `makeService`, or by the simulator's own main."""
        places = {
            (module.name, found.inside)
            for module in self.modules
            for found in module.imports
            if f"{found.module}.{found.name}.".startswith("twisted.internet.reactor.")
            and module.name != "sre_server.simulator.__main__"
        }
        self.assertEqual(places, {("sre_server.tap", ("makeService",))})

    def test_the_simulator_is_loaded_only_when_it_is_asked_for(self) -> None:
        """Production does not import it: `daemon.clusters` does so inside a function."""
        clusters = next(module for module in self.modules if module.name == "sre_server.daemon.clusters")
        inside = [found.inside for found in clusters.imports if found.module.startswith("sre_server.simulator")]
        self.assertTrue(inside)
        self.assertNotIn((), inside)

    def test_the_page_has_every_room(self) -> None:
        """docs/architecture.md says what every module and folder of the package is for."""
        page = (Path(__file__).parents[1] / "docs/architecture.md").read_text(encoding="utf-8")
        rooms = {path.name for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
        named = {name.rstrip("/") for name in re.findall(r"`([\w/.]+)`", page)}
        self.assertEqual(rooms - named - {"__init__.py"}, set())

    def test_every_room_names_its_modules(self) -> None:
        """The docstring of each folder says what each module in it is for."""
        for room in sorted(path.parent for path in ROOT.glob("*/__init__.py")):
            told = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))) or ""
            modules = {path.stem for path in room.glob("*.py")} - {"__init__", "__main__"}
            self.assertEqual(modules - set(re.findall(r"`(\w+)`", told)), set(), room.name)

    def test_modules_are_short(self) -> None:
        """No module is longer than can be read at once."""
        lengths = {module.name: len(module.lines) for module in self.modules}
        self.assertEqual({name: length for name, length in lengths.items() if length > MAX_LINES}, {})

    def test_everything_public_is_documented(self) -> None:
        """Every module, and every class and function with a public name, says what it is for."""
        missing = [path for module in self.modules for path in _undocumented(module.tree, module.name)]
        self.assertEqual(missing, [])

    def test_every_page_that_is_named_is_there(self) -> None:
        """Docstrings and comments name no page, and no file of docs/ or tests/, that this repository does not have."""
        named = re.compile(r"(?<![\w./-])(?:[\w./-]*\w\.md\b|(?:docs|tests)/[\w./-]*\w)")
        found = {name for module in self.modules for name in named.findall("\n".join(module.lines))}
        self.assertTrue(found)
        self.assertEqual({name for name in found if not (ROOT.parent / name).exists()}, set())
