"""The bodies of lists: made once for all with the same rights, a namespace at a time, and without holding up others."""

import gzip
import json
from collections.abc import Callable, Generator

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.api import bodies, lists
from sre_server.api.bodies import TOKEN_BYTES, Body, Packing
from sre_server.api.lists import KEPT_VIEWS, ByName, ListBodies, counts_in, names_in
from sre_server.api.slices import SLICE_SECONDS, Slices
from sre_server.errors import NotFound
from sre_server.model import Deployment
from sre_server.news import Changed, Deleted, Put, Resource, Source
from sre_server.security.authorization import EVERYTHING, Verb, View
from sre_server.security.limits import Rate
from sre_server.security.policy import Policy, PolicyDocument, Rule
from sre_server.web.answers import encode
from tests.fakes import deployment, namespace
from tests.memory_server import ALICE, MemoryServer

BOB = replace(ALICE, name="bob")


def view(*rules: Rule) -> View:
    """What a policy of these rules lets Alice see."""
    return Policy(PolicyDocument(rules)).view(ALICE, ())


def now(body: Body | Deferred[Body]) -> Body:
    """A body that is here."""
    assert isinstance(body, Body)
    return body


class ListsTests(SynchronousTestCase):
    """Bytes that are made once, and again when something in them has changed."""

    def setUp(self) -> None:
        """Count how often a namespace is shown."""
        self.server = MemoryServer().sync(
            namespace("a"), namespace("b"), namespace("empty"), deployment("x", "a"), deployment("y", "b")
        )
        self.shown: list[str] = []
        self.cache = self.server.cache
        self.bodies = self.make(counts_in)

    def make(self, how: Callable[[str, ByName], object]) -> ListBodies:
        """Make lists that note what they show."""

        def show(name: str, by_name: ByName) -> object:
            self.shown.append(name)
            return how(name, by_name)

        return ListBodies(self.cache, show, Slices(self.server.clock))

    def all(self, seen: View = EVERYTHING) -> dict[str, dict[str, int]]:
        """The whole list, decoded."""
        parts = json.loads(now(self.bodies.of_all(seen)).data)
        return {
            part["namespace"]: {item["deployment"]: item["replica_count"] for item in part["deployments"]}
            for part in parts
        }

    def change(self, *changes: Put | Deleted) -> None:
        """Let the cluster tell of changes."""
        self.cache.apply(Changed(Source(Resource.DEPLOYMENTS), 0, changes))


class KeptTests(ListsTests):
    """Lists for who sees everything."""

    def test_once(self) -> None:
        """The same object is handed out as long as nothing has changed; news that change no count are none."""
        first = now(self.bodies.of_all())
        self.change(Put(deployment("x", "a", version="200")))
        self.assertIs(self.bodies.of_all(), first)
        self.assertEqual(self.shown, ["a", "b", "empty"])

    def test_only_what_changed(self) -> None:
        """A change costs its own namespace, and is there."""
        self.all()
        self.shown.clear()
        self.change(Put(deployment("x", "a", replicas=9, version="200")))
        self.assertEqual(self.all(), {"a": {"x": 9}, "b": {"y": 3}})
        self.change(Put(deployment("z", "empty", replicas=1, version="201")))
        self.assertEqual(self.all(), {"a": {"x": 9}, "b": {"y": 3}, "empty": {"z": 1}})
        self.change(Deleted(deployment("y", "b")))
        self.assertEqual(self.all(), {"a": {"x": 9}, "empty": {"z": 1}})
        self.change(Put(deployment("y", "b", replicas=5, version="202")))
        self.assertEqual(self.all(), {"a": {"x": 9}, "b": {"y": 5}, "empty": {"z": 1}})
        self.assertEqual(self.shown, ["a", "empty", "b", "b"])

    def test_one_namespace(self) -> None:
        """A namespace alone shares its bytes with the list of all, between whatever brackets."""
        self.all()
        alone = self.bodies.of_one("a")
        self.assertIs(self.bodies.of_one("a"), alone)
        self.assertEqual(self.bodies.of_one("a", EVERYTHING, b"[%s]").data, b"[%s]\n" % alone.data[:-1])
        self.assertEqual(self.shown, ["a", "b", "empty"])
        self.assertRaises(NotFound, self.bodies.of_one, "none")

    def test_the_namespaces(self) -> None:
        """All of them, empty ones too, without a look at what is in them; one more is another list."""
        first = now(self.bodies.of_namespaces())
        self.assertEqual(first.data, b'{"namespaces":["a","b","empty"]}\n')
        self.assertIs(self.bodies.of_namespaces(), first)
        self.assertEqual(self.shown, [])
        self.cache.apply(Changed(Source(Resource.NAMESPACES), 0, (Put(namespace("c")),)))
        self.assertEqual(now(self.bodies.of_namespaces()).data, b'{"namespaces":["a","b","c","empty"]}\n')

    def test_namespaces_that_are_gone(self) -> None:
        """Nothing is kept of namespaces that are not there any more."""
        for number in range(50):
            gone = deployment("x", f"gone-{number}")
            self.change(Put(gone))
            self.all()
            self.change(Deleted(gone))
        self.assertLess(len(self.bodies._everything.parts), 12)

    def test_a_new_list(self) -> None:
        """A complete list from the cluster replaces everything, names too."""
        names = self.make(names_in)
        self.all()
        names.of_all()
        self.server.sync(namespace("c"), deployment("w", "c", replicas=2))
        self.assertEqual(self.all(), {"c": {"w": 2}})
        self.assertEqual(now(names.of_all()).data, b'[{"namespace":"c","deployments":["w"]}]\n')


class ViewsTests(ListsTests):
    """Lists for who sees a part."""

    BY_NAME = Rule(identities=("*",), names=("x*",))

    def test_each_sees_its_own(self) -> None:
        """Who may see less sees less, and leaves nothing behind for others."""
        self.assertEqual(self.all(view(self.BY_NAME)), {"a": {"x": 3}})
        self.assertEqual(self.all(view()), {})
        self.assertEqual(self.all(), {"a": {"x": 3}, "b": {"y": 3}})
        self.assertEqual(self.all(view(self.BY_NAME)), {"a": {"x": 3}})

    def test_made_once_for_all_who_see_the_same(self) -> None:
        """Clients to whom the same rules speak get the same object; after a change, one namespace is looked at."""
        policy = Policy(PolicyDocument((self.BY_NAME,)))
        first = now(self.bodies.of_all(policy.view(ALICE, ())))
        self.assertIs(self.bodies.of_all(policy.view(BOB, ())), first)
        self.shown.clear()
        self.change(Put(deployment("x", "a", replicas=9, version="200")))
        self.assertEqual(self.all(policy.view(ALICE, ())), {"a": {"x": 9}})
        self.assertEqual(self.shown, ["a"])

    def test_whole_namespaces_are_shared(self) -> None:
        """What of a view is all of a namespace is what everybody has of it; who sees all of it sees the same bytes."""
        whole = self.all()
        self.shown.clear()
        deny = Rule(identities=("*",), namespaces=("none",), effect="deny")
        self.assertEqual(self.all(view(deny, Rule(identities=("*",)))), whole)
        self.assertEqual(self.all(view(Rule(identities=("*",), namespaces=("a",)))), {"a": {"x": 3}})
        self.assertEqual(self.shown, [])

    def test_one_namespace(self) -> None:
        """One that is seen in part is what of it is seen, or not there."""
        seen = view(self.BY_NAME)
        self.assertEqual(json.loads(self.bodies.of_one("a", seen).data)["deployments"][0]["deployment"], "x")
        for where in ("b", "empty", "none"):
            error = self.assertRaises(NotFound, self.bodies.of_one, where, seen)
            self.assertEqual(str(error), f"Nothing that you may read is in the namespace '{where}'.")

    def test_bounds(self) -> None:
        """However many views there are, what was not used for long goes; so do large ones before there are many."""
        views = [view(Rule(identities=("*",), names=(f"x{number}", "x"))) for number in range(KEPT_VIEWS + 9)]
        for seen in views:
            self.all(seen)
        self.assertEqual(list(self.bodies._views), views[9:])
        self.patch(lists, "KEPT_BYTES", 300)
        self.all(views[0])
        self.assertLess(len(self.bodies._views), 5)
        self.assertIn(views[0], self.bodies._views)


class PackedTests(ListsTests):
    """Compressed lists."""

    def packed(self, body: Body) -> Body:
        """The compressed form, which must be the same when it is asked for again."""
        packed = now(body.form(gzip=True))
        self.assertIs(body.form(gzip=True), packed)
        self.assertEqual(gzip.decompress(packed.data), body.data)
        self.assertEqual(packed.etag, body.tag(gzip=True))
        return packed

    def test_the_tag_is_known_without_compressing(self) -> None:
        """A client that has the list already is told so, and nothing is compressed for that."""
        self.change(*(Put(deployment(f"name-{number}", "a")) for number in range(100)))
        body = now(self.bodies.of_all())
        self.patch(Packing, "packed", None)
        self.assertTrue(body.is_known(body.etag[:-1] + b'-gzip"', gzip=True))
        self.assertFalse(body.is_known(body.etag, gzip=True))
        self.assertTrue(body.is_known(body.etag, gzip=False))

    def test_short_ones(self) -> None:
        """What is short has one form."""
        body = now(self.bodies.of_all())
        self.assertIs(body.form(gzip=True), body)
        self.assertEqual(body.tag(gzip=True), body.etag)

    def test_only_what_changed_is_compressed_again(self) -> None:
        """A list is compressed in pieces that depend on their own namespaces: whatever changes, it is right."""
        changes = [Put(deployment(f"name-{n}", f"ns-{space}")) for space in range(200) for n in range(9)]
        self.change(*changes)
        first = now(self.bodies.of_all())
        self.packed(first)
        assert first.packing is not None
        self.assertTrue(5 < len(first.packing.chunks) < 50, len(first.packing.chunks))
        kept = dict(first.packing.kept)
        for change in (Put(deployment("name-1", "ns-7", replicas=9, version="300")), Put(deployment("new", "aaa"))):
            self.change(change)
            body = now(self.bodies.of_all())
            self.packed(body)
            assert body.packing is not None
            self.assertLessEqual(len(body.packing.kept.keys() - kept.keys()), 2)
        fresh = now(self.make(counts_in).of_all())
        self.assertEqual(self.packed(fresh).data, now(body.form(gzip=True)).data)

    def test_where_they_are_cut(self) -> None:
        """That is at the same namespaces in every release: replicas of two of them give one tag to the same bytes."""
        self.change(*(Put(deployment("x", f"ns-{space:02}")) for space in range(50)))
        body = now(self.bodies.of_all())
        assert body.packing is not None
        ends = [json.loads(body.data[:end].rstrip(b",]\n") + b"]")[-1]["namespace"] for _, end in body.packing.chunks]
        self.assertEqual(ends, ["ns-05", "ns-32", "ns-49"])

    def test_whatever_is_at_the_ends(self) -> None:
        """The first namespace and the last, as they come and go, leave a list that is whole."""
        self.change(*(Put(deployment(f"name-{n}", f"ns-{space:02}")) for space in range(50) for n in range(3)))
        for gone in [*range(10), *range(49, 30, -1)]:
            self.packed(now(self.bodies.of_all()))
            self.change(*(Deleted(deployment(f"name-{n}", f"ns-{gone:02}")) for n in range(3)))
        self.packed(now(self.bodies.of_all()))


class SlicesTests(SynchronousTestCase):
    """Work that takes long."""

    def setUp(self) -> None:
        """Have work of ten steps that take half a slice each."""
        self.clock = Clock()
        self.slices = Slices(self.clock)
        self.steps: list[str] = []

    def work(self, name: str, steps: int = 10) -> Generator[None, None, str]:
        """Take steps."""
        for _ in range(steps):
            self.steps.append(name)
            self.clock.rightNow += SLICE_SECONDS / 2
            yield
        return f"{name} is done"

    def run_(self, name: str, steps: int = 10) -> str | Deferred[str]:
        """Begin work."""
        return self.slices.run(name, lambda: self.work(name, steps))

    def turn(self) -> int:
        """Let the reactor have one turn; return how many steps that was."""
        before = len(self.steps)
        calls, self.clock.calls = self.clock.calls, []
        for call in calls:
            call.called = 1
            call.func(*call.args, **call.kw)
        return len(self.steps) - before

    def test_what_is_short_is_done_now(self) -> None:
        """It comes as a plain value."""
        self.assertEqual(self.run_("a", 1), "a is done")
        self.assertEqual(self.clock.calls, [])

    def test_what_is_long_is_done_in_turns(self) -> None:
        """No turn takes longer than a slice, by however much work is under way."""
        a, b = self.run_("a"), self.run_("b")
        assert isinstance(a, Deferred)
        assert isinstance(b, Deferred)
        self.assertEqual(len(self.steps), 4)
        while self.clock.calls:
            self.assertLessEqual(self.turn(), 3)
        self.assertEqual((self.successResultOf(a), self.successResultOf(b)), ("a is done", "b is done"))
        self.assertEqual(self.run_("a", 1), "a is done")

    def test_equal_work_is_done_once(self) -> None:
        """All who wait get the result; one who leaves disturbs nobody."""
        waiting = [self.run_("a") for _ in range(3)]
        gone = waiting.pop(1)
        assert isinstance(gone, Deferred)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        while self.clock.calls:
            self.turn()
        for each in waiting:
            assert isinstance(each, Deferred)
            self.assertEqual(self.successResultOf(each), "a is done")
        self.assertEqual(self.steps, ["a"] * 10)

    def test_a_failure_is_everybodys(self) -> None:
        """Whether it comes at once or later, and the work may be tried again."""

        def fails(steps: int) -> Generator[None, None, str]:
            yield from self.work("a", steps)
            raise ValueError("as it is")

        self.assertRaises(ValueError, self.slices.run, "a", lambda: fails(1))
        waiting = self.slices.run("a", lambda: fails(10))
        assert isinstance(waiting, Deferred)
        while self.clock.calls:
            self.turn()
        self.failureResultOf(waiting, ValueError)
        self.assertEqual(self.run_("a", 1), "a is done")


class LongListTests(SynchronousTestCase):
    """A list that takes longer than a slice, through the server."""

    def serve(self, *, lane: bool = True, rate: Rate = Rate(10, 20)) -> MemoryServer:  # noqa: B008
        """Serve 50 namespaces, of which each takes a slice to show."""
        server = MemoryServer(lane=lane, limits={Verb.READ: rate})
        server.sync(*(deployment(f"d-{'x' * 150}-{n}", f"ns-{space}") for space in range(50) for n in range(20)))

        def slow(value: object) -> bytes:
            server.clock.rightNow += SLICE_SECONDS
            return encode(value)

        self.patch(lists, "encode", slow)
        return server

    def test_others_are_served_meanwhile(self) -> None:
        """The list is answered when it is there; all who asked for it get it, and a read in between is not held up."""
        for lane in (True, False):
            server = self.serve(lane=lane)
            wires = [server.connect() for _ in range(3)]
            for wire in wires:
                self.assertEqual(wire.send(b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n"), [])
            server.clients.who = BOB
            one = f"/deployments/ns-1/d-{'x' * 150}-1/replicas"
            self.assertEqual(server.get(one).status, 200)
            server.clock.pump([SLICE_SECONDS] * 100)
            for wire in wires:
                (answer,) = wire.answers()
                self.assertEqual((answer.status, len(answer.json())), (200, 50))

    def test_long_to_compress(self) -> None:
        """A list that is there is sent to who wants it compressed when that is done, whichever way it was asked for."""
        whole = bodies._deflated
        for lane in (True, False):
            server = self.serve(lane=lane)

            def slow(data: memoryview, clock: Clock = server.clock) -> bytes:
                clock.rightNow += SLICE_SECONDS
                return whole(data)

            self.patch(bodies, "_deflated", slow)
            wire = server.connect()
            wire.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n")
            server.clock.pump([SLICE_SECONDS] * 100)
            wire.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n")
            self.assertEqual(len(wire.answers()), 1)
            server.clock.pump([SLICE_SECONDS] * 100)
            self.assertEqual(wire.answers()[1].header("Content-Encoding"), "gzip")

    def test_what_changes_meanwhile(self) -> None:
        """The list is that of the moment in which it is answered, whole."""
        server = self.serve()
        wire = server.connect()
        wire.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n")
        new: Deployment = deployment("new", "ns-0", version="300")
        server.cache.apply(Changed(Source(Resource.DEPLOYMENTS), 0, (Put(new), Put(deployment("new", "a-new-one")))))
        server.clock.pump([SLICE_SECONDS] * 100)
        (answer,) = wire.answers()
        shown = {part["namespace"]: part["deployments"] for part in answer.json()}
        self.assertIn("new", shown["ns-0"])
        self.assertEqual(shown["a-new-one"], ["new"])

    def test_it_costs_what_it_is(self) -> None:
        """A long list takes a token more for each 64 KiB, that of one Deployment one; 304 takes one."""
        for lane in (True, False):
            server = self.serve(lane=lane, rate=Rate(0.001, 20))
            wire = server.connect()
            wire.write(b"GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n")
            server.clock.pump([SLICE_SECONDS] * 100)
            (answer,) = wire.answers()
            cost = 1 + len(answer.body) // TOKEN_BYTES
            self.assertGreater(cost, 2)
            left = 20 - cost
            self.assertEqual(answer.header("RateLimit"), f'"read";r={left};t=0')
            known = server.get("/deployments", {"If-None-Match": answer.header("ETag") or ""})
            self.assertEqual((known.status, known.header("RateLimit")), (304, f'"read";r={left - 1};t=0'))
            short = server.get("/deployments/ns-1")
            self.assertEqual(short.header("RateLimit"), f'"read";r={left - 2};t=0')
