"""Globs that can match nothing: found, and no other."""

import re
from fnmatch import fnmatchcase, translate
from itertools import product
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.globs import mistakes_in_clients, mistakes_in_identities, mistakes_in_names
from sre_server.security.identity import MAX_NAME
from sre_server.texts import is_deployment_name, is_namespace_name

SHORT: Final = ["".join(name) for length in range(1, 6) for name in product("a0-.", repeat=length)]
DEPLOYMENTS: Final = [name for name in SHORT if is_deployment_name(name)]
NAMESPACES: Final = [name for name in DEPLOYMENTS if is_namespace_name(name)]


def wrong(*, namespaces: str = "*", names: str = "*") -> list[str]:
    """Where the mistakes are."""
    return [path for path, _ in mistakes_in_names("", (namespaces,), (names,))]


class NamesTests(SynchronousTestCase):
    """Globs of namespaces and names."""

    def test_what_can_be(self) -> None:
        """Whatever matches one name at least is fine."""
        for glob in ("*", "**", "?", "a", "kube-system", "*-prod", "shop-?", "[a-c]*", "[!a]x", "0", "a" * 63, "[]a]"):
            self.assertEqual(wrong(namespaces=glob), [], glob)
            self.assertEqual(wrong(names=glob), [], glob)
        for glob in ("a.b", "*.b", "a.*", "?.?", "a" * 253, "a[.]b"):
            self.assertEqual(wrong(names=glob), [], glob)

    def test_what_can_never_be(self) -> None:
        """What matches no name is not."""
        for glob in (
            "Kube-System",
            "kube-system ",
            " a",
            "a_b",
            "-a",
            "a-",
            "-",
            "*-",
            "",
            "a" * 64,
            "[",
            "[A-Z]*",
            "é",
        ):
            self.assertEqual(wrong(namespaces=glob), [".namespaces[0]"], glob)
        for glob in ("Web", "a..b", ".a", "a.", "a.-b", "a-.b", "*.", "[.]", "a/b", "a" * 254, "?" * 254, "[a", "[-.]"):
            self.assertEqual(wrong(names=glob), [".names[0]"], glob)
        self.assertEqual(wrong(namespaces="a.b"), [".namespaces[0]"])

    def test_empty_lists(self) -> None:
        """They match nothing."""
        self.assertEqual([path for path, _ in mistakes_in_names(".r", (), ())], [".r.namespaces", ".r.names"])

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(["a", "0", "-", ".", "*", "?", "[a]", "[!a]", "[-.]", "A", "["]), max_size=4))
    def test_as_matching_does(self, tokens: list[str]) -> None:
        """A glob is a mistake exactly if there is no short name that it matches."""
        glob = "".join(tokens)
        matches = re.compile(translate(glob)).match
        self.assertEqual(not wrong(namespaces=glob), any(map(matches, NAMESPACES)), glob)
        self.assertEqual(not wrong(names=glob), any(map(matches, DEPLOYMENTS)), glob)


class ClientsTests(SynchronousTestCase):
    """Globs of identities and groups."""

    def test_what_can_be(self) -> None:
        """Names of clients are nearly free."""
        globs = (
            "*",
            "alice",
            "Alice B",
            "spiffe://example.org/*",
            "spiffe://*/A",
            "spiffe://example.org/Deployer",
            "é",
        )
        self.assertEqual(list(mistakes_in_clients("", globs)), [])
        self.assertTrue(fnmatchcase("spiffe://example.org/Deployer", globs[5]))

    def test_what_can_never_be(self) -> None:
        """No name has blanks at its ends, or unprintable characters; no trust domain has capitals."""
        for glob in (" alice", "alice\t", "a\nb", " ", "spiffe://Example.org/x", "spiffe://aB/x"):
            self.assertEqual([path for path, _ in mistakes_in_clients(".i", ("ok", glob))], [".i[1]"], glob)

    def test_identities_that_can_be(self) -> None:
        """A SPIFFE ID, a common name, and every glob that may match one."""
        globs = (
            "*",
            "spiffe://x/y",
            "spiffe://*",
            "spiff*",
            "sp?ffe://x/y",
            "spiffe:*",
            "system:node:a",
            "[bob",
            "a/b",
        )
        for glob in (*globs, "a" * MAX_NAME, "spiffe://x/" + "a" * MAX_NAME):
            self.assertEqual(list(mistakes_in_identities("", (glob,))), [], glob)

    def test_identities_that_can_never_be(self) -> None:
        """What reads as a URI is no common name, so that it has to be a SPIFFE ID, in the one spelling of that."""
        for glob in (
            "SPIFFE://x/y",
            "Spiffe://*",
            "urn:x",
            "https://x/*",
            "spiffe:x*",
            "spiffe://x",
            "spiffe://x/",
            "spiffe://x/y/",
            "spiffe://x//y",
            "a" * (MAX_NAME + 1),
        ):
            self.assertEqual([path for path, _ in mistakes_in_identities(".i", ("ok", glob))], [".i[1]"], glob)
