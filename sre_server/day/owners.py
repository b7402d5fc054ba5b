"""Who sets the count of a Deployment beside its users: autoscalers, controllers, GitOps; in words."""

from typing import Final

from sre_server.day.record import THROUGH_SCALE
from sre_server.model import Autoscaler, Deployment, Owners

AUTOSCALER: Final = "HorizontalPodAutoscaler"
CONTROLLERS: Final = "kube-controller-manager"
"""The field manager of the cluster's own controllers; of those, only the autoscaler's writes a scale."""
SERVER_SIDE: Final = "(server-side apply)"


def named(autoscaler: Autoscaler) -> str:
    """Name an autoscaler, and what made it."""
    of = f" (of {autoscaler.owner})" if autoscaler.owner else ""
    return f"{AUTOSCALER} {autoscaler.name}{of}"


def applier_of(owners: Owners) -> str | None:
    """Name who brings back a count that is written down elsewhere when it next applies; None if nobody is known to.

    A server-side apply owns the count, or would after it was set to 0, which leaves it without an owner
    (kubernetes/kubernetes#25238); a client-side one has it in its last configuration.
    """
    if owners.operation == "Apply" and not owners.subresource:
        return f"{owners.manager} {SERVER_SIDE}"
    if owners.applied:
        manager = owners.manager if owners.operation == "Update" and not owners.subresource else ""
        return f"{manager or 'kubectl apply'} (its last applied configuration has a count)"
    if not owners.manager and owners.appliers:
        return f"{owners.appliers[0]} {SERVER_SIDE}"
    return None


def perhaps_applier_of(owners: Owners) -> str | None:
    """Name who applies a Deployment whose count was set through `/scale`: whether a count is applied shows no more.

    An autoscaler's count is no sign of that: with one, no count should be written down elsewhere.
    """
    through_scale = owners.subresource == "scale" and owners.manager != CONTROLLERS
    return owners.appliers[0] if through_scale and owners.appliers else None


def managed_by(deployment: Deployment, autoscaler: Autoscaler | None) -> list[str]:
    """Name everybody who sets the count beside users, the most certain first."""
    owners = deployment.owners or Owners()
    named_ones = [named(autoscaler) if autoscaler else None, owners.controller or None, applier_of(owners)]
    return [each for each in named_ones if each]


def setter_of(deployment: Deployment, autoscaler: Autoscaler | None) -> str:
    """Name the program that set the count as it is, by managedFields, which never say who used it.

    A count of 0 that was set through `/scale` has no owner there, and nor has any that is set through it after that,
    until the Deployment itself is written with a count (kubernetes/kubernetes#25238).
    """
    owners = deployment.owners or Owners()
    if not owners.manager:
        perhaps = f" ({AUTOSCALER} '{autoscaler.name}' sets it, too)" if autoscaler is not None else ""
        return f"{THROUGH_SCALE}{perhaps}"
    if owners.operation == "Apply":
        return f"{owners.manager} (server-side apply)"
    if (owners.manager, owners.subresource) == (CONTROLLERS, "scale") and autoscaler is not None:
        return f"{owners.manager} ({AUTOSCALER} '{autoscaler.name}')"
    return owners.manager
