"""Answers of one object into model objects: real shapes, and impossible ones."""

import json

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.decoding import MESSAGE_LENGTH, Status, decode_namespace, decode_status
from sre_server.errors import BadAnswer
from tests.fakes import namespace
from tests.wire import object_json


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
