"""The Events of our own writes, as they are read again."""

import json

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.kinds import selection
from sre_server.cluster.lines import complete_lines
from sre_server.cluster.unpacking import decode_line, decode_page
from sre_server.model import Author, ScaledEvent
from sre_server.news import Deleted, Put, Resource, Source
from tests.wire import event_line, list_page, object_json, page_of

EVENTS = Resource.SCALINGS
EVENT = ScaledEvent("shop", "web.1a2b", "uid-e", "41", "uid-web", "40", Author("alice", "why not", "r-1", 3))


class ScaledEventTests(SynchronousTestCase):
    """One Event."""

    def test_read(self) -> None:
        """What is written is read, by lists and by watches, whatever of it is not known."""
        for author in (EVENT.author, Author("jürgen 🐈", None, None, 0), Author("alice"), Author("i" * 2048)):
            event = replace(EVENT, author=author)
            self.assertEqual(decode_page(EVENTS, list_page(event)).objects, [event])
            for kind, change in (("ADDED", Put(event)), ("DELETED", Deleted(event))):
                ((line,),) = complete_lines(iter([event_line(kind, event)]), 10**6, 10**3)
                self.assertEqual(decode_line(EVENTS, line).change, change)

    def test_only_ours(self) -> None:
        """The cluster is asked for no others."""
        self.assertEqual(selection(Source(EVENTS)), {"fieldSelector": "reason=ScaledOnRequest,source=sre-server"})

    def test_what_names_nobody(self) -> None:
        """An Event of an earlier release, or one without a proper Deployment, is about nothing."""
        nothing = ScaledEvent("shop", "web.1a2b", "uid-e", "41")
        drawn = object_json(EVENT)
        del drawn["metadata"]["annotations"]
        nowhere = object_json(EVENT) | {"involvedObject": {"uid": 'a"b', "resourceVersion": "40"}}
        broken = object_json(EVENT) | {"involvedObject": 5}
        for each in (drawn, nowhere, broken):
            self.assertEqual(decode_page(EVENTS, page_of(each)).objects, [nothing], each)

    def test_what_somebody_made_up(self) -> None:
        """Texts that could break a line, or are far too long, are made fit to be shown; what is no count is none."""
        drawn = object_json(EVENT)
        drawn["metadata"]["annotations"] |= {
            "sre-server/by": "ali\nce",
            "sre-server/reason": "x" * 10_000,
            "sre-server/replicas-before": "-1",
        }
        (found,) = decode_page(EVENTS, page_of(json.loads(json.dumps(drawn)))).objects
        assert isinstance(found, ScaledEvent)
        self.assertEqual((found.author.identity, found.author.before), ("ali ce", None))
        self.assertLessEqual(len(found.author.reason or ""), 256)
