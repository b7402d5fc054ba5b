"""What is said of answers of the cluster that make no sense, in whole sentences: they come into answers and logs."""

import json
from collections.abc import Callable

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.decoding import decode_namespace, decode_review
from sre_server.cluster.lines import Cut, Line
from sre_server.cluster.single import decode_scale, decode_state
from sre_server.cluster.unpacking import decode_cut_page, decode_line, decode_page
from sre_server.cluster.watching import STREAM_SECONDS
from sre_server.errors import BadAnswer, ClusterBroke, Silent, TooShort
from sre_server.news import Resource
from tests.fakes import deployment, namespace
from tests.reflecting import SOURCE, ReflectorTestCase
from tests.wire import deployment_body, error_line, event_line, list_page, object_json, refusal, scale_body

CUT = "Input data was truncated."
ODD = "characters that Kubernetes never uses."
NO_NAME = "Its name is none that Kubernetes would accept."
ODD_NAMESPACE = json.dumps(object_json(namespace(version="a b"))).encode()
ODD_UID = deployment(uid="a b")


class AnswerTests(SynchronousTestCase):
    """Answers to one request."""

    def test_objects(self) -> None:
        """What is not the object that was asked for says why not; so does one that cannot be served."""
        decoders: tuple[tuple[Callable[[bytes], object], bytes, str], ...] = (
            (decode_namespace, b"", f"is not a Namespace: {CUT}"),
            (decode_namespace, ODD_NAMESPACE, f"is not a Namespace: Its name, uid or resourceVersion has {ODD}"),
            (decode_review, b"", f"is not a SubjectAccessReview: {CUT}"),
            (decode_scale, b"", f"is not a Scale: {CUT}"),
            (decode_scale, scale_body(deployment("a b")), f"is not a Scale: {NO_NAME}"),
            (decode_scale, scale_body(ODD_UID), f"is not a Scale: Its uid or its resourceVersion has {ODD}"),
            (decode_state, b"", f"is not a Deployment: {CUT}"),
            (decode_state, deployment_body(ODD_UID), f"has a uid with {ODD}"),
        )
        for decode, body, said in decoders:
            self.assertEqual(str(self.assertRaises(BadAnswer, decode, body)), f"The cluster's answer {said}")
        error = self.assertRaises(BadAnswer, decode_review, b'{"status":{"evaluationError":"No."}}')
        self.assertEqual(str(error), "The cluster could not decide: No.")

    def test_lists(self) -> None:
        """What is no list says so."""
        for decode, body, said in (
            (decode_page, b"", f"The cluster's answer is not a list of deployments: {CUT}"),
            (decode_page, list_page(version="a b"), f"The cluster sent a resourceVersion with {ODD}"),
            (decode_cut_page, b"", "The cluster's answer is larger than a list of one of the deployments can be."),
        ):
            self.assertEqual(str(self.assertRaises(BadAnswer, decode, Resource.DEPLOYMENTS, body)), said)


class WatchTests(ReflectorTestCase):
    """What comes from a watch."""

    def test_lines(self) -> None:
        """What is no event says so."""
        lines: tuple[tuple[Line, str], ...] = (
            (Cut(b""), "The cluster sent a line that is too long."),
            (b"", f"The cluster sent what is not an event of deployments: {CUT}"),
            (
                error_line(500, "InternalError", "No."),
                "The cluster ended the watch with an error (500 InternalError): No.",
            ),
        )
        for line, said in lines:
            error = self.assertRaises(BadAnswer, decode_line, Resource.DEPLOYMENTS, line)
            self.assertEqual(str(error), said)

    def test_ends(self) -> None:
        """A watch that ends otherwise than it should says how."""
        self.cycle(self.listed(), self.watched())
        error = self.cycle_fails(TooShort, self.watched(seconds=1))
        self.assertEqual(str(error), "The cluster ended the watch at once.")
        error = self.cycle_fails(Silent, self.silent())
        self.assertEqual(str(error), "The watch brought nothing for 90 s, not even a bookmark.")
        self.reflector = self.make_reflector(SOURCE, streamed=True)
        error = self.cycle_fails(ClusterBroke, self.watched(event_line("ADDED", deployment())))
        self.assertEqual(str(error), "The cluster ended a streamed list before it was whole.")

    def test_no_streamed_list(self) -> None:
        """The log says why pages are read in its place."""
        endless = self.paced(STREAM_SECONDS + 1, [event_line("ADDED", deployment()), b""])
        for answer, said in (
            (endless, "it did not end within 60 s"),
            (refusal(400, "Invalid"), "the cluster answered 400"),
        ):
            self.reflector = self.make_reflector(SOURCE, streamed=True)
            with capturedLogs() as logged:
                self.cycle(answer, self.listed(), self.watched())
            self.assertEqual(str(logged[0]["reason"]), said)
