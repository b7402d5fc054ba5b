"""Writes of ours that the cluster has not told of yet: shown all the same, until its news have come to them."""

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from sre_server.model import Deployment
from sre_server.news import Change, Deleted, Listed, Put
from sre_server.texts import at_least_as_new

Key = tuple[str, str]


class _Write(Struct, frozen=True):
    """A Deployment as a write left it, when that write was answered, and what the cluster has told instead."""

    deployment: Deployment
    at: float
    heard: Deployment | None


class Unheard:
    """The newest write of each Deployment, by namespace and name."""

    def __init__(self) -> None:
        self._writes: Final[dict[Key, _Write]] = {}

    def __contains__(self, key: Key) -> bool:
        """Tell whether there is one of that Deployment."""
        return key in self._writes

    def add(self, deployment: Deployment, at: float, known: Deployment | None) -> None:
        """Learn of a write, and of what was known before it."""
        key = (deployment.namespace, deployment.name)
        before = self._writes.get(key)
        self._writes[key] = _Write(deployment, at, before.heard if before else known)

    def hides(self, told: Deployment) -> bool:
        """Tell whether a state that was told is older than a write; a write that it is not older than is done with."""
        key = (told.namespace, told.name)
        write = self._writes.get(key)
        if write is None:
            return False
        if at_least_as_new(told.resource_version, write.deployment.resource_version):
            del self._writes[key]
            return False
        self._writes[key] = replace(write, heard=told)
        return True

    def deleted(self, told: Deployment) -> None:
        """Learn that a Deployment is gone, which may be one that was there before the one that was written."""
        key = (told.namespace, told.name)
        write = self._writes.get(key)
        if write is None:
            return
        if write.deployment.uid == told.uid:
            del self._writes[key]
        elif write.heard is not None and write.heard.uid == told.uid:
            self._writes[key] = replace(write, heard=None)

    def put_over(self, listed: Listed, deployments: dict[str, dict[str, Deployment]]) -> None:
        """Put those that a list does not include over what it tells; let go of those that it does."""
        for (namespace, name), write in list(self._writes.items()):
            if listed.source.namespace not in (None, namespace):
                continue
            if _is_included(listed, write):
                del self._writes[namespace, name]
            else:
                told = deployments.setdefault(namespace, {})
                self._writes[namespace, name] = replace(write, heard=told.get(name))
                told[name] = write.deployment

    def lost(self, scope: str | None, version: str) -> list[Change]:
        """Let go of those that the cluster has passed without a word of them: it was restored to before them.

        Return the changes from them to what it has told instead.
        """
        lost: list[Change] = []
        for key, write in list(self._writes.items()):
            passed = not at_least_as_new(write.deployment.resource_version, version)
            if passed and scope in (None, key[0]):
                del self._writes[key]
                lost.append(Put(write.heard, gap=True) if write.heard else Deleted(write.deployment))
        return lost


def _is_included(listed: Listed, write: _Write) -> bool:
    """Tell whether the list was taken after the write; one asked for later was, even if the cluster went back."""
    ours = write.deployment.resource_version
    return listed.started_at > write.at or at_least_as_new(listed.resource_version, ours)
