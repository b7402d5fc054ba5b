"""May what was loaded of a source replace what readers were shown of it? Not if that would take them back.

A watcher that has just taken over may have heard less than the last one had. What it publishes is followed, and shown
once it has caught up. Its own watch hears something within 90 s, or lists: who goes on hearing the cluster and stays
behind is not behind: the cluster itself went back. One that is forbidden a namespace hears nothing of it, and may have
much to hear once that is permitted: so of a silence, however long, no more counts than `SILENT_SECONDS`.
"""

from collections.abc import Mapping
from typing import Final

from sre_server.model import Object
from sre_server.store.contents import Contents
from sre_server.store.records import Place
from sre_server.texts import at_least_as_new

BEHIND_SECONDS: Final = 100.0
SILENT_SECONDS: Final = 60.0


def newest(version: str, objects: Mapping[Place, Object]) -> str:
    """Return the resourceVersion of a source, or that of its newest object: after half of a batch some are newer.

    One of 0 says nothing, as of a namespace that is asked for again and again, and stays so.
    """
    for item in objects.values() if version != "0" else ():
        if not at_least_as_new(version, item.resource_version):
            version = item.resource_version
    return version


class Lag:
    """How long a source has been heard, while it was behind."""

    def __init__(self) -> None:
        """Be heard at no time yet."""
        self._heard_at: float | None = None
        self._seconds = 0.0

    def heard(self, at: float) -> None:
        """Learn when it was heard last."""
        if self._heard_at is not None:
            self._seconds += min(at - self._heard_at, SILENT_SECONDS)
        self._heard_at = at

    @property
    def is_too_long(self) -> bool:
        """Whether it would have caught up by now."""
        return self._seconds >= BEHIND_SECONDS


class Shown:
    """What readers were shown last of a source: objects, as of a resourceVersion and the cluster's last restoration."""

    def __init__(self, number: int, objects: Mapping[Place, Object], version: str, restored: int) -> None:
        """Remember it of the source of this number."""
        self.objects = objects
        self._number = number
        self._version = newest(version, objects)
        self._restored = restored
        self._lag = Lag()
        self._compared: Contents | None = None
        self._is_same = False

    def gives_way(self, version: str, restored: int, heard_at: float) -> bool:
        """Tell whether what is of this version, of which the cluster was heard then, may be shown instead."""
        if at_least_as_new(version, self._version):
            return True
        self._lag.heard(heard_at)
        return self.is_undone(version, restored)

    def is_undone(self, version: str, restored: int) -> bool:
        """Tell whether the cluster itself went back, so that what was shown, or written, is no more."""
        is_earlier = not at_least_as_new(version, self._version)
        return restored > self._restored or (is_earlier and self._lag.is_too_long)

    def changed(self) -> None:
        """Learn that contents which were compared may have other objects by now."""
        self._compared = None

    def is_in(self, contents: Contents) -> bool:
        """Tell whether these have the very same objects, so that who heard of nothing else has heard of these."""
        if self._compared is not contents:
            self._compared = contents
            self._is_same = contents.counts[self._number] == len(self.objects) and all(
                contents.get(place) == item for place, item in self.objects.items()
            )
        return self._is_same
