"""Have others' generators make clients of a document, and the programs that use them."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.controlplane.build import BuildError, GoMissingError
from tests.programs import ensure_program

GO_SOURCE = Path(__file__).parent / "go"
DAY = Path(__file__).parent / "day.py"
_SOURCES = ("go.mod", "go.sum", "main.go", "generate.yaml")


def _run(command: Sequence[str | Path], folder: Path, environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise GoMissingError(f"there is no {command[0]}") from None
    if done.returncode:
        raise BuildError(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")


def generate_python(generator: Path, document: Path, folder: Path) -> list[str]:
    """Make the package `sre_client` in a folder; return the command that spends a day with it.

    The generator's own interpreter has what the client needs. Raises BuildError if any of the client would be missing.
    """
    client, strict = folder / "sre_client", ("--fail-on-warning", "--overwrite", "--meta=none")
    configuration = folder / "generator.json"
    configuration.write_text('{"post_hooks": []}')
    options = [f"--path={document}", f"--output-path={client}", f"--config={configuration}"]
    _run([generator, "generate", *options, *strict], folder, os.environ)
    return ["env", f"PYTHONPATH={folder}", str(generator.with_name("python")), str(DAY)]


def generate_go(document: Path, folder: Path) -> list[str]:
    """Make the package `sre` beside its user in a folder; return the command that spends a day with it.

    Raises BuildError where it cannot be made, GoMissingError where there is no Go.
    """
    source = folder / "go"
    source.mkdir()
    for name in _SOURCES:
        shutil.copy(GO_SOURCE / name, source)
    (source / "sre").mkdir()
    tool = ["go", "tool", "oapi-codegen", "-config", "generate.yaml", str(document)]
    _run(tool, source, os.environ | {"GOWORK": "off", "GOFLAGS": "-mod=readonly"})
    return [str(ensure_program("clients", source, ("go.mod", "go.sum", "main.go", "sre/sre.go")))]
