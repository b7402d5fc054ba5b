"""In which sources a watcher that takes over is behind what another one had told."""

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from sre_server.news import Resource, Source
from sre_server.store.deciding import BEHIND_SECONDS, SILENT_SECONDS
from sre_server.store.handover import Handover, Known

SHOP = Source(Resource.DEPLOYMENTS, "shop")
STAFF = Source(Resource.DEPLOYMENTS, "staff")
ELSEWHERE = Source(Resource.DEPLOYMENTS, "elsewhere")


class HandoverTests(SynchronousTestCase):
    """A takeover at 1000."""

    def behind(self, handover: Handover, **ours: Known) -> Mapping[Source, float]:
        """Return in what it is behind; nothing went back."""
        behind, back = handover.behind({Source(Resource.DEPLOYMENTS, name): known for name, known in ours.items()})
        self.assertEqual(back, [])
        return behind

    def test_an_earlier_version(self) -> None:
        """Until it is as new, once and for all; what was never heard is not there to be told."""
        handover = Handover(1000, {SHOP: Known(990, "20"), STAFF: Known(990, "20")}, {SHOP: Known(995, "19")})
        self.assertEqual(self.behind(handover, shop=Known(995, "19")), {SHOP: 995})
        self.assertEqual(self.behind(handover, shop=Known(995, "19"), staff=Known(None, "")), {SHOP: 995})
        self.assertEqual(self.behind(handover, shop=Known(1001, "20")), {})
        self.assertEqual(self.behind(handover, shop=Known(1001, "19")), {})

    def test_what_others_have_heard_later(self) -> None:
        """Whatever its version is, it is of an earlier time until it is heard again: a restore makes it so."""
        for theirs, ours, held in ((995, 995, True), (996, 995, True), (994, 995, False), (None, 995, False)):
            known = Known(ours, "50")
            handover = Handover(1000, {SHOP: Known(theirs, "20")}, {SHOP: known})
            self.assertEqual(self.behind(handover, shop=known), {SHOP: ours} if held else {}, theirs)
            self.assertEqual(self.behind(handover, shop=Known(1001, "50")), {})

    def test_since_the_cluster_went_back(self) -> None:
        """The same goes for all that was heard before that, also where nobody knows when others had heard it."""
        for restored_at, held in ((994, False), (995, True), (1200, True)):
            known = Known(995, "50")
            handover = Handover(1000, {SHOP: Known(None, "20")}, {SHOP: known}, restored_at=restored_at)
            self.assertEqual(self.behind(handover, shop=known), {SHOP: 995} if held else {}, restored_at)
            self.assertEqual(self.behind(handover, shop=Known(1000.1, "50")), {})
        handover = Handover(1000, {SHOP: Known(None, "20")}, {SHOP: Known(None, "")}, restored_at=1200)
        self.assertEqual(self.behind(handover, shop=Known(1001, "50")), {})

    def test_what_is_held_is_not_behind_for_long(self) -> None:
        """Silence is no sign that the cluster went back: only what is heard while behind is."""
        handover = Handover(1000, {SHOP: Known(999, "20")}, {SHOP: Known(900, "10")})
        for _ in range(3):
            self.assertEqual(self.behind(handover, shop=Known(900, "10")), {SHOP: 900})
        for at in range(1001, 1001 + int(BEHIND_SECONDS), 20):
            self.assertEqual(self.behind(handover, shop=Known(at, "10")), {SHOP: at})
        behind, back = handover.behind({SHOP: Known(1101, "10")})
        self.assertEqual((behind, back), ({}, [(SHOP, 1101)]))
        self.assertEqual(handover.behind({SHOP: Known(1102, "10")}), ({}, []))

    def test_when_it_was_true(self) -> None:
        """Nobody can say until we have heard of nothing for long: then, no later than we and the other had heard."""
        handover = Handover(1000, {SHOP: Known(990, "20"), STAFF: Known(None, "20")}, {})
        self.assertEqual([handover.heard_by_others(source) for source in (SHOP, STAFF, ELSEWHERE)], [990, None, None])
        for source, ours, expected in (
            (SHOP, None, None),
            (SHOP, 1000.1, None),
            (SHOP, 1000, 990),
            (SHOP, 980, 980),
            (STAFF, 980, 980),
            (ELSEWHERE, 980, 980),
        ):
            self.assertEqual(handover.vouched_at(source, ours, 1000 + BEHIND_SECONDS), expected, (source, ours))

    def test_lists(self) -> None:
        """One that was begun after the takeover has to have what others told; once, as it counts from then on."""
        handover = Handover(1000, {SHOP: Known(990, "20")}, {})
        floors = [handover.floor_of_list(SHOP, at) for at in (999, 1000, 1000.1, 1002)]
        self.assertEqual(floors, ["", "", "20", ""])
        self.assertEqual(handover.floor_of_list(STAFF, 1001), "")

    def test_half_of_something(self) -> None:
        """It waits while we may yet catch up: not without being behind, nor in silence, nor for too long."""
        handover = Handover(1000, {SHOP: Known(990, "20")}, {}, is_amid=True)
        heard_at = 1100.0
        now = heard_at + SILENT_SECONDS
        self.assertTrue(handover.is_waiting({SHOP: 1040}, 1099))
        self.assertFalse(handover.is_waiting({}, 1099))
        self.assertFalse(handover.is_waiting({SHOP: 1040, STAFF: 1099.5}, 1000 + BEHIND_SECONDS))
        self.assertFalse(Handover(now, is_amid=True).is_waiting({SHOP: heard_at}, now))
        self.assertTrue(Handover(now, is_amid=True).is_waiting({SHOP: heard_at + 0.1}, now))
        self.assertFalse(Handover(now).is_waiting({SHOP: heard_at + 0.1}, now))
