"""The policy file: the first rule that matches decides, and silence allows nothing."""

from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sre_server.security.authorization import EVERYTHING, AnyClient, Verb
from sre_server.security.documents import DocumentError
from sre_server.security.identity import Identity
from sre_server.security.policy import Policy, PolicyDocument, PolicyFile, Rule, load_policy
from tests.fakes import temporary_folder

READ, SCALE = Verb.READ, Verb.SCALE
EXAMPLE = """
rules:
- identities: ["spiffe://example.org/deployer"]
  namespaces: ["shop-*"]
- identities: [bob]
  effect: deny
- groups: [sre]
  names: ["web*", api]
- identities: ["*"]
  effect: deny
  namespaces: [kube-system]
- identities: ["*"]
  verbs: [read]
"""


def client(name: str = "alice", *groups: str) -> Identity:
    """Make an identity."""
    return Identity(name, groups, "ab" * 32, datetime(2100, 1, 1, tzinfo=UTC))


class RulesTests(SynchronousTestCase):
    """Rules and what they decide."""

    def policy(self, *rules: Rule) -> Policy:
        """A policy of these rules."""
        return Policy(PolicyDocument(rules))

    def allowed(self, policy: Policy, who: Identity, verb: Verb = READ, where: str = "shop/web") -> bool:
        """Whether a client may."""
        return policy.decide(who, verb, *where.split("/")).allowed


class PolicyTests(RulesTests):
    """What rules decide."""

    def test_silence_is_no(self) -> None:
        """Without a rule, or without one that is about it, nothing is allowed; the decision says so."""
        for policy in (self.policy(), self.policy(Rule(identities=("bob",)))):
            decision = policy.decide(client(), READ, "shop", "web")
            self.assertEqual((decision.allowed, decision.rule), (False, "no rule of the policy allows it"))
            self.assertFalse(self.allowed(policy, client(), SCALE))

    def test_the_first_rule_that_matches_decides(self) -> None:
        """A deny before an allow denies, an allow before a deny allows; the decision names the rule by its number."""
        allow, deny = Rule(identities=("*",)), Rule(identities=("alice",), effect="deny")
        self.assertEqual(self.policy(deny, allow).decide(client(), READ, "a", "b").rule, "rule 1 of the policy (deny)")
        self.assertTrue(self.allowed(self.policy(deny, allow), client("bob")))
        self.assertTrue(self.allowed(self.policy(allow, deny), client()))
        other = Rule(identities=("zoe",))
        decision = self.policy(other, other, deny, allow).decide(client(), SCALE, "a", "b")
        self.assertEqual((decision.allowed, decision.rule), (False, "rule 3 of the policy (deny)"))

    def test_whom_a_rule_is_about(self) -> None:
        """An identity or any one group that matches is enough; a group's name is no identity's, nor the reverse."""
        policy = self.policy(Rule(identities=("alice", "spiffe://a/*"), groups=("sre", "ops-?")))
        for who in (client("alice"), client("spiffe://a/b/c"), client("x", "dev", "sre"), client("x", "ops-1")):
            self.assertTrue(self.allowed(policy, who), who)
        for who in (
            client("Alice"),
            client("alice2"),
            client("sre"),
            client("x", "alice"),
            client("x", "ops-11"),
            client(""),
        ):
            self.assertFalse(self.allowed(policy, who), who)
        self.assertFalse(self.allowed(self.policy(Rule(groups=("*",))), client("alice")), "who is in no group")
        self.assertTrue(self.allowed(self.policy(Rule(identities=("*",))), client("")))

    def test_what_a_rule_is_about(self) -> None:
        """Verb, namespace and name must all match, each by one of its globs; case counts."""
        rule = Rule(identities=("*",), verbs=("scale",), namespaces=("shop-*", "pay"), names=("web", "api-[12]"))
        policy = self.policy(rule)
        for where in ("shop-eu/web", "shop-/api-1", "pay/api-2"):
            self.assertTrue(self.allowed(policy, client(), SCALE, where), where)
            self.assertFalse(self.allowed(policy, client(), READ, where), where)
        for where in ("shop/web", "pay/api-3", "pay/webs", "xshop-eu/web", "payx/web", "PAY/web", "pay/Web"):
            self.assertFalse(self.allowed(policy, client(), SCALE, where), where)

    def test_scaling_is_not_reading(self) -> None:
        """Who may scale may read only where a rule says so too."""
        policy = self.policy(Rule(identities=("*",), verbs=("scale",)))
        self.assertTrue(self.allowed(policy, client(), SCALE))
        self.assertFalse(self.allowed(policy, client(), READ))

    def test_everything_at_once(self) -> None:
        """Everything, as /metrics asks it, takes a rule for all namespaces and names, and no deny before it."""
        everything, deny = Rule(identities=("*",)), Rule(identities=("alice",), namespaces=("pay",), effect="deny")
        some = Rule(identities=("*",), namespaces=("shop",))
        scale_only = Rule(identities=("*",), verbs=("scale",), effect="deny")
        allowing: list[tuple[Rule, ...]] = [
            (everything,),
            (some, everything),
            (everything, deny),
            (scale_only, everything),
            (Rule(identities=("bob",), effect="deny"), everything),
            (Rule(identities=("*",), namespaces=("a", "**"), names=("*", "b")),),
        ]
        for rules in allowing:
            self.assertTrue(self.policy(*rules).decide_on_everything(client()).allowed, rules)
        refusing: list[tuple[Rule, ...]] = [
            (),
            (some,),
            (Rule(identities=("*",), names=("web",)),),
            (deny, everything),
            (some, deny, everything),
            (Rule(identities=("*",), names=("?",), effect="deny"), everything),
            (Rule(identities=("*",), namespaces=("?",)),),
            (Rule(identities=("*",), namespaces=("[*]",), names=("?",)),),
            (Rule(identities=("*",), namespaces=("?*",)),),
            (Rule(identities=("*",), verbs=("scale",)),),
        ]
        for rules in refusing:
            self.assertFalse(self.policy(*rules).decide_on_everything(client()).allowed, rules)
        self.assertEqual(self.policy(some).decide_on_everything(client()).rule, "no rule of the policy allows it")
        self.assertEqual(self.policy(some, deny).decide_on_everything(client()).rule, "rule 2 of the policy (deny)")

    def test_any_client(self) -> None:
        """Without a policy every client may do everything, and reads everything."""
        self.assertIs(AnyClient().view(client(), ["shop"]), EVERYTHING)
        self.assertTrue(AnyClient().decide_on_everything(client()).allowed)
        self.assertTrue(all(AnyClient().decide(client(), verb, "a", "b").allowed for verb in Verb))


class FileTests(SynchronousTestCase):
    """The file, its mistakes, and its changes."""

    def setUp(self) -> None:
        """Have a place for it."""
        self.path = temporary_folder(self) / "policy.yaml"

    def write(self, text: str) -> Path:
        """Write the file."""
        self.path.write_text(text)
        return self.path

    def mistake(self, text: str) -> str:
        """What is said of a file, behind its name."""
        said = str(self.assertRaises(DocumentError, load_policy, self.write(text)))
        self.assertTrue(said.startswith(str(self.path)), said)
        return said.removeprefix(f"{self.path}:")

    def test_the_example(self) -> None:
        """Every kind of rule at once, as an operator would write it."""
        policy = PolicyFile(self.write(EXAMPLE)).policy
        deployer, bob, sre = client("spiffe://example.org/deployer"), client("bob", "sre"), client("eve", "sre")
        for who, verb, where, allowed in (
            (deployer, SCALE, "shop-eu/x", True),
            (deployer, SCALE, "pay/x", False),
            (deployer, READ, "pay/x", True),
            (bob, READ, "pay/web", False),
            (sre, SCALE, "pay/web-1", True),
            (sre, SCALE, "kube-system/web", True),
            (sre, SCALE, "kube-system/dns", False),
            (sre, READ, "kube-system/dns", False),
            (client("eve"), READ, "pay/api", True),
            (client("eve"), SCALE, "pay/api", False),
        ):
            self.assertEqual(policy.decide(who, verb, *where.split("/")).allowed, allowed, (who.name, verb, where))

    def test_the_longest_identity(self) -> None:
        """A rule can name whoever there may be."""
        name = "spiffe://example.org/".ljust(2048, "a")
        policy = PolicyFile(self.write(f'rules: [{{identities: ["{name}"]}}]')).policy
        self.assertTrue(policy.decide(client(name), READ, "shop", "web").allowed)

    def test_mistakes(self) -> None:
        """Each is named with its line, where it has one."""
        head = "rules:\n- identities: [alice]\n"
        for text, line, what in (
            (head + "  verbs: [read, write]\n", 3, "write"),
            (head + "  verbs: []\n", 3, "length >= 1"),
            (head + "  effect: permit\n", 3, "permit"),
            (head + "  namespaces: shop\n", 3, "rules #1.namespaces: Expected `array`"),
            (head + "  names: [web, '']\n", 3, "length >= 1"),
            (head + "  verb: [read]\n", 3, "verb"),
            (head + "  identities: [bob]\n", 3, "stands here twice"),
            (head + "  namespaces: []\n", 3, "matches nothing"),
            (head + "  names: [a,\n   Web]\n", 4, "rules #1.names #2: no Deployment can be called 'Web'"),
            (head + "  namespaces: ['kube-system ']\n", 3, "no namespace can be called 'kube-system '"),
            (head + "  namespaces: [a.b]\n", 3, "no namespace can be called"),
            (head + "- identities:\n  - 'bob '\n", 4, "nobody can be called 'bob '"),
            (head + "- groups: [sre,\n   ' ']\n", 4, "nobody can be called ' '"),
            (head + "- identities: [bob,\n   'spiffe://Example.org/x']\n", 4, "or a trust domain in capitals"),
            (head + "- identities: [bob,\n   'https://example.org/x']\n", 4, "neither a SPIFFE ID nor a common name"),
            (head + "  names: [010]\n", 3, "not read as it looks"),
            (head + "  names: [no]\n", 3, "got `bool`"),
            ("rules: {}\n", 1, "rules: Expected `array`"),
            ("", 1, "rules"),
            ("rule: []\n", 1, "rule"),
        ):
            said = self.mistake(text)
            self.assertTrue(said.startswith(f"{line}: "), (text, said))
            self.assertIn(what, said)

    def test_a_rule_about_nobody(self) -> None:
        """A rule that names neither identities nor groups is a mistake, named by its number."""
        self.assertIn("3: rules #2: names neither", self.mistake("rules:\n- groups: [a]\n- verbs: [read]\n"))

    def test_a_rule_that_never_decides(self) -> None:
        """A rule behind others for everybody and everything, whether it was to allow or to deny, is a mistake."""
        everybody = "rules:\n- identities: ['*']\n"
        for text, line in (
            (everybody + "- identities: [bob]\n  effect: deny\n", 3),
            (everybody + "  effect: deny\n- groups: [sre]\n", 4),
            (everybody + "  verbs: [read]\n- identities: [a]\n- identities: [b]\n  verbs: [read]\n", 5),
            (everybody + "  verbs: [read]\n- identities: ['**']\n  verbs: [scale]\n- identities: [b]\n", 6),
        ):
            said = r": never decides: a rule before it is about everybody and everything"
            self.assertRegex(self.mistake(text), rf"\A{line}: rules #\d{said}\Z")
        for more in ("  verbs: [read]\n", "  namespaces: [shop]\n", "  names: ['?*']\n", "  names: [web]\n"):
            load_policy(self.write(everybody + more + "- identities: [bob]\n"))
        load_policy(self.write("rules:\n- groups: ['*']\n- identities: [bob]\n"))

    def test_no_rules(self) -> None:
        """A policy of no rules is one: nobody may do anything."""
        self.assertFalse(PolicyFile(self.write("rules: []")).policy.decide(client(), READ, "a", "b").allowed)

    def test_a_reload(self) -> None:
        """A new file decides from then on, what was decided before included; a bad one changes nothing."""
        file = PolicyFile(self.write("rules: [{identities: [alice]}]"))
        self.assertTrue(file.policy.decide(client(), READ, "shop", "web").allowed)
        self.write("rules: [{identities: [bob]}]")
        self.assertTrue(file.policy.decide(client(), READ, "shop", "web").allowed, "nobody has reloaded it yet")
        file.reload()
        self.assertFalse(file.policy.decide(client(), READ, "shop", "web").allowed)
        self.assertIsNone(file.policy.view(client(), ()).extent("shop"))
        for bad in ("rules: [{identities: [alice]", "rules: [{}]", ""):
            self.write(bad)
            self.assertRaises(DocumentError, file.reload)
            self.assertTrue(file.policy.decide(client("bob"), READ, "shop", "web").allowed)
