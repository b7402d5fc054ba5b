"""Temporary counts as clients see them: one, all of them, or in words."""

from typing import Any, Final

import msgspec

from sre_server.api.bodies import Body, digest_of, digest_tag
from sre_server.cache import ClusterCache
from sre_server.day.temporary import Note, Temporaries, shown_time
from sre_server.errors import NotTemporary
from sre_server.model import Deployment
from sre_server.security.authorization import View

SUPERSEDED: Final = "superseded"


class TemporaryBodies:
    """The bodies of what is asked about them."""

    def __init__(self, cache: ClusterCache, temporaries: Temporaries) -> None:
        self._cache = cache
        self._temporaries = temporaries

    def one(self, namespace: str, name: str) -> Body:
        """`GET /deployments/{ns}/{name}/temporary`; raises NotTemporary if there is none."""
        self._temporaries.check()
        deployment = self._cache.deployment(namespace, name)
        known = self._temporaries.of(deployment.uid)
        if known is None:
            raise no_temporary(namespace, name)
        return _body(_placed(known.note, deployment))

    def all(self, view: View) -> Body:
        """`GET /temporary`: those of the Deployments that a client may read, in the order in which they end."""
        self._temporaries.check()
        listed = []
        for uid, known in self._temporaries:
            deployment = self._cache.find(known.note.namespace, known.note.name)
            if deployment is not None and deployment.uid == uid and _sees(view, deployment):
                listed.append((known.note, deployment))
        listed.sort(key=lambda each: (each[0].until, each[0].namespace, each[0].name))
        return _body({"temporary": [_placed(*each) for each in listed]})

    def said(self, namespace: str, name: str) -> str | None:
        """Say in words which temporary count a Deployment has; None if it has none, or none that is known."""
        deployment = self._cache.find(namespace, name)
        known = self._temporaries.of(deployment.uid) if deployment is not None else None
        if deployment is None or known is None or _state(known.note, deployment.replicas) == SUPERSEDED:
            return None
        note = known.note
        return f"{note.count} until {shown_time(note.until)}, then {note.original} again, set by {note.author}"


def shown(note: Note, replicas: int) -> dict[str, Any]:
    """Draw a temporary count, but for the Deployment that has it, whose count is `replicas` now."""
    return {
        "replicas": note.count,
        "original": note.original,
        "until": shown_time(note.until),
        "by": note.author,
        "reason": note.reason,
        "state": _state(note, replicas),
    }


def _state(note: Note, replicas: int) -> str:
    if note.claim:
        return "returning"
    if note.before is not None:
        return "unconfirmed"
    return "in force" if replicas == note.count else SUPERSEDED


def _placed(note: Note, deployment: Deployment) -> dict[str, Any]:
    return {"namespace": note.namespace, "deployment": note.name, **shown(note, deployment.replicas)}


def no_temporary(namespace: str, name: str) -> NotTemporary:
    """Return the error that a Deployment has none."""
    return NotTemporary(f"The Deployment '{name}' in the namespace '{namespace}' has no temporary count.")


def _sees(view: View, deployment: Deployment) -> bool:
    extent = view.extent(deployment.namespace)
    return extent is not None and (extent.allows is None or extent.allows(deployment.name))


def _body(drawn: dict[str, Any]) -> Body:
    data = msgspec.json.encode(drawn) + b"\n"
    return Body(data, digest_tag(digest_of(data)))
