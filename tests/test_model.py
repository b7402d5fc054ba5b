"""The names that Kubernetes would accept, and the order of resourceVersions."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.news import Resource, Source, sources_beside, sources_of
from sre_server.texts import at_least_as_new, is_deployment_name, is_namespace_name, sentence


class NameTests(SynchronousTestCase):
    """Namespaces are DNS-1123 labels, Deployments are DNS-1123 subdomains."""

    def test_ordinary_names_are_good(self) -> None:
        """Lower-case letters, digits and inner dashes make a name of either kind."""
        for name in ("a", "7", "web", "kube-system", "0-0", "a--b", "x" * 63):
            with self.subTest(name):
                self.assertTrue(is_namespace_name(name))
                self.assertTrue(is_deployment_name(name))

    def test_malformed_names_are_bad(self) -> None:
        """What is no DNS-1123 name is refused for both kinds."""
        bad = [
            "",
            "-",
            "-a",
            "a-",
            "A",
            "wEb",
            "a_b",
            "a b",
            " a",
            "a ",
            "a/b",
            "a%62",
            "a\x00",
            "a\x7f",
            "*",
            ".",
            "..",
        ]
        for name in bad:
            with self.subTest(name):
                self.assertFalse(is_namespace_name(name))
                self.assertFalse(is_deployment_name(name))

    def test_newline_at_the_end_is_bad(self) -> None:
        """A newline is no part of a name, not even where a regular expression's `$` would let it pass."""
        for name in ("web\n", "web\r\n", "\nweb", "a.b\n"):
            with self.subTest(name):
                self.assertFalse(is_namespace_name(name))
                self.assertFalse(is_deployment_name(name))

    def test_non_ascii_is_bad(self) -> None:
        """Letters and digits of other scripts are refused, though Python calls them letters and digits."""
        for name in ("wéb", "ｗeb", "web１", "веб", "a٣", "ſ", "İ"):  # noqa: RUF001
            with self.subTest(name):
                self.assertFalse(is_namespace_name(name))
                self.assertFalse(is_deployment_name(name))

    def test_only_deployments_may_have_dots(self) -> None:
        """A Deployment's name may be several labels; a namespace's is one."""
        for name in ("a.b", "web.v2.example", "1.2.3"):
            with self.subTest(name):
                self.assertTrue(is_deployment_name(name))
                self.assertFalse(is_namespace_name(name))

    def test_every_part_of_a_subdomain_is_a_label(self) -> None:
        """Dots at the ends, double dots, and dashes next to dots are refused."""
        for name in (".a", "a.", "a..b", "a.-b", "a-.b"):
            with self.subTest(name):
                self.assertFalse(is_deployment_name(name))

    def test_longest_names(self) -> None:
        """A namespace has at most 63 characters, a Deployment at most 253."""
        self.assertTrue(is_namespace_name("x" * 63))
        self.assertFalse(is_namespace_name("x" * 64))
        self.assertTrue(is_deployment_name("x" * 253))
        self.assertFalse(is_deployment_name("x" * 254))
        self.assertFalse(is_deployment_name("x" * 64 + "." + "x" * 189))

    def test_wildcard_of_family_b_is_no_name(self) -> None:
        """ANY can never collide with a name."""
        self.assertFalse(is_namespace_name("ANY"))
        self.assertFalse(is_deployment_name("ANY"))


class VersionTests(SynchronousTestCase):
    """Kubernetes compares resourceVersions as decimal integers (KEP-5504)."""

    def test_versions_compare_as_numbers(self) -> None:
        """10 is later than 9, which text would sort the other way round."""
        self.assertTrue(at_least_as_new("10", "9"))
        self.assertFalse(at_least_as_new("9", "10"))

    def test_version_is_as_new_as_itself(self) -> None:
        """Equal versions are at least as new as each other, leading zeros or not."""
        self.assertTrue(at_least_as_new("7", "7"))
        self.assertTrue(at_least_as_new("007", "7"))
        self.assertTrue(at_least_as_new("7", "007"))
        self.assertFalse(at_least_as_new("009", "10"))

    def test_versions_past_64_bits(self) -> None:
        """No version is too large to compare."""
        self.assertTrue(at_least_as_new(str(2**64 + 1), str(2**64)))
        self.assertFalse(at_least_as_new(str(2**64), str(2**64 + 1)))

    def test_absurdly_long_version(self) -> None:
        """A version with more digits than Python would convert is compared all the same, or counts as new."""
        self.assertTrue(at_least_as_new("9" * 5000, "9"))

    def test_other_versions_count_as_new(self) -> None:
        """Where one of the two is no decimal number nothing can be known, and what arrived last counts."""
        for version, than in (
            ("abc", "5"),
            ("5", "abc"),
            ("", "5"),
            ("-1", "5"),
            ("1.5", "2"),
            ("²", "9"),
            ("0x1", "9"),
        ):
            with self.subTest(version=version, than=than):
                self.assertTrue(at_least_as_new(version, than))


class SentenceTests(SynchronousTestCase):
    """What others say, in a sentence of ours."""

    def test_it_ends_once(self) -> None:
        """Whatever it ended with before."""
        for text, ended in (("no", "no."), ("no.", "no."), ("no...", "no."), ("no!", "no!"), ("no?", "no?"), ("", ".")):
            self.assertEqual(sentence(text), ended)


class SourceTests(SynchronousTestCase):
    """Sources name themselves for log lines and readyz."""

    def test_source_names_its_namespace(self) -> None:
        """A source of one namespace says which; one of all namespaces says only the resource."""
        self.assertEqual(str(Source(Resource.DEPLOYMENTS, "shop")), "deployments in shop")
        self.assertEqual(str(Source(Resource.NAMESPACES)), "namespaces")

    def test_namespaces_are_kept_to(self) -> None:
        """A server of some namespaces asks for nothing outside of them, whatever it is that is listed beside."""
        for sources in (sources_of, sources_beside):
            found = [(source.resource, source.namespace) for source in sources(["shop", "bank"])]
            kinds = {resource for resource, _ in found}
            self.assertEqual(len(kinds), 2)
            self.assertEqual(set(found), {(kind, name) for kind in kinds for name in ("shop", "bank")})
            self.assertEqual(
                {(source.resource, source.namespace) for source in sources([])}, {(k, None) for k in kinds}
            )
