"""The way in for tests that run the simulator as a process: /simulator/..., where no fault strikes.

- `PUT /simulator/faults` `{"faults": [{"kind": "status", "code": 429, "retryAfter": 2}, ...]}`: switch off what is on,
  and these on.
- `PUT /simulator/reviews` `{"rules": [{"user": "ann", "verb": "get", "namespace": "shop"}, ...]}`: decide
  SubjectAccessReviews by these rules; `null`, as at the start, allows everything.
- `GET /simulator/requests`: how many requests came, by "verb resource".
- `POST /simulator/compact`: forget all history.
- `POST /simulator/restore` `{"resourceVersion": "1234"}`: go back to an earlier version.
- `POST /simulator/unplug` `{"seconds": 3}`: listen no more, for a while.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import msgspec
from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource

from sre_server.simulator.faults import Fault, Faults
from sre_server.simulator.reviews import Rule
from sre_server.simulator.statuses import Refusal
from sre_server.simulator.store import SimulatedCluster

ANSWER_FIRST = 0.1

_Form = TypeVar("_Form")


class _Faults(msgspec.Struct, forbid_unknown_fields=True):
    faults: list[Fault]


class _Rules(msgspec.Struct, forbid_unknown_fields=True):
    rules: list[Rule] | None


class _Restore(msgspec.Struct, rename="camel"):
    resource_version: str


class _Unplug(msgspec.Struct):
    seconds: float = 1.0


class ControlAPI:
    """Switches faults and shows what was asked, over HTTP; `unplug` takes the API off the network for some seconds."""

    _app = Klein()

    def __init__(
        self, cluster: SimulatedCluster, faults: Faults, clock: IReactorTime, unplug: Callable[[float], object]
    ) -> None:
        self._cluster = cluster
        self._faults = faults
        self._clock = clock
        self._unplug = unplug

    def resource(self) -> IResource:
        """Return what stands below /simulator."""
        resource: IResource = self._app.resource()
        return resource

    @_app.route("/faults", methods=["PUT"])
    def faults(self, request: IRequest) -> bytes:
        """Switch off what is on, and these on."""
        self._faults.replace(*_body(request, _Faults).faults)
        return _json(request, {})

    @_app.route("/reviews", methods=["PUT"])
    def reviews(self, request: IRequest) -> bytes:
        """Decide reviews by these rules."""
        self._cluster.reviews.rules = _body(request, _Rules).rules
        return _json(request, {})

    @_app.route("/requests", methods=["GET"])
    def requests(self, request: IRequest) -> bytes:
        """Show what was asked of the API."""
        counts = {" ".join(call).strip(): count for call, count in self._faults.counts.items()}
        return _json(request, {"counts": counts})

    @_app.route("/compact", methods=["POST"])
    def compact(self, request: IRequest) -> bytes:
        """Forget all history."""
        self._cluster.compact()
        return _json(request, {})

    @_app.route("/restore", methods=["POST"])
    def restore(self, request: IRequest) -> bytes:
        """Go back to an earlier version."""
        self._cluster.restore(int(_body(request, _Restore).resource_version))
        return _json(request, {})

    @_app.route("/unplug", methods=["POST"])
    def unplug(self, request: IRequest) -> bytes:
        """Take the API off the network for a while, right after this answer."""
        self._clock.callLater(ANSWER_FIRST, self._unplug, _body(request, _Unplug).seconds)
        return _json(request, {})

    @_app.handle_errors(Refusal)
    def refused(self, request: IRequest, failure: Failure) -> bytes:
        """Answer with the Status of a refusal."""
        refusal = cast("Refusal", failure.value)
        request.setResponseCode(refusal.code)
        return _json(request, refusal.status)

    @_app.handle_errors(ValueError)
    def malformed(self, request: IRequest, failure: Failure) -> bytes:
        """Answer that the body is not what it should be."""
        request.setResponseCode(400)
        return _json(request, {"message": failure.getErrorMessage()})


def _body(request: IRequest, form: type[_Form]) -> _Form:
    return msgspec.json.decode(request.content.read() if request.content else b"", type=form)


def _json(request: IRequest, value: object) -> bytes:
    request.setHeader("content-type", "application/json")
    return msgspec.json.encode(value)
