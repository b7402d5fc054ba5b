"""Which autoscaler holds the count of a Deployment in bounds, as far as the cluster lets us know.

Autoscalers are told beside what the server needs: without the right to list them, or while they have not been heard of
for too long, they are not known, and nothing is concluded from that.
"""

from collections.abc import Callable, Collection

from sre_server.model import Autoscaler
from sre_server.news import Event, Listed, Put, Resource, Source


class Autoscalers:
    """Those of every namespace, a listener of the cache; `now` is the clock of the times in events."""

    def __init__(self, now: Callable[[], float], sources: Collection[Source], max_staleness: float) -> None:
        """Know them by what `sources` tell, for `max_staleness` seconds."""
        self._now = now
        self._max_staleness = max_staleness
        self._heard_at: dict[Source, float | None] = {
            source: None for source in sources if source.resource is Resource.AUTOSCALERS
        }
        self._found: dict[str, dict[str, Autoscaler]] = {}
        self._bound: dict[str, dict[str, tuple[str, ...]]] = {}  # by namespace, then target; nearly all have one name

    def applied(self, event: Event) -> None:
        """See `Listener.applied`."""
        source = event.source
        if source not in self._heard_at:
            return
        if isinstance(event, Listed):
            for namespace in [name for name in self._found if source.namespace in (None, name)]:
                for autoscaler in list(self._found[namespace].values()):
                    self._forget(autoscaler)
            for item in event.objects():
                if isinstance(item, Autoscaler):
                    self._put(item)
        elif self._heard_at[source] is None:
            return
        else:
            for change in event.changes:
                if isinstance(change.object, Autoscaler):
                    (self._put if isinstance(change, Put) else self._forget)(change.object)
        self._heard_at[source] = event.heard_at

    def _put(self, autoscaler: Autoscaler) -> None:
        self._forget(autoscaler)
        self._found.setdefault(autoscaler.namespace, {})[autoscaler.name] = autoscaler
        if autoscaler.target:
            bound = self._bound.setdefault(autoscaler.namespace, {})
            bound[autoscaler.target] = (*bound.get(autoscaler.target, ()), autoscaler.name)

    def _forget(self, autoscaler: Autoscaler) -> None:
        known = self._found.get(autoscaler.namespace, {}).pop(autoscaler.name, None)
        if known is not None and known.target:
            bound = self._bound[known.namespace]
            names = tuple(name for name in bound.pop(known.target) if name != known.name)
            if names:
                bound[known.target] = names

    def are_known(self, namespace: str) -> bool:
        """Tell whether all autoscalers of a namespace are known, and were heard of lately."""
        heard = [at for source, at in self._heard_at.items() if source.namespace in (None, namespace)]
        return bool(heard) and all(at is not None and self._now() - at <= self._max_staleness for at in heard)

    def of(self, namespace: str, deployment: str) -> Autoscaler | None:
        """The autoscaler of a Deployment, the first by name of several; None if there is none, or none is known of."""
        if not self.are_known(namespace):
            return None
        names = self._bound.get(namespace, {}).get(deployment)
        return self._found[namespace][min(names)] if names else None
