"""One ConfigMap in which this server keeps notes of its own: reading it, and changing one of its texts.

A change is a JSON patch (RFC 6902) that tests the text that is to be there, so that of several processes that want to
change the same one exactly one does. No text here has a character that two encoders of JSON write differently: the API
server's own compares what is tested byte by byte.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sre_server.cluster.decoding import NOT_JSON, NamespacedMetadata, Status, decode_status
from sre_server.cluster.permissions import Told, untold
from sre_server.cluster.transport import Reply, Transport
from sre_server.cluster.workers import Bounds, ConnectedWorkers
from sre_server.errors import (
    BadAnswer,
    ClusterBroke,
    ClusterError,
    ClusterTimedOut,
    Conflict,
    SreServerError,
    Unavailable,
)
from sre_server.model import Notes, Swapped
from sre_server.texts import no_store

READ_TIMEOUT: Final = 10.0
BYTES: Final = 8 * 2**20
"""1 MiB, the most that a ConfigMap may have, can be several times as much in JSON."""
BOUNDS: Final = Bounds(running=8, running_per_client=4, queued=64, queued_per_client=16)
GET_NOTES: Final = "get the ConfigMap of temporary counts"
PATCH_NOTES: Final = "patch the ConfigMap of temporary counts"
ROUNDS: Final = 3
RETRY_SECONDS: Final = 1
FIELD_MANAGER: Final = "sre-server"
_HEADERS: Final = {"Connection": "close"}
_T = TypeVar("_T")


class ConfigMapObject(Struct, frozen=True, gc=False):
    """`v1` ConfigMap; one without any texts has no `data`."""

    metadata: NamespacedMetadata
    data: dict[str, str] | None = None
    kind: str = ""

    def model(self) -> Notes:
        """The notes in it."""
        metadata = self.metadata
        metadata.check()
        return Notes(metadata.namespace, metadata.name, metadata.uid, metadata.resourceVersion, self.data or {})


_decoder: Final = msgspec.json.Decoder(ConfigMapObject)


def decode_notes(body: bytes) -> Notes:
    """Decode a ConfigMap; raises BadAnswer if it is not one."""
    try:
        notes: Notes = _decoder.decode(body).model()
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a ConfigMap: {error}.") from error
    return notes


def read_notes(transport: Transport, namespace: str, name: str) -> Notes:
    """Read the notes; blocks. Raises Unavailable, or whatever went wrong on the way."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    with transport.request("GET", path, {}, headers=_HEADERS, read_timeout=READ_TIMEOUT) as reply:
        body = reply.read(BYTES, READ_TIMEOUT)
        if reply.status == 200:
            return decode_notes(body)
    raise _refusal(reply, decode_status(body), namespace, name, GET_NOTES)


def swap(
    transport: Transport, namespace: str, name: str, key: str, before: str | None, after: str | None, *, empty: bool
) -> Swapped:
    """Put the text `after` in the place of the text `before`, None standing for none at all; blocks.

    Each attempt is sent once. Another is made only after one that is known to have changed nothing, where that was for
    the ConfigMap having texts at all, or none (`empty` is what to expect first). An answer that was lost is looked for.

    Raises Unavailable (nothing was changed), ClusterUnreachable (never sent), ClusterTimedOut or ClusterBroke (outcome
    unknown).
    """
    for _ in range(ROUNDS):
        try:
            notes = _patched(transport, namespace, name, _patch(key, before, after, empty=empty))
        except (ClusterTimedOut, ClusterBroke) as error:
            return _looked_for(transport, namespace, name, key, after, error)
        if notes is not None:
            return True, notes
        notes = read_notes(transport, namespace, name)
        empty = not notes.data
        if notes.data.get(key) != before:
            return False, notes
    raise Conflict("Others keep changing the notes of temporary counts at the same time.")


def _looked_for(
    transport: Transport, namespace: str, name: str, key: str, after: str | None, error: ClusterError
) -> Swapped:
    """Tell whether a change whose answer was lost was made after all; raises that error if it cannot be told."""
    try:
        notes = read_notes(transport, namespace, name)
    except SreServerError:
        raise error from None
    if notes.data.get(key) != after:
        raise error
    return True, notes


def _patched(transport: Transport, namespace: str, name: str, patch: bytes) -> Notes | None:
    """Send a patch; return the notes as it left them, None if a test in it failed and nothing was changed."""
    path = f"/api/v1/namespaces/{namespace}/configmaps/{name}"
    headers = {**_HEADERS, "Content-Type": "application/json-patch+json"}
    query = {"fieldManager": FIELD_MANAGER}
    try:
        with transport.request("PATCH", path, query, headers=headers, body=patch, read_timeout=READ_TIMEOUT) as reply:
            body = reply.read(BYTES, READ_TIMEOUT)
            if reply.status == 200:
                return decode_notes(body)
    except BadAnswer as error:
        raise ClusterBroke(f"{error} Whether the note was taken is unknown.") from error
    said = decode_status(body)
    if reply.status == 422 and not said.names_something:
        return None
    raise _refusal(reply, said, namespace, name, PATCH_NOTES)


def _refusal(reply: Reply, said: Status, namespace: str, name: str, what: str) -> SreServerError:
    message = said.message or "it gave no reason"
    if reply.status == 404:
        return Unavailable(no_store(namespace, name), 60)
    if reply.status == 504:
        return ClusterTimedOut(f"The cluster did not answer in time: {message}")
    if reply.status in (500, 502):
        return ClusterBroke(f"The cluster failed ({reply.status}): {message}")
    refused = Unavailable(
        f"The cluster refused to {what} ({reply.status}): {message}", reply.retry_after() or RETRY_SECONDS
    )
    if reply.status in (401, 403):
        refused.missing_right = what
    return refused


def _patch(key: str, before: str | None, after: str | None, *, empty: bool) -> bytes:
    steps: list[Mapping[str, object]]
    if before is None and empty:
        steps = [
            {"op": "test", "path": "/data", "value": None},
            {"op": "add", "path": "/data", "value": {} if after is None else {key: after}},
        ]
    else:
        path = f"/data/{key}"
        change = {"op": "remove", "path": path} if after is None else {"op": "add", "path": path, "value": after}
        steps = [{"op": "test", "path": path, "value": before}, change]
    return msgspec.json.encode(steps)


class Notebook:
    """Changes the notes in one ConfigMap, in threads; `told` is told what the cluster permits, or does not."""

    def __init__(self, workers: ConnectedWorkers, namespace: str, name: str, told: Told = untold) -> None:
        self._workers = workers
        self._namespace = namespace
        self._name = name
        self._told = told

    def swap(self, client: str, key: str, before: str | None, after: str | None, *, empty: bool) -> Deferred[Swapped]:
        """Change a text for a client; see `swap`. Cancelling the Deferred stops the waiting, not the change."""

        def work(transport: Transport) -> Swapped:
            return swap(transport, self._namespace, self._name, key, before, after, empty=empty)

        return self._run(work, client)

    def _run(self, work: Callable[[Transport], _T], client: str) -> Deferred[_T]:
        return self._workers.call(work, client).addCallbacks(self._succeeded, self._failed)

    def _succeeded(self, outcome: _T) -> _T:
        self._told(PATCH_NOTES, None)
        return outcome

    def _failed(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, SreServerError) and error.missing_right:
            self._told(error.missing_right, error)
        return failure
