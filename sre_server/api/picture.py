"""The whole picture of one Deployment, from what is known alone: its count, who else sets it, and how it does."""

from typing import Any

import msgspec

from sre_server.api.bodies import Body, digest_of, digest_tag
from sre_server.api.changes import shown
from sre_server.api.noted import shown as temporary_shown
from sre_server.cache import ClusterCache
from sre_server.day.factory import Day
from sre_server.day.owners import AUTOSCALER, managed_by
from sre_server.day.rollout import rollout_of
from sre_server.model import Autoscaler, Progress


class Pictures:
    """Draws pictures."""

    def __init__(self, cache: ClusterCache, day: Day) -> None:
        self._cache = cache
        self._day = day

    def of(self, namespace: str, name: str) -> Body:
        """Draw a Deployment; raises NotFound, or Unavailable for one that cannot be read.

        What is not known is null, and named in `not_known`.
        """
        deployment = self._cache.deployment(namespace, name)
        autoscalers = self._day.autoscalers
        autoscaler, rollout = autoscalers.of(namespace, name), rollout_of(deployment)
        progress, changes = deployment.progress, self._day.changes.of(deployment)
        temporaries = self._day.temporaries
        temporary = temporaries.of(deployment.uid)
        unknown = [*([] if progress else ["status"]), *([] if autoscalers.are_known(namespace) else ["autoscaler"])]
        if temporaries.expected and not temporaries.are_known:
            unknown.append("temporary")
        drawn = {
            "namespace": namespace,
            "deployment": name,
            "replicas": deployment.replicas,
            **_counts(progress),
            "rollout": rollout.value if rollout else None,
            "reason": (progress.trouble if progress else "") or None,
            "paused": progress.paused if progress else None,
            "autoscaler": _bounds(autoscaler) if autoscaler else None,
            "managed_by": managed_by(deployment, autoscaler),
            "temporary": temporary_shown(temporary.note, deployment.replicas) if temporary else None,
            "last_change": shown(changes[-1]) if changes else None,
            "not_known": unknown,
        }
        data = msgspec.json.encode(drawn) + b"\n"
        return Body(data, digest_tag(digest_of(data)))


def _counts(progress: Progress | None) -> dict[str, int | None]:
    names = ("ready", "available", "updated")
    return {name: getattr(progress, name) if progress else None for name in names}


def _bounds(autoscaler: Autoscaler) -> dict[str, Any]:
    return {
        "kind": AUTOSCALER,
        "name": autoscaler.name,
        "min": autoscaler.minimum,
        "max": autoscaler.maximum,
        "active": autoscaler.active,
    }
