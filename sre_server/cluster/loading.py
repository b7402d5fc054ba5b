"""The `kubernetes` package without what its own `__init__` loads besides: two thirds of the time that it takes."""

import sys
from importlib.util import find_spec, module_from_spec


def load_sparingly() -> None:
    """Let submodules of `kubernetes` be imported one by one; nothing happens if it was imported already.

    The package as such imports its dynamic client, WebSockets, leader election and OAuth, for the sake of
    `kubernetes.watch` and the like being there as attributes. Here it is made known and not executed, so that
    `from kubernetes.client import Configuration` loads `kubernetes.client` and no more.
    """
    if "kubernetes" not in sys.modules and (spec := find_spec("kubernetes")) is not None:
        sys.modules.setdefault("kubernetes", module_from_spec(spec))
