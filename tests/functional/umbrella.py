"""The chart as a part of others: many times in one, each time with other values, which one run of helm renders."""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.functional.helm import CHART, KUBERNETES, RELEASE, Document, Loader, Values, run_helm

Rendered = dict[str, list[Document]]


def write_umbrella(folder: Path, values: Values, *dependencies: Mapping[str, Any]) -> Path:
    """Write a chart that depends on this one, once for each mapping of more fields, and has these values."""
    chart = folder / "umbrella"
    shutil.copytree(CHART, chart / "charts/sre-server")
    named = [{"name": "sre-server", "version": "0.1.0", **more} for more in dependencies]
    about = {"apiVersion": "v2", "name": "umbrella", "version": "1.0.0", "dependencies": named}
    (chart / "Chart.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    (chart / "values.yaml").write_text(yaml.safe_dump(dict(values)), encoding="utf-8")
    return chart


def render_each(cases: Mapping[str, Values]) -> tuple[Rendered, dict[str, str]]:
    """Return, by their names, the objects of each case that helm renders, and what it says to each that it refuses."""
    aliases = {f"case-{number:04}": name for number, name in enumerate(cases)}
    refused: dict[str, str] = {}
    while True:
        left = {alias: name for alias, name in aliases.items() if name not in refused}
        with tempfile.TemporaryDirectory() as folder:
            values = {alias: dict(cases[name]) for alias, name in left.items()}
            chart = write_umbrella(Path(folder), values, *({"alias": alias} for alias in left))
            done = run_helm("template", {}, RELEASE, KUBERNETES, chart=chart)
        if done.returncode == 0:
            return {left[alias]: found for alias, found in documents_of(done.stdout).items()}, refused
        told = dict(_refusals(done.stderr))
        if not told:
            raise AssertionError(done.stderr)
        refused |= {aliases[alias]: said for alias, said in told.items()}


def _refusals(said: str) -> list[tuple[str, str]]:
    """Return which cases helm names: all that the schema refuses, or the one at which a template ends."""
    by_schema = re.findall(r"^(case-\d+):\n((?:[ -].*\n)+)", said, re.MULTILINE)
    return by_schema or [(alias, said) for alias in re.findall(r"umbrella/charts/(case-\d+)/", said)[:1]]


def documents_of(manifest: str) -> Rendered:
    """Return the objects of each dependency; in those of a case, its alias is replaced by the chart's own name."""
    found: Rendered = {}
    for text in re.split(r"^---\n", manifest, flags=re.MULTILINE):
        if source := re.match(r"# Source: umbrella/charts/([^/]+)/\S+\n", text):
            alias = source[1]
            own = "sre-server" if alias.startswith("case-") else alias
            document = json.loads(_parsed(text[source.end() :].replace(alias, own)))
            if document:
                found.setdefault(alias, []).append(document)
    return found


@cache
def _parsed(text: str) -> str:
    """Parse a document, once for all cases that have the same."""
    return json.dumps(next(yaml.load_all(text, Loader), None))
