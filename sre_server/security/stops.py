"""How many Deployments each client has scaled to 0 lately, through this process: the guardrail `mass` stands on it."""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

from sre_server.security.guardrails import Mass

MAX_CLIENTS: Final = 10_000


class Stops:
    """Remembers when clients scaled to 0, for as long as that counts; `now` is a monotonic clock in seconds.

    Of more than MAX_CLIENTS, the one that stopped nothing for the longest time is forgotten.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def lately(self, client: str, mass: Mass) -> int:
        """Return how many it stopped in the minutes of `mass`, as far as its count goes."""
        since = self._now() - mass.seconds
        return sum(at > since for at in self._times.get(client, ()))

    def note(self, client: str, mass: Mass) -> None:
        """Note one more, and forget what counts no longer."""
        now = self._now()
        times = self._times.setdefault(client, deque())
        times.append(now)
        while len(times) > mass.count:
            times.popleft()
        self._times.move_to_end(client)
        while len(self._times) > MAX_CLIENTS or next(iter(self._times.values()))[-1] <= now - mass.seconds:
            self._times.popitem(last=False)
