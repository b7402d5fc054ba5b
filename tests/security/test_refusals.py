"""Refusals that repeat: the first is told at once, the others by their number, and none is lost."""

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.audit import Record
from sre_server.security.refusals import MAX_KINDS, MAX_KINDS_OF_CLIENT, Refusals
from tests.security.test_sinks import RECORD

REFUSED = replace(RECORD, outcome="not permitted", rule="no rule allows it", status=403)


class RefusalsTests(SynchronousTestCase):
    """Refusals, and what is told of them."""

    def setUp(self) -> None:
        """Take every line."""
        self.taking = True
        self.told: list[Record] = []
        self.refusals = Refusals(self.tell)

    def tell(self, record: Record) -> bool:
        """Take a line."""
        if self.taking:
            self.told.append(record)
        return self.taking

    def counts(self) -> list[int]:
        """Of how many refusals each line told, since the last time."""
        counts = [record.count for record in self.told]
        self.told.clear()
        return counts

    def test_the_first_at_once(self) -> None:
        """A refusal of a kind that was not there is a line, as it is."""
        others = [
            replace(REFUSED, identity="bob"),
            replace(REFUSED, action="read"),
            replace(REFUSED, outcome="too many requests"),
            replace(REFUSED, name="api"),
            replace(REFUSED, namespace="staff"),
            replace(REFUSED, rule="rule 1 of the policy (deny)"),
            replace(REFUSED, identity=None),
            replace(REFUSED, identity=None, certificate_sha256=None),
        ]
        for record in (REFUSED, *others):
            self.refusals.add(record)
        self.assertEqual(self.told, [REFUSED, *others])

    def test_the_others_by_their_number(self) -> None:
        """Then a line each time that sums are told, until a time in which there was none; after that, anew."""
        for _ in range(1000):
            self.refusals.add(REFUSED)
        self.assertEqual(self.counts(), [1])
        self.refusals.tell_sums()
        self.assertEqual(self.counts(), [999])
        self.refusals.add(REFUSED)
        self.refusals.tell_sums()
        self.refusals.tell_sums()
        self.assertEqual(self.counts(), [1])
        self.refusals.add(REFUSED)
        self.assertEqual(self.counts(), [1])

    def test_what_a_sum_says(self) -> None:
        """What all had in common, and when and in which request the last one was; nothing that is true of some only."""
        later = replace(REFUSED, time="2026-05-04T10:00:09.000000Z", request_id="r-9")
        self.refusals.add(REFUSED)
        for record in (REFUSED, later):
            self.refusals.add(record)
        self.refusals.tell_sums()
        self.assertEqual(self.told[1:], [replace(later, count=2)])
        for record in (REFUSED, replace(later, uid="u-2", groups=(), new_replicas=0, status=401, address="192.0.2.8")):
            self.refusals.add(record)
        self.refusals.tell_sums()
        expected = replace(later, uid=None, groups=None, new_replicas=None, status=None, address=None, count=2)
        self.assertEqual(self.told[2:], [expected])

    def test_one_client_with_many_kinds(self) -> None:
        """It gets a bounded number of lines, and takes nothing of others'; what it did is counted all the same."""
        for number in range(500):
            self.refusals.add(replace(REFUSED, name=f"n-{number}"))
        self.refusals.add(replace(REFUSED, identity="bob"))
        self.assertEqual(self.told[-1].identity, "bob")
        self.refusals.tell_sums()
        self.assertLessEqual(len(self.told), MAX_KINDS_OF_CLIENT + 3)
        self.assertEqual(self.told[-1].identity, "alice")
        self.assertEqual((self.told[-1].name, self.told[-1].namespace), (None, "shop"))
        self.assertEqual(sum(self.counts()), 501)

    def test_many_clients(self) -> None:
        """They are told apart as far as there is room, and counted together beyond."""
        for number in range(MAX_KINDS + 500):
            self.refusals.add(replace(REFUSED, identity=f"client-{number}"))
        self.refusals.tell_sums()
        self.assertEqual(len(self.told), MAX_KINDS + 2)
        self.assertEqual((self.told[-1].identity, self.told[-1].count), (None, 499))
        self.counts()
        self.refusals.tell_sums()
        self.refusals.add(REFUSED)
        self.assertEqual(self.told, [REFUSED])

    def test_a_log_that_takes_nothing(self) -> None:
        """What it did not take, it is told later."""
        self.taking = False
        for _ in range(3):
            self.refusals.add(REFUSED)
            self.refusals.tell_sums()
        self.taking = True
        self.refusals.tell_sums()
        self.assertEqual(self.counts(), [3])
