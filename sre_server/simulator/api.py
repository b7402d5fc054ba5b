"""The Kubernetes API of a simulated cluster, as a Klein app."""

from collections.abc import Callable
from typing import cast

from klein import Klein
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from sre_server.simulator import answers, calls, discovery, listing, objects, tables, writing
from sre_server.simulator.answers import Answer
from sre_server.simulator.collection import Change, Stored
from sre_server.simulator.faults import Faults
from sre_server.simulator.gate import Gate
from sre_server.simulator.journal import Call, Resource, Verb
from sre_server.simulator.kinds import DEPLOYMENTS, EVENTS, NAMESPACES, Kind, Object
from sre_server.simulator.statuses import Refusal, status, too_large
from sre_server.simulator.store import SimulatedCluster
from sre_server.simulator.watching import Encoder, WatchStream

_VERBS: dict[bytes, Verb] = {
    b"GET": "get",
    b"HEAD": "get",
    b"POST": "create",
    b"PUT": "update",
    b"PATCH": "patch",
    b"DELETE": "delete",
}
_RESOURCES: dict[str, Resource] = {"namespaces": "namespaces", "events": "events", "deployments": "deployments"}
_GROUPS = '<any(apps, autoscaling, "authorization.k8s.io"):name>'

Act = Callable[[], Answer]


class KubernetesAPI:
    """Answers as a kube-apiserver does, from a simulated cluster, as faultily as it is told to."""

    log = Logger()
    _app = Klein()

    def __init__(
        self,
        cluster: SimulatedCluster,
        clock: IReactorTime,
        *,
        faults: Faults | None = None,
        token: str | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self._cluster = cluster
        self._clock = clock
        self._gate = Gate(cluster, clock, self.faults, token)
        self._streams: list[WatchStream] = []
        self._lost: set[int] = set()
        self._detach: tuple[Callable[[], None], ...] = (
            cluster.subscribe(self),
            self.faults.when_changed(self._faults_changed),
        )

    def resource(self) -> IResource:
        """Return what a Site serves."""
        resource: IResource = self._app.resource()
        return resource

    def stop(self) -> None:
        """End every stream, and listen to the cluster no more."""
        for detach in self._detach:
            detach()
        self._detach = ()
        self.reset()

    @property
    def open_watches(self) -> int:
        """Return the number of watch streams that are open."""
        return len(self._streams)

    def changed(self, kind: Kind, change: Change) -> None:
        """Tell every stream of a change, unless a fault loses it."""
        call = Call("watch", _resource_of(kind))
        if self.faults.take({"drop-event"}, call) is not None:
            self._lost.add(change.version)
        for stream in list(self._streams):
            if stream.kind is kind:
                stream.pump()

    def reset(self) -> None:
        """End every stream."""
        self._lost.clear()
        for stream in list(self._streams):
            stream.end()

    # Discovery.

    @_app.route("/version", methods=["GET"])
    async def version(self, request: IRequest) -> bytes | None:
        """Answer which version of Kubernetes this claims to be."""
        return await self._describe(request, discovery.VERSION)

    @_app.route("/healthz", methods=["GET"])
    @_app.route("/livez", methods=["GET"])
    @_app.route("/readyz", methods=["GET"])
    async def health(self, request: IRequest) -> bytes | None:
        """Answer that all is well."""
        body = await self._serve(request, Call("discover"), lambda: Answer(b"ok"))
        request.setHeader("content-type", "text/plain; charset=utf-8")
        return body

    @_app.route("/api", methods=["GET"])
    async def core_versions(self, request: IRequest) -> bytes | None:
        """Answer which versions the core group has."""
        address = (request.getHeader("host") or "127.0.0.1").strip()
        return await self._describe(request, discovery.core_versions(address))

    @_app.route("/apis", methods=["GET"])
    async def groups(self, request: IRequest) -> bytes | None:
        """Answer which groups there are."""
        return await self._describe(request, discovery.groups())

    @_app.route(f"/apis/{_GROUPS}", methods=["GET"])
    async def group(self, request: IRequest, name: str) -> bytes | None:
        """Answer which versions a group has."""
        return await self._describe(request, discovery.group(name))

    @_app.route("/api/v1", methods=["GET"])
    async def core_resources(self, request: IRequest) -> bytes | None:
        """Answer which resources the core group has."""
        return await self._describe(request, discovery.core_resources())

    @_app.route(f"/apis/{_GROUPS}/v1", methods=["GET"])
    async def group_resources(self, request: IRequest, name: str) -> bytes | None:
        """Answer which resources a group has."""
        return await self._describe(request, discovery.group_resources(name))

    @_app.route("/openapi/v3", methods=["GET"])
    async def openapi_index(self, request: IRequest) -> bytes | None:
        """Answer where the schemas are."""
        return await self._describe(request, discovery.openapi_index())

    @_app.route("/openapi/v3/api/v1", methods=["GET"])
    async def core_openapi(self, request: IRequest) -> bytes | None:
        """Answer the schema of the core group."""
        return await self._describe(request, discovery.openapi(""))

    @_app.route(f"/openapi/v3/apis/{_GROUPS}/v1", methods=["GET"])
    async def group_openapi(self, request: IRequest, name: str) -> bytes | None:
        """Answer the schema of a group."""
        return await self._describe(request, discovery.openapi(name))

    # Resources.

    @_app.route("/api/v1/namespaces", methods=["GET", "POST"])
    async def namespaces(self, request: IRequest) -> bytes | None:
        """List, watch or create Namespaces."""
        return await self._collection(request, NAMESPACES, "")

    @_app.route("/api/v1/namespaces/<name>", methods=["GET", "PUT", "PATCH", "DELETE"])
    async def namespace(self, request: IRequest, name: str) -> bytes | None:
        """Read or write one Namespace."""
        return await self._item(request, NAMESPACES, "", name)

    @_app.route("/api/v1/events", methods=["GET"])
    async def all_events(self, request: IRequest) -> bytes | None:
        """List or watch the Events of every Namespace."""
        return await self._collection(request, EVENTS, "")

    @_app.route("/api/v1/namespaces/<namespace>/events", methods=["GET", "POST"])
    async def events(self, request: IRequest, namespace: str) -> bytes | None:
        """List, watch or create the Events of one Namespace."""
        return await self._collection(request, EVENTS, namespace)

    @_app.route("/api/v1/namespaces/<namespace>/events/<name>", methods=["GET", "DELETE"])
    async def event(self, request: IRequest, namespace: str, name: str) -> bytes | None:
        """Read or delete one Event."""
        return await self._item(request, EVENTS, namespace, name)

    @_app.route("/apis/apps/v1/deployments", methods=["GET"])
    async def all_deployments(self, request: IRequest) -> bytes | None:
        """List or watch the Deployments of every Namespace."""
        return await self._collection(request, DEPLOYMENTS, "")

    @_app.route("/apis/apps/v1/namespaces/<namespace>/deployments", methods=["GET", "POST"])
    async def deployments(self, request: IRequest, namespace: str) -> bytes | None:
        """List, watch or create the Deployments of one Namespace."""
        return await self._collection(request, DEPLOYMENTS, namespace)

    @_app.route(
        "/apis/apps/v1/namespaces/<namespace>/deployments/<name>",
        methods=["GET", "PUT", "PATCH", "DELETE"],
    )
    async def deployment(self, request: IRequest, namespace: str, name: str) -> bytes | None:
        """Read or write one Deployment."""
        return await self._item(request, DEPLOYMENTS, namespace, name)

    @_app.route("/apis/apps/v1/namespaces/<namespace>/deployments/<name>/status", methods=["GET"])
    async def deployment_status(self, request: IRequest, namespace: str, name: str) -> bytes | None:
        """Read one Deployment through its status."""
        return await self._item(request, DEPLOYMENTS, namespace, name)

    @_app.route(
        "/apis/apps/v1/namespaces/<namespace>/deployments/<name>/scale",
        methods=["GET", "PUT", "PATCH"],
    )
    async def scale(self, request: IRequest, namespace: str, name: str) -> bytes | None:
        """Read or write the Scale of one Deployment."""
        call = Call(_VERBS[request.method], "scale", namespace, name)

        def act() -> Answer:
            if call.verb == "get":
                stored = self._cluster.get(DEPLOYMENTS, namespace, name)
            else:
                replaces, dry_run = request.method == b"PUT", calls.wants_dry_run(request)
                stored = self._cluster.write_scale(
                    namespace, name, _change(request), replaces=replaces, dry_run=dry_run
                )
            return answers.json(objects.scale_of(stored.decoded()))

        return await self._serve(request, call, act)

    @_app.route("/apis/authorization.k8s.io/v1/subjectaccessreviews", methods=["POST"])
    async def reviews(self, request: IRequest) -> bytes | None:
        """Tell whether somebody may do something."""

        def act() -> Answer:
            return answers.json(self._cluster.reviews.answered(calls.object_body(request)), 201)

        return await self._serve(request, Call("create", "subjectaccessreviews"), act)

    # What goes wrong.

    @_app.handle_errors(Refusal)
    def refused(self, request: IRequest, failure: Failure) -> bytes:
        """Answer with the Status of a refusal."""
        refusal = cast("Refusal", failure.value)
        if refusal.retry_after is not None:
            request.setHeader("retry-after", str(refusal.retry_after))
        return answers.sent(request, answers.json(refusal.status, refusal.code))

    @_app.handle_errors(HTTPException)
    def unroutable(self, request: IRequest, failure: Failure) -> bytes:
        """Answer a request for which there is no route."""
        try:
            self._gate.authenticate(request)
        except Refusal as refusal:
            return answers.sent(request, answers.json(refusal.status, refusal.code))
        code = 405 if cast("HTTPException", failure.value).code == 405 else 404
        details: Object = {}
        return answers.sent(request, answers.json(status(code, details=details), code))

    @_app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """Answer that the simulator itself is broken."""
        self.log.failure("the simulated API failed at {uri!r}", failure, uri=request.uri)
        told = status(500, f"Internal error occurred: {failure.getErrorMessage()}")
        return answers.sent(request, answers.json(told, 500))

    # How a request is served.

    async def _describe(self, request: IRequest, answer: Object) -> bytes | None:
        return await self._serve(request, Call("discover"), lambda: answers.json(answer))

    async def _collection(self, request: IRequest, kind: Kind, namespace: str) -> bytes | None:
        resource = _resource_of(kind)
        if request.method == b"POST":
            call = Call("create", resource, namespace)
            return await self._serve(request, call, lambda: self._create(request, kind, namespace))
        if calls.wants_watch(request):
            return await self._watch(request, kind, Call("watch", resource, namespace))
        continued = calls.is_continued(request)
        call = Call("list", resource, namespace, continued=continued)
        return await self._serve(request, call, lambda: self._list(request, kind, namespace))

    async def _item(self, request: IRequest, kind: Kind, namespace: str, name: str) -> bytes | None:
        call = Call(_VERBS[request.method], _resource_of(kind), namespace, name)

        def act() -> Answer:
            if call.verb == "get":
                self._reach(calls.wanted_version(request))
                return self._shown(request, kind, self._cluster.get(kind, namespace, name))
            if call.verb == "delete":
                return self._delete(request, kind, namespace, name)
            if writing.is_apply(request) and not self._exists(kind, namespace, name):
                return self._apply_new(request, kind, namespace, name)
            dry_run = calls.wants_dry_run(request)
            replaces = request.method == b"PUT"
            stored = self._cluster.update(kind, namespace, name, _change(request), replaces=replaces, dry_run=dry_run)
            return self._shown(request, kind, stored)

        return await self._serve(request, call, act)

    async def _serve(self, request: IRequest, call: Call, act: Act) -> bytes | None:
        await self._gate.enter(request, call)
        answer = act()
        await self._gate.leave(request, call)
        return answers.sent(request, answer)

    async def _watch(self, request: IRequest, kind: Kind, call: Call) -> bytes | None:
        await self._gate.enter(request, call)
        options = calls.list_options(request)
        if options.initial_events and self.faults.take({"no-streams"}, call) is not None:
            raise calls.streams_are_off()
        form = calls.accepted_form(request)
        request.setHeader("content-type", "application/json")
        stream = WatchStream(
            request,
            call,
            options,
            kind=kind,
            cluster=self._cluster,
            clock=self._clock,
            faults=self.faults,
            lost=self._lost,
            encoder=Encoder(kind, self._clock, form, _include(request)),
        )
        self._streams.append(stream)
        try:
            stream.open()
            await stream.done
        finally:
            self._streams.remove(stream)
        return None

    def _list(self, request: IRequest, kind: Kind, namespace: str) -> Answer:
        options = calls.list_options(request)
        form = calls.accepted_form(request)
        collection = self._cluster.collection(kind)
        shown = listing.page(collection, namespace, options, self._cluster.version)
        if form == "Table":
            now = self._clock.seconds()
            return Answer(listing.encoded_table(kind, shown, now, _include(request)))
        return Answer(listing.encoded(kind, shown))

    def _create(self, request: IRequest, kind: Kind, namespace: str) -> Answer:
        written = calls.object_body(request)
        dry_run = calls.wants_dry_run(request)
        stored = self._cluster.create(kind, namespace, written, dry_run=dry_run)
        return self._shown(request, kind, stored, code=201)

    def _apply_new(self, request: IRequest, kind: Kind, namespace: str, name: str) -> Answer:
        written = writing.applied_object(request)
        metadata = {**(written.get("metadata") or {}), "name": name}
        dry_run = calls.wants_dry_run(request)
        stored = self._cluster.create(kind, namespace, {**written, "metadata": metadata}, dry_run=dry_run)
        return self._shown(request, kind, stored, code=201)

    def _delete(self, request: IRequest, kind: Kind, namespace: str, name: str) -> Answer:
        asked = writing.deletion(request)
        stored = self._cluster.delete(kind, namespace, name, preconditions=asked.preconditions, dry_run=asked.dry_run)
        return answers.deleted(kind, name, stored)

    def _shown(self, request: IRequest, kind: Kind, stored: Stored, *, code: int = 200) -> Answer:
        if calls.accepted_form(request) == "Table":
            row = tables.row(kind, stored, self._clock.seconds(), _include(request))
            metadata = {"resourceVersion": str(stored.version)}
            return Answer(tables.table([row], tables.columns(kind), metadata), code)
        return Answer(kind.heading + stored.body[1:], code)

    def _reach(self, version: int) -> None:
        if version > self._cluster.version:
            raise too_large(version, self._cluster.version)

    def _exists(self, kind: Kind, namespace: str, name: str) -> bool:
        return self._cluster.collection(kind).get(kind.key(namespace, name)) is not None

    def _faults_changed(self) -> None:
        for stream in list(self._streams):
            stream.strike()
            stream.pump()


def _change(request: IRequest) -> writing.Change:
    return writing.replacement(request) if request.method == b"PUT" else writing.patch(request)


def _include(request: IRequest) -> str:
    values = (request.args or {}).get(b"includeObject", [b"Metadata"])
    return str(values[0], "ascii", "replace")


def _resource_of(kind: Kind) -> Resource:
    return _RESOURCES[kind.plural]
