"""Bytes of lists and watches into model objects: real shapes, impossible ones, and what is too large."""

import json

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.lines import Cut
from sre_server.cluster.unpacking import Page, WatchEvent, decode_cut_page, decode_line, decode_page
from sre_server.errors import BadAnswer, Expired
from sre_server.model import MAX_REPLICAS, Deployment, Unreadable
from sre_server.news import Deleted, Put, Resource
from tests.fakes import deployment, namespace
from tests.wire import altered, bookmark_line, error_line, event_line, list_page, object_json, page_of

DEPLOYMENTS, NAMESPACES = Resource.DEPLOYMENTS, Resource.NAMESPACES


class PageTests(SynchronousTestCase):
    """Pages of a list."""

    def test_deployments(self) -> None:
        """A page has the objects, the version of the whole list, and the token of the next page."""
        items = [deployment("a", replicas=0), deployment("b", "other", replicas=MAX_REPLICAS)]
        page = decode_page(DEPLOYMENTS, list_page(*items, version="77", next_token="more"))
        self.assertEqual(page, Page([*items], "77", "more"))

    def test_namespaces(self) -> None:
        """A last page has no token."""
        page = decode_page(NAMESPACES, list_page(namespace("a"), namespace("b"), version="7"))
        self.assertEqual(page, Page([namespace("a"), namespace("b")], "7", ""))

    def test_empty(self) -> None:
        """A list without items, which Go may also write as null, is empty and no error."""
        for items in ("[]", "null"):
            with self.subTest(items):
                body = b'{"metadata":{"resourceVersion":"3"},"items":%s}' % items.encode()
                self.assertEqual(decode_page(DEPLOYMENTS, body), Page([], "3", ""))

    def test_replicas_left_out_are_one(self) -> None:
        """A Deployment without a count, or without a spec, has one replica, as in Kubernetes."""
        for spec in ({}, {"replicas": None}, None):
            with self.subTest(spec=spec):
                page = decode_page(DEPLOYMENTS, page_of(altered(deployment(), spec=spec)))
                self.assertEqual(page.objects, [deployment(replicas=1)])

    def test_status_is_not_the_count(self) -> None:
        """The desired count is what is read, never the current one."""
        item = altered(deployment(replicas=3), status={"replicas": 99})
        (decoded,) = decode_page(DEPLOYMENTS, page_of(item)).objects
        assert isinstance(decoded, Deployment)
        self.assertEqual(decoded.replicas, 3)

    def test_impossible_item_is_unreadable(self) -> None:
        """One object that Kubernetes would never send does not keep the others from being served, nor is it lost."""
        metadata = object_json(deployment())["metadata"]
        for bad in (
            altered(deployment(), spec={"replicas": -1}),
            altered(deployment(), spec={"replicas": MAX_REPLICAS + 1}),
            altered(deployment(), spec={"replicas": 10**40}),
            altered(deployment(), spec={"replicas": "3"}),
            altered(deployment(), spec={"replicas": 1.5}),
            altered(deployment(), spec={"replicas": True}),
            altered(deployment(), metadata={**metadata, "uid": ""}),
            altered(deployment(), metadata={**metadata, "uid": "a\r\nSet-Cookie: b"}),
            altered(deployment(), metadata={**metadata, "uid": 'quo"ted'}),
            altered(deployment(), metadata={**metadata, "uid": "ünique"}),
            altered(deployment(), metadata={**metadata, "uid": "u" * 129}),
            altered(deployment(), metadata={**metadata, "resourceVersion": "1\n2"}),
            altered(deployment(), metadata={**metadata, "resourceVersion": None}),
        ):
            with self.subTest(bad=bad), capturedLogs() as logged:
                page = decode_page(DEPLOYMENTS, page_of(object_json(deployment("good")), bad))
                good, unreadable = page.objects
                self.assertEqual(good, deployment("good"))
                assert isinstance(unreadable, Unreadable)
                self.assertEqual((unreadable.namespace, unreadable.name), ("shop", "web"))
                self.assertIn(unreadable.uid, ("", "uid-shop-web"))
                self.assertIn(unreadable.resource_version, ("", "10"))
                self.assertRegex(unreadable.why, "Expected .* - at|has characters that Kubernetes never uses")
                self.assertEqual([event["log_level"] for event in logged], [LogLevel.warn])

    def test_nameless_item_is_left_out_and_logged(self) -> None:
        """What has no name that Kubernetes would accept can be asked for by nobody."""
        metadata = object_json(deployment())["metadata"]
        for bad in (
            altered(deployment(), metadata={**metadata, "namespace": None}),
            altered(deployment(), metadata={**metadata, "namespace": "Shop"}),
            altered(deployment(), metadata={**metadata, "name": "web\r\n"}),
            altered(deployment(), metadata={**metadata, "name": 'we"b'}),
            altered(deployment(), metadata={**metadata, "name": "wéb"}),
            {"metadata": {"name": "cut"}},
            {},
            None,
            7,
        ):
            with self.subTest(bad=bad), capturedLogs() as logged:
                page = decode_page(DEPLOYMENTS, page_of(object_json(deployment("good")), bad))
                self.assertEqual(page, Page([deployment("good")], "5", ""))
                self.assertEqual([event["log_level"] for event in logged], [LogLevel.error])

    def test_namespace_is_there_whatever_it_is(self) -> None:
        """All that counts of a namespace is that it exists: one of an impossible shape does, by its name."""
        metadata = object_json(namespace("odd"))["metadata"]
        odd = object_json(namespace("odd")) | {"metadata": {**metadata, "uid": "a\r\nb"}}
        page = decode_page(NAMESPACES, page_of(object_json(namespace("good")), odd, {"metadata": {"name": "No"}}))
        self.assertEqual([item.name for item in page.objects], ["good", "odd"])
        self.assertEqual([item.uid for item in page.objects], ["uid-good", ""])

    def test_cut_page(self) -> None:
        """Of a page of one object that is too large, the beginning tells which that is, and what follows."""
        body = list_page(deployment(), version="77", next_token="more")
        for end in (len(body) - 1, body.index(b"labels")):
            page = decode_cut_page(DEPLOYMENTS, body[:end])
            (item,) = page.objects
            assert isinstance(item, Unreadable)
            self.assertEqual((item.name, item.uid, item.resource_version), ("web", "uid-shop-web", "10"))
            self.assertEqual((page.resource_version, page.next_token), ("77", "more"))
        for cut in (b"", b"<html>" * 1000, body[:40], body[: body.index(b"items")], list_page()[:-1]):
            self.assertRaises(BadAnswer, decode_cut_page, DEPLOYMENTS, cut)

    def test_no_list(self) -> None:
        """What is no list is refused as a whole."""
        for body in (
            b"",
            b"{}",
            b"[]",
            b"<html>",
            b'{"metadata":{},"items":[]}',
            b'{"metadata":{"resourceVersion":"1\\n2"},"items":[]}',
            b'{"items":[]}',
            b"\xff\xfe",
            page_of()[:-1],
        ):
            with self.subTest(body):
                self.assertRaises(BadAnswer, decode_page, DEPLOYMENTS, body)

    def test_status_is_no_list(self) -> None:
        """A Status that comes with a 200 is not taken for an empty list."""
        body = b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":500}'
        self.assertRaises(BadAnswer, decode_page, DEPLOYMENTS, body)


class LineTests(SynchronousTestCase):
    """Lines of a watch."""

    def test_changes(self) -> None:
        """ADDED and MODIFIED put the object, DELETED deletes it; each brings us to the object's version."""
        item = deployment(version="42", replicas=6)
        self.assertEqual(decode_line(DEPLOYMENTS, event_line("ADDED", item)), WatchEvent("42", Put(item)))
        self.assertEqual(decode_line(DEPLOYMENTS, event_line("MODIFIED", item)), WatchEvent("42", Put(item)))
        self.assertEqual(decode_line(DEPLOYMENTS, event_line("DELETED", item)), WatchEvent("42", Deleted(item)))
        gone = namespace(version="43")
        self.assertEqual(decode_line(NAMESPACES, event_line("DELETED", gone)), WatchEvent("43", Deleted(gone)))

    def test_bookmark(self) -> None:
        """A BOOKMARK brings us to its version and changes nothing."""
        self.assertEqual(decode_line(DEPLOYMENTS, bookmark_line("99")), WatchEvent("99", None))

    def test_expired(self) -> None:
        """An ERROR with code 410, or with the reason that old servers give instead, means that the version is lost."""
        for line in (
            error_line(410, "Expired", "too old resource version: 1 (2)"),
            error_line(410, "Gone"),
            error_line(0, "Expired"),
            error_line(0, "Gone"),
            error_line(410),
        ):
            with self.subTest(line), self.assertRaisesRegex(Expired, "^The watch is too old: (too old resource .*)?$"):
                decode_line(DEPLOYMENTS, line)

    def test_other_errors(self) -> None:
        """Any other ERROR is a bad answer that names what the cluster said."""
        with self.assertRaises(BadAnswer) as raised:
            decode_line(DEPLOYMENTS, error_line(500, "InternalError", "etcd is on fire"))
        self.assertIn("500 InternalError", str(raised.exception))
        self.assertIn("etcd is on fire", str(raised.exception))

    def test_error_of_no_shape(self) -> None:
        """An ERROR without a Status is a bad answer like any other."""
        for shape in (b"{}", b"null", b'"x"', b'{"code":"x"}'):
            with self.subTest(shape):
                self.assertRaises(BadAnswer, decode_line, DEPLOYMENTS, b'{"type":"ERROR","object":%s}' % shape)

    def test_unreadable_line(self) -> None:
        """An object that cannot be read is there all the same, with the reason why it cannot."""
        for field, wrong in (("replicas", "many"), ("replicas", -1)):
            line = {"type": "MODIFIED", "object": altered(deployment(), spec={field: wrong})}
            change = decode_line(DEPLOYMENTS, json.dumps(line).encode()).change
            assert isinstance(change, Put)
            assert isinstance(change.object, Unreadable)
            self.assertIn("replicas", change.object.why)

    def test_other_types(self) -> None:
        """What is no event of ours is refused in words that say what it was."""
        for line, message in (
            (b'{"type":"PUZZLED","object":{}}', "The cluster sent an event of an unknown type."),
            (
                json.dumps({"type": "ADDED", "object": altered(deployment(), kind="StatefulSet")}).encode(),
                "The cluster sent what is not an event of deployments: it is of another kind.",
            ),
        ):
            with self.assertRaises(BadAnswer) as raised:
                decode_line(DEPLOYMENTS, line)
            self.assertEqual(str(raised.exception), message)

    def test_wrong_kind(self) -> None:
        """An object of another kind is refused, even when it has every field that is read."""
        disguised = altered(deployment(), kind="StatefulSet")
        line = json.dumps({"type": "ADDED", "object": disguised}).encode()
        self.assertRaises(BadAnswer, decode_line, DEPLOYMENTS, line)
        self.assertRaises(BadAnswer, decode_line, NAMESPACES, event_line("ADDED", deployment()))
        self.assertRaises(BadAnswer, decode_line, DEPLOYMENTS, event_line("ADDED", namespace()))

    def test_unknown_type(self) -> None:
        """An event of a type that Kubernetes does not have is refused, never guessed at."""
        for kind in ("", "added", "UPDATED"):
            with self.subTest(kind):
                self.assertRaises(BadAnswer, decode_line, DEPLOYMENTS, event_line(kind, deployment()))

    def test_malformed(self) -> None:
        """What is no event is refused: cut, empty, not UTF-8, without metadata, or with an impossible count."""
        whole = event_line("ADDED", deployment()).rstrip()
        for line in (
            whole[:-1],
            b"",
            b"null",
            b"[]",
            b"{}",
            b'{"type":"ADDED"}',
            b'{"type":"ADDED","object":null}',
            b'{"type":"BOOKMARK","object":{}}',
            b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":""}}}',
            whole.replace(b'"web"', b'"w\xffb"'),
            whole.replace(b'"name": "web"', b'"name": null'),
            json.dumps({"type": "ADDED", "object": altered(deployment(), metadata=None)}).encode(),
            whole.replace(b'"web"', b'"w b"'),
            whole.replace(b'"shop"', b'"shop\\r\\n"'),
            b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"1\\n2"}}}',
        ):
            with self.subTest(line):
                self.assertRaises(BadAnswer, decode_line, DEPLOYMENTS, line)

    def test_unreadable(self) -> None:
        """An event of an impossible object is one all the same: of a Deployment whose count is not known."""
        for fields in ({"spec": {"replicas": -1}}, {"spec": {"replicas": 2**31}}):
            line = json.dumps({"type": "ADDED", "object": altered(deployment(version="42"), **fields)}).encode()
            event = decode_line(DEPLOYMENTS, line)
            self.assertEqual(event.resource_version, "42")
            assert isinstance(event.change, Put)
            assert isinstance(event.change.object, Unreadable)
            self.assertEqual(event.change.object.uid, "uid-shop-web")

    def test_unreadable_version(self) -> None:
        """One with a resourceVersion that nobody could ask for brings us to none."""
        drawn = altered(deployment())
        drawn["metadata"]["resourceVersion"] = "1\r\n2"
        event = decode_line(DEPLOYMENTS, json.dumps({"type": "ADDED", "object": drawn}).encode())
        self.assertEqual(event.resource_version, "")
        self.assertIsInstance(event.change, Put)

    def test_cut(self) -> None:
        """A line that is too long is known by its beginning, whatever happened to the object."""
        for kind, change in (("ADDED", Put), ("MODIFIED", Put), ("DELETED", Deleted)):
            head = event_line(kind, deployment(version="42"))
            event = decode_line(DEPLOYMENTS, Cut(head[: head.index(b"generation")]))
            self.assertEqual(event.resource_version, "42")
            assert isinstance(event.change, change)
            self.assertIsInstance(event.change.object, Unreadable)
        named = decode_line(NAMESPACES, Cut(event_line("ADDED", namespace())[:-20]))
        self.assertEqual(named.change, Put(namespace()))

    def test_cut_beyond_recognition(self) -> None:
        """One that does not say which object it is of is no event."""
        head = event_line("ADDED", deployment())
        for cut in (b"", b"x" * 100, head[: head.index(b"metadata")], bookmark_line("7"), error_line(500)):
            self.assertRaises(BadAnswer, decode_line, DEPLOYMENTS, Cut(cut))
        self.assertRaises(BadAnswer, decode_line, NAMESPACES, Cut(head))
