"""What a pod holds of the shared cache, as the lists that it tells its own cache."""

from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Author, Autoscaler, Notes, Object, ScaledEvent
from sre_server.news import Listed, Resource, Source
from sre_server.store.contents import Contents, Lists
from sre_server.store.records import place_of
from tests.fakes import deployment, namespace

SHOP = namespace("shop")
WEB = deployment("web", "shop")
HPA = Autoscaler("shop", "web", "u", "7", "web", 1, 9)
SCALED = ScaledEvent("shop", "web.1", "u", "8", "uid-web", "7", Author("alice", None, "r", before=3))
NOTES = Notes("shop", "temporary", "u", "8", {"key": "text"})


class ListedTests(SynchronousTestCase):
    """Lists of each kind."""

    def test_every_kind(self) -> None:
        """The event names its source, its version and its time, and has the objects of that source and no other's."""
        kinds: list[tuple[Source, Object, str]] = [
            (Source(Resource.NAMESPACES), SHOP, "namespaces"),
            (Source(Resource.DEPLOYMENTS), WEB, "deployments"),
            (Source(Resource.AUTOSCALERS), HPA, "others"),
            (Source(Resource.SCALINGS), SCALED, "others"),
            (Source(Resource.TEMPORARY, "shop", "temporary"), NOTES, "others"),
        ]
        contents = Contents([source for source, _, _ in kinds])
        for _, item, _ in kinds:
            contents.set(place_of(item), item)
        for source, item, where in kinds:
            objects: Any = {item.name: item} if item is SHOP else {"shop": {item.name: item}}
            for undoes, asked_at in ((True, 3.0), (False, float("-inf"))):
                expected = replace(Listed(source, "7", asked_at, told_at=3.0), **{where: objects})
                self.assertEqual(Lists(contents).listed("7", source, 3.0, undoes=undoes), expected)
                self.assertEqual(expected.heard_at, 3.0)
