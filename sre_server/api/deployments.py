"""Family A, `/deployments`: RFD 0's API and the canonical tree, where new features grow."""

from http import HTTPStatus
from typing import Final

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource

from sre_server.api.asked import Permitted
from sre_server.api.bodies import Body, one
from sre_server.api.changes import ChangeBodies, since_in
from sre_server.api.conditional import Conditions
from sre_server.api.counts import confirmed_in, replicas_in_body
from sre_server.api.gate import Gate, now_or_later
from sre_server.api.judging import Wanted
from sre_server.api.lists import ListBodies
from sre_server.api.newness import Newness
from sre_server.api.noted import TemporaryBodies, shown
from sre_server.api.picture import Pictures
from sre_server.api.planning import Planner
from sre_server.api.routes import Read, count_route, list_route, read_route, write_route
from sre_server.api.routing import json_app, json_route
from sre_server.api.statuses import FAMILY_A
from sre_server.api.temporary import TemporaryCounts
from sre_server.api.waiting import Waiting
from sre_server.api.writing import Writer
from sre_server.cache import ClusterCache
from sre_server.model import Deployment
from sre_server.security.authorization import Verb, View
from sre_server.web.request import APIRequest

_REPLICAS: Final = b'{"namespace":"%s","deployment":"%s","replicas":%d}\n'
UPDATED: Final = "Successfully updated the replica count for the deployment"


class DeploymentsAPI:
    """Answers family A from the cache, and writes through `writer`."""

    _app: Klein = json_app(FAMILY_A)
    reads: list[Read] = []  # noqa: RUF012  # filled below, by the routes, and never after

    def __init__(
        self,
        cache: ClusterCache,
        gate: Gate,
        newness: Newness,
        writer: Writer,
        names: ListBodies,
        pictures: Pictures,
        waiting: Waiting,
        noted: TemporaryBodies,
        temporary: TemporaryCounts,
        changes: ChangeBodies,
        planner: Planner,
    ) -> None:
        self.cache = cache
        self.gate = gate
        self.newness = newness
        self._writer = writer
        self._names = names
        self._pictures = pictures
        self._noted = noted
        self._temporary = temporary
        self._waiting = waiting
        self.hold = waiting.hold
        self._changes = changes
        self._planner = planner

    def resource(self) -> IResource:
        """The resource of every URL of the family; it also refuses those that nobody knows."""
        return self._app.resource()

    @list_route(_app, reads, "/deployments")
    def deployments(self, view: View) -> Body | Deferred[Body]:
        """`GET /deployments`: every namespace that has Deployments, with their names."""
        return self._names.of_all(view)

    @list_route(_app, reads, "/deployments/<namespace:namespace>")
    def deployments_in(self, view: View, namespace: str) -> Body:
        """`GET /deployments/{ns}`: the same shape, with exactly one element."""
        return self._names.of_one(namespace, view, b"[%s]")

    @read_route(_app, reads, "/deployments/<namespace:namespace>/<deployment:name>", blocking=True)
    def deployment(self, namespace: str, name: str) -> Body:
        """`GET /deployments/{ns}/{name}`: the whole picture; with `Prefer: wait=N`, once it is another one."""
        return self._pictures.of(namespace, name)

    @count_route(_app, reads, "/deployments/<namespace:namespace>/<deployment:name>/replicas")
    @staticmethod
    def replicas(deployment: Deployment) -> Body:
        """`GET /deployments/{ns}/{name}/replicas`: the desired count."""
        return one(_REPLICAS, deployment)

    @read_route(_app, reads, "/deployments/<namespace:namespace>/<deployment:name>/changes")
    def changes_of(self, namespace: str, name: str) -> Body:
        """`GET /deployments/{ns}/{name}/changes`: who changed its count, and when."""
        return self._changes.of_one(namespace, name)

    @list_route(_app, reads, "/changes", since_in)
    def changes(self, view: View, since: float) -> Body | Deferred[Body]:
        """`GET /changes?since=TIME`: the same of all Deployments."""
        return self._changes.of_all(view, since)

    @write_route(_app, "/deployments/<namespace:namespace>/<deployment:name>/replicas")
    async def set_replicas(self, permitted: Permitted) -> object:
        """`PUT /deployments/{ns}/{name}/replicas` with `{"replicas": 20}`: set the count, and wait if so asked."""
        before = self.cache.find(permitted.namespace, permitted.name)
        asked = replicas_in_body(permitted.request)
        scaled = await self._writer.scale(permitted, asked)
        otherwise = "" if scaled.replicas == asked else f", admission made it {scaled.replicas}"
        outcome = await self._waiting.outcome(permitted, scaled, before, self.gate.may_still)
        return {"message": UPDATED + otherwise, **outcome}

    @write_route(_app, "/deployments/<namespace:namespace>/<deployment:name>/plan", "POST", Verb.READ, Verb.SCALE)
    async def plan(self, permitted: Permitted) -> object:
        """`POST /deployments/{ns}/{name}/plan` with `{"replicas": 6}`: what would become of that count."""
        client, namespace, name = permitted.identity.name, permitted.namespace, permitted.name
        asked, confirmed = replicas_in_body(permitted.request), confirmed_in(permitted.request)
        plan = await self._planner.plan(Wanted(client, namespace, name, asked, confirmed, Conditions()))
        await self.gate.permit_again(permitted)
        permitted.request.setHeader(b"ETag", plan.tag)
        return plan.body

    @list_route(_app, reads, "/temporary")
    def temporary_counts(self, view: View) -> Body:
        """`GET /temporary`: all temporary counts."""
        return self._noted.all(view)

    @read_route(_app, reads, "/deployments/<namespace:namespace>/<deployment:name>/temporary")
    def temporary(self, namespace: str, name: str) -> Body:
        """`GET /deployments/{ns}/{name}/temporary`: the temporary count, and its end."""
        return self._noted.one(namespace, name)

    @write_route(_app, "/deployments/<namespace:namespace>/<deployment:name>/temporary")
    async def set_temporary(self, permitted: Permitted) -> object:
        """`PUT /deployments/{ns}/{name}/temporary` with `{"replicas": 20, "for": "2h"}`: set a count for a time."""
        done = await self._temporary.set(permitted, self._writer)
        permitted.request.setResponseCode(HTTPStatus.CREATED if done.created else HTTPStatus.OK)
        return {"message": UPDATED + " for a time", **shown(done.note, done.note.count)}

    @write_route(_app, "/deployments/<namespace:namespace>/<deployment:name>/temporary", "DELETE")
    async def end_temporary(self, permitted: Permitted) -> object:
        """`DELETE /deployments/{ns}/{name}/temporary`: set the count back now."""
        replicas = await self._temporary.end(permitted, self._writer)
        return {"message": f"The temporary count has ended: the count is {replicas}", "replicas": replicas}

    @json_route(_app, "/deployments/<namespace:namespace>/<deployment:name>/permissions")
    async def permissions(self, request: APIRequest, namespace: str, name: str) -> object:
        """`GET /deployments/{ns}/{name}/permissions`: what the caller may do with it, and which rule decided."""
        # It may cost the cluster as much as a write's own review does, so that it is charged as one, too.
        identity = self.gate.admit(request, Verb.READ, namespace, name, Verb.READ, Verb.SCALE)
        answer: dict[str, object] = {"namespace": namespace, "deployment": name, "identity": identity.name}
        for verb in Verb:
            decision = await now_or_later(self.gate.preview(request, identity, verb, namespace, name))
            answer[verb.value] = {"allowed": decision.allowed, "rule": decision.rule}
        return answer
