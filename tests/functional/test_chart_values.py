"""Values as people write them: emptied, text that reads as something else, and large numbers."""

import json
import re
from collections.abc import Iterator
from functools import cache, reduce
from typing import Any, Final

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tests.chart_readme import values
from tests.functional.helm import CHART, MODES, Document, Values
from tests.functional.manifests import faults
from tests.functional.umbrella import Rendered, render_each

Path = tuple[str, ...]

VALUES: Final = (CHART / "values.yaml").read_text(encoding="utf-8")
DEFAULTS: Final = yaml.safe_load(VALUES)
NAMES: Final[dict[str, Any]] = {"fullnameOverride": "front", "nameOverride": "door"}
# What one pod can have all at once; and what it has in place of that, for the keys that only then matter.
RICH: Final = (
    *("guardrails", "namespaces", "cert-manager, own issuer", "percent unavailable", "network policy, narrow"),
    *("service monitor", "load balancer", "image", "extras", "autoscaling", "shared cache"),
)
OTHERS: Final = ("policy", "cert-manager", "pod monitor", "rules and dashboard", "another cluster")
ONLY_IN_OTHERS: Final = {"cluster", "policy", "podMonitor", "prometheusRule", "dashboard", "resources"}
WORD: Final = "zebra"
LOOKALIKES: Final = ("40167", "yes", 'it\'s: "#1"')
LARGE: Final = 3_000_000
# These are meant to be said aloud: empty would switch them off, so a key without a value is refused.
EXPLICIT: Final = {("server", "auditLog")}
# Text there is a whole manifest.
MANIFESTS: Final = ("extraObjects",)


def paths(inside: Values, above: Path = ()) -> Iterator[Path]:
    """Yield every key, at every depth."""
    for key, value in inside.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths(value, (*above, key))


def default(path: Path) -> Any:
    """Return what the chart says there."""
    found = DEFAULTS
    for key in path:
        found = found[key]
    return found


def merged(below: Values, above: Values) -> dict[str, Any]:
    """Return what helm makes of two files of values."""
    both = {**below, **above}
    inner = (
        key for key in below.keys() & above.keys() if isinstance(below[key], dict) and isinstance(above[key], dict)
    )
    return both | {key: merged(below[key], above[key]) for key in inner}


def base(path: Path) -> dict[str, Any]:
    """Return values under which the key at this path has an effect."""
    modes = OTHERS if path[0] in ONLY_IN_OTHERS else RICH
    return reduce(merged, (MODES[mode] for mode in modes), NAMES)


def changed(path: Path, value: Any) -> dict[str, Any]:
    """Return these values, with another one at the path."""
    for key in reversed(path):
        value = {key: value}
    return merged(base(path), value)


def dotted(path: Path) -> str:
    """Return the path as documentation writes it."""
    return ".".join(path)


@cache
def emptied() -> tuple[Rendered, dict[str, str]]:
    """Render the chart with each key emptied in turn."""
    return render_each({dotted(path): changed(path, None) for path in paths(DEFAULTS)})


class EmptyTests(SynchronousTestCase):
    """A key whose value was deleted, or commented out, is null, which helm takes for: not there at all."""

    def test_null(self) -> None:
        """Each key, emptied, gives objects that clusters take, or is refused by its name; never a template's panic."""
        rendered, refused = emptied()
        self.assertGreater(len(rendered), 140)
        for name, documents in rendered.items():
            self.assertEqual([fault for document in documents for fault in faults(document)], [], name)
        for name, said in refused.items():
            self.assertRegex(said, rf"\b{name.rpartition('.')[2]}\b", name)
            self.assertRegex(said, r"missing propert|is required|needs ", name)

    def test_as_empty(self) -> None:
        """Text or a list that is null is the same as an empty one, and refused where an empty one is."""
        documented = {tuple(value.path.split(".")): value.default for value in values(VALUES)}
        empties = {path: type(text)() for path, text in documented.items() if isinstance(text, str | list)}
        given, _ = render_each({dotted(path): changed(path, empty) for path, empty in empties.items()})
        nulls, _ = emptied()
        for name in map(dotted, empties.keys() - EXPLICIT):
            self.assertEqual(nulls.get(name), given.get(name), name)


class LookalikeTests(SynchronousTestCase):
    """Text is text, and a number is that number, whatever YAML could read it as."""

    def _cases(self, text: str) -> dict[str, Values]:
        shapes: dict[type, Any] = {str: text, list: [text], dict: {"key": text}}
        found: dict[str, Values] = {}
        for path in paths(DEFAULTS):
            if path[0] not in MANIFESTS and type(default(path)) in shapes:
                found[dotted(path)] = changed(path, shapes[type(default(path))])
        return found

    def test_text(self) -> None:
        """Where a word is a good value, so are a number in quotes, `yes`, and marks: the same objects come out."""

        def written(documents: list[Document]) -> str:
            return re.sub(r"-[0-9a-f]{8}\b|\b[0-9a-f]{64}\b", "#", json.dumps(documents, sort_keys=True))

        words, _ = render_each(self._cases(WORD))
        self.assertGreater(len(words), 80)
        for text in LOOKALIKES:
            rendered, _ = render_each({name: case for name, case in self._cases(text).items() if name in words})
            self.assertGreater(len(rendered), 60)
            for name, documents in rendered.items():
                expected = written(words[name]).replace(WORD, json.dumps(text)[1:-1])
                self.assertEqual(written(documents), expected, f"{name}: {text}")

    def test_numbers(self) -> None:
        """A large number stays a whole one; helm would write it as 3e+06."""
        whole = [path for path in paths(DEFAULTS) if type(default(path)) is int]
        rendered, _ = render_each({dotted(path): changed(path, LARGE) for path in whole})
        self.assertGreater(len(rendered), 15)
        for name, documents in rendered.items():
            self.assertNotIn("e+0", str(documents).replace("annotations", ""), name)
            self.assertEqual([fault for document in documents for fault in faults(document)], [], name)
