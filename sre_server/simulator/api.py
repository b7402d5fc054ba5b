"""The Kubernetes API of a simulated cluster, as a Klein app."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import msgspec
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from werkzeug.exceptions import HTTPException

from sre_server.simulator import discovery, objects, queries
from sre_server.simulator.collection import Change, Collection
from sre_server.simulator.faults import Call, Fault, Faults, Verb
from sre_server.simulator.kinds import DEPLOYMENTS, REVIEWS, SELF_REVIEWS, SERVED, Kind, Object
from sre_server.simulator.listing import list_page
from sre_server.simulator.queries import Options
from sre_server.simulator.statuses import Refusal, invalid
from sre_server.simulator.store import SimulatedCluster
from sre_server.simulator.watching import WatchStream, hang_up

_app = Klein()
_WRITES: dict[bytes, Verb] = {b"PUT": "update", b"PATCH": "patch"}


def _route(path: str, *methods: str) -> Callable[[Any], Any]:
    """Route a path in every group."""

    def decorate(handler: Any) -> Any:  # noqa: ANN401 - Klein's own type of a handler is private
        _app.route(f"/api/<version>{path}", methods=methods)(handler)
        return _app.route(f"/apis/<group>/<version>{path}", methods=methods)(handler)

    return decorate


class KubernetesAPI:
    """Answers as a kube-apiserver does, from a simulated cluster, or as the faults have it that are on."""

    log = Logger()
    _app = _app

    def __init__(self, cluster: SimulatedCluster, clock: IReactorTime, faults: Faults) -> None:
        self._cluster = cluster
        self._clock = clock
        self._faults = faults
        self._streams: list[WatchStream] = []
        cluster.subscribe(self)
        faults.subscribe(self._faults_changed)

    def resource(self) -> IResource:
        """Return what a Site serves."""
        resource: IResource = self._app.resource()
        return resource

    @property
    def open_watches(self) -> int:
        """Return the number of watch streams that are open."""
        return len(self._streams)

    def changed(self, kind: Kind, change: Change) -> None:
        """Let every stream send the change; those of other resources note how far the version counter is."""
        for stream in list(self._streams):
            stream.pump()

    def restored(self) -> None:
        """End every stream."""
        for stream in list(self._streams):
            stream.end()

    stop = restored

    # Discovery.

    @_app.route("/version", methods=["GET"])
    async def version(self, request: IRequest) -> bytes:
        """Answer which version of Kubernetes this claims to be."""
        return await self._serve(request, Call("discover"), lambda: discovery.VERSION)

    @_app.route("/api", methods=["GET"])
    async def core_versions(self, request: IRequest) -> bytes:
        """Answer which versions the core group has."""
        return await self._serve(request, Call("discover"), lambda: discovery.CORE_VERSIONS)

    @_app.route("/apis", methods=["GET"])
    async def groups(self, request: IRequest) -> bytes:
        """Answer which groups there are."""
        return await self._serve(request, Call("discover"), discovery.groups)

    @_route("", "GET")
    async def resources(self, request: IRequest, version: str, group: str = "") -> bytes:
        """Answer which resources a group has."""
        return await self._serve(request, Call("discover"), lambda: discovery.resources(group, version))

    # Resources.

    @_route("/<plural>", "GET", "POST")
    @_route("/namespaces/<namespace>/<plural>", "GET", "POST")
    async def collection(
        self, request: IRequest, version: str, plural: str, group: str = "", namespace: str = ""
    ) -> bytes:
        """List or watch the objects of one namespace or of all, or create one."""
        kind, options = _find(group, version, plural, namespace), queries.options(request)
        verb = "create" if request.method == b"POST" else "watch" if options.watch else "list"
        if verb not in kind.verbs:
            raise Refusal(405, f"the simulator does not {verb} {kind.plural}")
        if request.method == b"POST":
            return await self._serve(
                request, Call("create", plural), lambda: self._create(request, kind, namespace, options), code=201
            )
        collection = self._cluster.collection(kind)
        if options.watch:
            return await self._watch(request, collection, namespace, options)
        return await self._serve(
            request, Call("list", plural), lambda: list_page(collection, namespace, options, self._cluster.version)
        )

    @_route("/<plural>/<name>", "GET", "PUT", "PATCH", "DELETE")
    @_route("/namespaces/<namespace>/<plural>/<name>", "GET", "PUT", "PATCH", "DELETE")
    async def item(
        self, request: IRequest, version: str, plural: str, name: str, group: str = "", namespace: str = ""
    ) -> bytes:
        """Read, replace, patch or delete one object."""
        kind, options = _find(group, version, plural, namespace), queries.options(request)

        def delete() -> bytes:
            return kind.single(self._cluster.delete(kind, namespace, name, dry_run=bool(options.dry_run)).body)

        def write() -> bytes:
            read = {} if request.method == b"PUT" else self._cluster.get(kind, namespace, name).decoded()
            written = queries.changed(request, read)
            return kind.single(
                self._cluster.replace(kind, name, namespace, written, dry_run=bool(options.dry_run)).body
            )

        if (verb := _WRITES.get(request.method)) is not None:
            if verb not in kind.verbs:
                raise Refusal(405, f"the simulator does not {verb} {kind.plural}")
            return await self._serve(request, Call(verb, plural), write)
        if request.method == b"DELETE":
            if "delete" not in kind.verbs:
                raise Refusal(405, f"the simulator does not delete {kind.plural}")
            return await self._serve(request, Call("delete", plural), delete)

        def get() -> Object | bytes:
            stored = self._cluster.get(kind, namespace, name)
            return objects.metadata_of(stored.decoded()) if queries.metadata_only(request) else kind.single(stored.body)

        return await self._serve(request, Call("get", plural), get)

    @_app.route("/apis/apps/v1/namespaces/<namespace>/deployments/<name>/scale", methods=["GET", "PUT", "PATCH"])
    async def scale(self, request: IRequest, namespace: str, name: str) -> bytes:
        """Read or write the Scale of one Deployment."""
        options = queries.options(request)

        def write() -> Object:
            manager = queries.manager(request)
            stored = self._cluster.scale(namespace, name, change, manager=manager, dry_run=bool(options.dry_run))
            return objects.scale_of(stored.decoded())

        def change(scale: Object) -> object:
            return self._admitted(request, call, queries.changed(request, scale))

        if request.method in _WRITES:
            call = Call(_WRITES[request.method], "scale")
            return await self._serve(request, call, write)
        return await self._serve(
            request,
            Call("get", "scale"),
            lambda: objects.scale_of(self._cluster.get(DEPLOYMENTS, namespace, name).decoded()),
        )

    @_app.route("/apis/authorization.k8s.io/v1/subjectaccessreviews", methods=["POST"])
    async def reviews(self, request: IRequest) -> bytes:
        """Tell whether somebody may do something."""
        call = Call("create", REVIEWS.plural)
        reviews = self._cluster.reviews
        return await self._serve(request, call, lambda: reviews.answered(queries.json_body(request)), code=201)

    @_app.route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", methods=["POST"])
    async def self_reviews(self, request: IRequest) -> bytes:
        """Tell whether whoever asks may do something; nobody has a name here."""
        call, reviews = Call("create", SELF_REVIEWS.plural), self._cluster.reviews
        answered = partial(reviews.answered, kind=SELF_REVIEWS)
        return await self._serve(request, call, lambda: answered(queries.json_body(request)), code=201)

    # What goes wrong.

    @_app.handle_errors(Refusal)
    def refused(self, request: IRequest, failure: Failure) -> bytes:
        """Answer with the Status of a refusal."""
        return _refuse(request, cast("Refusal", failure.value))

    @_app.handle_errors(HTTPException)
    def unroutable(self, request: IRequest, failure: Failure) -> bytes:
        """Answer a request for which there is no route."""
        error = cast("HTTPException", failure.value)
        return _refuse(request, Refusal(error.code or 404, error.description or error.name))

    @_app.handle_errors(msgspec.DecodeError)
    def malformed(self, request: IRequest, failure: Failure) -> bytes:
        """Answer a request whose query or body is not what it should be."""
        return _refuse(request, Refusal(400, failure.getErrorMessage()))

    @_app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """Answer that the simulator itself is broken."""
        self.log.failure("the simulated API failed at {uri!r}", failure, uri=request.uri)
        return _refuse(request, Refusal(500, f"Internal error occurred: {failure.getErrorMessage()}"))

    # How a request is served.

    async def _serve(
        self, request: IRequest, call: Call, act: Callable[[], Object | bytes], *, code: int = 200
    ) -> bytes:
        await self._admit(request, call)
        answer = act()
        fault = self._faults.take({"drop-after-apply", "hang-after-apply"}, call)
        if fault is not None:
            await _leave_unanswered(request, fault)
        return _send(request, answer if isinstance(answer, bytes) else msgspec.json.encode(answer), code)

    async def _admit(self, request: IRequest, call: Call) -> None:
        """Count a request, and let the faults meet it that are meant for it."""
        self._faults.counts[call] += 1
        slow = self._faults.take({"slow"}, call)
        if slow is not None:
            await deferLater(self._clock, slow.seconds)
        fault = self._faults.take({"refuse", "hang", "status"}, call)
        if fault is None:
            return
        if fault.kind == "status":
            raise Refusal(fault.code, fault.message, details=fault.details, retry_after=fault.retry_after)
        await _leave_unanswered(request, fault)

    def _admitted(self, request: IRequest, call: Call, scale: object) -> object:
        """Return what admission makes of a Scale that was written."""
        if (fault := self._faults.take({"warn"}, call)) is not None:
            request.setHeader("warning", f'299 - "{fault.message}"')
        if (fault := self._faults.take({"mutate"}, call)) is not None and isinstance(scale, dict):
            return {**scale, "spec": {"replicas": fault.replicas}}
        return scale

    async def _watch(self, request: IRequest, collection: Collection, namespace: str, options: Options) -> bytes:
        call = Call("watch", collection.kind.plural)
        await self._admit(request, call)
        if options.send_initial_events and self._faults.take({"no-streams"}, call) is not None:
            problem = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
            raise invalid("", "sendInitialEvents", problem)
        request.setHeader("content-type", "application/json")
        stream = WatchStream(
            request,
            collection,
            namespace,
            options,
            cluster=self._cluster,
            clock=self._clock,
            faults=self._faults,
        )
        self._streams.append(stream)
        try:
            stream.open()
            await stream.done
        finally:
            self._streams.remove(stream)
        return b""

    def _create(self, request: IRequest, kind: Kind, namespace: str, options: Options) -> bytes:
        written, dry_run = queries.json_body(request), bool(options.dry_run)
        return kind.single(self._cluster.create(kind, namespace, written, dry_run=dry_run).body)

    def _faults_changed(self) -> None:
        for stream in list(self._streams):
            stream.strike()
            stream.pump()


def _find(group: str, version: str, plural: str, namespace: str) -> Kind:
    for kind in SERVED:
        if (kind.group, kind.version, kind.plural) == (group, version, plural) and (kind.namespaced or not namespace):
            return kind
    raise Refusal(404, "the server could not find the requested resource")


def _send(request: IRequest, body: bytes, code: int) -> bytes:
    request.setResponseCode(code)
    request.setHeader("content-type", "application/json")
    request.setHeader("content-length", str(len(body)))
    return body


def _refuse(request: IRequest, refusal: Refusal) -> bytes:
    if refusal.retry_after is not None:
        request.setHeader("retry-after", str(refusal.retry_after))
    return _send(request, msgspec.json.encode(refusal.status), refusal.code)


async def _leave_unanswered(request: IRequest, fault: Fault) -> None:
    """Wait for the end of the connection, which is near when the fault is to close it."""
    if not fault.kind.startswith("hang"):
        hang_up(request, reset=fault.reset)
    await Deferred()
