"""One Deployment, or the Scale of one, from bytes of the Kubernetes API."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.single import decode_scale, decode_state
from sre_server.errors import BadAnswer
from sre_server.model import MAX_REPLICAS, Guards, State
from tests.fakes import deployment
from tests.wire import deployment_body, scale_body

NOT_FOR_HEADERS = ("1\r\n2", "1 2", "", "ü", "1" * 254, "1\n")


class SingleTests(SynchronousTestCase):
    """Real shapes, and impossible ones."""

    def test_scale(self) -> None:
        """A Scale is the Deployment as it now is; a count that it leaves out is 0, unlike a Deployment's."""
        for replicas in (0, 1, MAX_REPLICAS):
            written = deployment(replicas=replicas, version="8")
            self.assertEqual(decode_scale(scale_body(written)), written)
        self.assertNotIn(b'"spec": {"replicas"', scale_body(deployment(replicas=0)))

    def test_no_scale(self) -> None:
        """What is not a Scale is refused."""
        for body in (b"", b"{}", b'{"kind":"Status"}', scale_body(deployment())[:-1], b"\xff"):
            with self.subTest(body):
                self.assertRaisesRegex(BadAnswer, "^The cluster's answer is not a Scale: ", decode_scale, body)

    def test_what_goes_into_header_fields(self) -> None:
        """A UID or a resourceVersion that could not stand there is none."""
        for text in NOT_FOR_HEADERS:
            if text:
                self.assertRaises(BadAnswer, decode_scale, scale_body(deployment(uid=text)))
                self.assertRaises(BadAnswer, decode_state, deployment_body(deployment(uid=text)))
            self.assertRaises(BadAnswer, decode_scale, scale_body(deployment(version=text)))

    def test_state(self) -> None:
        """A Deployment is its count, its UID and its own guardrails; its metadata alone says nothing of the count."""
        annotations = {"sre-server/protected": "true", "sre-server/min-replicas": "2"}
        guards = Guards(minimum="2", protected="true")
        one = deployment(replicas=4)
        self.assertEqual(decode_state(deployment_body(one, annotations=annotations)), State(one.uid, 4, guards))
        metadata = deployment_body(one, annotations=annotations, metadata_only=True)
        self.assertEqual(decode_state(metadata), State(one.uid, None, guards))
        self.assertEqual(decode_state(b'{"kind":"Deployment","metadata":{"uid":"u"}}'), State("u", 1))

    def test_no_state(self) -> None:
        """What is neither is refused."""
        for body in (b"", b"{}", b'{"kind":"Status"}', deployment_body(deployment())[:-1], b"\xff"):
            self.assertRaises(BadAnswer, decode_state, body)
