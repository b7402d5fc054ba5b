"""Lists for clients that see a part: kept as long as they are right, and never more of them than there is room for."""

import json
import weakref
from collections.abc import Iterator

from twisted.internet.defer import Deferred

from sre_server.api import lists
from sre_server.api.bodies import Body, Packing
from sre_server.api.lists import _PART_BYTES, KEPT_BYTES, KEPT_VIEWS
from sre_server.api.slices import SLICE_SECONDS
from sre_server.news import Put
from sre_server.security.authorization import EVERYTHING, View
from sre_server.security.known_views import WholeNamespaces
from sre_server.security.policy import Policy, PolicyDocument, Rule
from sre_server.web.answers import encode
from tests.api.test_lists import ListsTests, now, view
from tests.fakes import deployment
from tests.memory_server import ALICE

BRACKETS = b"[%s]"


def some(number: int) -> View:
    """A view of its own that shows nearly everything, by name."""
    return view(Rule(identities=("*",), names=("name-*", f"n{number}")))


class PartsTests(ListsTests):
    """Twenty namespaces, each of twenty Deployments."""

    def setUp(self) -> None:
        """Fill them."""
        super().setUp()
        self.change(*(Put(deployment(f"name-{n}", f"ns-{space:02}")) for space in range(20) for n in range(20)))

    def pump(self, *waiting: Body | Deferred[Body]) -> list[Body]:
        """Let all slices come to their end."""
        self.server.clock.pump([0.0] * 1000)
        return [self.successResultOf(each) if isinstance(each, Deferred) else each for each in waiting]


class BoundsTests(PartsTests):
    """What is kept of lists for clients that see a part."""

    def texts(self) -> Iterator[bytes]:
        """All bytes that are kept for views, one by one."""
        for kept in self.bodies._views.values():
            bodies = [body for _, body in kept.bodies.values()]
            for part in kept.parts.values():
                yield part.data
                bodies += part.alone.values()
            for body in bodies:
                yield body.data
                if body._gzipped is not None:
                    yield body._gzipped.data
                if body.packing is not None:
                    yield from body.packing.kept.values()

    def kept(self) -> int:
        """How many bytes that is."""
        return sum(len(text) for text in {id(text): text for text in self.texts()}.values())

    def use(self, seen: View) -> Iterator[None]:
        """Ask for all that a view has, in all its forms; yield after each."""
        for body in (self.bodies.of_all(seen), self.bodies.of_namespaces(seen)):
            now(body).form(gzip=True)
            yield
        for space in range(20):
            self.bodies.of_one(f"ns-{space:02}", seen).form(gzip=True)
            self.bodies.of_one(f"ns-{space:02}", seen, BRACKETS).form(gzip=True)
            yield

    def test_all_forms_count(self) -> None:
        """However many views there are, and whatever is asked for, what is kept stays below the bound."""
        bound = 400_000
        self.patch(lists, "KEPT_BYTES", bound)
        most = 0
        for number in range(30):
            for _ in self.use(some(number)):
                most = max(most, self.kept())
                self.assertLessEqual(self.kept(), self.size())
                self.assertLessEqual(self.kept(), bound)
            self.change(Put(deployment("name-0", "ns-00", replicas=number, version=str(300 + number))))
        self.assertGreater(most, bound / 4, "the bound is used")
        self.assertGreater(len(self.bodies._views), 1)

    def test_the_size_is_kept_up_to_date(self) -> None:
        """As parts are made, replaced and forgotten, it stays what a count of all of them says."""
        seen = some(1)
        for number in range(5):
            for _ in self.use(seen):
                pass
            self.change(Put(deployment("name-0", "ns-03", replicas=number, version=str(300 + number))))
        self.server.sync(*(deployment("name-1", f"other-{n}") for n in range(3)))
        for _ in range(2):
            now(self.bodies.of_all(seen))
        (kept,) = self.bodies._views.values()
        self.assertEqual(set(kept.parts), {f"other-{n}" for n in range(3)})
        expected = sum(part.size() for part in kept.parts.values())
        self.assertEqual(kept.size(), expected + sum(body.size() for _, body in kept.bodies.values()))

    def test_what_each_form_counts(self) -> None:
        """Lists count what they are; what is made of them later, or of a namespace alone, makes room for itself."""
        first, second = some(1), some(2)
        for number, seen in enumerate((first, second), start=1):
            body = now(self.bodies.of_all(seen))
            self.assertEqual(self.size(), self.kept() + number * 23 * _PART_BYTES)
        self.patch(lists, "KEPT_BYTES", self.size())
        body.form(gzip=True)
        self.assertEqual(list(self.bodies._views), [second])
        self.assertEqual(self.size(), self.kept() + 23 * _PART_BYTES)
        self.patch(lists, "KEPT_BYTES", KEPT_BYTES)
        now(self.bodies.of_all(first))
        self.patch(lists, "KEPT_BYTES", self.size())
        self.assertEqual(list(self.bodies._views), [second, first])
        self.bodies.of_one("ns-01", first)
        self.assertEqual(list(self.bodies._views), [first])

    def test_names_of_namespaces_count_as_well(self) -> None:
        """They make room for their compressed form."""
        self.change(*(Put(deployment("name-1", f"a-namespace-with-a-long-name-{n}")) for n in range(50)))
        first, second = some(1), some(2)
        for seen in (first, second):
            body = now(self.bodies.of_namespaces(seen))
        self.patch(lists, "KEPT_BYTES", self.size())
        self.assertIsNot(body.form(gzip=True), body)
        self.assertEqual(list(self.bodies._views), [second])

    def size(self) -> int:
        """How many bytes the lists say that is."""
        return sum(kept.size() for kept in self.bodies._views.values())

    def test_one_that_is_too_large(self) -> None:
        """It is kept alone, for as long as nothing else is asked for."""
        self.patch(lists, "KEPT_BYTES", 1)
        first, second = some(1), some(2)
        body = now(self.bodies.of_all(first))
        self.assertIs(self.bodies.of_all(first), body)
        now(self.bodies.of_all(second))
        self.assertEqual(list(self.bodies._views), [second])

    def test_as_few_go_as_make_room(self) -> None:
        """What was used last stays, as much of it as there is room for."""
        views = [some(number) for number in range(5)]
        for seen in views[:4]:
            now(self.bodies.of_all(seen))
        self.patch(lists, "KEPT_BYTES", self.size() // 2)
        now(self.bodies.of_all(views[4]))
        self.assertEqual(list(self.bodies._views), views[3:])

    def test_the_bounds_themselves(self) -> None:
        """They are what the documentation says."""
        self.assertEqual((KEPT_VIEWS, KEPT_BYTES), (64, 32 * 2**20))

    def test_nothing_is_left_of_what_goes(self) -> None:
        """Not even for the garbage collector, which does not look through bodies."""
        gone = []
        for number in range(KEPT_VIEWS + 9):
            for _ in self.use(some(number)):
                pass
            gone.append(weakref.ref(next(reversed(self.bodies._views.values()))))
        self.assertEqual([kept() is None for kept in gone], [True] * 9 + [False] * KEPT_VIEWS)

    def test_what_shows_whole_namespaces_takes_no_parts(self) -> None:
        """It has but its bodies, also where one namespace is asked for alone."""
        seen = WholeNamespaces(frozenset({"ns-01", "ns-02"}))
        alone = self.bodies.of_one("ns-01", seen)
        self.assertIs(alone, self.bodies.of_one("ns-01", EVERYTHING))
        self.assertEqual(list(self.bodies._views), [])
        now(self.bodies.of_all(seen))
        self.assertEqual(self.bodies._views[seen].parts, {})


class ReplacedTests(PartsTests):
    """Rules that are replaced."""

    def test_nothing_of_earlier_rules_is_kept(self) -> None:
        """It goes with the first list that is made by the new ones, and such a list is never that of before."""
        policy = Policy(PolicyDocument((Rule(identities=("*",), names=("name-1",)),)))
        before = policy.view(ALICE, ())
        self.assertEqual(len(self.all(before)["ns-00"]), 1)
        policy.replace(PolicyDocument((Rule(identities=("*",), names=("name-1", "name-2")),)))
        after = policy.view(ALICE, ())
        self.assertEqual(len(self.all(after)["ns-00"]), 2)
        self.assertEqual(list(self.bodies._views), [after])

    def test_a_list_that_is_being_made(self) -> None:
        """It is answered, and not kept."""
        policy = Policy(PolicyDocument((Rule(identities=("*",), names=("name-1",)),)))
        slow_down(self)
        waiting = self.bodies.of_all(policy.view(ALICE, ()))
        policy.replace(PolicyDocument(()))
        (body,) = self.pump(waiting)
        self.assertIn(b"name-1", body.data)
        self.assertEqual(list(self.bodies._views), [])

    def test_a_list_that_has_not_begun(self) -> None:
        """It is answered, and not kept."""
        policy = Policy(PolicyDocument((Rule(identities=("*",), names=("name-1",)),)))
        before = policy.view(ALICE, ())
        policy.replace(PolicyDocument(()))
        self.assertEqual(len(self.all(before)["ns-00"]), 1)
        self.assertEqual(list(self.bodies._views), [])


class ManyAtOnceTests(PartsTests):
    """More lists that are being made than are kept."""

    def test_nothing_is_made_twice(self) -> None:
        """What was made of one stays until it is whole, so that no slice gets longer; all are right."""
        self.patch(lists, "KEPT_VIEWS", 2)
        slow_down(self)
        self.shown.clear()
        waiting = [self.bodies.of_all(some(number)) for number in range(10)]
        bodies = self.pump(*waiting)
        self.assertEqual({body.etag for body in bodies}, {bodies[0].etag})
        self.assertEqual(len(self.shown), 10 * len(self.cache.tree()))
        self.assertEqual(len(self.bodies._views), 2)
        self.assertEqual({now(self.bodies.of_all(seen)) in bodies for seen in list(self.bodies._views)}, {True})
        self.assertEqual(len(self.shown), 10 * len(self.cache.tree()))

    def test_no_slice_makes_all_of_it(self) -> None:
        """Where something changes meanwhile, the last step makes that again, and nothing else."""
        slow_down(self)
        waiting = self.bodies.of_all(some(1))
        self.change(Put(deployment("name-0", "ns-00", replicas=9, version="300")))
        (body,) = self.pump(waiting)
        self.assertEqual(body.data.count(b'"replica_count":9'), 1)
        self.assertLessEqual(len(self.shown), len(self.cache.tree()) + 1)

    def test_names_that_change_meanwhile(self) -> None:
        """A namespace that is told of without anything in it is among them in the end, too."""
        slow_down(self)
        seen = view(
            Rule(identities=("*",), namespaces=("ns-*",), names=("n*",)), Rule(identities=("*",), namespaces=("empty",))
        )
        waiting = self.bodies.of_namespaces(seen)
        self.change(Put(deployment("name-0", "ns-00", replicas=9, version="300")))
        (body,) = self.pump(waiting)
        self.assertEqual(json.loads(body.data)["namespaces"], ["empty", *(f"ns-{n:02}" for n in range(20))])


class KeptTests(PartsTests):
    """Lists that are asked for again and again."""

    def test_nothing_is_made_again(self) -> None:
        """As long as nothing changes, a list is the same object, and so is its compressed form; 304 takes neither."""
        for seen in (some(1), WholeNamespaces(frozenset(f"ns-{n:02}" for n in range(10)))):
            body = now(self.bodies.of_all(seen))
            packed = now(body.form(gzip=True))
            self.assertIsNot(packed, body)
            self.shown.clear()
            with_names = now(self.bodies.of_namespaces(seen))
            for _ in range(3):
                self.assertIs(self.bodies.of_all(seen), body)
                self.assertIs(self.bodies.of_namespaces(seen), with_names)
                self.assertIs(body.form(gzip=True), packed)
            self.assertEqual(self.shown, [])

    def test_equal_rights_that_were_asked_for_anew(self) -> None:
        """What the cluster says again, in other words than rules, finds the same list."""
        names = frozenset({"ns-01", "ns-02"})
        body = self.bodies.of_all(WholeNamespaces(names))
        self.assertIs(self.bodies.of_all(WholeNamespaces(frozenset(set(names)))), body)

    def test_one_change_compresses_one_chunk(self) -> None:
        """What did not change is neither shown nor compressed again."""
        seen = some(1)
        now(now(self.bodies.of_all(seen)).form(gzip=True))
        kept = dict(self.bodies._views[seen].packed)
        self.shown.clear()
        self.change(Put(deployment("name-0", "ns-07", replicas=9, version="300")))
        body = now(self.bodies.of_all(seen))
        now(body.form(gzip=True))
        self.assertEqual(self.shown, ["ns-07"])
        assert isinstance(body.packing, Packing)
        self.assertEqual(len(body.packing.kept.keys() - kept.keys()), 1)
        self.assertGreater(len(kept), 1)


def slow_down(case: PartsTests) -> None:
    """Let each part take a slice."""

    def slow(value: object) -> bytes:
        case.server.clock.rightNow += SLICE_SECONDS
        return encode(value)

    case.patch(lists, "encode", slow)
