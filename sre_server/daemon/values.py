"""What single options say: each of these reads the text that one was given, or raises UsageError, which names it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Final

from twisted.python.usage import UsageError

from sre_server.security.limits import RATE_RULE, Rate
from sre_server.security.limits import parse_rate as parse_limit
from sre_server.texts import is_deployment_name, is_namespace_name

_UNITS: Final = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def parse_number(option: str, given: str, read: Callable[[str], float], lowest: float, highest: float) -> float:
    """Read a number, with `int` or `float`, within bounds."""
    try:
        number = read(given)
    except ValueError:
        number = lowest - 1
    if not lowest <= number <= highest:
        raise UsageError(f"--{option} is a number from {lowest} to {highest}, not '{given}'")
    return number


def parse_duration(option: str, given: str) -> timedelta:
    """Read a time such as 7d."""
    number, unit = given[:-1], given[-1:]
    if unit not in _UNITS or not number.isdecimal() or len(number) > 9:
        raise UsageError(f"--{option} is a number with s, m, h or d, such as 7d, not '{given}'")
    return int(number) * _UNITS[unit]


def parse_rate(option: str, given: str) -> Rate:
    """Read how often something may be done, and how often at once."""
    try:
        return parse_limit(given)
    except ValueError:
        raise UsageError(f"--{option} is {RATE_RULE}, not '{given}'") from None


def parse_place(option: str, given: str) -> tuple[str, str]:
    """Read NAMESPACE/NAME."""
    namespace, _, name = given.partition("/")
    if not is_namespace_name(namespace) or not is_deployment_name(name):
        raise UsageError(f"--{option} is NAMESPACE/NAME, as Kubernetes has names, not '{given}'")
    return namespace, name


def absolute(path: str | None) -> Path | None:
    """Return a path that still holds when twistd has changed its directory."""
    return Path(path).absolute() if path else None
