"""`GET .../changes` and `GET /changes`: who changed a count, and what undoes it."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Author, Deployment, ScaledEvent
from sre_server.news import Changed, Put, Resource, Source
from sre_server.security.authorization import Verb
from sre_server.security.limits import Rate
from sre_server.security.policy import Rule
from tests.api.test_gate import policy
from tests.fakes import deployment, namespace
from tests.memory_server import MemoryServer

ONE = "/deployments/shop/web/changes"
KEYS = ["at", "namespace", "deployment", "before", "after", "by", "program", "reason", "request_id", "etag", "gap"]


def web(replicas: int, version: int, name: str = "web", space: str = "shop") -> Deployment:
    """Make a state of a Deployment."""
    return deployment(name, space, replicas=replicas, version=str(version))


class ChangesTests(SynchronousTestCase):
    """A server with two Deployments of one replica each."""

    def setUp(self) -> None:
        """List them."""
        self.server = self.serve()

    def serve(self, **options: Any) -> MemoryServer:
        """Have a server."""
        return MemoryServer(**options).sync(namespace(), namespace("bank"), web(3, 10), web(1, 10, space="bank"))

    def changes(self, path: str = ONE, server: MemoryServer | None = None) -> list[dict[str, Any]]:
        """Read changes."""
        answer = (server or self.server).get(path)
        self.assertEqual(answer.status, 200)
        told: list[dict[str, Any]] = answer.json()["changes"]
        return told

    def test_a_write(self) -> None:
        """A write is told with its client, reason and request, as soon as it is answered; the watch adds nothing."""
        headers = {"X-Reason": "a sale", "X-Request-Id": "r-1"}
        self.assertEqual(self.server.put("/deployments/shop/web/replicas", 6, headers).status, 200)
        (change,) = self.changes()
        self.assertEqual(list(change), KEYS)
        self.assertRegex(change.pop("at"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            change,
            {
                "namespace": "shop",
                "deployment": "web",
                "before": 3,
                "after": 6,
                "by": "alice",
                "program": "sre-server",
                "reason": "a sale",
                "request_id": "r-1",
                "etag": '"6-uid-shop-web"',
                "gap": False,
            },
        )
        self.server.tell(web(6, 1000))
        self.assertEqual(self.changes()[0]["by"], "alice")
        self.assertEqual(len(self.changes()), 1)

    def test_undo(self) -> None:
        """A PUT of `before` under the tag undoes a change; repeated, it is 412, and so it is after another change."""
        self.server.tell(web(0, 11))
        (change,) = self.changes()
        undo = {"If-Match": change["etag"]}
        path = "/deployments/shop/web/replicas"
        self.assertEqual(self.server.put(path, change["before"], undo).status, 200)
        self.assertEqual(self.server.put(path, change["before"], undo).status, 412)
        self.assertEqual([each["after"] for each in self.changes()], [0, 3])

    def test_oldest_first(self) -> None:
        """The changes of all are in the order in which they were seen; the picture has the last one of its own."""
        self.server.tell(web(5, 11), web(2, 12, space="bank"), web(0, 13))
        told = self.changes("/changes")
        self.assertEqual(
            [(each["namespace"], each["before"], each["after"]) for each in told],
            [("shop", 3, 5), ("bank", 1, 2), ("shop", 5, 0)],
        )
        self.assertEqual([each["etag"] for each in self.changes()], [told[0]["etag"], told[2]["etag"]])
        picture = self.server.get("/deployments/shop/web").json()
        self.assertEqual(picture["last_change"], told[2])

    def test_an_author_who_is_known_later(self) -> None:
        """The Event of a write through another replica names its author, and the picture's tag changes with that."""
        self.server.tell(web(0, 11))
        tag = self.server.get("/deployments/shop/web").header("ETag") or ""
        event = ScaledEvent("shop", "web.1", "u", "12", "uid-shop-web", "11", Author("bob", "why not", "r-2", 3))
        self.server.cache.apply(Changed(Source(Resource.SCALINGS), 0, [Put(event)]))
        (change,) = self.changes()
        self.assertEqual([change[key] for key in ("by", "program", "reason")], ["bob", "sre-server", "why not"])
        answer = self.server.get("/deployments/shop/web", {"If-None-Match": tag})
        self.assertEqual((answer.status, answer.json()["last_change"]["by"]), (200, "bob"))

    def test_since(self) -> None:
        """Only what was seen from a time on is told; any zone will do, and what no time is, is 400."""
        self.server.tell(web(5, 11))
        for past in ("2001-01-01T00:00:00Z", "2001-01-01T00:00:00.5+01:00", "2001-01-01T00:00:00%2B01:00"):
            self.assertEqual(len(self.changes(f"/changes?since={past}&other=1")), 1, past)
        self.assertEqual(self.changes("/changes?since=2999-01-01t00:00:00z"), [])
        for wrong in ("", "yesterday", "2026-11-25", "2026-11-25T20:00:00", "2026-13-25T20:00:00Z", "1", "%00"):
            answer = self.server.get(f"/changes?since={wrong}")
            self.assertEqual((answer.status, "RFC 3339" in answer.json()["message"]), (400, True), wrong)

    def test_complete_since(self) -> None:
        """It is told from when on none is missing: the first list, until there are more than are kept."""
        began = self.server.get("/changes").json()
        self.assertEqual((began["changes"], began["cut_short"]), ([], []))
        for version in range(21):
            self.server.tell(web(version % 2, 11 + version))
        one, every = self.server.get(ONE).json(), self.server.get("/changes").json()
        self.assertEqual((len(one["changes"]), len(every["changes"])), (20, 20))
        self.assertEqual(every["complete_since"], began["complete_since"])
        cut = {"namespace": "shop", "deployment": "web", "complete_since": one["complete_since"]}
        self.assertEqual(every["cut_short"], [cut])
        self.assertLessEqual(every["complete_since"], one["complete_since"])
        self.assertEqual(self.server.get("/changes?since=2999-01-01T00:00:00Z").json()["cut_short"], [])

    def test_what_a_client_may_read(self) -> None:
        """Of what it may not read a client is told nothing, neither in the list nor by name."""
        rule = Rule(identities=("alice",), namespaces=("bank",), verbs=("read",))
        server = self.serve(authorizer=policy(rule))
        for version in range(21):
            server.tell(web(version % 2, 11 + version))
        server.tell(web(2, 50, space="bank"))
        answer = server.get("/changes").json()
        self.assertEqual([each["namespace"] for each in answer["changes"]], ["bank"])
        self.assertEqual(answer["cut_short"], [])
        self.assertEqual(server.get(ONE).status, 403)

    def test_missing(self) -> None:
        """What does not exist, or was not listed yet, is refused as for any read."""
        self.assertEqual(self.server.get("/deployments/shop/api/changes").status, 404)
        self.assertEqual(MemoryServer().get("/changes").status, 503)

    def test_many(self) -> None:
        """A long list takes tokens by its size, as any list does, and is made in slices."""
        server = self.serve(limits={Verb.READ: Rate(1, 100)})
        server.tell(*(web(2, 11 + number, f"w{number}") for number in range(500)))
        server.tell(*(web(9, 1011 + number, f"w{number}") for number in range(500)))
        answer = server.get("/changes")
        self.assertEqual(len(answer.json()["changes"]), 500)
        self.assertEqual(answer.header("RateLimit"), f'"read";r={99 - len(answer.body) // 65536};t=0')
        self.assertGreater(len(answer.body), 65536)
        packed = server.get("/changes", {"Accept-Encoding": "gzip"})
        self.assertEqual(packed.header("Content-Encoding"), "gzip")
        tag = answer.header("ETag") or ""
        self.assertEqual(server.get("/changes", {"If-None-Match": tag}).status, 304)
