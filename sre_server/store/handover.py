"""What a watcher goes on from: how far another one had told of each source, and in which of them it is behind that.

Others' times count by this watcher's clock, see `sre_server.store.publisher`; `deciding` has the rule for being behind.
"""

import math
from collections.abc import Mapping

from msgspec import Struct

from sre_server.news import Source
from sre_server.store.deciding import BEHIND_SECONDS, SILENT_SECONDS, Lag
from sre_server.texts import at_least_as_new


class Known(Struct, frozen=True):
    """Of a source: when it was last heard, None if it never was, or nobody knows, and its resourceVersion then."""

    heard_at: float | None = None
    version: str = ""


class Handover:
    """One watcher's takeover from another; for whoever has the lock of the mirror.

    `theirs` is what the other had told, with the versions of the newest objects. What differs from that, and was heard
    before it, or before the cluster was said to have gone back at `restored_at`, is of an earlier time, whatever its
    version is. With `is_amid`, the other had told half of something.
    """

    def __init__(
        self,
        at: float = 0.0,
        theirs: Mapping[Source, Known] | None = None,
        ours: Mapping[Source, Known] | None = None,
        *,
        is_amid: bool = False,
        restored_at: float = -math.inf,
    ) -> None:
        theirs, ours = theirs or {}, ours or {}
        self._at = at
        self._heard_by_others = {source: known.heard_at for source, known in theirs.items()}
        self._floors = {source: (known.version, Lag()) for source, known in theirs.items()}
        self._unsure = {
            source
            for source, known in ours.items()
            if known.heard_at is not None and known.heard_at <= max(_heard_at(theirs.get(source)), restored_at)
        }
        self.is_amid = is_amid

    def heard_by_others(self, source: Source) -> float | None:
        """Return when the other had heard a source, or earlier; None if that is not known."""
        return self._heard_by_others.get(source)

    def vouched_at(self, source: Source, ours: float | None, now: float) -> float | None:
        """Return when what the other told of a source was true for certain, where we are behind and heard it at `ours`.

        Only the other had heard of it, and nobody can say when: later than we, where we have heard of nothing for long,
        unless the other has said that it was before.
        """
        if ours is None or ours > now - BEHIND_SECONDS:
            return None
        theirs = self.heard_by_others(source)
        return ours if theirs is None else min(ours, theirs)

    def floor_of_list(self, source: Source, started_at: float) -> str:
        """Return which version a list that was begun then has to have, unless the cluster went back.

        It is no older than the request for it, so what others told before that is in it, or is no more.
        """
        if started_at <= self._at or source not in self._floors:
            return ""
        return self._floors.pop(source)[0]

    def behind(self, ours: Mapping[Source, Known]) -> tuple[Mapping[Source, float], list[tuple[Source, float]]]:
        """Return in which sources we are behind, and in which the cluster went back, each with when it was heard."""
        behind: dict[Source, float] = {}
        back: list[tuple[Source, float]] = []
        for source, (floor, lag) in list(self._floors.items()):
            heard_at = _heard_at(ours.get(source))
            if heard_at == -math.inf:
                continue
            if source in self._unsure and heard_at <= self._at:
                behind[source] = heard_at
                continue
            lag.heard(heard_at)
            if at_least_as_new(ours[source].version, floor):
                del self._floors[source]
            elif lag.is_too_long:
                del self._floors[source]
                back.append((source, heard_at))
            else:
                behind[source] = heard_at
        return behind, back

    def is_waiting(self, behind: Mapping[Source, float], now: float) -> bool:
        """Tell whether what was told in half waits for us to catch up, which we may yet do."""
        catch_up = any(now - heard_at < SILENT_SECONDS for heard_at in behind.values())
        return self.is_amid and catch_up and now - self._at < BEHIND_SECONDS


def _heard_at(known: Known | None) -> float:
    return -math.inf if known is None or known.heard_at is None else known.heard_at
