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

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from sre_server.security.authorization import EVERY, Decision, Named, Tree, Verb
from sre_server.security.documents import DocumentError, load
from sre_server.security.identity import MAX_SPIFFE_ID, Identity

Glob = Annotated[str, Meta(min_length=1, max_length=MAX_SPIFFE_ID)]
_EVERYTHING: Final[tuple[Glob, ...]] = ("*",)
_CACHED_DECISIONS: Final = 65_536


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


class PolicyDocument(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a policy file."""

    rules: tuple[Rule, ...]


def _matches(text: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(text, glob) for glob in globs)


def load_policy(path: Path) -> PolicyDocument:
    """Read a policy file; raises DocumentError with the line of the mistake."""
    document = load(path, PolicyDocument)
    for number, rule in enumerate(document.rules, start=1):
        if not rule.identities and not rule.groups:
            raise DocumentError(f"{path}: rule {number} names neither identities nor groups, so it is about nobody")
    return document


class Policy:
    """Decides by the rules of a document, which may be replaced at any time."""

    def __init__(self, document: PolicyDocument) -> None:
        self.replace(document)

    def replace(self, document: PolicyDocument) -> None:
        """Decide by this document from now on."""
        rules = document.rules

        @lru_cache(_CACHED_DECISIONS)
        def decide(identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
            for number, rule in enumerate(rules, start=1):
                if rule.is_about(identity, verb, namespace) and _matches(name, rule.names):
                    return Decision(rule.effect == "allow", f"rule {number} of the policy ({rule.effect})")
            return Decision(allowed=False, rule="no rule of the policy allows it")

        @lru_cache(_CACHED_DECISIONS)
        def reads_all(identity: Identity, namespace: str | None) -> bool:
            for rule in rules:
                if "*" in rule.names and (namespace is not None or "*" in rule.namespaces):
                    if rule.is_about(identity, Verb.READ, namespace or EVERY):
                        return rule.effect == "allow"
                elif rule.effect == "deny" and rule.speaks_to(identity, Verb.READ):
                    return False
            return False

        self._rules = rules
        self._decide: Callable[[Identity, Verb, str, str], Decision] = decide
        self._reads_all: Callable[[Identity, str | None], bool] = reads_all

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
        """See `Authorizer.decide`."""
        return self._decide(identity, verb, namespace, name)

    def preview(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
        """See `Authorizer.preview`."""
        return self._decide(identity, verb, namespace, name)

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """See `Authorizer.known_to_read`."""
        return self._decide(identity, Verb.READ, namespace, name).allowed

    def known_to_read_all(self, identity: Identity, namespace: str | None) -> bool:
        """See `Authorizer.known_to_read_all`; also False where each namespace would have to be looked at."""
        return self._reads_all(identity, namespace)

    def readable(self, identity: Identity, tree: Tree[Named]) -> Tree[Named]:
        """See `Authorizer.readable`."""
        readable = {}
        for namespace, by_name in tree.items():
            about = [rule for rule in self._rules if rule.is_about(identity, Verb.READ, namespace)]
            first_for_all = next((rule for rule in about if "*" in rule.names), None)
            if first_for_all is not None:
                del about[about.index(first_for_all) + 1 :]  # nothing after it decides on anything
            if about and about[0] is first_for_all:
                if first_for_all.effect == "allow":
                    readable[namespace] = by_name
            elif any(rule.effect == "allow" for rule in about):
                names = (name for name in by_name if self.decide(identity, Verb.READ, namespace, name).allowed)
                readable[namespace] = {name: by_name[name] for name in names}
        return readable


class PolicyFile:
    """A policy that can be read from its file again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.policy = Policy(load_policy(path))

    def reload(self) -> None:
        """Read the file again; raises DocumentError, changing nothing."""
        self.policy.replace(load_policy(self._path))
