"""Lists under `--authorization=kubernetes`: the cluster says which namespaces a client may read."""

from collections.abc import Collection

from twisted.internet.defer import Deferred

from sre_server.errors import Unavailable
from sre_server.security.authorization import EVERYTHING, View
from sre_server.security.delegation import ASKED_AT_ONCE, DENIED_SECONDS, REMEMBER_SECONDS, Question
from sre_server.security.verdicts import Verdicts
from tests.security.test_delegation import ALICE, CANNOT_SAY, MAX_STALENESS, READ, DelegationTests


class ListTests(DelegationTests):
    """Lists, of which each shows what the client may read."""

    NAMESPACES = ("shop", "pay", "empty")

    def view(self, namespaces: Collection[str] = NAMESPACES) -> Deferred[View]:
        """What of the namespaces Alice may read."""
        found = self.authorizer.view(ALICE, namespaces)
        assert isinstance(found, Deferred)
        return found

    def names(self) -> list[str | None]:
        """The namespaces that are being asked about."""
        return [question.namespace for question, _ in self.asked]

    def seen(self, found: Deferred[View], namespaces: Collection[str] = NAMESPACES) -> set[str]:
        """The namespaces that a view shows."""
        view = self.successResultOf(found)
        return {namespace for namespace in namespaces if view.extent(namespace)}

    def listed(self, namespaces: Collection[str], *allowed: str) -> int:
        """Have a list made by a cluster that allows some namespaces; return how many questions that took."""
        found, asked = self.view(namespaces), 0
        while self.asked:
            self.assertLessEqual(len(self.asked), ASKED_AT_ONCE)
            self.answer(self.asked[0][0].namespace in allowed)
            asked += 1
        self.assertEqual(self.seen(found, namespaces), set(allowed))
        return asked

    def test_one_question_for_who_may_read_everything(self) -> None:
        """Who may, is asked about once, however many namespaces there are."""
        found = self.view()
        self.assertEqual(self.names(), [None])
        self.answer(True)
        self.assertIs(self.successResultOf(found), EVERYTHING)

    def test_else_each_namespace(self) -> None:
        """Who may not, sees the namespaces that the cluster says yes to, and no other; equal rights are equal views."""
        found = self.view()
        self.answer(False)
        self.assertEqual(self.names(), ["shop", "pay", "empty"])
        for allowed in (True, False, True):
            self.answer(allowed)
        view = self.successResultOf(found)
        self.assertEqual([bool(view.extent(name)) for name in self.NAMESPACES], [True, False, True])
        self.assertEqual(self.successResultOf(self.view()), view)
        self.assertIsNone(view.extent("one that came later"))

    def test_one_namespace(self) -> None:
        """A list of one namespace asks for all, then for that one, and for no name."""
        found = self.view(["shop"])
        self.assertEqual(self.answer(False), Question("alice", ("dev", "sre"), READ, None, None))
        self.assertEqual(self.answer(False), Question("alice", ("dev", "sre"), READ, "shop", None))
        self.assertEqual(self.seen(found), set())
        found = self.view(["pay"])
        self.assertEqual(self.answers(True), [("pay", None)])
        self.assertEqual(self.seen(found), {"pay"})

    def test_an_error_is_no_short_list(self) -> None:
        """A cluster that cannot say about one namespace makes the whole list unavailable, and never shorter."""
        found = self.view()
        self.answer(CANNOT_SAY)
        self.failureResultOf(found, Unavailable)
        found = self.view()
        self.answer(False)
        self.answer(True)
        self.answer(CANNOT_SAY)
        self.answer(True)
        self.failureResultOf(found, Unavailable)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_cluster_that_cannot_be_asked(self) -> None:
        """Lists go on from its last words, for as long as single reads do."""
        self.listed(self.NAMESPACES, "shop")
        self.now += MAX_STALENESS - 0.1
        found = self.view()
        while self.asked:
            self.answer(CANNOT_SAY)
        self.assertEqual(self.seen(found), {"shop"})
        self.now += 0.1
        found = self.view()
        while self.asked:
            self.answer(CANNOT_SAY)
        self.failureResultOf(found, Unavailable)

    def test_a_part_of_many_namespaces(self) -> None:
        """Who may read one of 500 costs 501 questions once; then one, one for the namespace, and some of the others."""
        namespaces = [f"ns-{number}" for number in range(500)]
        self.assertEqual(self.listed(namespaces, "ns-7"), 501)
        self.assertEqual(self.listed(namespaces, "ns-7"), 0)
        for _ in range(100):
            self.now += REMEMBER_SECONDS
            self.assertLessEqual(self.listed(namespaces, "ns-7"), 2 + 21)
            self.assertEqual(self.listed(namespaces, "ns-7"), 0)

    def test_more_than_is_remembered(self) -> None:
        """A list is whole, however many answers it needs."""
        self.authorizer._verdicts = Verdicts(10)
        namespaces = [f"ns-{number}" for number in range(100)]
        self.assertEqual(self.listed(namespaces, *namespaces), 101)

    def test_what_is_granted_later(self) -> None:
        """It is seen in the list soon; at once where the client has read in that namespace; in any case in 5 min."""
        namespaces = [f"ns-{number}" for number in range(500)]
        self.listed(namespaces, "ns-7")
        self.now += REMEMBER_SECONDS
        self.decide(READ, "ns-400/web")
        self.answers(False, True)
        self.listed(namespaces, "ns-7", "ns-400")
        self.now += DENIED_SECONDS
        self.assertEqual(self.listed(namespaces, "ns-7", "ns-400", "ns-300"), 501)
        self.listed(self.NAMESPACES)
        self.now += REMEMBER_SECONDS
        self.listed(self.NAMESPACES, "pay")

    def test_what_is_taken_away(self) -> None:
        """It is gone from lists after ten seconds."""
        self.listed(self.NAMESPACES, "shop", "pay")
        self.now += REMEMBER_SECONDS
        self.listed(self.NAMESPACES, "pay")

    def test_what_is_known_at_once(self) -> None:
        """A view of everything, or of one namespace, where the cluster's yes is fresh; nothing else."""
        self.assertIsNone(self.authorizer.known_view(ALICE, None))
        self.listed(self.NAMESPACES, "shop")
        self.assertIsNone(self.authorizer.known_view(ALICE, None))
        self.assertIsNone(self.authorizer.known_view(ALICE, "pay"))
        view = self.authorizer.known_view(ALICE, "shop")
        assert view is not None
        self.assertEqual([bool(view.extent(name)) for name in self.NAMESPACES], [True, False, False])
        self.assertTrue(self.authorizer.known_to_read(ALICE, "shop", "anything"))
        self.now += REMEMBER_SECONDS
        self.assertIsNone(self.authorizer.known_view(ALICE, "shop"))
        self.decide()
        self.answer(True)
        for namespace in (None, "pay"):
            self.assertIs(self.authorizer.known_view(ALICE, namespace), EVERYTHING)

    def test_a_client_that_leaves(self) -> None:
        """A list that nobody waits for any more is no error."""
        found = self.view()
        self.answer(False)
        found.addErrback(lambda _: None).cancel()
        for _ in range(3):
            self.answer(True)
        self.assertEqual(self.flushLoggedErrors(), [])
