"""Deployments, and what scales them by itself, as the API server writes them, into model objects.

Status and managed fields are decoded with the rest, in one pass, which costs less than to look again; conditions only
where one of them may tell of trouble. What they say is common to many Deployments: equal values are one object.
"""

import re
from functools import lru_cache
from sys import intern
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from sre_server.cluster.decoding import Annotations, NamespacedMetadata, clean
from sre_server.model import MAX_REPLICAS, Autoscaler, Deployment, Owners, Progress

TEXT_LENGTH: Final = 512
"""So much of what a controller says of its trouble is kept."""
NAME_LENGTH: Final = 128
"""So much of the name of a field manager, which is its own choice (the API server's limit)."""
_KEPT: Final = 4096
_Count = Annotated[int, Meta(ge=0, le=MAX_REPLICAS)]
_TROUBLE: Final = re.compile(rb'Fa(?:lse|ilure)"')
"""Conditions without a status "False" and a type "ReplicaFailure" tell of no trouble."""
_APPLIED_COUNT: Final = re.compile(rb'\\"replicas\\":')


class _Condition(Struct, frozen=True, gc=False):
    type: str
    status: str
    reason: str = ""
    message: str = ""


class _Owned(Struct, frozen=True, gc=False):
    replicas: Raw | UnsetType = field(name="f:replicas", default=UNSET)


class _Fields(Struct, frozen=True, gc=False):
    spec: _Owned | None = field(name="f:spec", default=None)


class _ManagedFields(Struct, frozen=True, gc=False):
    manager: str = ""
    operation: str = ""
    subresource: str = ""
    fieldsV1: _Fields | None = None


_conditions_decoder: Final = msgspec.json.Decoder(tuple[_Condition, ...] | None)
_NOBODY: Final = _ManagedFields()


class _OwnerReference(Struct, frozen=True, gc=False):
    kind: str
    name: str
    controller: bool | None = None


class _Annotations(Annotations, frozen=True, gc=False):
    applied: Raw | UnsetType = field(name="kubectl.kubernetes.io/last-applied-configuration", default=UNSET)


class _Metadata(NamespacedMetadata, frozen=True, kw_only=True, gc=False):
    annotations: _Annotations | None = None
    generation: int = 0
    ownerReferences: tuple[_OwnerReference, ...] | None = None
    managedFields: tuple[_ManagedFields, ...] | None = None


class _Spec(Struct, frozen=True, gc=False):
    replicas: _Count | None = None
    paused: bool | None = None


class _Status(Struct, frozen=True, gc=False):
    observedGeneration: int = 0
    replicas: int = 0
    readyReplicas: int = 0
    availableReplicas: int = 0
    updatedReplicas: int = 0
    conditions: Raw | UnsetType = UNSET


class DeploymentObject(Struct, frozen=True, gc=False):
    """`apps/v1` Deployment."""

    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status | None = None
    kind: str = ""

    def model(self) -> Deployment:
        """A Deployment that leaves out its count has one replica, as in Kubernetes."""
        metadata, status, progress = self.metadata, self.status, None
        if status is not None:
            progress = _progress(
                metadata.generation,
                status.observedGeneration,
                status.replicas,
                status.readyReplicas,
                status.availableReplicas,
                status.updatedReplicas,
                self.spec.paused is True,
                "" if status.conditions is UNSET else _trouble(status.conditions),
            )
        return _deployment(metadata, metadata.annotations, self.spec.replicas, progress, _owners(metadata))


class _PlainMetadata(NamespacedMetadata, frozen=True, kw_only=True, gc=False):
    annotations: Annotations | None = None


class _PlainSpec(Struct, frozen=True, gc=False):
    replicas: _Count | None = None


class PlainDeploymentObject(Struct, frozen=True, gc=False):
    """`apps/v1` Deployment, as far as its count needs: for one of which the rest makes no sense."""

    metadata: _PlainMetadata
    spec: _PlainSpec = _PlainSpec()
    kind: str = ""

    def model(self) -> Deployment:
        """See `DeploymentObject.model`."""
        return _deployment(self.metadata, self.metadata.annotations, self.spec.replicas, None, None)


def _deployment(
    metadata: NamespacedMetadata,
    annotations: Annotations | None,
    replicas: int | None,
    progress: Progress | None,
    owners: Owners | None,
) -> Deployment:
    metadata.check()
    return Deployment(
        intern(metadata.namespace),  # one text for all that are in it
        metadata.name,
        metadata.uid,
        metadata.resourceVersion,
        1 if replicas is None else replicas,
        annotations.guards() if annotations else None,
        progress,
        owners,
    )


@lru_cache(_KEPT)
def _progress(*values: int | str) -> Progress:
    return Progress(*values)  # type: ignore[arg-type]  # as `model` hands them in


def _trouble(conditions: Raw) -> str:
    """Say why the controller does not get on, in its own words; empty if it does, or has not found out yet.

    That pods are refused says more than that it takes too long.
    """
    if _TROUBLE.search(conditions) is None:
        return ""
    slow = ""
    for each in _conditions_decoder.decode(conditions) or ():
        if each.type == "ReplicaFailure" and each.status == "True":
            return _said(each)
        if each.type == "Progressing" and each.status == "False":
            slow = _said(each)
    return slow


def _said(condition: _Condition) -> str:
    return clean(f"{condition.reason}: {condition.message}", TEXT_LENGTH)


def _owners(metadata: _Metadata) -> Owners | None:
    manager, applied = _NOBODY, False
    appliers: tuple[str, ...] = ()
    for entry in metadata.managedFields or ():
        fields = entry.fieldsV1
        if fields is not None and fields.spec is not None and fields.spec.replicas is not UNSET:
            manager = entry
        if entry.operation == "Apply" and not entry.subresource:
            appliers = (*appliers, entry.manager)
    if metadata.annotations is not None and metadata.annotations.applied is not UNSET:
        applied = _APPLIED_COUNT.search(metadata.annotations.applied) is not None
    controller = _controller(metadata.ownerReferences) if metadata.ownerReferences else ""
    if manager is _NOBODY and not (appliers or applied or controller):
        return None
    return _owned(manager.manager, manager.operation, manager.subresource, appliers, applied, controller)


def _controller(references: tuple[_OwnerReference, ...]) -> str:
    """Name the object that an object belongs to; empty if there is none."""
    return next((f"{each.kind} {each.name}" for each in references if each.controller), "")


@lru_cache(_KEPT)
def _owned(
    manager: str, operation: str, subresource: str, appliers: tuple[str, ...], applied: bool, controller: str
) -> Owners:
    return Owners(
        clean(manager, NAME_LENGTH),
        clean(operation, NAME_LENGTH),
        clean(subresource, NAME_LENGTH),
        tuple(clean(each, NAME_LENGTH) for each in appliers),
        applied,
        clean(controller, 2 * NAME_LENGTH),
    )


class _Target(Struct, frozen=True, gc=False):
    kind: str = ""
    name: str = ""


class _Bounds(Struct, frozen=True, gc=False):
    scaleTargetRef: _Target
    maxReplicas: _Count
    minReplicas: _Count | None = None


class _Conditions(Struct, frozen=True, gc=False):
    conditions: tuple[_Condition, ...] | None = None


class _AutoscalerMetadata(NamespacedMetadata, frozen=True, kw_only=True, gc=False):
    ownerReferences: tuple[_OwnerReference, ...] | None = None


class AutoscalerObject(Struct, frozen=True, gc=False):
    """`autoscaling/v2` HorizontalPodAutoscaler; without a minimum it has 1."""

    metadata: _AutoscalerMetadata
    spec: _Bounds
    status: _Conditions = _Conditions()
    kind: str = ""

    def model(self) -> Autoscaler:
        """The autoscaler as it is kept; it is off while the count is 0, unless it was itself that set it so."""
        metadata, target = self.metadata, self.spec.scaleTargetRef
        metadata.check()
        off = any(
            (each.type, each.status, each.reason) == ("ScalingActive", "False", "ScalingDisabled")
            for each in self.status.conditions or ()
        )
        return Autoscaler(
            intern(metadata.namespace),
            metadata.name,
            metadata.uid,
            metadata.resourceVersion,
            target.name if target.kind == "Deployment" else "",
            1 if self.spec.minReplicas is None else self.spec.minReplicas,
            self.spec.maxReplicas,
            active=not off,
            owner=clean(_controller(metadata.ownerReferences or ()), 2 * NAME_LENGTH),
        )


def unreadable_autoscaler(namespace: str, name: str, uid: str, version: str) -> Autoscaler:
    """Make the best of one that cannot be read: it is there, and bounds nothing that is known."""
    return Autoscaler(intern(namespace), name, uid, version, "", 0, MAX_REPLICAS, active=False)
