"""Requests that waited: their client must still be somebody, and may still do what it asked for, when they go on."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sre_server.api.gate import STANDS_SECONDS
from sre_server.errors import NotIdentified
from sre_server.model import Guards, State, Surroundings, Swapped
from sre_server.news import Listed
from sre_server.security.authorization import EVERYTHING
from tests.api.temporary import URL, TemporaryTestCase
from tests.api.test_gate import BODY, PUT_A, PUT_B, READS_A, FailingAuthorizer, LateAuthorizer, filled
from tests.api.waiting import REPLICAS, WEB, Fickle, WaitingTestCase, at
from tests.fakes import namespace
from tests.memory_client import Wire
from tests.memory_server import ALICE, MemoryServer

REVOKED = NotIdentified("The client certificate has been revoked.")


def statuses(wire: Wire) -> list[int]:
    """What has been answered."""
    return [answer.status for answer in wire.answers()]


class ReviewTests(SynchronousTestCase):
    """While the cluster is asked what a client may do, its certificate is revoked."""

    def setUp(self) -> None:
        """Serve, and let every answer be fetched."""
        self.authorizer = LateAuthorizer()
        self.server = filled(MemoryServer(authorizer=self.authorizer))

    def test_reads(self) -> None:
        """They are 401, and the connection is closed, though the client may read."""
        for path in (READS_A[2], READS_A[0], READS_A[1], "/metrics", "/deployments/shop/web/permissions"):
            self.server.clients.who = ALICE
            wire = self.server.send("GET", path)
            self.server.clients.who = REVOKED
            if self.authorizer.views:
                self.authorizer.views.pop().callback(EVERYTHING)
            else:
                self.authorizer.answer(allowed=True)
            self.assertEqual((statuses(wire), wire.closing), ([401], True), path)

    def test_writes(self) -> None:
        """They are refused as those of nobody, and the cluster is asked for nothing."""
        for path, body, status in ((PUT_A, BODY, 401), (PUT_B, b"", 403)):
            self.server.clients.who = ALICE
            wire = self.server.send("PUT", path, body)
            self.server.clients.who = REVOKED
            self.authorizer.answer(allowed=True)
            self.assertEqual((statuses(wire), wire.closing, self.server.writes), ([status], True, []), path)
        self.assertEqual([line.outcome for line in self.server.audit.records], ["not identified"] * 2)


class WriteTests(SynchronousTestCase):
    """Writes for which something has to be looked up first."""

    def serve(self) -> None:
        """Serve, with a Deployment that the cache does not know, and a survey that takes its time."""
        self.authorizer = Fickle()
        self.server = MemoryServer(authorizer=self.authorizer)
        filled(self.server)
        self.found: Deferred[State] = Deferred()
        self.server.present["shop", "new"] = self.found
        self.surveyed: Deferred[Surroundings | None] = Deferred()
        self.server.survey = lambda *_: self.surveyed  # type: ignore[method-assign]

    def outcomes(self) -> list[tuple[str, int | None]]:
        """What the audit log says."""
        return [(line.outcome, line.status) for line in self.server.audit.records]

    def test_who_may_no_more(self) -> None:
        """A write that waited for long enough is 403, and so is a plan; each is one line in the audit log."""
        for method, path in (("PUT", "/deployments/shop/new/replicas"), ("POST", "/deployments/shop/web/plan")):
            self.serve()
            wire = self.server.send(method, path, BODY)
            self.authorizer.allows = False
            self.server.clock.advance(STANDS_SECONDS + 0.1)
            self.found.callback(State("u", 3, Guards()))
            self.surveyed.callback(None)
            self.assertEqual((statuses(wire), self.server.writes), ([403], []), path)
            self.assertEqual(self.outcomes(), [("not permitted", 403)])

    def test_who_was_permitted_just_now(self) -> None:
        """The cluster's RBAC is not asked twice for a write that hardly waited."""
        self.serve()
        wire = self.server.send("PUT", "/deployments/shop/new/replicas", BODY)
        self.authorizer.allows = False
        self.server.clock.advance(STANDS_SECONDS)
        self.found.callback(State("u", 3, Guards()))
        self.assertEqual((statuses(wire), self.server.writes), ([200], [("shop", "new", 20)]))

    def test_who_is_nobody_any_more(self) -> None:
        """However short the wait was, a client whose certificate has ended is 401."""
        for method, path in (("PUT", "/deployments/shop/new/replicas"), ("POST", "/deployments/shop/web/plan")):
            self.serve()
            wire = self.server.send(method, path, BODY)
            self.server.clients.who = REVOKED
            self.found.callback(State("u", 3, Guards()))
            self.surveyed.callback(None)
            self.assertEqual((statuses(wire), wire.closing, self.server.writes), ([401], True, []), path)
            self.assertEqual(self.outcomes(), [("not identified", 401)])

    def test_who_may_no_more_the_second_time(self) -> None:
        """A write that met another state than it was judged on is asked about again, and is one line."""
        self.serve()
        self.server.outcome = met = MemoryServer.pending()
        wire = self.server.send("PUT", REPLICAS, BODY)
        self.authorizer.allows = False
        self.server.clock.advance(STANDS_SECONDS + 0.1)
        self.server.outcome = None
        met.callback(State(WEB.uid, 4, Guards()))
        self.assertEqual((statuses(wire), len(self.server.writes)), ([403], 1))
        self.assertEqual(self.outcomes(), [("not permitted", 403)])
        (line,) = self.server.audit.records
        self.assertEqual((line.old_replicas, line.new_replicas, line.rule), (4, 20, "a whim"))

    def test_a_cluster_that_cannot_say(self) -> None:
        """A write that came to nothing since nobody could say whether it may be, at first or again, is one line."""
        failing = FailingAuthorizer()
        self.serve()
        self.authorizer.decide = failing.decide  # type: ignore[method-assign, assignment]
        self.assertEqual(statuses(self.server.send("PUT", REPLICAS, BODY)), [503])
        self.assertEqual(self.outcomes(), [("Unavailable", 503)])
        self.serve()
        wire = self.server.send("PUT", "/deployments/shop/new/replicas", BODY)
        self.authorizer.decide = failing.decide  # type: ignore[method-assign, assignment]
        self.server.clock.advance(STANDS_SECONDS + 0.1)
        self.found.callback(State("u", 3, Guards()))
        self.assertEqual((statuses(wire), self.server.writes), ([503], []))
        self.assertEqual(self.outcomes(), [("Unavailable", 503)])

    def test_who_may_still(self) -> None:
        """It is asked again, and carried out."""
        self.serve()
        wire = self.server.send("PUT", "/deployments/shop/new/replicas", BODY)
        self.server.clock.advance(9)
        self.found.callback(State("u", 3, Guards()))
        self.assertEqual((statuses(wire), self.server.writes), ([200], [("shop", "new", 20)]))


class OutcomeTests(WaitingTestCase):
    """Writes that are done, and whose client waits for what comes of them."""

    def test_who_may_no_more(self) -> None:
        """The write is answered, and nothing more is told."""
        authorizer = Fickle()
        self.server = MemoryServer(authorizer=authorizer)
        self.server.sync(namespace(), WEB)
        wire = self.put(5)
        authorizer.allows = False
        self.server.tell(at(1001, 5, 5))
        (answer,) = wire.answers()
        self.assertEqual((answer.status, list(answer.json())), (200, ["message"]))

    def test_a_cluster_that_cannot_say(self) -> None:
        """The write is no failure of which a client would think that nothing was done: it is answered as well."""
        authorizer = Fickle()
        self.server = MemoryServer(authorizer=authorizer)
        self.server.sync(namespace(), WEB)
        wire = self.put(5)
        failing = FailingAuthorizer()
        authorizer.preview = failing.preview  # type: ignore[method-assign, assignment]
        self.server.tell(at(1001, 5, 5))
        (answer,) = wire.answers()
        self.assertEqual((answer.status, list(answer.json()), wire.closing), (200, ["message"], False))


class NotedTests(TemporaryTestCase):
    """Temporary counts, whose notes take their time to be written."""

    def noted_slowly(self) -> Deferred[None]:
        """Have the next change of a note wait for this."""
        held: Deferred[None] = Deferred()

        def slow(client: str, key: str, before: str | None, after: str | None, *, empty: bool) -> Deferred[Swapped]:
            self.server.swap = self.swap
            return held.addCallback(lambda _: self.swap(client, key, before, after, empty=empty))

        self.server.swap = slow
        return held

    def test_who_may_no_more(self) -> None:
        """The count is not set, and the note of it is taken back."""
        authorizer = Fickle()
        self.serve(authorizer=authorizer)
        held = self.noted_slowly()
        wire = self.server.send("PUT", URL, b'{"replicas":20,"for":"1h"}')
        authorizer.allows = False
        self.server.clock.advance(STANDS_SECONDS + 0.1)
        held.callback(None)
        self.assertEqual((statuses(wire), self.data, self.present["web"].replicas), ([403], {}, 3))
        self.assertEqual([line.outcome for line in self.server.audit.records], ["not permitted"])

    def test_who_leaves(self) -> None:
        """What a client asked that leaves meanwhile is done, unless it may no more, and its address is told."""
        for who, outcome, count in ((ALICE, "changed", 20), (REVOKED, "not identified", 3)):
            self.serve()
            held = self.noted_slowly()
            wire = self.server.send("PUT", URL, b'{"replicas":20,"for":"1h"}')
            wire.hang_up()
            self.server.clients.who = who
            held.callback(None)
            self.assertEqual((self.present["web"].replicas, len(self.data)), (count, count == 20))
            self.assertEqual([line.outcome for line in self.server.audit.records], [outcome])
        self.serve()
        self.server.send("PUT", URL, b'{"replicas":20,"for":"1h"}')
        held = self.noted_slowly()
        self.server.send("DELETE", URL).hang_up()
        held.callback(None)
        self.assertEqual((self.present["web"].replicas, self.data), (3, {}))
        self.assertEqual(*(line.address for line in self.server.audit.records))

    def test_an_end_by_who_may_no_more(self) -> None:
        """A client that may no more once the end is noted, or is nobody, ends nothing; the note is what it was."""
        for refused, status in (("not permitted", 403), ("not identified", 401)):
            authorizer = Fickle()
            self.serve(authorizer=authorizer)
            self.server.send("PUT", URL, b'{"replicas":20,"for":"1h"}')
            before = dict(self.data)
            held = self.noted_slowly()
            wire = self.server.send("DELETE", URL)
            authorizer.allows = status != 403
            self.server.clients.who = ALICE if status == 403 else REVOKED
            self.server.clock.advance(STANDS_SECONDS + 0.1)
            held.callback(None)
            self.assertEqual((statuses(wire), self.data, self.present["web"].replicas), ([status], before, 20))
            self.assertEqual([line.outcome for line in self.server.audit.records], ["changed", refused])

    def test_an_end_by_who_is_nobody_any_more(self) -> None:
        """The temporary count stays."""
        self.server.send("PUT", URL, b'{"replicas":20,"for":"1h"}')
        found: Deferred[State] = Deferred()
        self.server.present["shop", "web"] = found
        self.server.cache.apply(Listed(self.server.sources[1], "900", self.server.clock.seconds()))
        wire = self.server.send("DELETE", URL)
        self.assertEqual(statuses(wire), [])
        self.server.clients.who = REVOKED
        found.callback(State(WEB.uid, 20, Guards()))
        self.assertEqual((statuses(wire), len(self.data), self.present["web"].replicas), ([401], 1, 20))
