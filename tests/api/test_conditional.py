"""Conditional requests and compressed lists: what the fields mean, what is answered, and what the cluster compares."""

import gzip

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.api.conditional import Conditions, PlanTag, accepts_gzip, excludes, is_known, replicas_tag, tags_in
from sre_server.errors import Malformed, PreconditionFailed
from tests.fakes import deployment, namespace
from tests.memory_server import MemoryServer

TAG = b'"3-uid-shop-web"'
WANTED = "no strong entity tag of a count, as the ETag of a GET of .../replicas or .../replica_count is one"
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
            self.assertEqual(
                str(self.assertRaises(Malformed, tags_in, text)),
                "If-Match and If-None-Match take '*', or entity tags as in an ETag, quoted, separated by commas.",
            )
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
            self.assertIn("count is 3", str(error))
            self.assertTrue(str(error).endswith(" Nothing was changed."), error)

    def test_where_a_tag_comes_from(self) -> None:
        """A weak tag, or another resource's, is told what it takes; another count's is that already."""
        source = "as the ETag of a GET of .../replicas or .../replica_count"
        for field, told in ((b'"5f0c"', True), (b"W/" + TAG, True), (b'"4-uid-shop-web"', False)):
            error = self.assertRaises(PreconditionFailed, Conditions.of(field, None).check, 3, "uid-shop-web")
            self.assertEqual(source in str(error), told, field)

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

    @settings(deadline=None)
    @given(st.integers(0, 2**31 - 1), st.uuids().map(str))
    def test_tags_of_counts(self, replicas: int, uid: str) -> None:
        """What a tag was made of is what fulfils it."""
        conditions = Conditions.of(replicas_tag(replicas, uid), None)
        conditions.check(replicas, uid)
        self.assertFalse(conditions.hopeless)

    def test_whole_sentences(self) -> None:
        """Who is refused learns what the count is, and what of its fields speaks against that."""
        for if_match, if_none_match, said in (
            (None, b"*", "If-None-Match excludes what is there; the count is 3. Nothing was changed."),
            (
                b'"x"',
                None,
                f"If-Match has {WANTED}; the count is 3. Nothing was changed.",
            ),
            (
                b'"4-u"',
                None,
                "The Deployment is not as If-Match has it: its count is 3 now. Nothing was changed.",
            ),
        ):
            conditions = Conditions.of(if_match, if_none_match)
            error = self.assertRaises(PreconditionFailed, conditions.check, 3, "u")
            self.assertEqual(str(error), said)

    def test_uids_that_no_field_can_have(self) -> None:
        """A UID is the cluster's own, and may be any text: the tag is one that a field can have all the same."""
        self.assertEqual(replicas_tag(3, "ü-1"), b'"3-?-1"')
        self.assertEqual(bytes(PlanTag(3, 4, "ü-1", ("01234567",))), b'"plan-3-4-?-1-01234567"')

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
