"""Conditional requests and compressed lists: what the fields mean, what is answered, and what the cluster compares."""

import gzip
import json

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.api.bodies import ListBodies, counts_in, names_in
from sre_server.api.conditional import accepts_gzip, excludes, expected_by, is_known, replicas_tag, tags_in
from sre_server.cluster.scaling import set_replicas
from sre_server.errors import ClusterBroke, ClusterRefused, Malformed, PreconditionFailed
from sre_server.model import Changed, Deleted, Deployment, Expected, Put, Resource, Source
from tests.fakes import FakeReply, FakeTransport, deployment, namespace
from tests.memory_server import MemoryServer
from tests.wire import refusal, scale_body

TAG = b'"3-uid-shop-web"'
PATH_A = "/deployments/shop/web/replicas"
PATH_B = "/namespaces/shop/deployments/web/replica_count"


class FieldTests(SynchronousTestCase):
    """The fields as RFC 9110 has them."""

    def test_tags(self) -> None:
        """Lists of tags, weak ones where they count; empty elements are nothing (RFC 9110, section 5.6.1)."""
        for text, weak, strong in (
            (b'"a"', [b'"a"'], [b'"a"']),
            (b' "a" , W/"b","c"', [b'"a"', b'"b"', b'"c"'], [b'"a"', b'"c"']),
            (b'"a,b", "c"', [b'"a,b"', b'"c"'], [b'"a,b"', b'"c"']),
            (b'""', [b'""'], [b'""']),
            (b" * ", [b"*"], [b"*"]),
            (b',, "a" ,\t,"b",', [b'"a"', b'"b"'], [b'"a"', b'"b"']),
            (b"", [], []),
            (b" , ,", [], []),
        ):
            self.assertEqual((tags_in(text), tags_in(text, strong=True)), (weak, strong), text)

    def test_what_is_not_a_list_of_tags(self) -> None:
        """It is refused, wherever it ceases to be one: half a condition is none."""
        for text in (
            b'w/"a"',
            b"a",
            b'"a" "b"',
            b'"a',
            b'"a", b',
            b'"a", *',
            b'*, "a"',
            b'"a";q=1',
            b'"a\x00"',
            b'"a"\n',
        ):
            self.assertRaises(Malformed, tags_in, text)
            self.assertRaises(Malformed, excludes, text, b'"x"')
            self.assertFalse(is_known(b'"x"', text))

    def test_what_is_known(self) -> None:
        """A tag of the list, weak or not, or any at all."""
        for known in (b'"x"', b'W/"x"', b'"a", "x"', b"*"):
            self.assertTrue(is_known(b'"x"', known), known)
        for other in (None, b"", b"x", b'"y"', b'"x-gzip"', b'"*"'):
            self.assertFalse(is_known(b'"x"', other), other)

    def test_what_is_expected(self) -> None:
        """Tags of ours say a count and a UID, the current one first of all; no other says anything, nor a weak one."""
        three, seven = Expected(3, "uid-shop-web"), Expected(7, "u")
        for field, current, expected in (
            (TAG, TAG, three),
            (TAG, None, three),
            (TAG, b'"4-uid-shop-web"', three),
            (b'"7-u", ' + TAG, TAG, three),
            (b'"7-u", ' + TAG, None, seven),
            (b'"x", "7-u"', TAG, seven),
            (b"*", TAG, Expected()),
            (b'"2147483647-u"', None, Expected(2147483647, "u")),
            (b'"2147483648-u"', None, None),
            (b'"03-u"', None, None),
            (b'"-1-u"', None, None),
            (b'"3-"', None, None),
            (b"W/" + TAG, TAG, None),
            (b'"*"', TAG, None),
            (b"", TAG, None),
        ):
            self.assertEqual(expected_by(field, current), expected, (field, current))

    @given(st.integers(0, 2**31 - 1), st.uuids().map(str))
    def test_tags_of_counts(self, replicas: int, uid: str) -> None:
        """What a tag was made of is what it is read as."""
        self.assertEqual(expected_by(replicas_tag(replicas, uid), None), Expected(replicas, uid))

    def test_codings(self) -> None:
        """Gzip is for who names it, or anything, with a weight above nothing."""
        for wanted in (b"gzip", b"br, gzip", b"GZIP;q=0.5", b"*", b"x-gzip", b"gzip;q=1.0, br;q=0", b"*;q=0, gzip"):
            self.assertTrue(accepts_gzip(wanted), wanted)
        for unwanted in (b"", b"br", b"gzip;q=0", b"gzip; q=0.000", b"*, gzip;q=0", b"gzipped", b"identity", b"*;q=0"):
            self.assertFalse(accepts_gzip(unwanted), unwanted)
        self.assertFalse(accepts_gzip(None))


class ReadTests(SynchronousTestCase):
    """What reads answer."""

    def setUp(self) -> None:
        """Know a Deployment, and a namespace of many."""
        self.server = MemoryServer()
        many = [deployment(f"a-deployment-with-a-long-name-{number}", "crowd") for number in range(99)]
        self.server.sync(namespace("shop"), namespace("crowd"), deployment("web", "shop"), *many)

    def test_a_count(self) -> None:
        """Both families tag a count with it and its Deployment; 304 until one of the two changes."""
        for path in (PATH_A, PATH_B):
            self.assertEqual(self.server.get(path).header("ETag"), TAG.decode())
            self.assertEqual(self.server.get(path, {"If-None-Match": TAG}).status, 304)
        self.server.cache.written(deployment("web", "shop", replicas=4, version="900"))
        answer = self.server.get(PATH_A, {"If-None-Match": TAG})
        self.assertEqual((answer.status, answer.header("ETag")), (200, '"4-uid-shop-web"'))

    def test_equal_content_has_equal_tags(self) -> None:
        """Two servers that know the same give the same tags; whatever changes what a list shows changes its tag."""
        for path in ("/deployments/shop", "/namespaces/shop/deployments/ANY/replica_count"):
            other = MemoryServer().sync(namespace("shop"), deployment("web", "shop"))
            etag = self.server.get(path).header("ETag")
            self.assertEqual(other.get(path).header("ETag"), etag)
            other.cache.written(deployment("web", "shop", replicas=8, version="900"))
            other.cache.written(deployment("new", "shop", version="901"))
            self.assertNotEqual(other.get(path).header("ETag"), etag)

    def test_head(self) -> None:
        """HEAD tells the tag, and 304."""
        answer = self.server.call("HEAD", "/deployments")
        self.assertEqual(answer.header("ETag"), self.server.get("/deployments").header("ETag"))
        self.assertEqual(self.server.call("HEAD", "/deployments", headers={"If-None-Match": "*"}).status, 304)

    def test_errors_are_not_conditional(self) -> None:
        """What does not exist, or is refused, is that, whatever the client has."""
        for path, status in (("/deployments/none", 404), ("/deployments/shop/none/replicas", 404), ("/x", 404)):
            answer = self.server.get(path, {"If-None-Match": "*", "Accept-Encoding": "gzip"})
            self.assertEqual((answer.status, answer.header("ETag")), (status, None))

    def test_gzip(self) -> None:
        """A long list is compressed for who wants that, says so, and is the same list; a short one is sent as it is."""
        for path in ("/deployments", "/deployments/crowd", "/namespaces/ANY/deployments/ANY/replica_count"):
            plain, packed = self.server.get(path), self.server.get(path, {"Accept-Encoding": "gzip"})
            self.assertEqual(gzip.decompress(packed.body), plain.body)
            self.assertEqual((packed.header("Content-Encoding"), plain.header("Content-Encoding")), ("gzip", None))
            self.assertEqual((packed.header("Vary"), plain.header("Vary")), ("Accept-Encoding",) * 2)
            self.assertNotEqual(packed.header("ETag"), plain.header("ETag"))
        short = self.server.get("/namespaces", {"Accept-Encoding": "gzip"})
        self.assertEqual((short.header("Content-Encoding"), short.header("Vary")), (None, "Accept-Encoding"))
        count = self.server.get(PATH_A, {"Accept-Encoding": "gzip"})
        self.assertEqual((count.header("Content-Encoding"), count.header("Vary")), (None, None))


class KeptBodiesTests(SynchronousTestCase):
    """Bytes that are made once, and again when something in them has changed."""

    def setUp(self) -> None:
        """Count how often a namespace is shown."""
        self.server = MemoryServer().sync(
            namespace("a"), namespace("b"), namespace("empty"), deployment("x", "a"), deployment("y", "b")
        )
        self.shown: list[str] = []

        def show(name: str, by_name: object) -> object:
            self.shown.append(name)
            return counts_in(name, by_name)  # type: ignore[arg-type]

        self.bodies = ListBodies(self.server.cache, show)
        self.cache = self.server.cache

    def all(self) -> dict[str, dict[str, int]]:
        """The whole list, decoded."""
        parts = json.loads(self.bodies.of_all(self.cache.tree()).data)
        return {
            part["namespace"]: {item["deployment"]: item["replica_count"] for item in part["deployments"]}
            for part in parts
        }

    def change(self, *changes: Put | Deleted) -> None:
        """Let the cluster tell of changes."""
        self.cache.apply(Changed(Source(Resource.DEPLOYMENTS), 0, changes))

    def test_once(self) -> None:
        """The same object is handed out as long as nothing has changed; news that change no count are none."""
        first = self.bodies.of_all(self.cache.tree())
        packed = first.gzipped()
        self.change(Put(deployment("x", "a", version="200")))
        self.assertIs(self.bodies.of_all(self.cache.tree()), first)
        self.assertIs(self.bodies.of_all(self.cache.tree()).gzipped(), packed)
        self.assertEqual(self.shown, ["a", "b"])

    def test_only_what_changed(self) -> None:
        """A change costs its own namespace, and is there."""
        self.all()
        self.change(Put(deployment("x", "a", replicas=9, version="200")))
        self.assertEqual(self.all(), {"a": {"x": 9}, "b": {"y": 3}})
        self.change(Put(deployment("z", "empty", replicas=1, version="201")))
        self.assertEqual(self.all(), {"a": {"x": 9}, "b": {"y": 3}, "empty": {"z": 1}})
        self.change(Deleted(deployment("y", "b")))
        self.assertEqual(self.all(), {"a": {"x": 9}, "empty": {"z": 1}})
        self.change(Put(deployment("y", "b", replicas=5, version="202")))
        self.assertEqual(self.all(), {"a": {"x": 9}, "b": {"y": 5}, "empty": {"z": 1}})
        self.assertEqual(self.shown, ["a", "b", "a", "empty", "b"])

    def test_one_namespace(self) -> None:
        """A namespace alone shares its bytes with the list of all, between whatever brackets."""
        self.all()
        tree = self.cache.tree()
        alone = self.bodies.of_one("a", tree["a"])
        self.assertIs(self.bodies.of_one("a", tree["a"]), alone)
        self.assertEqual(self.bodies.of_one("a", tree["a"], b"[%s]").data, b"[%s]\n" % alone.data[:-1])
        self.assertEqual(self.shown, ["a", "b"])

    def test_a_part_of_the_tree(self) -> None:
        """Who may see less sees less, and leaves nothing behind for others."""
        partly: dict[str, dict[str, Deployment]] = {"a": {}, "b": {"y": deployment("y", "b")}}
        self.assertEqual(json.loads(self.bodies.of_all(partly).data)[0]["namespace"], "b")
        self.assertEqual(json.loads(self.bodies.of_one("a", {}).data)["deployments"], [])
        self.assertEqual(self.all(), {"a": {"x": 3}, "b": {"y": 3}})

    def test_namespaces_that_are_gone(self) -> None:
        """Nothing is kept of namespaces that are not there any more."""
        for number in range(50):
            gone = deployment("x", f"gone-{number}")
            self.change(Put(gone))
            self.all()
            self.change(Deleted(gone))
        self.assertLess(len(self.bodies._parts), 12)

    def test_a_new_list(self) -> None:
        """A complete list from the cluster replaces everything, names too."""
        names = ListBodies(self.cache, names_in)
        self.all()
        names.of_all(self.cache.tree())
        self.server.sync(namespace("c"), deployment("w", "c", replicas=2))
        self.assertEqual(self.all(), {"c": {"w": 2}})
        self.assertEqual(names.of_all(self.cache.tree()).data, b'[{"namespace":"c","deployments":["w"]}]\n')


class ConditionalWriteTests(SynchronousTestCase):
    """If-Match, from the client to the cluster."""

    def setUp(self) -> None:
        """Know a Deployment."""
        self.server = MemoryServer().sync(namespace("shop"), deployment("web", "shop"))

    def test_what_the_cluster_is_asked(self) -> None:
        """What the tag says is what the cluster compares, whatever is known here; `*`, or no field, is any state."""
        for field, expected in (
            (TAG, Expected(3, "uid-shop-web")),
            (b'"9-other"', Expected(9, "other")),
            (b"*", Expected()),
        ):
            answer = self.server.call("PUT", f"{PATH_B}/7", headers={"If-Match": field})
            self.assertEqual((answer.status, self.server.expected), (200, expected))
        self.server.call("PUT", PATH_A, b'{"replicas": 6}', {"If-Match": TAG})
        self.assertEqual(self.server.expected, Expected(3, "uid-shop-web"))
        self.server.call("PUT", PATH_A, b'{"replicas": 6}')
        self.assertEqual(self.server.expected, Expected())

    def test_no_tag_of_ours(self) -> None:
        """412 at once, with the tag and the count of now, and a line in the audit log; nothing is asked."""
        for path, body in ((PATH_A, b'{"replicas": 6}'), (f"{PATH_B}/6", None)):
            answer = self.server.call("PUT", path, body, {"If-Match": '"x"'})
            self.assertEqual((answer.status, answer.header("ETag")), (412, TAG.decode()))
            self.assertIn("the count is 3", answer.json()["message"])
        self.assertEqual(self.server.writes, [])
        lines = [(line.outcome, line.status) for line in self.server.audit.records]
        self.assertEqual(lines, [("PreconditionFailed", 412)] * 2)

    def test_what_is_not_to_be_there(self) -> None:
        """A write is not done where If-None-Match excludes the count that is there, as `*` does with any."""
        for field in (b"*", TAG, b'"x", W/' + TAG):
            answer = self.server.call("PUT", f"{PATH_B}/6", headers={"If-None-Match": field})
            self.assertEqual((answer.status, answer.header("ETag")), (412, TAG.decode()))
        self.assertEqual(self.server.writes, [])
        self.assertEqual([line.outcome for line in self.server.audit.records], ["PreconditionFailed"] * 3)
        self.assertEqual(self.server.call("PUT", f"{PATH_B}/6", headers={"If-None-Match": '"x"'}).status, 200)
        for field, expected in ((b"*", Expected(uid="")), (TAG, Expected())):
            path = "/namespaces/shop/deployments/new/replica_count/6"
            self.server.call("PUT", path, headers={"If-None-Match": field})
            self.assertEqual(self.server.expected, expected)

    def test_no_tag_of_ours_for_what_is_not_known(self) -> None:
        """The cluster is asked whether there is such a Deployment, and for a state that none can have."""
        self.server.call("PUT", "/deployments/shop/new/replicas", b'{"replicas": 6}', {"If-Match": '"x"'})
        self.assertEqual(self.server.expected, Expected(uid=""))

    def test_another_state(self) -> None:
        """The cluster's comparison is answered with the count and the tag that it had, in both families."""
        for path, body in ((PATH_A, b'{"replicas": 6}'), (f"{PATH_B}/6", None)):
            self.server.outcome = PreconditionFailed("It is 5 now.", 5, "uid-shop-web")
            answer = self.server.call("PUT", path, body, {"If-Match": TAG})
            self.assertEqual((answer.status, answer.header("ETag")), (412, '"5-uid-shop-web"'))
            self.assertEqual(answer.json(), {"message": "It is 5 now."})
            self.server.outcome = PreconditionFailed("Something else.")
            self.assertIsNone(self.server.call("PUT", path, body, {"If-Match": TAG}).header("ETag"))


class ComparingWriteTests(SynchronousTestCase):
    """The patch that compares, and what the cluster's answers to it mean."""

    def write(self, *answers: FakeReply | ClusterBroke, expected: Expected = Expected(3, "u")) -> Deployment:  # noqa: B008
        """Set 20 replicas against a cluster that answers so."""
        self.cluster = FakeTransport(list(answers))
        return set_replicas(self.cluster, "shop", "web", 20, expected)

    def test_the_patch(self) -> None:
        """It tests the UID and the count, and then sets the count; 0 is what a Scale leaves out."""
        for expected, tested in ((Expected(3, "u"), 3), (Expected(0, "u"), None)):
            self.write(FakeReply(200, [scale_body(deployment(replicas=20))]), expected=expected)
            self.assertEqual(
                msgspec.json.decode(self.cluster.bodies[0] or b""),
                [
                    {"op": "test", "path": "/metadata/uid", "value": "u"},
                    {"op": "test", "path": "/spec/replicas", "value": tested},
                    {"op": "add", "path": "/spec/replicas", "value": 20},
                ],
            )
            self.assertEqual(self.cluster.headers[0]["Content-Type"], "application/json-patch+json")

    def test_any_state(self) -> None:
        """Where nothing is compared, the patch is the one that every write is."""
        self.write(FakeReply(200, [scale_body(deployment(replicas=20))]), expected=Expected())
        self.assertEqual(self.cluster.bodies, [b'{"spec":{"replicas":20}}'])

    def test_another_state(self) -> None:
        """After a 422 the state is read by a patch that patches nothing, dry-run, and told."""
        now = deployment(replicas=5)
        with self.assertRaises(PreconditionFailed) as raised:
            self.write(refusal(422, "", "test failed"), FakeReply(200, [scale_body(now)]))
        self.assertEqual((raised.exception.replicas, raised.exception.uid), (5, now.uid))
        self.assertIn("its count is 5 now", str(raised.exception))
        _, (_, _, query) = self.cluster.requests
        self.assertEqual((self.cluster.bodies[1], query["dryRun"]), (b"{}", "All"))

    def test_a_422_for_another_reason(self) -> None:
        """Where the state is the expected one, the cluster has refused the write itself."""
        now = deployment(replicas=3)
        with self.assertRaises(ClusterRefused) as raised:
            self.write(refusal(422, "", "no"), FakeReply(200, [scale_body(now)]), expected=Expected(3, now.uid))
        self.assertEqual(raised.exception.status, 422)
        with self.assertRaises(ClusterRefused):
            self.write(refusal(422, "", "no"), expected=Expected())

    def test_a_state_that_cannot_be_read(self) -> None:
        """Nothing was changed, and more is not said."""
        for second in (ClusterBroke("Reset."), refusal(403, "Forbidden"), FakeReply(200, [b"<html>"])):
            with self.assertRaises(PreconditionFailed) as raised:
                self.write(refusal(422, "", "test failed"), second)
            self.assertEqual(raised.exception.replicas, None)
