"""Objects of the Kubernetes API, as JSON, into model objects, reduced to the few fields that the server keeps.

Whatever goes into a header, a URL or a template later is checked here. `workloads` has those that count replicas,
`unpacking` decodes what holds many objects.
"""

import re
from typing import Final

import msgspec
from msgspec import Struct, field

from sre_server.errors import BadAnswer
from sre_server.model import Guards, Namespace
from sre_server.texts import is_clean, is_deployment_name, is_namespace_name

MESSAGE_LENGTH: Final = 4096
_PROPER: Final = re.compile(
    r"(?!-)[-a-z0-9]{1,63}+(?<!-)\n(?!-)[-a-z0-9]{1,63}+(?<!-)\n[\x21\x23-\x7e]{1,128}+\n[\x21\x23-\x7e]{1,128}+"
)
"""Nearly all metadata, at one look: the namespace and the name both labels, then the uid and the resourceVersion."""


class _Metadata(Struct, frozen=True, gc=False):
    name: str
    uid: str
    resourceVersion: str


class Annotations(Struct, frozen=True, gc=False):
    """The annotations of a Deployment that bound its own count."""

    minimum: str = field(name="sre-server/min-replicas", default="")
    maximum: str = field(name="sre-server/max-replicas", default="")
    protected: str = field(name="sre-server/protected", default="")

    def guards(self) -> Guards | None:
        """None for the Deployments without such annotations, which are nearly all."""
        if self.minimum or self.maximum or self.protected:
            return Guards(self.minimum, self.maximum, self.protected)
        return None


class NamespacedMetadata(_Metadata, frozen=True, kw_only=True, gc=False):
    """The metadata of what is in a namespace."""

    namespace: str

    def check(self) -> None:
        """Raise msgspec.ValidationError unless these are texts that Kubernetes would make."""
        if _PROPER.fullmatch(f"{self.namespace}\n{self.name}\n{self.uid}\n{self.resourceVersion}"):
            return
        if not (is_namespace_name(self.namespace) and is_deployment_name(self.name)):
            raise msgspec.ValidationError("Its name is none that Kubernetes would accept")
        if not (is_clean(self.uid) and is_clean(self.resourceVersion)):
            raise msgspec.ValidationError("Its uid or its resourceVersion has characters that Kubernetes never uses")


class NamespaceObject(Struct, frozen=True, gc=False):
    """`v1` Namespace."""

    metadata: _Metadata
    kind: str = ""

    def model(self) -> Namespace:
        """The namespace as the cache keeps it."""
        metadata = self.metadata
        if not (is_namespace_name(metadata.name) and is_clean(metadata.uid) and is_clean(metadata.resourceVersion)):
            raise msgspec.ValidationError("Its name, uid or resourceVersion has characters that Kubernetes never uses")
        return Namespace(metadata.name, metadata.uid, metadata.resourceVersion)


class _ReviewStatus(Struct):
    allowed: bool = False
    evaluationError: str = ""


class _Review(Struct):
    """`authorization.k8s.io/v1` SubjectAccessReview, answered."""

    status: _ReviewStatus


class _Details(Struct, frozen=True):
    name: str = ""
    kind: str = ""


class Status(Struct):
    """A Kubernetes Status: what went wrong, in the cluster's own words, made fit to be shown."""

    message: str = ""
    reason: str = ""
    code: int = 0
    kind: str = ""
    details: _Details | None = None

    def __post_init__(self) -> None:
        """Clean the texts, which go into answers and logs."""
        self.message = clean(self.message, MESSAGE_LENGTH)
        self.reason = clean(self.reason, 64)

    @property
    def is_status(self) -> bool:
        """Whether the cluster itself has said this: it is no page of a proxy's."""
        return self.kind == "Status"

    def names(self, name: str, *kinds: str) -> bool:
        """Tell whether it is about the object of this name, of one of these kinds."""
        return self.details is not None and self.details.name == name and self.details.kind in kinds

    @property
    def names_something(self) -> bool:
        """Whether it is about an object at all, and not about how it was asked for."""
        return self.details is not None and bool(self.details.name or self.details.kind)


NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises: it lets bad UTF-8 inside a string out as it is, and too deep a nesting."""
_namespace_decoder: Final = msgspec.json.Decoder(NamespaceObject)
_status_decoder: Final = msgspec.json.Decoder(Status)
_review_decoder: Final = msgspec.json.Decoder(_Review)


def clean(text: str, limit: int) -> str:
    """Make a text of the cluster's fit for answers, header fields and logs: one line, printable, bounded."""
    shown = "".join(character if character.isprintable() else " " for character in text[: limit + 1]).strip()
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def decode_namespace(body: bytes) -> Namespace:
    """Decode a single Namespace; raises BadAnswer if it is not one."""
    try:
        namespace: Namespace = _namespace_decoder.decode(body).model()
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a Namespace: {error}.") from error
    return namespace


def decode_review(body: bytes) -> bool:
    """Decode the verdict of a SubjectAccessReview; raises BadAnswer if there is none or the cluster cannot decide."""
    try:
        status = _review_decoder.decode(body).status
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a SubjectAccessReview: {error}.") from error
    if status.evaluationError and not status.allowed:
        raise BadAnswer(f"The cluster could not decide: {clean(status.evaluationError, MESSAGE_LENGTH)}")
    return status.allowed


def decode_status(body: bytes) -> Status:
    """Decode the Status that came with a refusal; whatever is not a Status counts as an empty one."""
    try:
        return _status_decoder.decode(body)
    except NOT_JSON:
        return Status()
