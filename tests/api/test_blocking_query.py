"""Reads that wait until a Deployment is news to their client."""

from msgspec.structs import replace

from sre_server.day.waits import PER_CLIENT
from sre_server.errors import NotIdentified
from sre_server.model import (
    Autoscaler,
)
from sre_server.news import Changed, Deleted
from tests.api.waiting import WEB, Fickle, WaitingTestCase, at
from tests.fakes import deployment, namespace
from tests.memory_client import Answer, Wire
from tests.memory_server import MemoryServer


class BlockingQueryTests(WaitingTestCase):
    """`GET /deployments/{ns}/{name}` with the tag of an earlier answer, and `Prefer: wait=N`."""

    def picture(self, tag: str | None = None, prefer: str | None = "wait=60", **headers: str) -> Wire:
        """Ask for the picture, and return the connection on which it is to come."""
        asked = {"If-None-Match": tag, "Prefer": prefer, **headers}
        fields = {name: value for name, value in asked.items() if value is not None}
        return self.server.send("GET", "/deployments/shop/web", headers=fields)

    def answer(self, wire: Wire) -> Answer:
        """Return the answer, which has come."""
        (answer,) = wire.answers()
        return answer.check()

    def setUp(self) -> None:
        """Learn the tag."""
        super().setUp()
        self.tag = self.answer(self.picture()).header("ETag") or ""

    def test_news_at_once(self) -> None:
        """What the client does not have is answered at once, and so is one who does not say what it has."""
        first = self.answer(self.picture())
        self.assertEqual((first.status, first.header("Preference-Applied")), (200, None))
        answer = self.answer(self.picture('"another"'))
        self.assertEqual((answer.status, answer.header("Preference-Applied")), (200, "wait=60"))
        unchanged = self.answer(self.picture(self.tag, None))
        self.assertEqual((unchanged.status, unchanged.header("Preference-Applied")), (304, None))
        self.assert_waits(0)

    def test_who_is_nobody_by_then(self) -> None:
        """A client whose certificate is revoked meanwhile is not shown the news."""
        wire = self.picture(self.tag)
        self.server.clients.who = NotIdentified("The client certificate has been revoked.")
        self.server.tell(replace(WEB, replicas=5, resource_version="11"))
        self.assertEqual((self.answer(wire).status, wire.closing), (401, True))

    def test_news_later(self) -> None:
        """It is answered with the next change of what it shows, and with nothing else's."""
        wire = self.picture(self.tag)
        self.server.tell(replace(WEB, resource_version="11"), deployment("api"))
        self.assertEqual(wire.answers(), [])
        self.server.tell(at(12, 5, 3))
        answer = self.answer(wire)
        self.assertEqual(
            (answer.status, answer.header("Preference-Applied"), answer.header("Age")), (200, "wait=60", "0")
        )
        self.assertEqual(answer.json()["replicas"], 5)
        self.assertNotEqual(answer.header("ETag"), self.tag)

    def test_what_is_beside(self) -> None:
        """An autoscaler is part of the picture, one of another Deployment is not."""
        wire = self.picture(self.tag)
        self.server.tell(
            Autoscaler("shop", "a", "u", "1", "api", 3, 10), Autoscaler("bank", "a", "u", "1", "web", 3, 10)
        )
        self.assertEqual(wire.answers(), [])
        self.server.tell(Autoscaler("shop", "web-scaler", "u", "1", "web", 3, 10))
        self.assertEqual(self.answer(wire).json()["autoscaler"]["name"], "web-scaler")

    def test_a_write_of_ours(self) -> None:
        """A count that is set through this server is news at once, ahead of the watch."""
        wire = self.picture(self.tag)
        self.put(5, None)
        self.assertEqual(self.answer(wire).json()["replicas"], 5)

    def test_no_news(self) -> None:
        """After its time it is an empty 304, still current, and no slow answer."""
        wire = self.picture(self.tag)
        self.server.clock.advance(60)
        answer = self.answer(wire)
        self.assertEqual((answer.status, answer.header("Preference-Applied")), (304, "wait=60"))
        self.assertEqual((answer.header("ETag"), answer.header("Age")), (self.tag, "60"))
        route = 'method="GET",route="/deployments/{namespace}/{name}"'
        self.assertIn(f"sre_server_http_request_duration_seconds_sum{{{route}}} 0.0", self.metrics())

    def test_gone(self) -> None:
        """That it is deleted is news: 404."""
        wire = self.picture(self.tag)
        self.server.cache.apply(Changed(self.server.sources[1], 0, [Deleted(WEB)]))
        for answer in (self.answer(wire), self.answer(self.picture(self.tag))):
            self.assertEqual((answer.status, answer.header("Preference-Applied")), (404, None))

    def test_nothing_heard(self) -> None:
        """Where the cluster is not heard of, 503 is answered at once, or when the time is up."""
        wire = self.picture(self.tag, "wait=300")
        self.server.clock.advance(300)
        self.assertEqual(self.answer(wire).status, 503)
        self.assertEqual(self.answer(self.picture(self.tag)).status, 503)
        stale = {"Cache-Control": "max-stale"}
        tag = self.answer(self.picture(**stale)).header("ETag")
        self.assertEqual(self.answer(self.picture(tag)).status, 503)
        wire = self.picture(tag, **stale)
        self.assertEqual(wire.answers(), [])
        self.server.clock.advance(60)
        self.assertEqual(self.answer(wire).status, 304)

    def test_bounds(self) -> None:
        """Waits for writes and for pictures count together; past the bound the answer is what it is now."""
        for _ in range(PER_CLIENT - 1):
            self.picture(self.tag)
        wire = self.put(3)
        self.assertEqual(wire.answers(), [])
        self.assert_waits(PER_CLIENT)
        answer = self.answer(self.picture(self.tag))
        self.assertEqual((answer.status, answer.header("Preference-Applied")), (304, None))

    def test_shutdown(self) -> None:
        """When the server stops, it is told that there is no news."""
        wire = self.picture(self.tag)
        self.server.site.drain()
        answer = self.answer(wire)
        self.assertEqual((answer.status, answer.header("Connection")), (304, "close"))

    def test_client_leaves(self) -> None:
        """A client that leaves waits no more."""
        self.picture(self.tag).hang_up()
        self.assert_waits(0)

    def test_not_in_the_fast_lane(self) -> None:
        """The fast lane, which answers at once, leaves it alone, on a connection that it has served before, too."""
        wire = self.server.connect()
        head = f"GET /deployments/shop/web HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: {self.tag}\r\n"
        self.assertEqual([answer.status for answer in wire.send(f"{head}\r\n".encode())], [304])
        wire.write(f"{head}Prefer: wait=60\r\n\r\n".encode())
        self.assertEqual(len(wire.answers()), 1)
        self.server.tell(at(12, 5, 3))
        self.assertEqual([answer.status for answer in wire.answers()], [304, 200])

    def test_the_right_to_it(self) -> None:
        """Whoever may not read the Deployment does not wait for it, and who may not any more is not told the news."""
        authorizer = Fickle()
        self.server = MemoryServer(authorizer=authorizer).sync(namespace(), WEB)
        tag = self.answer(self.picture()).header("ETag")
        wire = self.picture(tag)
        authorizer.allows = False
        self.assertEqual(self.answer(self.picture(tag)).status, 403)
        self.server.tell(at(12, 5, 3))
        answer = self.answer(wire)
        self.assertEqual((answer.status, answer.header("Preference-Applied")), (403, None))
