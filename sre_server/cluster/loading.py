"""Importing parts of the `kubernetes` package without its `__init__`, which takes two thirds of the time."""

import sys
from importlib.util import find_spec, module_from_spec


def load_sparingly() -> None:
    """Let submodules of `kubernetes` be imported one by one; nothing happens if it was imported already.

    `kubernetes/__init__.py` imports its dynamic client, WebSockets, leader election and OAuth, only so that
    `kubernetes.watch` and the like exist as attributes. Here the package is put into `sys.modules` unexecuted, so that
    `from kubernetes.client import Configuration` imports `kubernetes.client` and no more.
    """
    if "kubernetes" not in sys.modules and (spec := find_spec("kubernetes")) is not None:
        sys.modules.setdefault("kubernetes", module_from_spec(spec))
