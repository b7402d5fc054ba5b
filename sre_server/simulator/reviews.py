"""SubjectAccessReviews: may somebody do something? Rules that tests set decide, and only about these answers."""

from collections.abc import Iterable
from typing import Any

import msgspec

from sre_server.simulator import validation
from sre_server.simulator.kinds import DEPLOYMENTS, REVIEWS, Object
from sre_server.simulator.statuses import Refusal, bad_request, invalid

_GROUPS = {DEPLOYMENTS.plural: DEPLOYMENTS.group}
_ANY = "*"


class Rule(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
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


class _ResourceAttributes(msgspec.Struct):
    namespace: str = ""
    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""

    @property
    def qualified(self) -> str:
        """Return what a rule calls the resource; one of another API group than usual carries the group."""
        usual = self.group == _GROUPS.get(self.resource, "")
        resource = self.resource if usual else f"{self.resource}.{self.group}"
        return f"{resource}/{self.subresource}" if self.subresource else resource


class _NonResourceAttributes(msgspec.Struct):
    path: str = ""
    verb: str = ""

    def as_resource(self) -> _ResourceAttributes:
        """Return the path as a resource of that name."""
        return _ResourceAttributes(verb=self.verb, resource=self.path)


class _Spec(msgspec.Struct, rename="camel"):
    user: str = ""
    groups: list[str] | None = None
    resource_attributes: _ResourceAttributes | None = None
    non_resource_attributes: _NonResourceAttributes | None = None


class Reviews:
    """The rules, and the answers they give; without rules everything is allowed, with rules what one allows."""

    def __init__(self) -> None:
        self._rules: list[Rule] | None = None

    @property
    def rules(self) -> list[Rule] | None:
        """Return the rules, in the order in which they are tried, or None if there are none and all is allowed."""
        return None if self._rules is None else list(self._rules)

    def replace(self, rules: Iterable[Rule]) -> None:
        """Decide by these rules from now on: the first that meets a question answers it; if none does, it is no."""
        self._rules = list(rules)

    def clear(self) -> None:
        """Allow everything again."""
        self._rules = None

    def answered(self, written: Object) -> Object:
        """Return a SubjectAccessReview that a client wrote, with the answer in its status."""
        validation.check_type(REVIEWS, written)
        metadata = written.get("metadata") or {}
        # Go clients send an empty one as {"creationTimestamp": null}.
        if not isinstance(metadata, dict) or any(metadata.values()):
            raise _invalid("metadata", "must be empty", metadata)
        spec = _spec(written.get("spec", {}))
        allowed, reason = self._decide(spec)
        return {
            "kind": REVIEWS.name,
            "apiVersion": REVIEWS.api_version,
            "metadata": {},
            "spec": written["spec"],
            "status": {"allowed": allowed, "reason": reason},
        }

    def _decide(self, spec: _Spec) -> tuple[bool, str]:
        if self._rules is None:
            return True, "the simulator allows everything"
        resource, other = spec.resource_attributes, spec.non_resource_attributes
        asked = resource or (other or _NonResourceAttributes()).as_resource()
        for number, rule in enumerate(self._rules, start=1):
            if _meets(rule, spec, asked):
                return rule.allowed, f"rule {number} of the simulator decides"
        return False, "no rule of the simulator allows this"


def _meets(rule: Rule, spec: _Spec, asked: _ResourceAttributes) -> bool:
    return (
        rule.user in (None, spec.user)
        and (rule.group is None or rule.group in (spec.groups or []))
        and rule.verb in (_ANY, asked.verb)
        and rule.resource in (_ANY, asked.qualified)
        and rule.namespace in (_ANY, asked.namespace)
        and rule.name in (_ANY, asked.name)
    )


def _spec(written: Any) -> _Spec:  # noqa: ANN401 - any JSON
    try:
        spec = msgspec.convert(written, _Spec)
    except msgspec.ValidationError as error:
        raise bad_request(f"SubjectAccessReview cannot be handled as a SubjectAccessReview: {error}") from error
    if spec.resource_attributes is None and spec.non_resource_attributes is None:
        problem = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        raise _invalid("spec.resourceAttributes", problem)
    if spec.resource_attributes is not None and spec.non_resource_attributes is not None:
        problem = "cannot be specified in combination with resourceAttributes"
        raise _invalid("spec.nonResourceAttributes", problem, written["nonResourceAttributes"])
    if not spec.user and not spec.groups:
        raise _invalid("spec.user", "at least one of user or group must be specified", "")
    return spec


def _invalid(field: str, problem: str, value: object = None) -> Refusal:
    shown = msgspec.json.encode(value).decode()
    return invalid(REVIEWS.group, REVIEWS.name, "", field, f"Invalid value: {shown}: {problem}")
