"""How far a Deployment has come on the way to what its spec wants, in a word, and in its controller's own words."""

from enum import Enum

from sre_server.model import Deployment


class Rollout(Enum):
    """The states of a rollout; the values are what the API says."""

    STEADY = "steady"
    """Every pod that is wanted is there, available and of the latest template, and no other one."""
    SETTLING = "settling"
    STUCK = "stuck"
    """The controller says that it does not get on."""
    PAUSED = "paused"


def has_settled(deployment: Deployment) -> bool:
    """Tell whether every pod that is wanted is there and available, and no other one.

    By a status of this very spec, and of pods of the latest template: those of a paused rollout may be of another.
    """
    progress, wanted = deployment.progress, deployment.replicas
    if progress is None or progress.observed < progress.generation:
        return False
    updated = wanted if progress.paused else progress.updated
    return {progress.total, updated, progress.ready, progress.available} == {wanted}


def rollout_of(deployment: Deployment) -> Rollout | None:
    """Tell how a Deployment does; None if its status is not known.

    A status counts only for the generation that it observed: until the controller has seen a new count, it settles.
    """
    progress = deployment.progress
    if progress is None:
        return None
    if progress.paused:
        return Rollout.PAUSED
    if progress.trouble:
        return Rollout.STUCK
    return Rollout.STEADY if has_settled(deployment) else Rollout.SETTLING
