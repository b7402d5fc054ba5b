"""What takes bytes from outside. A target raises only what it may not do: anything but a clear error of ours."""

import hmac
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import count
from pathlib import Path
from typing import Final
from unittest import mock

import msgspec
from msgspec import Struct
from twisted.logger import ILogObserver, LogEvent, globalLogBeginner
from zope.interface import implementer

from sre_server.cluster.decoding import decode_namespace, decode_review, decode_status
from sre_server.cluster.heads import HEAD_BYTES
from sre_server.cluster.kinds import KINDS
from sre_server.cluster.kubeconfig import read_kubeconfig
from sre_server.cluster.lines import complete_lines
from sre_server.cluster.single import decode_scale, decode_state
from sre_server.cluster.unpacking import decode_cut_page, decode_line, decode_page
from sre_server.errors import ClusterError, CredentialsError, StoreError
from sre_server.model import Autoscaler, Namespace, Owners, Progress
from sre_server.security.documents import DocumentError
from sre_server.security.guardrails import load_guardrails
from sre_server.security.pem import TLSFilesError
from sre_server.security.policy import load_policy
from sre_server.security.revocations import load_revocations
from sre_server.store.contents import Contents
from sre_server.store.records import Chunk, Entry, Head, Seal, row_of
from sre_server.web import answers as answers_on_the_wire
from tests.certificates import Authority
from tests.fakes import deployment, namespace
from tests.memory_client import Answer
from tests.memory_server import MemoryServer
from tests.store.memory import ALL_SOURCES
from tests.wire import bookmark_line, deployment_body, error_line, event_line, list_page

KEY: Final = b"a key of the fuzzers"
SCALER: Final = Autoscaler("shop", "web", "uid-hpa", "41", "web", 3, 10, owner="ScaledObject web")
WHOLE: Final = msgspec.structs.replace(
    deployment(),
    progress=Progress(generation=7, observed=6, total=4, ready=3, available=2, updated=1, trouble="A: b"),
    owners=Owners("flux", "Apply", appliers=("flux",), applied=True, controller="Kafka main"),
)
KUBECONFIG: Final = b"""
apiVersion: v1
kind: Config
current-context: c
contexts: [{name: c, context: {cluster: k, user: u}}]
clusters: [{name: k, cluster: {server: "https://127.0.0.1:6443", certificate-authority-data: "YQ=="}}]
users: [{name: u, user: {token: t, exec: {command: x, env: [{name: A, value: b}], interactiveMode: Never}}}]
"""
POLICY: Final = b'rules: [{identities: ["a*"], verbs: [read, scale], namespaces: ["*-prod"], names: ["w?b"]}]\n'
GUARDRAILS: Final = b"maximum: 10\nminimum: 1\nlargest_step: 2\nprotected: [{namespaces: [kube-system]}]\n"


class Target(Struct, frozen=True):
    """Something that takes bytes, and a few to begin with."""

    take: Callable[[bytes], object]
    seeds: Sequence[bytes]


def watch(data: bytes) -> None:
    """Take a watch, in pieces whose size the first byte says."""
    size = 1 + (data[0] if data else 0)
    for resource in KINDS:
        chunks = iter([data[at : at + size] for at in range(1, len(data), size)])
        with suppress(ClusterError):
            for lines in complete_lines(chunks, 4096, HEAD_BYTES):
                for line in lines:
                    decode_line(resource, line)


def page(data: bytes) -> None:
    """Take a page of a list, whole and cut off."""
    for resource in KINDS:
        for decode in (decode_page, decode_cut_page):
            with suppress(ClusterError):
                decode(resource, data)


def answers(data: bytes) -> None:
    """Take what single requests are answered with."""
    for decode in (decode_scale, decode_state, decode_status, decode_review, decode_namespace):
        with suppress(ClusterError):
            decode(data)


def record(data: bytes) -> None:
    """Take a record of the shared cache that is sealed well, and was written by who knows which release."""
    seal = Seal([KEY])
    whole, contents = hmac.digest(KEY, b"p\n" + data, "sha256") + data, Contents(ALL_SOURCES)
    with suppress(StoreError):
        seal.open("p", whole, Head)
    with suppress(StoreError):
        for row in seal.open("p", whole, Entry).rows:
            contents.take(row)
    with suppress(StoreError):
        contents.fill(0, seal.open("p", whole, Chunk).rows)


def sealed(data: bytes) -> None:
    """Take a record that nobody sealed."""
    with suppress(StoreError):
        Seal([KEY]).open("p", data, Entry)
        raise AssertionError("a forged record was opened")


@cache
def _file() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-")) / "file"


def _from_file(read: Callable[[Path], object], error: type[Exception], data: bytes) -> None:
    _file().write_bytes(data)
    with suppress(error):
        read(_file())


def _kubeconfig(path: Path) -> None:
    chosen = read_kubeconfig(str(path))
    chosen.authorities()
    chosen.pair()


@cache
def _authority() -> Authority:
    return Authority(_file().parent)


def crl(data: bytes) -> None:
    """Take a file of revocation lists."""
    _from_file(lambda path: load_revocations(path, [_authority().certificate]), TLSFilesError, data)


@cache
def _servers() -> tuple[MemoryServer, MemoryServer]:
    found = MemoryServer(lane=False), MemoryServer()
    for server in found:
        server.sync(namespace("shop"), namespace("empty"), WHOLE, deployment("w.eb"))
    return found


# Who changed a count is told of with the id of the request, which is in ETags, too.
@mock.patch.object(answers_on_the_wire, "getrandbits", new=int)  # always 64
def _answers(server: MemoryServer, data: bytes) -> list[tuple[int, bytes, object]]:
    wire = server.connect()
    wire.write(data)
    found = wire.answers()
    wire.hang_up()
    server.audit.records.clear()
    server.audit.begun.clear()
    server.writes.clear()
    server.told.clear()
    return [_shown(answer) for answer in found]


def _shown(answer: Answer) -> tuple[int, bytes, object]:
    headers = ((name.lower(), values) for name, values in answer.headers.getAllRawHeaders())
    return answer.status, answer.body, sorted(each for each in headers if each[0] not in (b"date", b"x-request-id"))


def request(data: bytes) -> None:
    """Take a request by the fast lane where it takes it, and the ordinary way: the answers are the same, and no 500."""
    if b"HEAD" in data:
        return  # of an answer one cannot tell whether a body follows
    ordinary, fast = (_answers(server, data) for server in _servers())
    if ordinary != fast:
        raise AssertionError(f"{ordinary} and, with the lane, {fast}")
    if any(status == 500 for status, _, _ in ordinary):
        raise AssertionError("an internal error")


def _request(path: bytes, fields: bytes = b"", method: bytes = b"GET", body: bytes = b"") -> bytes:
    length = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body) if body else b""
    return b"%s %s HTTP/1.1\r\nHost: localhost\r\n%s%s\r\n%s" % (method, path, fields, length, body)


@implementer(ILogObserver)
def _ignored(_: LogEvent) -> None:
    """Log nothing."""


def targets() -> Mapping[str, Target]:
    """Return all of them, by name."""
    globalLogBeginner.beginLoggingTo([_ignored], redirectStandardIO=False, discardBuffer=True)
    seal, other, number = Seal([KEY]), Seal([b"a key of somebody else"]), count()
    objects = (WHOLE, SCALER, namespace())
    rows = [row_of(item) for item in objects] + [row_of(WHOLE, deleted=True)]
    entry = Entry((1, 2), 3.0, 2.5, [1.0, 1.0, None], ["7", "7", ""], [1, 1, 1], rows)
    records: list[Entry | Head | Chunk] = [
        entry,
        Chunk((7, 8), rows),
        Head(1, 2, ["namespaces", "deployments"], ["7", "7"], [1, 1], 1, [1.8e9, None]),
    ]
    lines = [event_line(kind, item) for kind in ("ADDED", "MODIFIED", "DELETED") for item in objects]
    lines += [bookmark_line("77", initial_events_end=True), error_line(410, "Expired", "too old")]
    writes = [_request(b"/deployments/shop/web/replicas", b'If-Match: "3-u"\r\n', b"PUT", b'{"replicas": 5}')]
    reads = [
        _request(path, fields)
        for path in (b"/deployments", b"/deployments/shop/web/replicas", b"/namespaces/ANY/deployments", b"/readyz")
        for fields in (b"", b"If-None-Match: *\r\nAccept-Encoding: gzip;q=0.5\r\nCache-Control: max-stale=5\r\n")
    ]
    assert isinstance(objects[2], Namespace)
    return {
        "watch": Target(watch, [bytes([next(number)]) + line for line in lines]),
        "page": Target(page, [list_page(item, next_token="n") for item in objects]),
        "answers": Target(answers, [deployment_body(WHOLE), b'{"kind":"Status","code":422,"details":{"name":"web"}}']),
        "record": Target(record, [seal.close("p", each)[32:] for each in records]),
        "sealed": Target(sealed, [other.close("p", each) for each in records]),
        "kubeconfig": Target(partial(_from_file, _kubeconfig, CredentialsError), [KUBECONFIG]),
        "policy": Target(partial(_from_file, load_policy, DocumentError), [POLICY]),
        "guardrails": Target(partial(_from_file, load_guardrails, DocumentError), [GUARDRAILS]),
        "crl": Target(crl, [_authority().revocation_list(), _authority().revocation_list(7, number=9)]),
        "request": Target(request, [*reads, *writes]),
    }
