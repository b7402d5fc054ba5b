"""`--authorization=policy:FILE`: rules in YAML.

    rules:
      - identities: ["spiffe://example.org/deployer"]
        verbs: [read, scale]
        namespaces: ["shop-*"]
      - groups: [sre]
        verbs: [read, scale]
      - identities: ["*"]
        effect: deny
        namespaces: [kube-system]
      - identities: ["*"]
        verbs: [read]

The first rule that matches decides. What no rule matches is denied.
"""

import re
from collections.abc import Callable, Collection, Iterator
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from sre_server.security.authorization import EVERYTHING, WHOLE, Decision, Extent, Verb, View
from sre_server.security.documents import Mistake, load
from sre_server.security.globs import mistakes_in_clients, mistakes_in_identities, mistakes_in_names
from sre_server.security.identity import MAX_SPIFFE_ID, Identity

Glob = Annotated[str, Meta(min_length=1, max_length=MAX_SPIFFE_ID)]
_EVERYTHING: Final[tuple[Glob, ...]] = ("*",)
_CACHED_DECISIONS: Final = 65_536
_CACHED_EXTENTS: Final = 131_072
_CACHED_VIEWS: Final = 1024
_PATTERN: Final = re.compile(r"[*?\[]")


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule: the clients that it covers, by identity or group, the Deployments, and whether it allows or denies."""

    identities: tuple[Glob, ...] = ()
    groups: tuple[Glob, ...] = ()
    verbs: Annotated[tuple[Literal["read", "scale"], ...], Meta(min_length=1)] = ("read", "scale")
    namespaces: tuple[Glob, ...] = _EVERYTHING
    names: tuple[Glob, ...] = _EVERYTHING
    effect: Literal["allow", "deny"] = "allow"

    def is_about(self, identity: Identity, verb: Verb, namespace: str) -> bool:
        """Tell whether the rule covers this client, this verb, and at least some names in this namespace."""
        return _matches(namespace, self.namespaces) and self.speaks_to(identity, verb)

    def speaks_to(self, identity: Identity, verb: Verb) -> bool:
        """Tell whether the rule covers this client and this verb in some namespace."""
        return verb.value in self.verbs and (
            _matches(identity.name, self.identities) or any(_matches(group, self.groups) for group in identity.groups)
        )

    def is_about_everything(self) -> bool:
        """Tell whether the rule is about all names in all namespaces."""
        return _are_all(self.namespaces) and _are_all(self.names)


class PolicyDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a policy file."""

    rules: tuple[Rule, ...]


def _matches(text: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


def _are_all(globs: tuple[str, ...]) -> bool:
    return any(not glob.strip("*") for glob in globs)


def load_policy(path: Path) -> PolicyDocument:
    """Read a policy file; raises DocumentError with the line of the mistake."""
    return load(path, PolicyDocument, _mistakes)


def _mistakes(document: PolicyDocument) -> Iterator[Mistake]:
    """Find rules that could never decide anything: nobody would notice."""
    decided: set[str] = set()
    for number, rule in enumerate(document.rules):
        path = f".rules[{number}]"
        if not rule.identities and not rule.groups:
            yield path, "names neither identities nor groups, so it is about nobody"
        yield from mistakes_in_clients(f"{path}.identities", rule.identities)
        yield from mistakes_in_identities(f"{path}.identities", rule.identities)
        yield from mistakes_in_clients(f"{path}.groups", rule.groups)
        yield from mistakes_in_names(path, rule.namespaces, rule.names)
        if decided.issuperset(rule.verbs):
            yield path, "never decides: a rule before it is about everybody and everything"
        if rule.is_about_everything() and _are_all(rule.identities):
            decided.update(rule.verbs)


class _PolicyView:
    """What clients may read to whom the same rules speak."""

    def __init__(self, rules: tuple[Rule, ...], extents: "_Extents") -> None:
        self._rules = rules
        self._extents = extents

    def extent(self, namespace: str) -> Extent | None:
        """See `View.extent`."""
        return self._extents.find(self, namespace)

    def in_force(self) -> bool:
        """See `View.in_force`."""
        return self._extents.in_force

    def about(self, namespace: str) -> tuple[Rule, ...]:
        """Return the rules that decide in this namespace."""
        return _until_all_names(tuple(rule for rule in self._rules if _matches(namespace, rule.namespaces)))


class _Extents:
    """What the views by one document show of namespaces; so many are remembered, of all views together."""

    def __init__(self) -> None:
        self.in_force = True
        self.find = lru_cache(_CACHED_EXTENTS)(self._find)
        self.by = lru_cache(_CACHED_VIEWS)(_extent_by)

    def _find(self, view: _PolicyView, namespace: str) -> Extent | None:
        return self.by(view.about(namespace))


def _extent_by(about: tuple[Rule, ...]) -> Extent | None:
    last = about[-1] if about else None
    told = last is not None and _are_all(last.names) and last.effect == "allow"
    if len(about) == 1 and told:
        return WHOLE
    if not any(rule.effect == "allow" for rule in about):
        return None
    return Extent(_by_name(about), told, None if told else _names_allowed(about))


def _until_all_names(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Leave out the rules after the first for all names, which decide on nothing."""
    first = next((number for number, rule in enumerate(rules) if _are_all(rule.names)), len(rules))
    return rules[: first + 1]


def _by_name(rules: tuple[Rule, ...]) -> Callable[[str], bool]:
    """Return what decides on a name by the first of these rules that matches it."""
    patterns = [re.compile("|".join(map(translate, rule.names))).match for rule in rules]
    steps = [(pattern, rule.effect == "allow") for pattern, rule in zip(patterns, rules, strict=True)]

    def allows(name: str) -> bool:
        return next((allowed for matches, allowed in steps if matches(name)), False)

    return allows


def _names_allowed(rules: tuple[Rule, ...]) -> frozenset[str] | None:
    """Return the names that the rules may allow, or None if one of them allows some by a pattern."""
    names = frozenset(name for rule in rules if rule.effect == "allow" for name in rule.names)
    return None if any(_PATTERN.search(name) for name in names) else names


class Policy:
    """Decides by the rules of a document, which may be replaced at any time."""

    def __init__(self, document: PolicyDocument) -> None:
        self._extents = _Extents()
        self.replace(document)

    def replace(self, document: PolicyDocument) -> None:
        """Decide by this document from now on."""
        rules, extents = document.rules, _Extents()

        @lru_cache(_CACHED_DECISIONS)
        def decide(identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
            for number, rule in enumerate(rules, start=1):
                if rule.is_about(identity, verb, namespace) and _matches(name, rule.names):
                    return _by_rule(number, rule)
            return Decision(allowed=False, rule="no rule of the policy allows it")

        @lru_cache(_CACHED_VIEWS)
        def view_by(numbers: tuple[int, ...]) -> View:
            about = tuple(rules[number] for number in numbers)
            first = next((rule for rule in about if rule.effect == "deny" or rule.is_about_everything()), None)
            return EVERYTHING if first is not None and first.effect == "allow" else _PolicyView(about, extents)

        @lru_cache(_CACHED_DECISIONS)
        def view_of(identity: Identity) -> View:
            return view_by(tuple(n for n, rule in enumerate(rules) if rule.speaks_to(identity, Verb.READ)))

        self._extents.in_force = False
        self._extents = extents
        self._rules = rules
        self._decide: Callable[[Identity, Verb, str, str], Decision] = decide
        self._view_of: Callable[[Identity], View] = view_of

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
        """See `Authorizer.decide`."""
        return self._decide(identity, verb, namespace, name)

    preview = decide

    def decide_on_everything(self, identity: Identity) -> Decision:
        """See `Authorizer.decide_on_everything`: a rule for everything allows it, and none before denies anything."""
        for number, rule in enumerate(self._rules, start=1):
            if rule.speaks_to(identity, Verb.READ) and (rule.effect == "deny" or rule.is_about_everything()):
                return _by_rule(number, rule)
        return Decision(allowed=False, rule="no rule of the policy allows it")

    def view(self, identity: Identity, namespaces: Collection[str]) -> View:
        """See `Authorizer.view`."""
        return self._view_of(identity)

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """See `Authorizer.known_to_read`."""
        return self._decide(identity, Verb.READ, namespace, name).allowed

    def known_view(self, identity: Identity, namespaces: Collection[str]) -> View:
        """See `Authorizer.known_view`."""
        return self._view_of(identity)


def _by_rule(number: int, rule: Rule) -> Decision:
    return Decision(rule.effect == "allow", f"rule {number} of the policy ({rule.effect})")


class PolicyFile:
    """A policy that can be read from its file again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.policy = Policy(load_policy(path))

    def reload(self) -> None:
        """Read the file again; raises DocumentError, changing nothing."""
        self.policy.replace(load_policy(self._path))
