"""What the tests of the fast lane share: two servers that differ in the lane alone, and requests for both."""

from collections.abc import Sequence
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from sre_server.api.lane import FastLane
from sre_server.model import Deployment, Namespace
from sre_server.security.authorization import Authorizer, Verb
from sre_server.security.limits import Rate
from tests.fakes import deployment, namespace
from tests.memory_client import Answer, Wire
from tests.memory_server import MemoryServer

READS: Final = (
    "/deployments",
    "/deployments/shop",
    "/deployments/empty",
    "/deployments/shop/web/replicas",
    "/deployments/shop/w.eb/replicas",
    "/namespaces",
    "/namespaces/ANY/deployments",
    "/namespaces/shop/deployments",
    "/namespaces/empty/deployments",
    "/namespaces/shop/deployments/web/replica_count",
    "/namespaces/shop/deployments/ANY/replica_count",
    "/namespaces/ANY/deployments/ANY/replica_count",
)
FIELDS: Final = (
    "User-Agent: curl/8.1\r\nAccept: */*\r\n",
    "host: b\r\n",
    "Accept-Encoding: gzip, br\r\n",
    "accept-encoding: gzip;q=0\r\n",
    "If-None-Match: *\r\n",
    'If-None-Match: W/"nothing", "else"\r\n',
    "Cache-Control: max-stale=5\r\n",
    "X-Request-Id: r-17\r\n",
    "X-Request-Id: not sane\r\n",
    "Connection: keep-alive\r\n",
    "Connection: close\r\n",
    "Content-Length: 0\r\n",
    "Expect: 100-continue\r\n",
    "X-Anything: else\r\n",
    "Empty:\r\n",
)


class LaneTests(SynchronousTestCase):
    """Two servers that know the same, one of them with a lane."""

    def serve(
        self,
        authorizer: Authorizer | None = None,
        *,
        limit: Rate = Rate(1000, 2000),  # noqa: B008
        namespaces: Sequence[str] = (),
        unread: Sequence[str] = (),
    ) -> None:
        """Make them; of some namespaces nothing was read yet."""
        self.served = 0
        whole = FastLane.serve

        def serve(lane: FastLane, channel: object, data: bytes) -> bool:
            served = whole(lane, channel, data)  # type: ignore[arg-type]
            self.served += served
            return served

        self.patch(FastLane, "serve", serve)
        limits = dict.fromkeys(Verb, limit)
        self.ordinary = MemoryServer(authorizer=authorizer, limits=limits, namespaces=namespaces, lane=False)
        self.fast = MemoryServer(authorizer=authorizer, limits=limits, namespaces=namespaces)
        for server in (self.ordinary, self.fast):
            many = [deployment(f"a-name-that-is-long-{number}", "shop") for number in range(60)]
            known: list[Deployment | Namespace] = [deployment("web", "shop"), deployment("w.eb", "shop"), *many]
            known += [namespace("shop"), namespace("empty")]
            server.sync(*known, sources=[source for source in server.sources if source.namespace not in unread])

    def both(self, data: bytes) -> tuple[list[Answer], list[Answer]]:
        """What each of the two answers to the same bytes."""
        return _answers(self.ordinary.connect(), data), _answers(self.fast.connect(), data)

    def assert_same(self, data: bytes) -> None:
        """Send bytes to both; the answers must be the same but for the time, and ids that were made up."""
        ordinary, fast = self.both(data)
        self.assertEqual([_shown(answer, data) for answer in fast], [_shown(answer, data) for answer in ordinary], data)


def _answers(wire: Wire, data: bytes) -> list[Answer]:
    wire.write(data)
    answers = wire.answers(head=data.startswith(b"HEAD"))
    wire.hang_up()
    return answers


def _shown(answer: Answer, request: bytes) -> tuple[int, bytes, list[tuple[bytes, Sequence[bytes]]]]:
    headers = [(name.lower(), values) for name, values in answer.headers.getAllRawHeaders()]
    told = [
        (name, values)
        for name, values in headers
        if name != b"date" and (name != b"x-request-id" or values[0] in request)
    ]
    return answer.status, answer.body, sorted(told)


def get(path: str, *fields: str) -> bytes:
    """The bytes of a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{''.join(fields)}\r\n".encode()
