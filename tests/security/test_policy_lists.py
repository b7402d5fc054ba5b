"""Lists under a policy: they show exactly what single reads would."""

from collections.abc import Mapping
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.security import policy as policies
from sre_server.security.authorization import EVERYTHING
from sre_server.security.identity import Identity
from sre_server.security.policy import Policy, PolicyDocument, Rule
from tests.security.test_policy import READ, RulesTests, client


def seen(policy: Policy, who: Identity, tree: Mapping[str, Mapping[str, int]]) -> dict[str, set[str]]:
    """What a client sees of a tree: the namespaces that it may know of, and the names in them."""
    view = policy.view(who, tree)
    extents = {namespace: view.extent(namespace) for namespace in tree}
    found = {
        namespace: (set(extent.of(tree[namespace])), extent.told) for namespace, extent in extents.items() if extent
    }
    return {namespace: names for namespace, (names, told) in found.items() if names or told}


class ReadableTests(RulesTests):
    """Which part of the tree a client may read."""

    TREE: Mapping[str, Mapping[str, int]] = {"shop": {"web": 1, "api": 2}, "pay": {"web": 3}, "empty": {}}

    def readable(self, *rules: Rule) -> dict[str, set[str]]:
        """What is left of the tree."""
        return seen(self.policy(*rules), client("alice", "dev"), self.TREE)

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

    def test_who_may_know_of_a_namespace(self) -> None:
        """A rule for all names tells that it exists, exceptions or not; rules for some names tell by what is there."""
        some, no_web = Rule(identities=("*",), names=("api",)), Rule(identities=("*",), names=("web",), effect="deny")
        self.assertEqual(self.readable(some), {"shop": {"api"}})
        self.assertEqual(
            self.readable(no_web, Rule(identities=("*",))), {"shop": {"api"}, "pay": set(), "empty": set()}
        )
        self.assertEqual(self.readable(some, Rule(identities=("*",), effect="deny")), {"shop": {"api"}})

    def test_who_sees_the_same(self) -> None:
        """Clients to whom the same rules speak have the same view; one without exceptions is that of everything."""
        policy = self.policy(Rule(identities=("a*",), names=("web",)), Rule(groups=("sre",)), Rule(identities=("b*",)))
        self.assertIs(policy.view(client("alice"), ()), policy.view(client("anne", "dev"), ()))
        self.assertIsNot(policy.view(client("alice"), ()), policy.view(client("eve"), ()))
        for who in (client("bob"), client("eve", "sre"), client("alice", "sre")):
            self.assertIs(policy.view(who, ()), EVERYTHING)
        extent = policy.view(client("alice"), ()).extent("shop")
        assert extent is not None
        self.assertEqual(extent.names, {"web"}, "a list looks for the names, and not through them")

    def test_rules_that_were_replaced(self) -> None:
        """Views by them are in force no more; those by the new ones are, and so is that of everything."""
        policy = self.policy(Rule(identities=("*",), names=("web",)))
        before = policy.view(client(), ())
        self.assertTrue(before.in_force())
        policy.replace(PolicyDocument((Rule(identities=("*",), names=("web",)),)))
        self.assertEqual((before.in_force(), policy.view(client(), ()).in_force()), (False, True))
        self.assertTrue(EVERYTHING.in_force())

    def test_bounds(self) -> None:
        """However many clients see how many namespaces, so much is remembered of it; equal rights are one object."""
        self.patch(policies, "_CACHED_EXTENTS", 100)
        self.patch(policies, "_CACHED_VIEWS", 10)
        names = [Rule(identities=(f"c{number}",), names=("web", f"x{number}")) for number in range(50)]
        policy = self.policy(Rule(identities=("*",), namespaces=("pay",), names=("api",)), *names)
        views = [policy.view(client(f"c{number}"), ()) for number in range(50)]
        for view in views:
            extents = {id(view.extent(f"ns-{number}")) for number in range(50)}
            self.assertEqual(len(extents), 1)
        remembered = policy._extents
        self.assertEqual(remembered.find.cache_info().currsize, 100)
        self.assertLessEqual(remembered.by.cache_info().currsize, 10)

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

    @settings(deadline=None)
    @given(RULES, NAMES, st.lists(NAMES, max_size=2), st.dictionaries(NAMES, st.lists(NAMES, unique=True), max_size=4))
    def test_lists_agree_with_single_reads(
        self, rules: tuple[Rule, ...], name: str, groups: list[str], drawn: dict[str, list[str]]
    ) -> None:
        """A Deployment is in a list exactly if it may be read by its name; a namespace without any that may is hidden.

        A namespace stays visible where some name that nobody has yet might be read.
        """
        policy, who = Policy(PolicyDocument(rules)), client(name, *groups)
        tree = {namespace: dict.fromkeys(names, 0) for namespace, names in drawn.items()}
        view, everything = policy.view(who, tree), seen(policy, who, tree)
        for namespace, names in tree.items():
            allowed = {each for each in names if policy.decide(who, READ, namespace, each).allowed}
            self.assertEqual(everything.get(namespace, set()), allowed)
            extent = view.extent(namespace)
            others = [policy.decide(who, READ, namespace, each).allowed for each in ("a", "b", "ab", "ba", "c", "zz9")]
            if extent is None:
                self.assertFalse(any(others))
            elif extent.allows is None:
                self.assertTrue(all(others))

    @settings(max_examples=500, deadline=None)
    @given(RULES, NAMES, st.lists(NAMES, max_size=2), st.dictionaries(NAMES, st.lists(NAMES, unique=True), max_size=4))
    def test_what_is_known_at_once(
        self, rules: tuple[Rule, ...], name: str, groups: list[str], drawn: dict[str, list[str]]
    ) -> None:
        """It is what is decided; and nothing is called everything that leaves something out."""
        policy, who = Policy(PolicyDocument(rules)), client(name, *groups)
        self.assertIs(policy.known_view(who, drawn), policy.view(who, drawn))
        allowed = {
            policy.decide(who, READ, namespace, each).allowed == policy.known_to_read(who, namespace, each)
            for namespace, names in drawn.items()
            for each in names
        }
        self.assertLessEqual(allowed, {True})
        everything = policy.decide_on_everything(who).allowed
        self.assertEqual(policy.view(who, ()) is EVERYTHING, everything)
        if everything:
            self.assertTrue(
                all(policy.decide(who, READ, a, b).allowed for a in ("a", "zz9") for b in ("ab", "ba", "zz9"))
            )
