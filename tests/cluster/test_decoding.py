"""Bytes of the Kubernetes API into model objects: real shapes, impossible ones, and arbitrary bytes."""

import json
from typing import Any

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.decoding import (
    MESSAGE_LENGTH,
    Page,
    Status,
    WatchEvent,
    decode_line,
    decode_namespace,
    decode_page,
    decode_status,
)
from sre_server.errors import BadAnswer, Expired
from sre_server.model import MAX_REPLICAS, Deleted, Deployment, Put, Resource
from tests.fakes import deployment, namespace
from tests.wire import bookmark_line, error_line, event_line, list_page, object_json

DEPLOYMENTS, NAMESPACES = Resource.DEPLOYMENTS, Resource.NAMESPACES


def altered(item: Deployment, **fields: Any) -> dict[str, Any]:
    """Draw a Deployment with some of its top-level fields replaced; None leaves one out."""
    drawn = object_json(item) | fields
    return {name: value for name, value in drawn.items() if value is not None}


def page_of(*items: Any) -> bytes:
    """Draw a page of anything."""
    return json.dumps({"metadata": {"resourceVersion": "5"}, "items": items}).encode()


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
        self.assertEqual(decode_page(DEPLOYMENTS, page_of(item)).objects, [deployment(replicas=3)])

    def test_impossible_item_is_left_out_and_logged(self) -> None:
        """One object that Kubernetes would never send does not keep the others from being served."""
        metadata = object_json(deployment())["metadata"]
        for bad in (
            altered(deployment(), spec={"replicas": -1}),
            altered(deployment(), spec={"replicas": MAX_REPLICAS + 1}),
            altered(deployment(), spec={"replicas": 10**40}),
            altered(deployment(), spec={"replicas": "3"}),
            altered(deployment(), spec={"replicas": 1.5}),
            altered(deployment(), spec={"replicas": True}),
            altered(deployment(), metadata={**metadata, "uid": ""}),
            altered(deployment(), metadata={**metadata, "namespace": None}),
            {"metadata": {"name": "cut"}},
            {},
            None,
            7,
        ):
            with self.subTest(bad=bad), capturedLogs() as logged:
                page = decode_page(DEPLOYMENTS, page_of(object_json(deployment("good")), bad))
                self.assertEqual(page, Page([deployment("good")], "5", ""))
                self.assertEqual([event["log_level"] for event in logged], [LogLevel.error])

    def test_no_list(self) -> None:
        """What is not a list is refused as a whole."""
        for body in (
            b"",
            b"{}",
            b"[]",
            b"<html>",
            b'{"metadata":{},"items":[]}',
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
            with self.subTest(line):
                self.assertRaises(Expired, decode_line, DEPLOYMENTS, line)

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
        """What is not an event is refused: cut, empty, not UTF-8, without metadata, or with an impossible count."""
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
            json.dumps({"type": "ADDED", "object": altered(deployment(), spec={"replicas": -1})}).encode(),
            json.dumps({"type": "ADDED", "object": altered(deployment(), spec={"replicas": 2**31})}).encode(),
        ):
            with self.subTest(line):
                self.assertRaises(BadAnswer, decode_line, DEPLOYMENTS, line)


class SingleTests(SynchronousTestCase):
    """Answers of one object."""

    def test_namespace(self) -> None:
        """A Namespace is decoded, and what is none is refused."""
        self.assertEqual(decode_namespace(json.dumps(object_json(namespace())).encode()), namespace())
        for body in (b"", b"{}", b'{"kind":"Namespace","metadata":{"name":"x"}}', b"\xff"):
            with self.subTest(body):
                self.assertRaises(BadAnswer, decode_namespace, body)

    def test_status(self) -> None:
        """A Status is decoded, and what is none, as a proxy's HTML page, is an empty one."""
        body = b'{"kind":"Status","message":"no","reason":"Forbidden","code":403,"details":{}}'
        status = decode_status(body)
        self.assertEqual((status.message, status.reason, status.code), ("no", "Forbidden", 403))
        self.assertTrue(status.is_status)
        for other in (b"", b"<html>", b"\xff", b"[]", b'{"message":7}'):
            with self.subTest(other):
                self.assertEqual(decode_status(other), Status())
                self.assertFalse(decode_status(other).is_status)

    def test_what_a_status_is_about(self) -> None:
        """It names an object by kind and name, or none."""
        body = b'{"kind":"Status","details":{"name":"web","group":"apps","kind":"deployments"}}'
        self.assertTrue(decode_status(body).names("web", "namespaces", "deployments"))
        self.assertFalse(decode_status(body).names("web", "namespaces"))
        self.assertFalse(decode_status(body).names("cart", "deployments"))
        for text, names_something in ((body, True), (b'{"kind":"Status","details":{}}', False), (b"{}", False)):
            self.assertEqual(decode_status(text).names_something, names_something)

    def test_what_a_status_says_is_fit_to_be_shown(self) -> None:
        """Its texts are one line without control characters, and bounded, as anybody's webhook writes them."""
        body = json.dumps(
            {"kind": "Status", "message": "a\r\nb\x1b[2J\u0085ü\u2028" + "x" * 9000, "reason": "y\n" * 99}
        )
        status = decode_status(body.encode())
        self.assertTrue(status.message.startswith("a  b [2J ü x"), status.message[:20])
        self.assertEqual((len(status.message), len(status.reason)), (MESSAGE_LENGTH, 64))
        self.assertTrue(status.message.isprintable() and status.reason.isprintable())
