"""One Deployment, or its Scale, from bytes of the Kubernetes API: what writes are judged on and answered with."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from sre_server.cluster.decoding import NOT_JSON, Annotations, NamespacedMetadata
from sre_server.errors import BadAnswer
from sre_server.model import MAX_REPLICAS, Deployment, Guards, State
from sre_server.texts import is_clean

_Count = Annotated[int, Meta(ge=0, le=MAX_REPLICAS)]


class _ScaleSpec(Struct, frozen=True, gc=False):
    replicas: _Count = 0


class _Scale(Struct, frozen=True, gc=False):
    """`autoscaling/v1` Scale of a Deployment; its metadata has the Deployment's own texts, a count of 0 is left out."""

    metadata: NamespacedMetadata
    spec: _ScaleSpec = _ScaleSpec()


class _Metadata(Struct, frozen=True, gc=False):
    uid: str
    annotations: Annotations | None = None


class _Spec(Struct, frozen=True, gc=False):
    replicas: _Count | None = None


class _Deployment(Struct, frozen=True, gc=False):
    """A Deployment, whole, or only its metadata as `meta.k8s.io/v1` PartialObjectMetadata."""

    metadata: _Metadata
    kind: str
    spec: _Spec = _Spec()


_scale_decoder: Final = msgspec.json.Decoder(_Scale)
_deployment_decoder: Final = msgspec.json.Decoder(_Deployment)


def decode_scale(body: bytes) -> Deployment:
    """Decode the Scale that answers a write into the Deployment as it now is; raises BadAnswer if it is not a Scale."""
    try:
        scale = _scale_decoder.decode(body)
        scale.metadata.check()
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a Scale: {error}.") from error
    metadata = scale.metadata
    return Deployment(metadata.namespace, metadata.name, metadata.uid, metadata.resourceVersion, scale.spec.replicas)


def decode_state(body: bytes) -> State:
    """Decode a Deployment, or its metadata alone, into what a write is judged on; raises BadAnswer if it is neither."""
    try:
        found = _deployment_decoder.decode(body)
    except NOT_JSON as error:
        raise BadAnswer(f"The cluster's answer is not a Deployment: {error}.") from error
    if not is_clean(found.metadata.uid):
        raise BadAnswer("The cluster's answer has a uid with characters that Kubernetes never uses.")
    replicas = 1 if found.spec.replicas is None else found.spec.replicas
    guards = found.metadata.annotations.guards() if found.metadata.annotations else None
    return State(found.metadata.uid, replicas if found.kind == "Deployment" else None, guards or Guards())
