"""Conditional requests and compressed lists: what the fields mean, what is answered, and what the cluster compares."""

import gzip
import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.api.bodies import ListBodies, counts_in, names_in
from sre_server.api.conditional import Conditions, accepts_gzip, excludes, is_known, replicas_tag, tags_in
from sre_server.errors import Malformed, PreconditionFailed
from sre_server.model import Changed, Deleted, Deployment, Put, Resource, Source
from tests.fakes import deployment, namespace
from tests.memory_server import MemoryServer

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

    def test_what_fulfils_if_match(self) -> None:
        """One tag of several, by strong comparison; `*` is any count, and what is no count's tag is none ever."""
        for field, fulfilled, hopeless in (
            (None, True, False),
            (TAG, True, False),
            (b'"7-u", ' + TAG, True, False),
            (b"*", True, False),
            (b'"4-uid-shop-web"', False, False),
            (b'"2147483647-u"', False, False),
            (b'"x", "7-u"', False, False),
            (b'"03-u"', False, True),
            (b'"-1-u"', False, True),
            (b'"3-"', False, True),
            (b"W/" + TAG, False, True),
            (b'"*"', False, True),
            (b'"x"', False, True),
            (b"", False, True),
        ):
            self.check(Conditions.of(field, None), fulfilled, hopeless)

    def test_what_if_none_match_excludes(self) -> None:
        """A tag of the list, weak or not, or any count at all."""
        for field, fulfilled, hopeless in (
            (None, True, False),
            (b'"x"', True, False),
            (b'"4-uid-shop-web"', True, False),
            (TAG, False, False),
            (b'"x", W/' + TAG, False, False),
            (b"*", False, True),
        ):
            self.check(Conditions.of(None, field), fulfilled, hopeless)
        self.check(Conditions.of(TAG, TAG), False, False)

    def check(self, conditions: Conditions, fulfilled: bool, hopeless: bool) -> None:
        """Hold conditions against a Deployment of three."""
        self.assertEqual(conditions.hopeless, hopeless, conditions)
        if fulfilled:
            conditions.check(3, "uid-shop-web")
        else:
            error = self.assertRaises(PreconditionFailed, conditions.check, 3, "uid-shop-web")
            self.assertEqual((error.replicas, error.uid), (3, "uid-shop-web"))

    def test_which_are_about_the_count(self) -> None:
        """All but those that only ask that there is a Deployment."""
        for if_match, if_none_match, need_count in (
            (None, None, False),
            (b"*", None, False),
            (TAG, None, True),
            (b'"x"', None, True),
            (None, TAG, True),
            (None, b"*", True),
        ):
            self.assertEqual(Conditions.of(if_match, if_none_match).need_count, need_count)

    @given(st.integers(0, 2**31 - 1), st.uuids().map(str))
    def test_tags_of_counts(self, replicas: int, uid: str) -> None:
        """What a tag was made of is what fulfils it."""
        conditions = Conditions.of(replicas_tag(replicas, uid), None)
        conditions.check(replicas, uid)
        self.assertFalse(conditions.hopeless)

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
        self.cache.apply(Changed(Source(Resource.DEPLOYMENTS), changes))

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
