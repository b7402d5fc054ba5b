"""Objects of the Kubernetes API, as JSON, into model objects, with the few fields that the server keeps.

Whatever goes into a header, a URL or a template later is checked here. `unpacking` decodes what holds many of them.
"""

from sys import intern
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from sre_server.errors import BadAnswer
from sre_server.model import (
    MAX_REPLICAS,
    Deployment,
    Guards,
    Namespace,
    is_clean,
    is_deployment_name,
    is_namespace_name,
)

_Count = Annotated[int, Meta(ge=0, le=MAX_REPLICAS)]


class _Metadata(Struct, frozen=True, gc=False):
    name: str
    uid: str
    resourceVersion: str


class _Annotations(
    Struct,
    frozen=True,
    gc=False,
    rename={
        "minimum": "sre-server/min-replicas",
        "maximum": "sre-server/max-replicas",
        "protected": "sre-server/protected",
    },
):
    minimum: str = ""
    maximum: str = ""
    protected: str = ""

    def guards(self) -> Guards | None:
        """None for the Deployments that say nothing, which are nearly all."""
        if self.minimum or self.maximum or self.protected:
            return Guards(self.minimum, self.maximum, self.protected)
        return None


class _NamespacedMetadata(_Metadata, frozen=True, kw_only=True, gc=False):
    namespace: str
    annotations: _Annotations | None = None

    def check(self) -> None:
        """Raise msgspec.ValidationError unless these are texts that Kubernetes would make."""
        if not (is_namespace_name(self.namespace) and is_deployment_name(self.name)):
            raise msgspec.ValidationError("Its name is none that Kubernetes would accept")
        if not (is_clean(self.uid) and is_clean(self.resourceVersion)):
            raise msgspec.ValidationError("Its uid or its resourceVersion has characters that Kubernetes never uses")


class _Spec(Struct, frozen=True, gc=False):
    replicas: _Count | None = None


class DeploymentObject(Struct, frozen=True, gc=False):
    """`apps/v1` Deployment."""

    metadata: _NamespacedMetadata
    spec: _Spec = _Spec()
    kind: str = ""

    def model(self) -> Deployment:
        """A Deployment that leaves out its count has one replica, as in Kubernetes."""
        metadata = self.metadata
        metadata.check()
        replicas = 1 if self.spec.replicas is None else self.spec.replicas
        guards = metadata.annotations.guards() if metadata.annotations else None
        namespace = intern(metadata.namespace)  # one text for all that are in it
        return Deployment(namespace, metadata.name, metadata.uid, metadata.resourceVersion, replicas, guards)


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


class _ScaleSpec(Struct, frozen=True, gc=False):
    replicas: _Count = 0


class _Scale(Struct, frozen=True, gc=False):
    """`autoscaling/v1` Scale of a Deployment; its metadata is the Deployment's own, a count of 0 is left out."""

    metadata: _NamespacedMetadata
    spec: _ScaleSpec = _ScaleSpec()


class _ReviewStatus(Struct):
    allowed: bool = False
    evaluationError: str = ""


class _Review(Struct):
    """`authorization.k8s.io/v1` SubjectAccessReview, answered."""

    status: _ReviewStatus


class Status(Struct):
    """A Kubernetes Status: what went wrong, in the cluster's own words."""

    message: str = ""
    reason: str = ""
    code: int = 0


NOT_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises: it lets bad UTF-8 inside a string out as it is, and too deep a nesting."""
_namespace_decoder: Final = msgspec.json.Decoder(NamespaceObject)
_status_decoder: Final = msgspec.json.Decoder(Status)
_scale_decoder: Final = msgspec.json.Decoder(_Scale)
_review_decoder: Final = msgspec.json.Decoder(_Review)


def decode_namespace(body: bytes) -> Namespace:
    """Decode a single Namespace; raises BadAnswer if it is none."""
    try:
        namespace: Namespace = _namespace_decoder.decode(body).model()
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is no Namespace: {error}.") from error
    return namespace


def decode_scale(body: bytes) -> Deployment:
    """Decode the Scale that a write answers into the Deployment as it now is; raises BadAnswer if it is none."""
    try:
        scale = _scale_decoder.decode(body)
        scale.metadata.check()
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is no Scale: {error}.") from error
    metadata = scale.metadata
    return Deployment(metadata.namespace, metadata.name, metadata.uid, metadata.resourceVersion, scale.spec.replicas)


def decode_review(body: bytes) -> bool:
    """Decode the verdict of a SubjectAccessReview; raises BadAnswer if it is none, or if it could not be reached."""
    try:
        status = _review_decoder.decode(body).status
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is no SubjectAccessReview: {error}.") from error
    if status.evaluationError and not status.allowed:
        raise BadAnswer(f"The cluster could not decide: {status.evaluationError}")
    return status.allowed


def decode_status(body: bytes) -> Status:
    """Decode the Status of an answer that refused; anything else makes an empty one."""
    try:
        return _status_decoder.decode(body)
    except NOT_JSON:
        return Status()
