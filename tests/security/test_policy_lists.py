"""Lists under a policy: they show exactly what single reads would."""

from collections.abc import Mapping
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.policy import Policy, PolicyDocument, Rule
from tests.security.test_policy import READ, RulesTests, client


class ReadableTests(RulesTests):
    """Which part of the tree a client may read."""

    TREE: Mapping[str, Mapping[str, int]] = {"shop": {"web": 1, "api": 2}, "pay": {"web": 3}, "empty": {}}

    def readable(self, *rules: Rule) -> dict[str, set[str]]:
        """What is left of the tree."""
        tree = self.policy(*rules).readable(client("alice", "dev"), self.TREE)
        return {namespace: set(names) for namespace, names in tree.items()}

    def test_whole_namespaces(self) -> None:
        """Rules for all names let whole namespaces through, empty ones too, or none of them."""
        everything = {"shop": {"web", "api"}, "pay": {"web"}, "empty": set()}
        everyone, dev = Rule(identities=("*",)), Rule(groups=("dev",), namespaces=("shop", "empty"))
        self.assertEqual(self.readable(everyone), everything)
        self.assertEqual(self.readable(dev), {"shop": {"web", "api"}, "empty": set()})
        self.assertEqual(self.readable(), {})
        self.assertEqual(self.readable(Rule(identities=("bob",))), {})
        no_shop = Rule(identities=("alice",), namespaces=("shop",), effect="deny")
        self.assertEqual(self.readable(no_shop, everyone), {"pay": {"web"}, "empty": set()})

    def test_parts_of_namespaces(self) -> None:
        """Rules for some names let those through."""
        web = Rule(identities=("*",), namespaces=("shop",), names=("w*",))
        self.assertEqual(self.readable(web), {"shop": {"web"}})
        no_web = Rule(identities=("*",), names=("web",), effect="deny")
        self.assertEqual(self.readable(no_web, Rule(identities=("*",)))["shop"], {"api"})

    def test_a_rule_that_never_decides_shows_no_namespace(self) -> None:
        """An allow behind a deny of everything is about nothing: it does not even show that the namespace exists."""
        no_api = Rule(identities=("*",), names=("api",), effect="deny")
        nothing = Rule(identities=("*",), effect="deny")
        self.assertEqual(self.readable(no_api, nothing, Rule(identities=("*",), names=("web",))), {})

    def test_scale_rules_show_nothing(self) -> None:
        """A list is a read."""
        self.assertEqual(self.readable(Rule(identities=("*",), verbs=("scale",))), {})


GLOBS = st.sampled_from(["*", "**", "a", "b", "a*", "*b", "?", "??", "[ab]", "[!a]", "ab"])
NAMES = st.sampled_from(["a", "b", "ab", "ba", "c"])
EFFECTS: st.SearchStrategy[Literal["allow", "deny"]] = st.sampled_from(["allow", "deny"])
VERBS: st.SearchStrategy[tuple[Literal["read", "scale"], ...]] = st.sampled_from(
    [("read",), ("scale",), ("read", "scale")]
)
SOME = st.lists(GLOBS, min_size=1, max_size=2).map(tuple)
RULES = st.lists(
    st.builds(
        Rule,
        identities=SOME,
        groups=st.lists(GLOBS, max_size=1).map(tuple),
        verbs=VERBS,
        namespaces=SOME,
        names=SOME,
        effect=EFFECTS,
    ),
    max_size=5,
).map(tuple)


class ArbitraryTests(SynchronousTestCase):
    """Whatever the rules are."""

    @given(RULES, NAMES, st.lists(NAMES, max_size=2), st.dictionaries(NAMES, st.lists(NAMES, unique=True), max_size=4))
    def test_lists_agree_with_single_reads(
        self, rules: tuple[Rule, ...], name: str, groups: list[str], drawn: dict[str, list[str]]
    ) -> None:
        """A Deployment is in a list exactly if it may be read by its name; a namespace without any that may is hidden.

        A namespace stays visible where some name that nobody has yet might be read.
        """
        policy, who = Policy(PolicyDocument(rules)), client(name, *groups)
        tree = {namespace: dict.fromkeys(names, 0) for namespace, names in drawn.items()}
        readable = policy.readable(who, tree)
        for namespace, names in tree.items():
            allowed = {each for each in names if policy.decide(who, READ, namespace, each).allowed}
            self.assertEqual(set(readable.get(namespace, {})), allowed)
            if namespace not in readable:
                others = (
                    policy.decide(who, READ, namespace, each).allowed for each in ("a", "b", "ab", "ba", "c", "zz9")
                )
                self.assertFalse(any(others))
        self.assertLessEqual(set(readable), set(tree))

    @settings(max_examples=500, deadline=None)
    @given(RULES, NAMES, st.lists(NAMES, max_size=2), st.dictionaries(NAMES, st.lists(NAMES, unique=True), max_size=4))
    def test_what_is_known_at_once(
        self, rules: tuple[Rule, ...], name: str, groups: list[str], drawn: dict[str, list[str]]
    ) -> None:
        """Nothing is said to be readable as a whole that a list leaves something out of, nor by name what is not."""
        policy, who = Policy(PolicyDocument(rules)), client(name, *groups)
        tree = {namespace: dict.fromkeys(names, 0) for namespace, names in drawn.items()}
        if policy.known_to_read_all(who, None):
            self.assertEqual(policy.readable(who, tree), tree)
        for namespace, names in tree.items():
            if policy.known_to_read_all(who, namespace):
                part = {namespace: tree[namespace]}
                self.assertEqual(policy.readable(who, part), part)
            for each in names:
                allowed = policy.decide(who, READ, namespace, each).allowed
                self.assertEqual(policy.known_to_read(who, namespace, each), allowed)
