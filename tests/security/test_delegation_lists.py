"""Lists under `--authorization=kubernetes`: the cluster says which namespaces a client may read."""

from collections.abc import Mapping

from twisted.internet.defer import Deferred

from sre_server.errors import Unavailable
from sre_server.security.delegation import (
    Question,
)
from tests.security.test_delegation import ALICE, READ, DelegationTests


class ListTests(DelegationTests):
    """Lists, of which each shows what the client may read."""

    TREE: Mapping[str, Mapping[str, int]] = {"shop": {"web": 1}, "pay": {"web": 2}, "empty": {}}

    def readable(
        self, tree: Mapping[str, Mapping[str, int]] | None = None
    ) -> Deferred[Mapping[str, Mapping[str, int]]]:
        """What of the tree Alice may read."""
        found = self.authorizer.readable(ALICE, self.TREE if tree is None else tree)
        assert isinstance(found, Deferred)
        return found

    def names(self) -> list[str | None]:
        """The namespaces that are being asked about."""
        return [question.namespace for question, _ in self.asked]

    def test_one_question_for_who_may_read_everything(self) -> None:
        """Who may, is asked about once, however many namespaces there are."""
        found = self.readable()
        self.assertEqual(self.names(), [None])
        self.answer(True)
        self.assertEqual(self.successResultOf(found), self.TREE)

    def test_else_each_namespace(self) -> None:
        """Who may not, sees the namespaces that the cluster says yes to, and no other."""
        found = self.readable()
        self.answer(False)
        self.assertEqual(self.names(), ["shop", "pay", "empty"])
        for allowed in (True, False, True):
            self.answer(allowed)
        self.assertEqual(self.successResultOf(found), {"shop": {"web": 1}, "empty": {}})

    def test_one_namespace(self) -> None:
        """A list of one namespace is one question, about that namespace and no name."""
        found = self.readable({"shop": {"web": 1}})
        self.assertEqual(self.answer(False), Question("alice", ("dev", "sre"), READ, "shop", None))
        self.assertEqual(self.successResultOf(found), {})

    def test_an_error_is_no_short_list(self) -> None:
        """A cluster that cannot say about one namespace makes the whole list unavailable, and never shorter."""
        found = self.readable()
        self.answer(Unavailable("The cluster cannot say.", 2))
        self.failureResultOf(found, Unavailable)
        found = self.readable()
        self.answer(False)
        self.answer(True)
        self.answer(Unavailable("The cluster cannot say.", 2))
        self.answer(True)
        self.failureResultOf(found, Unavailable)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_cluster_of_many_namespaces(self) -> None:
        """One client's list never has so many questions under way that nobody else's would be asked."""
        tree = {f"ns-{number}": {"web": number} for number in range(500)}
        found = self.readable(tree)
        self.answer(False)
        while self.asked:
            self.assertLessEqual(len(self.asked), 32)
            self.answer(allowed=len(self.asked) % 2 == 0)
        self.assertLess(len(self.successResultOf(found)), 500)

    def test_a_client_that_leaves(self) -> None:
        """A list that nobody waits for any more is no error."""
        found = self.readable()
        self.answer(False)
        found.addErrback(lambda _: None).cancel()
        for _ in range(3):
            self.answer(True)
        self.assertEqual(self.flushLoggedErrors(), [])
