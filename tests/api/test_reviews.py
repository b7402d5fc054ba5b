"""What reads cost the cluster under its own RBAC: questions, in any 10 s."""

from collections import Counter, deque
from collections.abc import Callable, Iterator

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.asking import REMEMBER_SECONDS
from sre_server.security.authorization import Verb
from sre_server.security.delegation import KubernetesAuthorizer
from sre_server.security.limits import Rate
from sre_server.security.questions import Question
from sre_server.web.interfaces import Connection
from tests.fakes import deployment, namespace
from tests.memory_client import Wire
from tests.memory_server import MemoryServer

Where = tuple[str | None, str | None]
NAMESPACES = ("shop", "pay", "mail")
EVERYTHING: Where = (None, None)
WHOLE: list[Where] = [(name, None) for name in NAMESPACES]


class ReviewsTests(SynchronousTestCase):
    """A server of three namespaces, before a cluster that counts its questions and answers when it is told to."""

    def setUp(self) -> None:
        """Serve 1,000 Deployments of which the client may read all by their namespaces."""
        self.asked: list[Where] = []
        self.waiting: deque[tuple[Question, Deferred[bool]]] = deque()
        self.allows: Callable[[Question], bool] = lambda question: question.namespace in NAMESPACES
        self.serve()

    def serve(self, rate: Rate | None = None) -> None:
        """Serve, to clients that may read so often."""
        authorizer = KubernetesAuthorizer(self.review, self.now)
        self.server = MemoryServer(authorizer=authorizer, limits={Verb.READ: rate} if rate else None)
        spaces = [namespace(name) for name in (*NAMESPACES, "other", "another")]
        self.server.sync(*spaces, *(deployment(f"web-{n}", NAMESPACES[n % 3]) for n in range(1000)))
        self.paths = [f"/deployments/{NAMESPACES[n % 3]}/web-{n}/replicas" for n in range(1000)]

    def now(self) -> float:
        """The server's time."""
        return self.server.clock.seconds()

    def review(self, question: Question, *, for_write: bool) -> Deferred[bool]:
        """Note a question."""
        answer: Deferred[bool] = Deferred()
        self.asked.append((question.namespace, question.name))
        self.waiting.append((question, answer))
        return answer

    def answer_all(self) -> None:
        """Answer whatever is asked until nothing is, and let those who waited have their turns."""
        while self.waiting:
            question, answer = self.waiting.popleft()
            answer.callback(self.allows(question))
            self.server.clock.advance(0)

    def send(self, wire: Wire, path: str) -> None:
        """Ask for something."""
        wire.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())

    def status(self, path: str) -> int:
        """Ask on a connection of its own, the cluster answering whatever it is asked; return the status."""
        wire = self.server.connect()
        self.send(wire, path)
        self.answer_all()
        (answer,) = wire.answers()
        wire.hang_up()
        return answer.status

    def statuses(self, paths: list[str]) -> set[int]:
        """Ask for one after the other."""
        return {self.status(path) for path in paths}

    def windows(self) -> Iterator[Counter[Where]]:
        """Read everything once a second for a minute; yield what was asked of the cluster in each 10 s."""
        for _ in range(6):
            self.asked.clear()
            for _ in range(int(REMEMBER_SECONDS)):
                self.assertEqual(self.statuses(self.paths[::20]), {200})
                self.assertEqual(self.statuses(["/deployments"]), {200})
                self.server.clock.advance(1)
            yield Counter(self.asked)


class WholeNamespacesTests(ReviewsTests):
    """A client that may read namespaces as a whole."""

    def test_one_for_all_and_one_for_each_namespace(self) -> None:
        """However many Deployments it reads, and whether they exist or not."""
        self.assertEqual(self.statuses(self.paths), {200})
        self.assertEqual(self.asked, [EVERYTHING, *WHOLE])
        self.assertEqual(self.statuses([f"/deployments/shop/nothing-{n}/replicas" for n in range(1000)]), {404})
        self.assertEqual(self.asked, [EVERYTHING, *WHOLE])

    def test_in_any_ten_seconds(self) -> None:
        """So it is for as long as it reads, lists among them; what it may not read, lists come back to now and then."""
        for asked in self.windows():
            self.assertEqual(set(asked) - {("other", None), ("another", None)}, {EVERYTHING, *WHOLE})
            self.assertEqual(set(asked.values()), {1})

    def test_one_who_may_read_everything(self) -> None:
        """It costs one question."""
        self.allows = lambda _: True
        for asked in self.windows():
            self.assertEqual(asked, {EVERYTHING: 1})

    def test_a_storm_of_first_reads(self) -> None:
        """All wait for the one question, then for one about each namespace, and all are answered."""
        wires = [self.server.connect() for _ in self.paths]
        for wire, path in zip(wires, self.paths, strict=True):
            self.send(wire, path)
            self.server.clock.advance(0)
        self.assertEqual(self.asked, [EVERYTHING])
        self.answer_all()
        self.assertEqual([answer.status for wire in wires for answer in wire.answers()], [200] * 1000)
        self.assertEqual(sorted(map(str, self.asked)), sorted(map(str, [EVERYTHING, *WHOLE])))

    def test_a_storm_of_first_lists(self) -> None:
        """They are one list."""
        wires = [self.server.connect() for _ in range(100)]
        for wire in wires:
            self.send(wire, "/deployments")
            self.server.clock.advance(0)
        self.answer_all()
        self.assertEqual({answer.status for wire in wires for answer in wire.answers()}, {200})
        self.assertEqual(len(self.asked), 1 + 5)


class NamesTests(ReviewsTests):
    """A client that may read some Deployments by their names, or nothing."""

    def test_one_for_each_name(self) -> None:
        """Beside the wider ones; in 10 s, each once."""
        self.allows = lambda question: question.name is not None
        for _ in range(3):
            self.assertEqual(self.statuses(self.paths[:60]), {200})
        self.assertEqual(len(self.asked), 1 + 3 + 60)
        self.assertEqual(len(set(self.asked)), len(self.asked))

    def test_a_flood_of_names(self) -> None:
        """What is refused costs no more than what is there: at most two for each read that the rate limit lets through.

        Nothing else is asked about anew for it.
        """
        self.serve(Rate(1, 100))
        self.allows = lambda question: question.namespace == "shop" and question.name is None
        self.assertEqual(self.status(self.paths[0]), 200)
        before = len(self.asked)
        self.assertEqual(self.statuses([f"/deployments/pay/nothing-{n}/replicas" for n in range(20)]), {403})
        self.assertEqual(len(self.asked) - before, 1 + 20)
        self.assertEqual(self.statuses([f"/deployments/nowhere-{n}/web/replicas" for n in range(1000)]), {403, 429})
        self.assertEqual(len(self.asked) - before, 1 + 20 + 2 * 79)
        self.assertEqual(Counter(self.asked)[EVERYTHING], 1)

    def test_a_permission_that_is_taken_away(self) -> None:
        """It is missed by reads for 10 s at most, and as long by lists, in the fast lane as well."""
        paths = [self.paths[0], "/deployments/shop", "/deployments"]
        for _ in range(2):
            self.assertEqual(self.statuses(paths), {200})
        self.allows = lambda question: question.namespace == "pay"
        self.server.clock.advance(REMEMBER_SECONDS - 0.1)
        self.assertEqual(self.statuses(paths), {200})
        self.server.clock.advance(0.1)
        self.assertEqual([self.status(path) for path in paths], [403, 403, 200])
        shown = self.server.get("/deployments").json()
        self.assertEqual([part["namespace"] for part in shown], ["pay"])


class FastLaneTests(ReviewsTests):
    """Lists for a client that may read a part."""

    def test_the_lane_serves_them(self) -> None:
        """Once it is known what the client sees, and for as long; a namespace that came since is asked about."""
        self.assertEqual(self.status("/deployments"), 200)
        served: list[bytes] = []
        lane = self.server.site.lane
        assert lane is not None
        serve = lane.serve

        def noting(connection: Connection, data: bytes) -> bool:
            done = serve(connection, data)
            served.extend([data] * done)
            return done

        self.patch(lane, "serve", noting)
        tag = self.server.get("/deployments").header("ETag") or ""
        self.assertEqual(self.server.get("/deployments", {"If-None-Match": tag}).status, 304)
        self.assertEqual(self.server.get("/deployments", {"Accept-Encoding": "gzip"}).status, 200)
        self.assertEqual(len(served), 3)
        self.server.tell(namespace("new"))
        self.allows = lambda question: question.namespace in {*NAMESPACES, "new"}
        before = len(self.asked)
        self.assertEqual(self.status("/namespaces"), 200)
        self.assertEqual((self.asked[before:], len(served)), ([("new", None)], 3))
        self.assertIn("new", self.server.get("/namespaces").json()["namespaces"])
        self.assertEqual(len(served), 4)
