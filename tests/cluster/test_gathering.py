"""What a list has gathered, as the event that tells of it."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.gathering import Gathered
from sre_server.model import Deployment, Namespace, Notes, Object
from sre_server.news import Listed, Occasion, Put, Resource, Source
from tests.fakes import deployment, namespace

NOTES = Notes("sre", "temporary", "u", "8", {"key": "text"})


class GatheredTests(SynchronousTestCase):
    """Lists of each kind."""

    def listed(self, resource: Resource, *items: Object) -> Listed:
        """Gather objects, and list them."""
        gathered = Gathered()
        for item in items:
            gathered.apply(Put(item))
        listed = gathered.as_listed(Source(resource), "7", 3.0, Occasion.EXPIRED)
        gathered.release()
        return listed

    def test_every_kind(self) -> None:
        """The event names its source, its version, its time and why, and has the objects where its kind has them."""
        shop: Namespace = namespace("shop")
        web: Deployment = deployment("web", "shop")
        for resource, item, objects in (
            (Resource.NAMESPACES, shop, {"namespaces": {"shop": shop}}),
            (Resource.DEPLOYMENTS, web, {"deployments": {"shop": {"web": web}}}),
            (Resource.TEMPORARY, NOTES, {"others": {"sre": {"temporary": NOTES}}}),
        ):
            expected = Listed(Source(resource), "7", 3.0, occasion=Occasion.EXPIRED, **objects)
            self.assertEqual(self.listed(resource, item), expected)
