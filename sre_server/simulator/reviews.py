"""SubjectAccessReviews: may somebody do something? Rules that tests set decide, and only about these answers."""

import msgspec

from sre_server.simulator.kinds import DEPLOYMENTS, REVIEWS, Kind, Object

_ANY = "*"


class Rule(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who may, or may not, do what to which objects.

    Without `user` and `group` it is about everybody; with both, about that user in that group. `resource` is
    "deployments", "deployments/scale" or the like. A rule that names a namespace or an object does not meet a question
    about all of them; only "*" does.
    """

    user: str | None = None
    group: str | None = None
    verb: str = _ANY
    resource: str = _ANY
    namespace: str = _ANY
    name: str = _ANY
    allowed: bool = True


class _Attributes(msgspec.Struct):
    namespace: str = ""
    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""

    @property
    def qualified(self) -> str:
        """Return what a rule calls the resource: Deployments of another group than apps carry their group."""
        group = self.group if (self.resource, self.group) != (DEPLOYMENTS.plural, DEPLOYMENTS.group) else ""
        resource = f"{self.resource}.{group}" if group else self.resource
        return f"{resource}/{self.subresource}" if self.subresource else resource


class _Spec(msgspec.Struct, rename="camel"):
    resource_attributes: _Attributes
    user: str = ""
    groups: list[str] = []


class Reviews:
    """The rules, of which the first that meets a question answers it; without any set, everything is allowed."""

    def __init__(self) -> None:
        self.rules: list[Rule] | None = None

    def answered(self, review: Object, kind: Kind = REVIEWS) -> Object:
        """Return a review of this kind that a client wrote, with the answer in its status."""
        allowed, reason = self._decide(msgspec.convert(review.get("spec"), _Spec))
        status = {"allowed": allowed, "reason": reason}
        head = {"kind": kind.name, "apiVersion": kind.api_version, "metadata": {}}
        return {**head, "spec": review["spec"], "status": status}

    def _decide(self, spec: _Spec) -> tuple[bool, str]:
        if self.rules is None:
            return True, "the simulator allows everything"
        for number, rule in enumerate(self.rules, start=1):
            if _meets(rule, spec):
                return rule.allowed, f"rule {number} of the simulator decides"
        return False, "no rule of the simulator allows this"


def _meets(rule: Rule, spec: _Spec) -> bool:
    asked = spec.resource_attributes
    return (
        rule.user in (None, spec.user)
        and (rule.group is None or rule.group in spec.groups)
        and rule.verb in (_ANY, asked.verb)
        and rule.resource in (_ANY, asked.qualified)
        and rule.namespace in (_ANY, asked.namespace)
        and rule.name in (_ANY, asked.name)
    )
