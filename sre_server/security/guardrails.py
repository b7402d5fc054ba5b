"""Guardrails: bounds for every write, whoever makes it. Data, not code; see docs/security.md.

    maximum: 200
    largest_step: 50
    zero_needs_confirmation: true
    protected: [{namespaces: [kube-system, "*-prod"], names: [dns]}]
    autoscaler: refuse
    mass: {count: 10, minutes: 10}

What a Deployment says of itself counts too: the annotations `sre-server/min-replicas`, `sre-server/max-replicas` and
`sre-server/protected`.
"""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from sre_server.errors import GuardrailRefused
from sre_server.model import MAX_REPLICAS, Guards
from sre_server.security.documents import Mistake, load
from sre_server.security.globs import mistakes_in_names

SYSTEM_NAMESPACES: Final = ("kube-system", "kube-public", "kube-node-lease")
MIN_ANNOTATION: Final = "sre-server/min-replicas"
MAX_ANNOTATION: Final = "sre-server/max-replicas"
STEP: Final = "step"
"""The one rule that stands on how far it is from the count that there is."""
AUTOSCALER_SECONDS: Final = 15
"""How often an autoscaler looks, by default (--horizontal-pod-autoscaler-sync-period)."""
PROTECTED_ANNOTATION: Final = "sre-server/protected"
_COUNT: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
Count = Annotated[int, Meta(ge=0, le=MAX_REPLICAS)]
Mode = Literal["refuse", "warn", "off"] | bool
"""What becomes of a write that would not hold; to YAML, `off` is False."""


class Protected(Struct, frozen=True, forbid_unknown_fields=True):
    """Deployments that nobody scales through this server, by globs of their namespaces and names."""

    namespaces: tuple[str, ...] = ("*",)
    names: tuple[str, ...] = ("*",)

    def covers(self, namespace: str, name: str) -> bool:
        """Tell whether this Deployment is one of them."""
        in_namespaces = any(fnmatchcase(namespace, glob) for glob in self.namespaces)
        return in_namespaces and any(fnmatchcase(name, glob) for glob in self.names)

    def __str__(self) -> str:
        """Say it in words."""
        return f"{', '.join(self.names)} in {', '.join(self.namespaces)}"


CONFIRMATIONS: Final = frozenset({"zero", "step", "autoscaler", "mass"})
"""The rules that a client may overrule by saying that it means it."""


class Mass(Struct, frozen=True, forbid_unknown_fields=True):
    """More than `count` Deployments that one client stops within so many minutes are a mass."""

    count: Annotated[int, Meta(ge=1, le=1000)] = 10
    minutes: Annotated[int, Meta(ge=1, le=1440)] = 10

    @property
    def seconds(self) -> float:
        """The minutes, in seconds."""
        return 60.0 * self.minutes


class Guardrails(Struct, frozen=True, forbid_unknown_fields=True):
    """The document, and the built-in defaults of what it leaves out. Counts are replicas."""

    minimum: Count = 0
    maximum: Count = 1000
    largest_step: Annotated[int, Meta(ge=1)] | None = None
    zero_needs_confirmation: bool = False
    protected: tuple[Protected, ...] = (Protected(namespaces=SYSTEM_NAMESPACES),)
    autoscaler: Mode = "refuse"
    mass: Mass = Mass()

    def needs_count(self, replicas: int, confirmed: frozenset[str], stopped: int) -> bool:
        """Tell whether what a write may be depends on the count that there is now; see `Write`."""
        limits_step = self.largest_step is not None and "step" not in confirmed
        return limits_step or (replicas == 0 and stopped >= self.mass.count and "mass" not in confirmed)

    def check(self, write: "Write") -> None:
        """Raise GuardrailRefused, naming the rule and the way around it if there is one, unless the write passes."""
        own = write.guards
        for rule in self.protected:
            if rule.covers(write.namespace, write.name):
                raise GuardrailRefused(
                    "protected", f"{write} is refused: the guardrails protect {rule}, and nothing confirms that away."
                )
        if own.protected and own.protected.strip().lower() not in ("false", "no", "0"):
            raise _by_annotation("protected", write, f"its annotation {PROTECTED_ANNOTATION} protects it")
        minimum = _annotated(own.minimum, MIN_ANNOTATION, write)
        if minimum is not None and write.replicas < minimum:
            raise _by_annotation("minimum", write, f"its annotation {MIN_ANNOTATION} says {minimum}")
        maximum = _annotated(own.maximum, MAX_ANNOTATION, write)
        if maximum is not None and write.replicas > maximum:
            raise _by_annotation("maximum", write, f"its annotation {MAX_ANNOTATION} says {maximum}")
        self._check_range(write)
        self._check_confirmations(write)

    def _check_range(self, write: "Write") -> None:
        if write.replicas < self.minimum:
            raise GuardrailRefused("minimum", f"{write} is refused: the guardrails' minimum is {self.minimum}.")
        if write.replicas > self.maximum:
            raise GuardrailRefused("maximum", f"{write} is refused: the guardrails' maximum is {self.maximum}.")

    def _check_confirmations(self, write: "Write") -> None:
        if self.autoscaler == "refuse" and write.undone_by and "autoscaler" not in write.confirmed:
            raise GuardrailRefused(
                "autoscaler", f"{write} would not hold: {write.undone_by}; to do it, {write.repeated('autoscaler')}."
            )
        if write.replicas == 0 and self.zero_needs_confirmation and "zero" not in write.confirmed:
            raise GuardrailRefused("zero", f"{write} stops it altogether; to do that, {write.repeated('zero')}.")
        if self.largest_step is not None and write.current is not None and "step" not in write.confirmed:
            step = abs(write.replicas - write.current)
            if step > self.largest_step:
                what = f"{write} is a step of {step} from {write.current}, and the largest is {self.largest_step}"
                raise GuardrailRefused(STEP, f"{what}; to do it at once, {write.repeated('step')}.")
        if write.stops and write.stopped >= self.mass.count and "mass" not in write.confirmed:
            what = f"{write} stops one more, after {write.stopped} in {self.mass.minutes} minutes"
            raise GuardrailRefused("mass", f"{what}; if that is meant, {write.repeated('mass')}.")

    def warnings(self, write: "Write") -> list[str]:
        """Return what somebody should know of a write that passes."""
        if write.autoscaler is None or self.autoscaler in ("off", False):
            return []
        return [f"{write}: {write.undone_by or write.autoscaler.otherwise(write.replicas)}."]


class Bounds(Struct, frozen=True):
    """What an autoscaler holds a count in; `name` is for messages."""

    name: str
    minimum: int
    maximum: int

    def __str__(self) -> str:
        """Name it with its bounds."""
        return f"{self.name} ({self.minimum}..{self.maximum})"

    def undoes(self, replicas: int) -> str:
        """Say how it undoes this count, for certain: it heeds its bounds before any metric; empty if it may not.

        A count of 0 switches it off, and any other one on again.
        """
        held = min(max(replicas, self.minimum), self.maximum)
        if replicas in (0, held):
            return ""
        return f"{self} puts it back to {held} within about {AUTOSCALER_SECONDS} s"

    def may_move(self, replicas: int) -> bool:
        """Tell whether it may set another count than this one, that it does not undo for certain."""
        return self.minimum < self.maximum and (replicas > 0 or self.minimum == 0)

    def otherwise(self, replicas: int) -> str:
        """Say what it does of a count that it does not undo for certain."""
        if replicas == 0 and self.minimum:
            return f"{self} is off until somebody sets 1 or more"
        if not self.may_move(replicas):
            return f"{self} keeps it there"
        return f"{self} may change it, by its metrics"


class Write(Struct, frozen=True):
    """A count that somebody wants to set; `current` is the one that there is now, None where nobody needs to know.

    `stopped` is how many Deployments the same client has scaled to 0 lately, `autoscaler` what will hold the count in
    bounds, None where there is none or that is not known.
    """

    namespace: str
    name: str
    replicas: int
    current: int | None
    guards: Guards
    confirmed: frozenset[str]
    stopped: int = 0
    autoscaler: Bounds | None = None

    @property
    def undone_by(self) -> str:
        """How the autoscaler undoes it for certain; empty if it does not."""
        return self.autoscaler.undoes(self.replicas) if self.autoscaler else ""

    @property
    def stops(self) -> bool:
        """Whether it stops what runs, as far as is known."""
        return self.replicas == 0 and self.current != 0

    def repeated(self, rule: str) -> str:
        """Say how to send it again, past this rule, too."""
        query = "&".join(f"confirm={each}" for each in sorted({*self.confirmed, rule}))
        return f"repeat with '?{query}'"

    def __str__(self) -> str:
        """Name the write in a message."""
        return f"Scaling '{self.name}' in '{self.namespace}' to {self.replicas}"


def _annotated(text: str, annotation: str, write: Write) -> int | None:
    """Read a count from an annotation, None if there is none; raises GuardrailRefused for what is not a number."""
    if not text:
        return None
    if not _COUNT.fullmatch(text.strip()):
        raise _by_annotation("annotation", write, f"its annotation {annotation} is not a whole number")
    return int(text)


def _by_annotation(rule: str, write: Write, why: str) -> GuardrailRefused:
    return GuardrailRefused(rule, f"{write} is refused: {why}; change the annotation if that is meant.")


def load_guardrails(path: Path) -> Guardrails:
    """Read a guardrails file; raises DocumentError with the line of the mistake."""
    return load(path, Guardrails, _mistakes)


def _mistakes(rails: Guardrails) -> Iterator[Mistake]:
    if rails.minimum > rails.maximum:
        yield ".minimum", f"{rails.minimum} is more than the maximum, {rails.maximum}"
    if rails.autoscaler is True:
        yield ".autoscaler", "Expected 'refuse', 'warn' or 'off'"
    for number, rule in enumerate(rails.protected):
        yield from mistakes_in_names(f".protected[{number}]", rule.namespaces, rule.names)


class GuardrailsFile:
    """Guardrails that can be read from their file again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._current = load_guardrails(path)

    def __call__(self) -> Guardrails:
        """The guardrails of this moment."""
        return self._current

    def reload(self) -> None:
        """Read the file again; raises DocumentError, changing nothing."""
        self._current = load_guardrails(self._path)
