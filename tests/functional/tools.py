"""Programs of others that tests use, each in an environment of its own: `make tools` installs them."""

import os
import shutil
from pathlib import Path
from unittest import SkipTest

CHECKOUT = Path(__file__).parents[2]


def find_tool(name: str) -> Path:
    """Return where a tool is: as `make tools` installs it, on the PATH, or where TOOL_NAME says; raises SkipTest."""
    variable = name.upper().replace("-", "_")
    installed = CHECKOUT / f".venv-{name}/bin/{name}"
    found = os.environ.get(variable) or (installed if installed.exists() else shutil.which(name))
    if not found:
        raise SkipTest(f"no {name}; `make tools` installs one, or name yours with {variable}=...")
    return Path(found)
