"""The simulator's own door for tests that run it as a process: /simulator/..., never faulty, never asked for a token.

- `GET`, `PUT`, `DELETE /simulator/faults`: `{"faults": [{"kind": "status", "code": 429, "retryAfter": 2}, ...]}`.
- `GET`, `PUT`, `DELETE /simulator/reviews`: `{"rules": [{"user": "ann", "verb": "get", "namespace": "shop"}, ...]}`,
  which decide SubjectAccessReviews; `{"rules": null}`, as at the start and after DELETE, allows everything.
- `GET`, `DELETE /simulator/requests`: the journal and the counts.
- `POST /simulator/compact`: forget all history.
- `POST /simulator/restore` `{"resourceVersion": "1234"}`: go back to an earlier version.
- `POST /simulator/unplug` `{"seconds": 3}`: listen no more, for a while.
"""

from typing import Protocol, TypeVar, cast

import msgspec
from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource

from sre_server.simulator.faults import Fault, Faults
from sre_server.simulator.journal import Recorded
from sre_server.simulator.reviews import Rule
from sre_server.simulator.statuses import Refusal, status
from sre_server.simulator.store import SimulatedCluster

Form = TypeVar("Form")

ANSWER_FIRST = 0.1


class Plug(Protocol):
    """What can be taken off the network for a while."""

    def unplug_for(self, seconds: float) -> None:
        """Refuse connections for a while."""


class FaultList(msgspec.Struct, forbid_unknown_fields=True):
    """The faults that are on, as they travel."""

    faults: list[Fault]


class RuleList(msgspec.Struct, forbid_unknown_fields=True):
    """The rules of the reviews, as they travel."""

    rules: list[Rule] | None


class RequestList(msgspec.Struct):
    """The journal, as it travels; counts are by "verb resource"."""

    requests: list[Recorded]
    counts: dict[str, int]


class _Restore(msgspec.Struct, rename="camel"):
    resource_version: str


class _Unplug(msgspec.Struct):
    seconds: float = 1.0


class ControlAPI:
    """Switches faults and shows the journal, over HTTP."""

    _app = Klein()

    def __init__(self, cluster: SimulatedCluster, faults: Faults, clock: IReactorTime, plug: Plug) -> None:
        self._cluster = cluster
        self._faults = faults
        self._clock = clock
        self._plug = plug

    def resource(self) -> IResource:
        """Return what stands below /simulator."""
        resource: IResource = self._app.resource()
        return resource

    @_app.route("/faults", methods=["GET"])
    def faults(self, request: IRequest) -> bytes:
        """Show the faults that are on."""
        return _json(request, FaultList(self._faults.active))

    @_app.route("/faults", methods=["PUT"])
    def put_faults(self, request: IRequest) -> bytes:
        """Switch off what is on, and switch these on."""
        self._faults.replace(_body(request, FaultList).faults)
        return _json(request, FaultList(self._faults.active))

    @_app.route("/faults", methods=["DELETE"])
    def delete_faults(self, request: IRequest) -> bytes:
        """Switch everything off."""
        self._faults.clear()
        return _json(request, FaultList([]))

    @_app.route("/reviews", methods=["GET"])
    def reviews(self, request: IRequest) -> bytes:
        """Show the rules of the reviews."""
        return _json(request, RuleList(self._cluster.reviews.rules))

    @_app.route("/reviews", methods=["PUT"])
    def put_reviews(self, request: IRequest) -> bytes:
        """Decide reviews by these rules."""
        rules = _body(request, RuleList).rules
        if rules is None:
            self._cluster.reviews.clear()
        else:
            self._cluster.reviews.replace(rules)
        return self.reviews(request)

    @_app.route("/reviews", methods=["DELETE"])
    def delete_reviews(self, request: IRequest) -> bytes:
        """Allow everything again."""
        self._cluster.reviews.clear()
        return self.reviews(request)

    @_app.route("/requests", methods=["GET"])
    def requests(self, request: IRequest) -> bytes:
        """Show what was asked of the API."""
        counts = self._faults.journal.counts.items()
        named = {f"{verb} {resource}".strip(): count for (verb, resource), count in counts}
        return _json(request, RequestList(self._faults.requests, named))

    @_app.route("/requests", methods=["DELETE"])
    def delete_requests(self, request: IRequest) -> bytes:
        """Forget what was asked of the API."""
        self._faults.journal.clear()
        return _json(request, RequestList([], {}))

    @_app.route("/compact", methods=["POST"])
    def compact(self, request: IRequest) -> bytes:
        """Forget all history."""
        self._cluster.compact()
        return self._version(request)

    @_app.route("/restore", methods=["POST"])
    def restore(self, request: IRequest) -> bytes:
        """Go back to an earlier version."""
        self._cluster.restore(int(_body(request, _Restore).resource_version))
        return self._version(request)

    @_app.route("/unplug", methods=["POST"])
    def unplug(self, request: IRequest) -> bytes:
        """Take the API off the network for a while, right after this answer."""
        seconds = _body(request, _Unplug).seconds
        self._clock.callLater(ANSWER_FIRST, self._plug.unplug_for, seconds)
        return _json(request, _Unplug(seconds))

    @_app.handle_errors(Refusal)
    def refused(self, request: IRequest, failure: Failure) -> bytes:
        """Answer with the Status of a refusal."""
        refusal = cast("Refusal", failure.value)
        request.setResponseCode(refusal.code)
        return _json(request, refusal.status)

    @_app.handle_errors(ValueError)
    def malformed(self, request: IRequest, failure: Failure) -> bytes:
        """Answer that the body says nothing that is known."""
        request.setResponseCode(400)
        return _json(request, status(400, failure.getErrorMessage()))

    def _version(self, request: IRequest) -> bytes:
        return _json(request, {"resourceVersion": str(self._cluster.version)})


def _body(request: IRequest, form: type[Form]) -> Form:
    content = request.content
    return msgspec.json.decode(content.read() if content is not None else b"", type=form)


def _json(request: IRequest, value: object) -> bytes:
    request.setHeader("content-type", "application/json")
    return msgspec.json.encode(value)
