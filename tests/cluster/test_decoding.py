"""Answers of one object into model objects: real shapes, and impossible ones."""

import json

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.decoding import Status, decode_namespace, decode_scale, decode_status
from sre_server.errors import BadAnswer
from sre_server.model import MAX_REPLICAS
from tests.fakes import deployment, namespace
from tests.wire import object_json, scale_body


class SingleTests(SynchronousTestCase):
    """Answers of one object."""

    def test_namespace(self) -> None:
        """A Namespace is decoded, and what is none is refused."""
        self.assertEqual(decode_namespace(json.dumps(object_json(namespace())).encode()), namespace())
        for body in (b"", b"{}", b'{"kind":"Namespace","metadata":{"name":"x"}}', b"\xff"):
            with self.subTest(body):
                self.assertRaises(BadAnswer, decode_namespace, body)

    def test_scale(self) -> None:
        """A Scale is the Deployment as it now is; a count that it leaves out is 0, unlike a Deployment's."""
        for replicas in (0, 1, MAX_REPLICAS):
            written = deployment(replicas=replicas, version="8")
            self.assertEqual(decode_scale(scale_body(written)), written)
        self.assertNotIn(b'"spec": {"replicas"', scale_body(deployment(replicas=0)))

    def test_no_scale(self) -> None:
        """What is no Scale is refused."""
        for body in (b"", b"{}", b'{"kind":"Status"}', scale_body(deployment())[:-1], b"\xff"):
            with self.subTest(body):
                self.assertRaises(BadAnswer, decode_scale, body)

    def test_status(self) -> None:
        """A Status is decoded, and what is none, as a proxy's HTML page, is an empty one."""
        body = b'{"kind":"Status","message":"no","reason":"Forbidden","code":403,"details":{}}'
        self.assertEqual(decode_status(body), Status("no", "Forbidden", 403))
        for other in (b"", b"<html>", b"\xff", b"[]", b'{"message":7}'):
            with self.subTest(other):
                self.assertEqual(decode_status(other), Status())
