"""What a client may do: the interface of whoever decides that, and the simplest one, which allows everything."""

from collections.abc import Mapping
from enum import Enum
from typing import Final, Protocol, TypeVar

from msgspec import Struct
from twisted.internet.defer import Deferred

from sre_server.security.identity import Identity

EVERY: Final = "*"
"""Stands for every namespace, or every name, where a decision is asked for all of them at once."""

Named = TypeVar("Named")
Tree = Mapping[str, Mapping[str, Named]]
"""Things by namespace, then by name."""


class Verb(Enum):
    """The two things that a client can want with a Deployment."""

    READ = "read"
    SCALE = "scale"


class Decision(Struct, frozen=True):
    """Yes or no, and the rule that decided, in words for the client."""

    allowed: bool
    rule: str


class Authorizer(Protocol):
    """Decides; an answer that has to be fetched comes as a Deferred, and fails with Unavailable if it cannot be had."""

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision | Deferred[Decision]:
        """Decide on one Deployment, whether it exists or not; EVERY for both asks for all of them."""

    def preview(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision | Deferred[Decision]:
        """Tell what `decide` would say, for information: it may be some seconds old, so nothing is done on it."""

    def readable(self, identity: Identity, tree: Tree[Named]) -> Tree[Named] | Deferred[Tree[Named]]:
        """Return the part of the tree that the client may read, without the namespaces of which it may read nothing."""

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """Tell whether it is known by now, without asking anybody, that the client may READ this Deployment."""

    def known_to_read_all(self, identity: Identity, namespace: str | None) -> bool:
        """Tell whether it is known by now that `readable` would return all of a namespace, or of the tree for None."""


class AnyClient:
    """Every client that the CA vouches for may do everything."""

    _DECISION = Decision(allowed=True, rule="every client with a trusted certificate may do everything")

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
        """See `Authorizer.decide`."""
        return self._DECISION

    def preview(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
        """See `Authorizer.preview`."""
        return self._DECISION

    def readable(self, identity: Identity, tree: Tree[Named]) -> Tree[Named]:
        """See `Authorizer.readable`."""
        return tree

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """See `Authorizer.known_to_read`."""
        return self._DECISION.allowed

    def known_to_read_all(self, identity: Identity, namespace: str | None) -> bool:
        """See `Authorizer.known_to_read_all`."""
        return self._DECISION.allowed
