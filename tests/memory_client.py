"""A client of a server in memory: bytes in, answers out, taken apart strictly."""

import json
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, NamedTuple, Self

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers

from sre_server.web.site import APISite


class Answer(NamedTuple):
    """A response as a client reads it."""

    status: int
    headers: Headers
    body: bytes

    def header(self, name: str) -> str | None:
        """The one value of a header, or None; a header that is there twice is an error."""
        values = self.headers.getRawHeaders(name) or []
        if len(values) > 1:
            raise AssertionError(f"{name} stands there {len(values)} times")
        return values[0] if values else None

    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    def check(self, *, head: bool = False) -> Self:
        """Return the answer if it keeps what is promised of every one: JSON, an id, and errors with a message."""
        assert self.header("X-Request-Id"), self
        if self.status == 304:
            assert (self.body, self.header("Content-Type"), self.header("Content-Length")) == (b"", None, None), self
            return self
        assert self.header("Content-Type") == "application/json", self
        if not head and self.header("Content-Encoding") is None:
            value = self.json()
            if self.status >= 400:
                assert list(value) == ["message"], self
                assert isinstance(value["message"], str), self
        if self.status >= 400:
            assert self.header("Cache-Control") == "no-store", self
        return self


def read_answers(data: bytes, *, head: bool = False) -> list[Answer]:
    """Take a stream of responses apart, strictly; `head` tells that the requests were HEAD, so that no body follows."""
    answers = []
    while data:
        top, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"a response without an end: {top!r}"
        status_line, *lines = top.decode("latin-1").split("\r\n")
        version, status, reason = status_line.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), status_line
        assert reason == HTTPStatus(int(status)).phrase, status_line
        headers = Headers()
        for line in lines:
            name, colon, value = line.partition(": ")
            assert colon, f"no header: {line!r}"
            headers.addRawHeader(name, value)
        answer = Answer(int(status), headers, b"")
        if answer.status >= 200:
            length = 0 if head or answer.status == 304 else int(answer.header("Content-Length") or "none")
            assert len(data) >= length, "the body is shorter than its Content-Length"
            answer, data = answer._replace(body=data[:length]), data[length:]
        answers.append(answer)
    return answers


class ClientTransport(StringTransport):
    """A transport that forgives, as real ones do, a second close and a resumption after it."""

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.7", 40000), lenient=True)
        self.full = False

    def write(self, data: bytes) -> None:
        """Take data; where there is too much of it, say so to the producer at once, as real transports do."""
        super().write(data)
        if self.full and self.producer is not None:
            self.producer.pauseProducing()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Take data in pieces."""
        self.write(b"".join(data))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Delay nothing anyway."""

    def unregisterProducer(self) -> None:
        """Forget the producer, if there is one."""
        self.producer = None


class Wire:
    """A client's connection to a site: bytes in, responses out, and nothing closes unless the test says so."""

    def __init__(self, site: APISite) -> None:
        self._transport = ClientTransport()
        channel = site.buildProtocol(self._transport.getPeer())
        assert channel is not None
        self._channel = channel
        channel.makeConnection(self._transport)
        if site.clients is not None:
            channel.handshakeCompleted()

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._channel.dataReceived(data)

    def send(self, data: bytes) -> list[Answer]:
        """Send bytes; return all the responses so far."""
        self.write(data)
        return self.answers()

    def answers(self, *, head: bool = False) -> list[Answer]:
        """The responses so far."""
        return read_answers(self._transport.value(), head=head)

    @property
    def closing(self) -> bool:
        """Whether the server has closed its side."""
        return self._transport.disconnecting

    @property
    def aborted(self) -> bool:
        """Whether the server has cut the connection by force."""
        return self._transport.disconnected

    @property
    def paused(self) -> bool:
        """Whether the server has stopped reading for now."""
        return self._transport.producerState == "paused"

    def fill_up(self) -> None:
        """Take no more answers than the next one, which the server's transport has no room for."""
        self._transport.full = True

    def stop_reading(self) -> None:
        """Take no more answers, so that the server's transport is full."""
        self._channel.pauseProducing()

    def read_on(self) -> None:
        """Take answers again."""
        self._transport.full = False
        self._channel.resumeProducing()

    def end(self) -> None:
        """Say that nothing more comes, and read on."""
        self._channel.readConnectionLost()

    def hang_up(self) -> None:
        """Be gone."""
        self._channel.connectionLost(Failure(ConnectionDone()))
