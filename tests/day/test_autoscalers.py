"""What is known of autoscalers, by news of the cluster."""

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.autoscalers import Autoscalers
from sre_server.model import Autoscaler
from sre_server.news import Changed, Deleted, Event, Listed, Put, Resource, Source, sources_beside

SCALER = Autoscaler("shop", "web-scaler", "uid-hpa", "41", "web", 3, 10)
EVERYWHERE = Source(Resource.AUTOSCALERS)


def listed(*items: Autoscaler, source: Source = EVERYWHERE, at: float = 0.0) -> Listed:
    """Make the news of a whole list."""
    others: dict[str, dict[str, Autoscaler]] = {}
    for item in items:
        others.setdefault(item.namespace, {})[item.name] = item
    return Listed(source, "50", at, others=others)


class AutoscalersTests(SynchronousTestCase):
    """Lists replace, changes apply."""

    def setUp(self) -> None:
        """Know nothing yet."""
        self.clock = Clock()
        self.autoscalers = Autoscalers(self.clock.seconds, sources_beside([]), max_staleness=120)

    def tell(self, *events: Event) -> None:
        """Tell the news."""
        for event in events:
            self.autoscalers.applied(event)

    def test_unknown_before_the_first_list(self) -> None:
        """Before a list, as without the right to one, nothing is known, and changes alone tell nothing."""
        self.tell(Changed(EVERYWHERE, 0, [Put(SCALER)]))
        self.assertFalse(self.autoscalers.are_known("shop"))
        self.assertIsNone(self.autoscalers.of("shop", "web"))

    def test_list_and_changes(self) -> None:
        """A Deployment's autoscaler is found by its target, and follows what happens to it."""
        self.tell(listed(SCALER))
        self.assertEqual(self.autoscalers.of("shop", "web"), SCALER)
        self.assertIsNone(self.autoscalers.of("bank", "web"))
        wider = replace(SCALER, maximum=20, resource_version="51")
        self.tell(Changed(EVERYWHERE, 1, [Put(wider)]))
        self.assertEqual(self.autoscalers.of("shop", "web"), wider)
        moved = replace(wider, target="api")
        self.tell(Changed(EVERYWHERE, 2, [Put(moved)]))
        self.assertIsNone(self.autoscalers.of("shop", "web"))
        self.assertEqual(self.autoscalers.of("shop", "api"), moved)
        self.tell(Changed(EVERYWHERE, 3, [Deleted(moved), Deleted(moved)]))
        self.assertIsNone(self.autoscalers.of("shop", "api"))

    def test_list_replaces(self) -> None:
        """What a list leaves out is gone, in the namespaces that it is of."""
        both = [Source(Resource.AUTOSCALERS, name) for name in ("shop", "bank")]
        self.autoscalers = Autoscalers(self.clock.seconds, both, max_staleness=120)
        other = replace(SCALER, namespace="bank")
        self.tell(listed(SCALER, source=both[0]))
        self.assertFalse(self.autoscalers.are_known("bank"))
        self.tell(listed(other, source=both[1]), listed(source=both[0]))
        self.assertIsNone(self.autoscalers.of("shop", "web"))
        self.assertEqual(self.autoscalers.of("bank", "web"), other)

    def test_several(self) -> None:
        """Of several that fight over one Deployment the first by name is told, whatever came last."""
        first = replace(SCALER, name="a-scaler")
        self.tell(listed(SCALER), Changed(EVERYWHERE, 1, [Put(first), Put(SCALER)]))
        self.assertEqual(self.autoscalers.of("shop", "web"), first)

    def test_other_targets(self) -> None:
        """An autoscaler of a StatefulSet is none of a Deployment's of the same name."""
        self.tell(listed(replace(SCALER, target="")))
        self.assertIsNone(self.autoscalers.of("shop", ""))

    def test_too_old(self) -> None:
        """What was not heard of for longer than the bound is not known; a sign of life is enough."""
        self.tell(listed(SCALER))
        self.clock.advance(121)
        self.assertFalse(self.autoscalers.are_known("shop"))
        self.assertIsNone(self.autoscalers.of("shop", "web"))
        self.tell(Changed(EVERYWHERE, 100))
        self.assertEqual(self.autoscalers.of("shop", "web"), SCALER)
