"""Guardrails: what no count may be, for whom soever, and the way around where there is one."""

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import GuardrailRefused
from sre_server.model import MAX_REPLICAS, Guards
from sre_server.security.documents import DocumentError
from sre_server.security.guardrails import (
    Bounds,
    Guardrails,
    GuardrailsFile,
    Mass,
    Mode,
    Protected,
    Write,
    load_guardrails,
)
from tests.fakes import temporary_folder


class WritesTests(SynchronousTestCase):
    """Writes against rules."""

    def write(
        self,
        replicas: int,
        current: int | None = 3,
        guards: Guards | None = None,
        confirmed: str = "",
        where: str = "shop/web",
    ) -> Write:
        """Make a write."""
        namespace, name = where.split("/")
        return Write(namespace, name, replicas, current, guards or Guards(), frozenset(confirmed.split()))

    def refusal(self, rails: Guardrails, write: Write) -> tuple[str, str]:
        """The rule that refuses a write, and its message: one sentence that names what was wanted."""
        error = self.assertRaises(GuardrailRefused, rails.check, write)
        self.assertIn(str(write), str(error))
        return error.rule, str(error)


class GuardrailsTests(WritesTests):
    """The document's own rules."""

    def test_the_defaults(self) -> None:
        """The system's namespaces are protected, a thousand is the most, and nothing else stands in the way."""
        rails = Guardrails()
        for replicas in (0, 1, 1000):
            rails.check(self.write(replicas))
            rails.check(self.write(replicas, None))
        rule, message = self.refusal(rails, self.write(1001))
        self.assertEqual(rule, "maximum")
        self.assertIn("1000", message)
        self.assertEqual(self.refusal(rails, self.write(MAX_REPLICAS))[0], "maximum")
        for namespace in ("kube-system", "kube-public", "kube-node-lease"):
            self.assertEqual(self.refusal(rails, self.write(3, where=f"{namespace}/dns"))[0], "protected")
        for namespace in ("kube-systems", "default", "my-kube-system"):
            rails.check(self.write(3, where=f"{namespace}/dns"))

    def test_minimum_and_maximum(self) -> None:
        """Both bounds are allowed themselves; the message names the bound."""
        rails = Guardrails(minimum=2, maximum=5)
        for replicas in (2, 5):
            rails.check(self.write(replicas))
        for replicas, rule, bound in ((1, "minimum", "2"), (0, "minimum", "2"), (6, "maximum", "5")):
            refused, message = self.refusal(rails, self.write(replicas, confirmed="zero step"))
            self.assertEqual(refused, rule)
            self.assertIn(f"{rule} is {bound}", message)

    def test_the_largest_step(self) -> None:
        """Up and down alike; a larger one needs its own confirmation, and the message says which."""
        rails = Guardrails(largest_step=10)
        for replicas in (20, 10, 30):
            rails.check(self.write(replicas, 20))
        for replicas in (9, 31, 0):
            rule, message = self.refusal(rails, self.write(replicas, 20, confirmed="zero yes"))
            self.assertEqual(rule, "step")
            self.assertIn("?confirm=step", message)
            self.assertIn("from 20", message)
            rails.check(self.write(replicas, 20, confirmed="step"))

    def test_an_unknown_count(self) -> None:
        """Of a Deployment that the server does not know yet no step is known; every other rule holds."""
        rails = Guardrails(largest_step=1, maximum=5, zero_needs_confirmation=True)
        rails.check(self.write(5, None))
        self.assertEqual(self.refusal(rails, self.write(6, None))[0], "maximum")
        self.assertEqual(self.refusal(rails, self.write(0, None))[0], "zero")

    def test_zero_needs_confirmation(self) -> None:
        """Where it does, the message says how, and no other confirmation will do."""
        rails = Guardrails(zero_needs_confirmation=True)
        for confirmed in ("", "step", "Zero", "true"):
            rule, message = self.refusal(rails, self.write(0, confirmed=confirmed))
            self.assertEqual(rule, "zero")
            self.assertIn("confirm=zero", message)
        rails.check(self.write(0, confirmed="zero"))
        rails.check(self.write(1))

    def test_two_confirmations(self) -> None:
        """Zero in one large step needs both."""
        rails = Guardrails(zero_needs_confirmation=True, largest_step=2)
        self.assertEqual(self.refusal(rails, self.write(0, 9, confirmed="step"))[0], "zero")
        self.assertEqual(self.refusal(rails, self.write(0, 9, confirmed="zero"))[0], "step")
        rails.check(self.write(0, 9, confirmed="zero step"))

    def test_protected_names(self) -> None:
        """A rule protects by globs of both names, and no confirmation gets past it."""
        rails = Guardrails(protected=(Protected(namespaces=("*-prod",), names=("db-*",)), Protected(names=("dns",))))
        for where in ("shop-prod/db-1", "shop/dns", "kube-system/dns"):
            rule, message = self.refusal(rails, self.write(3, where=where, confirmed="zero step"))
            self.assertEqual(rule, "protected")
            self.assertIn("protect", message)
        for where in ("shop-prod/web", "shop/db-1", "kube-system/other"):
            rails.check(self.write(3, where=where))
        Guardrails(protected=()).check(self.write(3, where="kube-system/dns"))


class WordsTests(WritesTests):
    """What clients are told."""

    def test_several_confirmations(self) -> None:
        """Who has confirmed one rule is told to keep that, where another one stands against the write, too."""
        rails = Guardrails(zero_needs_confirmation=True, largest_step=2)
        write, said = self.write(0), []
        for confirmed in ((), ("zero",), ("step",)):
            tried = replace(write, confirmed=frozenset(confirmed))
            said.append(str(self.assertRaises(GuardrailRefused, rails.check, tried)).rpartition("?")[2])
        self.assertEqual(said, ["confirm=zero'.", "confirm=step&confirm=zero'.", "confirm=step&confirm=zero'."])
        rails.check(replace(write, confirmed=frozenset({"zero", "step"})))

    def test_whole_sentences(self) -> None:
        """Each refusal says what was wanted, which rule stands against it, and the way around it if there is one."""
        held = replace(self.write(9), autoscaler=Bounds("HPA web", 3, 6))
        annotation = "; change the annotation if that is meant."
        protected = Guardrails(protected=(Protected(("shop", "pay"), ("web", "w*")),))
        for rails, write, rest in (
            (
                protected,
                self.write(9),
                " is refused: the guardrails protect web, w* in shop, pay, and nothing confirms that away.",
            ),
            (Guardrails(minimum=10), self.write(9), " is refused: the guardrails' minimum is 10."),
            (Guardrails(maximum=8), self.write(9), " is refused: the guardrails' maximum is 8."),
            (
                Guardrails(),
                held,
                (
                    " would not hold: HPA web (3..6) puts it back to 6 within about 15 s; to do it, repeat with "
                    "'?confirm=autoscaler'."
                ),
            ),
            (
                Guardrails(zero_needs_confirmation=True),
                self.write(0),
                " stops it altogether; to do that, repeat with '?confirm=zero'.",
            ),
            (
                Guardrails(largest_step=2),
                self.write(9),
                " is a step of 6 from 3, and the largest is 2; to do it at once, repeat with '?confirm=step'.",
            ),
            (
                Guardrails(),
                replace(self.write(0), stopped=10),
                " stops one more, after 10 in 10 minutes; if that is meant, repeat with '?confirm=mass'.",
            ),
            (
                Guardrails(),
                self.write(9, guards=Guards(protected="yes")),
                f" is refused: its annotation sre-server/protected protects it{annotation}",
            ),
            (
                Guardrails(),
                self.write(9, guards=Guards(minimum="10")),
                f" is refused: its annotation sre-server/min-replicas says 10{annotation}",
            ),
            (
                Guardrails(),
                self.write(9, guards=Guards(maximum="8")),
                f" is refused: its annotation sre-server/max-replicas says 8{annotation}",
            ),
            (
                Guardrails(),
                self.write(9, guards=Guards(maximum="many")),
                f" is refused: its annotation sre-server/max-replicas is not a whole number{annotation}",
            ),
        ):
            self.assertEqual(self.refusal(rails, write)[1], f"Scaling 'web' in 'shop' to {write.replicas}{rest}")

    def test_what_an_autoscaler_does(self) -> None:
        """A warning of a write that passes is a whole sentence, too."""
        for replicas, minimum, rest in (
            (0, 3, "HPA web (3..6) is off until somebody sets 1 or more"),
            (6, 6, "HPA web (6..6) keeps it there"),
            (5, 3, "HPA web (3..6) may change it, by its metrics"),
        ):
            write = replace(self.write(replicas), autoscaler=Bounds("HPA web", minimum, 6))
            self.assertEqual(Guardrails().warnings(write), [f"Scaling 'web' in 'shop' to {replicas}: {rest}."])


class AutoscalerTests(WritesTests):
    """Counts that an autoscaler puts back."""

    def scaled(self, replicas: int, current: int | None = 4, confirmed: str = "", minimum: int = 3) -> Write:
        """Make a write of a Deployment that is held in 3..6."""
        return replace(self.write(replicas, current, confirmed=confirmed), autoscaler=Bounds("HPA web", minimum, 6))

    def test_what_is_certain_to_be_undone(self) -> None:
        """A count outside the bounds is, also where a 0 has switched the autoscaler off; the message says to where."""
        for current in (4, 0, None):
            for replicas, held in ((1, 3), (2, 3), (7, 6), (1000, 6)):
                rule, message = self.refusal(Guardrails(), self.scaled(replicas, current, "zero step mass"))
                self.assertEqual(rule, "autoscaler")
                self.assertIn(f"HPA web (3..6) puts it back to {held} ", message)
                self.assertIn("?confirm=autoscaler", message)
                Guardrails().check(self.scaled(replicas, current, "autoscaler"))
            for replicas in (0, 3, 4, 6):
                Guardrails().check(self.scaled(replicas, current))
        self.assertEqual(self.refusal(Guardrails(), self.scaled(7, minimum=0))[0], "autoscaler")

    def test_warn_and_off(self) -> None:
        """A write passes, with a warning that says what becomes of it; or without."""
        modes: tuple[Mode, ...] = ("warn", "off", False)
        for mode in modes:
            Guardrails(autoscaler=mode).check(self.scaled(1))
            self.assertEqual(bool(Guardrails(autoscaler=mode).warnings(self.scaled(1))), mode == "warn")
        for write, words in (
            (self.scaled(1), "back to 3"),
            (self.scaled(5), "may change it"),
            (self.scaled(0), "is off until"),
            (self.scaled(0, minimum=0), "may change it"),
            (self.scaled(1, minimum=1), "may change it"),
            (self.scaled(6, minimum=6), "keeps it there"),
        ):
            for rails in (Guardrails(), Guardrails(autoscaler="warn")):
                (warning,) = rails.warnings(write)
                self.assertIn(words, warning)
        self.assertEqual(Guardrails().warnings(self.write(1)), [])


class MassTests(WritesTests):
    """Many Deployments that are stopped."""

    def stop(self, stopped: int, replicas: int = 0, current: int | None = 3, confirmed: str = "") -> Write:
        """Make a write of a client that has stopped so many."""
        return replace(self.write(replicas, current, confirmed=confirmed), stopped=stopped)

    def test_one_too_many(self) -> None:
        """The eleventh needs its confirmation, also where nobody knows its count; any other count does not."""
        rails = Guardrails()
        rails.check(self.stop(9))
        for current in (3, None):
            rule, message = self.refusal(rails, self.stop(10, current=current, confirmed="zero step autoscaler"))
            self.assertEqual(rule, "mass")
            self.assertIn("after 10 in 10 minutes", message)
            self.assertIn("confirm=mass", message)
            rails.check(self.stop(10, current=current, confirmed="mass"))
        rails.check(self.stop(10, replicas=1))
        self.assertEqual(self.refusal(Guardrails(mass=Mass(2, 5)), self.stop(2))[0], "mass")

    def test_one_that_is_stopped_already(self) -> None:
        """It stops nothing more; that it is at 0 is what such a write has to be bound to."""
        rails = Guardrails()
        rails.check(self.stop(10, current=0))
        nothing = frozenset[str]()
        self.assertTrue(rails.needs_count(0, nothing, 10))
        for needless in ((1, nothing, 10), (0, nothing, 9), (0, frozenset({"mass"}), 10)):
            self.assertFalse(rails.needs_count(*needless))


class AnnotationTests(WritesTests):
    """What a Deployment says of itself."""

    def by_annotation(self, guards: Guards, replicas: int = 3) -> str:
        """The rule that refuses a write for an annotation, which the message names as the way out."""
        rule, message = self.refusal(Guardrails(), self.write(replicas, guards=guards, confirmed="zero step"))
        self.assertIn("sre-server/", message)
        self.assertIn("change the annotation", message)
        return rule

    def test_protected(self) -> None:
        """Anything but a plain no protects: whoever set the annotation meant something by it."""
        for text in ("true", "True", "yes", "1", "on", "please", " ", "falsee", "-"):
            self.assertEqual(self.by_annotation(Guards(protected=text)), "protected", text)
        for text in ("", "false", "False", " no ", "0", "NO"):
            Guardrails().check(self.write(3, guards=Guards(protected=text)))

    def test_bounds(self) -> None:
        """Its own minimum and maximum bind beside the guardrails', whichever is narrower."""
        guards = Guards(minimum="2", maximum=" 5 ")
        for replicas in (2, 5):
            Guardrails().check(self.write(replicas, guards=guards))
        self.assertEqual(self.by_annotation(guards, 1), "minimum")
        self.assertEqual(self.by_annotation(guards, 6), "maximum")
        self.assertEqual(self.by_annotation(Guards(minimum="1"), 0), "minimum")
        wide = Guards(minimum="0", maximum="100000")
        self.assertEqual(self.refusal(Guardrails(maximum=10), self.write(11, guards=wide))[0], "maximum")

    def test_nonsense(self) -> None:
        """A bound that is no whole number stops the write: guessing would be worse."""
        for text in ("three", "-1", "1.5", "1e3", "0x10", " ", "1 0", "²", "٣", "NaN", "1_000", "9" * 5000, "9" * 11):
            self.assertEqual(self.by_annotation(Guards(minimum=text)), "annotation", text[:20])
            self.assertEqual(self.by_annotation(Guards(maximum=text)), "annotation", text[:20])
        Guardrails().check(self.write(3, guards=Guards(minimum="003", maximum=str(MAX_REPLICAS))))


class FileTests(SynchronousTestCase):
    """The file."""

    def setUp(self) -> None:
        """Have a place for it."""
        self.path = temporary_folder(self) / "guardrails.yaml"

    def test_a_file(self) -> None:
        """What the file says holds, what it leaves out is the default; protecting others leaves the system's out."""
        self.path.write_text(
            "maximum: 200\nlargest_step: 50\nzero_needs_confirmation: true\nprotected: [{names: [dns]}]\n"
        )
        rails = load_guardrails(self.path)
        expected = Guardrails(
            maximum=200, largest_step=50, zero_needs_confirmation=True, protected=(Protected(names=("dns",)),)
        )
        self.assertEqual(rails, expected)
        self.path.write_text("{}")
        self.assertEqual(load_guardrails(self.path), Guardrails())
        self.path.write_text("autoscaler: off\nmass: {count: 20}\n")
        self.assertEqual(load_guardrails(self.path), Guardrails(autoscaler=False, mass=Mass(20, 10)))
        self.path.write_text("minimum: 5\nmaximum: 5\n")
        self.assertEqual(load_guardrails(self.path), Guardrails(minimum=5, maximum=5))
        for mode in ("warn", "refuse", '"off"'):
            self.path.write_text(f"autoscaler: {mode}\n")
            self.assertEqual(load_guardrails(self.path).autoscaler, mode.strip('"'))

    def test_mistakes(self) -> None:
        """Each is named with its line, and its field."""
        for text, line, what in (
            ("minimum: -1\n", 1, "minimum: Expected `int` >= 0"),
            ("maximum: 10\nlargest_step: 0\n", 2, "largest_step: Expected `int` >= 1"),
            ("maximum: many\n", 1, "maximum: Expected `int`, got `str`"),
            ("maximum: 2147483648\n", 1, ""),
            ("maximum: true\n", 1, "maximum: Expected `int`, got `bool`"),
            ("zero_needs_confirmation: maybe\n", 1, "zero_needs_confirmation: Expected `bool`"),
            ("maximum: 5\nprotected:\n- namespaces: [a]\n  name: [b]\n", 4, ""),
            (
                "maximum: 5\n\nmaximun: 6\n",
                3,
                "Object contains unknown field `maximun`; known are 'minimum', 'maximum', 'largest_step',",
            ),
            ("maximum: 5\nmaximum: 6\n", 2, ""),
            ("minimum: 1\nmaximum: 010\n", 2, ""),
            ("maximum: 1_000\n", 1, ""),
            ("maximum: 1:30\n", 1, ""),
            ("maximum: 1e3\n", 1, ""),
            ("maximum: 5\nminimum: 6\n", 2, "minimum: 6 is more than the maximum, 5"),
            ("minimum: 1001\n", 1, ""),
            ("maximum: 5\nautoscaler: on\n", 2, "autoscaler: Expected"),
            ("maximum: 5\nautoscaler: none\n", 2, "autoscaler: "),
            ("mass: {count: 0}\n", 1, ""),
            ("mass:\n  count: 5\n  minutes: 1441\n", 3, "mass.minutes: Expected `int` <= 1440"),
            ("mass:\n  count: 5\n  hours: 1\n", 3, ""),
            ("protected:\n- names: [a]\n- names: [b]\n  namespaces: []\n", 4, ""),
            ("protected:\n- names: []\n", 2, "protected #1.names: an empty list of names"),
            ("protected:\n- namespaces:\n  - kube-system\n  - Kube-System\n", 4, ""),
            ("protected:\n- namespaces: ['kube-system ']\n", 2, ""),
            ("protected:\n- namespaces:\n", 2, "protected #1.namespaces: Expected `array`"),
            ("protected:\n- names: [a, no]\n", 2, ""),
        ):
            self.path.write_text(text)
            said = str(self.assertRaises(DocumentError, load_guardrails, self.path))
            self.assertTrue(said.startswith(f"{self.path}:{line}: {what}"), said)

    def test_a_reload(self) -> None:
        """A new file holds from then on; a bad one changes nothing."""
        self.path.write_text("maximum: 5\n")
        rails = GuardrailsFile(self.path)
        self.path.write_text("maximum: 6\n")
        self.assertEqual(rails().maximum, 5)
        rails.reload()
        self.path.write_text("maximum: x\n")
        self.assertRaises(DocumentError, rails.reload)
        self.assertEqual(rails().maximum, 6)
