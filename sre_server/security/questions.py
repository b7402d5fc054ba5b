"""What the cluster is asked about a client: SubjectAccessReviews."""

from typing import Protocol

from msgspec import Struct
from twisted.internet.defer import Deferred

from sre_server.security.authorization import Verb
from sre_server.security.identity import Identity

Client = tuple[str, tuple[str, ...]]


class Question(Struct, frozen=True):
    """One SubjectAccessReview; None for a namespace means all of them, None for a name any."""

    user: str
    groups: tuple[str, ...]
    verb: Verb
    namespace: str | None
    name: str | None

    @property
    def client(self) -> Client:
        """Whom it is about."""
        return self.user, self.groups

    def __str__(self) -> str:
        """Say what is asked, as a rule of RBAC would."""
        what = "get deployments" if self.verb is Verb.READ else "patch deployments/scale"
        return f"{what} in {self.namespace or 'all namespaces'}"


def review_spec(question: Question) -> dict[str, object]:
    """Return the question as the spec of a SubjectAccessReview (authorization.k8s.io/v1).

    Whoever is known is in the group `system:authenticated`, as everywhere in Kubernetes.
    """
    attributes = {
        "group": "apps",
        "resource": "deployments",
        "verb": "get" if question.verb is Verb.READ else "patch",
        "subresource": "" if question.verb is Verb.READ else "scale",
        "namespace": question.namespace or "",
        "name": question.name or "",
    }
    return {
        "user": question.user,
        "groups": [*question.groups, "system:authenticated"],
        "resourceAttributes": attributes,
    }


class Review(Protocol):
    """Asks the cluster; fires with its yes or no, or fails with Unavailable."""

    def __call__(self, question: Question, *, for_write: bool) -> Deferred[bool]:
        """Ask a question, of which `for_write` tells whether a write waits for its answer."""


def about(identity: Identity, *namespaces: str | None) -> list[Question]:
    """Return what to ask of reads in whole namespaces; None is all of them."""
    return [Question(identity.name, identity.groups, Verb.READ, namespace, None) for namespace in namespaces]
