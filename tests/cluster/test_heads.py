"""The beginnings of objects that cannot be read whole."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.heads import HEAD_BYTES, Head, head_of_event, head_of_list, head_of_object
from tests.fakes import deployment
from tests.wire import event_line, list_page, object_json

WEB = Head("Deployment", "shop", "web", "uid-shop-web", "10")
NOBODY = Head("", "", "", "", "")


class HeadTests(SynchronousTestCase):
    """What is said before what is large."""

    def test_object(self) -> None:
        """An object is known by its head, whole or cut anywhere after it, in the middle of a character too."""
        body = json.dumps(object_json(deployment()), ensure_ascii=False).encode()
        for end in (len(body), len(body) - 1, body.index(b"spec"), body.index("ï".encode()) + 1):
            self.assertEqual(head_of_object(body[:end]), WEB)
            self.assertEqual(head_of_object(memoryview(body)[:end]), WEB)

    def test_event(self) -> None:
        """So is the object of an event, with what happened to it."""
        line = event_line("MODIFIED", deployment())
        self.assertEqual(head_of_event(line[:-30]), ("MODIFIED", WEB))

    def test_list(self) -> None:
        """A list tells its version, where the next page is, and its first object, which has no kind there."""
        body = list_page(deployment(), deployment("api"), version="77", next_token="next")
        head = head_of_list(body[:-30])
        self.assertEqual((head.resource_version, head.next_token), ("77", "next"))
        self.assertEqual(head.first, Head("", "shop", "web", "uid-shop-web", "10"))
        self.assertEqual(head_of_list(list_page()).first, NOBODY)

    def test_strings_that_look_like_more(self) -> None:
        """What stands in a string is no structure, however it looks."""
        tricky = {"kind": 'x","metadata":{"name":"evil"},"y":"', "metadata": {"name": 'a\\"}', "uid": "u"}}
        head = head_of_object(json.dumps(tricky).encode())
        self.assertEqual((head.name, head.uid), ('a\\"}', "u"))

    def test_only_the_beginning_is_read(self) -> None:
        """What comes later than the first kilobytes is not looked for, nor is it waited for."""
        late = json.dumps({"metadata": {"annotations": {"a": "x" * HEAD_BYTES}, "name": "late"}}).encode()
        self.assertEqual(head_of_object(late), NOBODY)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.integers(0, 400), st.binary(max_size=10))
    def test_any_cut(self, end: int, more: bytes) -> None:
        """Cut anywhere, and with anything in place of the rest, a head has of each text all or nothing."""
        line = event_line("ADDED", deployment())[:end] + more
        kind, head = head_of_event(line)
        texts, whole = (kind, *astuple(head)), ("ADDED", *astuple(WEB))
        self.assertTrue(more or all(text in ("", expected) for text, expected in zip(texts, whole, strict=True)), texts)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.binary(max_size=60))
    def test_anything(self, data: bytes) -> None:
        """No bytes make it raise anything."""
        for read in (head_of_object, head_of_event, head_of_list):
            read(data)
            read(b'{"metadata":' + data)
