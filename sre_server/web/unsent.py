"""Long answers: written as they are read, and no more of them for one client than it may leave unread."""

from collections import Counter
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from zope.interface import implementer

from sre_server.errors import TooManyRequests

LONG_BYTES: Final = 64 * 1024
"""Answers up to here fit into what a transport buffers anyway."""
WHOLE_BYTES: Final = 2**20
"""Answers up to here may be written at once; longer ones are written as they are read."""
UNSENT_BYTES: Final = 32 * 2**20
"""So much may wait for one client; a single answer may be longer than that."""
RETRY_SECONDS: Final = 1


class Unsent:
    """Counts the bytes of long answers that wait to be read, by client."""

    def __init__(self) -> None:
        self._of_client: Counter[str] = Counter()

    def has_room(self, client: str, size: int) -> bool:
        """Tell whether so many bytes more may wait for a client; one answer always may."""
        return size <= LONG_BYTES or self._of_client[client] + size <= max(size, UNSENT_BYTES)

    def check(self, client: str, size: int) -> None:
        """Raise TooManyRequests unless there is room for so many bytes more."""
        if not self.has_room(client, size):
            raise TooManyRequests("Read the long answers that are under way before you ask for more.", RETRY_SECONDS)

    def add(self, client: str, size: int) -> None:
        """Count bytes that wait."""
        self._of_client[client] += size

    def remove(self, client: str, size: int) -> None:
        """Count bytes that wait no more."""
        self._of_client[client] -= size
        if self._of_client[client] <= 0:
            del self._of_client[client]


@implementer(IPushProducer)
class BodySender:
    """Writes a body to a consumer, a piece whenever that takes one; `sent` fires when all of it is written."""

    def __init__(self, body: bytes, consumer: IConsumer) -> None:
        self._body = memoryview(body)
        self._consumer = consumer
        self._paused = False
        self.sent: Deferred[None] = Deferred(lambda _: self.stopProducing())
        consumer.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        """Write nothing for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Write until there is no room for more."""
        self._paused = False
        while self._body and not self._paused:
            piece, self._body = self._body[:LONG_BYTES], self._body[LONG_BYTES:]
            self._consumer.write(bytes(piece))
        if not self._body and not self.sent.called:
            self._consumer.unregisterProducer()
            self.sent.callback(None)

    def stopProducing(self) -> None:
        """Write no more."""
        self._body = self._body[:0]
