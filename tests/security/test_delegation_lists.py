"""Lists under `--authorization=kubernetes`: the cluster says which namespaces a client may read."""

from collections.abc import Collection, Sequence

from twisted.internet.defer import Deferred, succeed

from sre_server.errors import Unavailable
from sre_server.security.asking import ASKED_AT_ONCE, DENIED_SECONDS, REMEMBER_SECONDS
from sre_server.security.authorization import EVERYTHING, View
from sre_server.security.questions import Question
from sre_server.security.verdicts import Verdicts
from tests.security.delegating import ALICE, BOB, CANNOT_SAY, MAX_STALENESS, READ, DelegationTests


class ListTests(DelegationTests):
    """Lists, of which each shows what the client may read."""

    NAMESPACES = ("shop", "pay", "empty")

    def view(self, namespaces: Collection[str] = NAMESPACES) -> Deferred[View]:
        """What of the namespaces Alice may read."""
        found = self.authorizer.view(ALICE, namespaces)
        return found if isinstance(found, Deferred) else succeed(found)

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

    def test_two_clients_at_once(self) -> None:
        """Each sees what it may itself, though both look at the same moment."""
        found = self.view()
        others = self.authorizer.view(BOB, self.NAMESPACES)
        assert isinstance(others, Deferred)
        while self.asked:
            self.answer(self.asked[0][0].user == ALICE.name)
        self.assertEqual((self.seen(found), self.seen(others)), (set(self.NAMESPACES), set()))

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
        self.authorizer._asking._verdicts = Verdicts(10)
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
        self.assertIsNone(self.authorizer.known_view(ALICE, self.NAMESPACES))
        self.listed(self.NAMESPACES, "shop")
        self.assertIsNone(self.authorizer.known_view(ALICE, ["pay"]))
        view = self.authorizer.known_view(ALICE, ["shop"])
        assert view is not None
        self.assertEqual([bool(view.extent(name)) for name in self.NAMESPACES], [True, False, False])
        self.assertTrue(self.authorizer.known_to_read(ALICE, "shop", "anything"))
        self.now += REMEMBER_SECONDS
        self.assertIsNone(self.authorizer.known_view(ALICE, ["shop"]))
        self.decide()
        self.answer(True)
        for namespaces in (self.NAMESPACES, ["pay"]):
            self.assertIs(self.authorizer.known_view(ALICE, namespaces), EVERYTHING)

    def test_what_all_show_is_known_at_once(self) -> None:
        """It is worked out once for as long as each yes in it is good: the same object, for equal rights as well."""
        asked_at = self.now
        self.listed(self.NAMESPACES, "shop")
        view = self.authorizer.known_view(ALICE, self.NAMESPACES)
        assert view is not None
        self.assertIs(self.authorizer.view(ALICE, self.NAMESPACES), view)
        self.assertIsNone(self.authorizer.known_view(BOB, self.NAMESPACES))
        self.assertIsNone(self.authorizer.known_view(ALICE, (*self.NAMESPACES, "one that came later")))
        found = self.authorizer.view(BOB, self.NAMESPACES)
        while self.asked:
            self.answer(self.asked[0][0].namespace == "shop")
        assert isinstance(found, Deferred)
        self.assertIs(self.successResultOf(found), view)
        self.now = asked_at + REMEMBER_SECONDS - 0.1
        self.assertIs(self.authorizer.known_view(ALICE, self.NAMESPACES), view)
        self.now = asked_at + REMEMBER_SECONDS
        self.assertIsNone(self.authorizer.known_view(ALICE, self.NAMESPACES))

    def test_the_oldest_yes_counts(self) -> None:
        """What a list shows is good for as long as the first yes that it stands on, and not from when it was made."""
        self.decide(READ, "shop/web")
        self.answers(False, True)
        self.now += REMEMBER_SECONDS - 1
        self.listed(self.NAMESPACES, "shop", "pay")
        self.now += 1
        self.assertIsNone(self.authorizer.known_view(ALICE, self.NAMESPACES))
        self.assertEqual(self.listed(self.NAMESPACES, "pay"), 2, "for all, and for the shop")

    def test_an_answer_that_changes(self) -> None:
        """It is seen in the next list; one that is as before, or about a name, leaves what lists show as it is."""
        namespaces = [f"ns-{number}" for number in range(500)]
        self.listed(namespaces, "ns-7")
        self.now += REMEMBER_SECONDS
        self.listed(namespaces, "ns-7")
        view = self.authorizer.known_view(ALICE, namespaces)
        assert view is not None
        self.decide(READ, "ns-300/web")
        self.assertEqual(self.answers(False, True), [("ns-300", None), ("ns-300", "web")])
        self.preview()
        self.answers(True)
        self.assertIs(self.authorizer.known_view(ALICE, namespaces), view)
        self.decide(READ, "ns-400/web")
        self.answers(True)
        self.assertIsNone(self.authorizer.known_view(ALICE, namespaces))
        self.listed(namespaces, "ns-7", "ns-400")

    def test_a_change_while_a_list_is_made(self) -> None:
        """The newest answer counts, whoever asked."""
        self.listed(self.NAMESPACES, "shop")
        self.now += REMEMBER_SECONDS
        found = self.view()
        self.answers(False)
        self.decide(READ, "new/web")
        self.decide(READ, "pay/web")
        for question, _ in list(self.asked):
            self.answer(question.namespace in {"shop", "pay"})
        while self.asked:
            self.answer(False)
        self.assertEqual(self.seen(found), {"shop", "pay"})

    def test_many_lists_at_once(self) -> None:
        """They are one list: whoever asks meanwhile waits for it, and one who leaves disturbs nobody."""
        looks: list[object] = []
        doubtful = self.authorizer._asking.doubtful

        def look(each: Sequence[Question]) -> Sequence[Question]:
            looks.append(each)
            return doubtful(each)

        self.patch(self.authorizer._asking, "doubtful", look)
        waiting = [self.view() for _ in range(100)]
        waiting.pop(0).addErrback(lambda _: None).cancel()
        self.assertEqual(self.names(), [None])
        self.answer(False)
        self.assertEqual(self.names(), ["shop", "pay", "empty"])
        self.answers(True, False, False)
        self.assertEqual([self.seen(found) for found in waiting], [{"shop"}] * 99)
        self.assertEqual(len(looks), 1)

    def test_a_list_that_takes_long(self) -> None:
        """Nobody is shown what was too old when they asked: they wait for another look, all for the same one."""
        first = self.view()
        self.answers(False, True)
        self.now += REMEMBER_SECONDS - 1
        second = self.view()
        self.now += 1
        late = [self.view() for _ in range(2)]
        self.answers(True, False)
        self.assertEqual([self.seen(found) for found in (first, second)], [{"shop", "pay"}] * 2)
        for found in late:
            self.assertNoResult(found)
        self.assertEqual(self.answers(False, False, True, False)[:2], [(None, None), ("shop", None)])
        self.assertEqual([self.seen(found) for found in late], [{"pay"}] * 2)
        self.assertEqual(self.asked, [])

    def test_a_yes_that_is_taken_back_while_a_list_is_made(self) -> None:
        """The newest answer counts, whoever asked."""
        found = self.view()
        self.answers(False, True)
        self.now += REMEMBER_SECONDS
        self.decide(READ, "shop/web")
        for where in ((None, None), ("shop", None), ("shop", "web")):
            self.asked.insert(0, self.asked.pop())
            self.assertEqual(self.answers(False), [where])
        self.answers(True, False)
        self.assertEqual(self.seen(found), {"pay"})

    def test_what_was_good_when_it_was_asked_for(self) -> None:
        """It is shown, although it is too old by the time at which the last answer comes; it is not kept."""
        self.decide(READ, "shop/web")
        self.answers(False, True)
        self.now += REMEMBER_SECONDS - 1
        found = self.view()
        self.now += 2
        self.answers(False, False)
        self.assertEqual(self.seen(found), {"shop"})
        self.assertIsNone(self.authorizer.known_view(ALICE, self.NAMESPACES))

    def test_late_for_a_list_while_the_cluster_is_silent(self) -> None:
        """Its last words are told to whoever waits, however old: nobody waits for ever."""
        self.listed(self.NAMESPACES, "shop")
        self.now += MAX_STALENESS - 5
        waiting = [self.view()]
        self.now += 1
        waiting.append(self.view())
        while self.asked:
            self.answer(CANNOT_SAY)
        self.assertEqual([self.seen(found) for found in waiting], [{"shop"}] * 2)

    def test_a_client_that_leaves(self) -> None:
        """A list that nobody waits for any more is no error."""
        found = self.view()
        self.answer(False)
        found.addErrback(lambda _: None).cancel()
        for _ in range(3):
            self.answer(True)
        self.assertEqual(self.flushLoggedErrors(), [])
