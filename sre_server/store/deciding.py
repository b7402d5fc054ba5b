"""May a state that was loaded replace the one that readers were shown? Not if that would take them back.

A watcher that has just taken over may have heard less than the last one had. What it publishes is followed, and shown
once it has caught up. Its own watch hears something within 90 s, or lists: whoever is behind for longer is not behind,
the cluster itself went back.
"""

from collections.abc import Sequence
from typing import Final

from sre_server.store.contents import Contents
from sre_server.texts import at_least_as_new

BEHIND_SECONDS: Final = 100.0


def reaches(versions: Sequence[str], others: Sequence[str]) -> bool:
    """Tell whether each source's resourceVersion is at least the other one."""
    return all(map(at_least_as_new, versions, others))


class Shown:
    """What readers were shown last: the contents, as of some resourceVersions, and the cluster's last restoration."""

    def __init__(self, contents: Contents, versions: Sequence[str], restored: int, at: float) -> None:
        """Remember it; `at` is when something else was found to be there."""
        self.contents = contents
        self._versions = versions
        self._restored = restored
        self._at = at

    def is_undone(self, versions: Sequence[str], restored: int, now: float) -> bool:
        """Tell whether the cluster itself went back, so that what was shown, or written, is no more."""
        return restored > self._restored or (now - self._at >= BEHIND_SECONDS and not reaches(versions, self._versions))

    def may_give_way(self, contents: Contents, versions: Sequence[str], restored: int, now: float) -> bool:
        """Tell whether these contents may be shown now."""
        return self.is_undone(versions, restored, now) or reaches(versions, self._versions) or contents == self.contents
