"""Random histories of a cluster, and of what is told of them, late and in pieces: the oracle of the cache's tests."""

import math
from collections import deque
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from twisted.internet.task import Clock

from sre_server.api.bodies import Body
from sre_server.api.lists import ListBodies, counts_in, names_in
from sre_server.api.slices import Slices
from sre_server.cache import ClusterCache
from sre_server.errors import NotFound
from sre_server.model import Deployment, Namespace, Object, Unreadable
from sre_server.news import Change, Changed, Deleted, Listed, Put, Resource, Source, sources_of
from sre_server.security.authorization import EVERYTHING, View
from sre_server.security.policy import Policy, PolicyDocument, Rule
from tests.fakes import populated
from tests.memory_server import ALICE
from tests.wire import by_name

SPACES = st.sampled_from(["shop", "bank"])
KEYS = st.sampled_from([("shop", "web"), ("bank", "web")])
COUNTS = st.integers(0, 3)
ANY = st.integers(0, 10)
VIEWS = (
    EVERYTHING,
    *(
        Policy(PolicyDocument((Rule(identities=("*",), namespaces=("shop",), names=names),))).view(ALICE, ())
        for names in (("*",), ("w*",), ("web", "x"), ("x",))
    ),
)
Key = tuple[str, str]


def _read(bodies: ListBodies, space: str | None, view: View) -> tuple[bytes, ...] | str:
    """Return what a list says, plain and compressed, its tag and what it warns of; or why there is none."""
    try:
        body = bodies.of_all(view) if space is None else bodies.of_one(space, view)
    except NotFound as error:
        return str(error)
    assert isinstance(body, Body)
    packed = body.form(gzip=True)
    assert isinstance(packed, Body)
    return body.data, packed.data, body.etag, body.warning


def key_of(deployment: Deployment) -> Key:
    """Tell where a Deployment is."""
    return deployment.namespace, deployment.name


def _shows(change: Put | Deleted, told: Put | None) -> bool:
    return isinstance(change, Deleted) if told is None else change == told


class Teller:
    """One list+watch: the events that are still to be told, and the list that is under way, if one is."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.events: deque[tuple[float, Change]] = deque()
        self.asked_at: float | None = None
        self.snapshot: Listed | None = None
        self.synced = False

    def covers(self, item: Object) -> bool:
        """Tell whether the object is in this collection."""
        if isinstance(item, Namespace):
            return self.source.resource is Resource.NAMESPACES and self.source.namespace in (None, item.name)
        return self.source.resource is Resource.DEPLOYMENTS and self.source.namespace in (None, item.namespace)


class Histories(RuleBasedStateMachine):
    """A cluster, the sources that tell of it, and the cache that listens."""

    SCOPES: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.version = 0
        self.namespaces: dict[str, Namespace] = {}
        self.deployments: dict[Key, Deployment] = {}
        self.past: dict[Key, list[Put | Deleted]] = {}
        self.times: dict[Key, list[float]] = {}
        self.answers: list[Deployment] = []
        self.floor: dict[Key, int] = {}
        sources = sources_of(self.SCOPES)
        self.tellers = [Teller(source) for source in sources]
        self.cache = ClusterCache(self.clock.seconds, sources, max_staleness=120)
        self.slices = Slices(self.clock)
        self.kept = [ListBodies(self.cache, show, self.slices) for show in (names_in, counts_in)]

    @initialize(spaces=st.sets(SPACES), synced=st.booleans())
    def begin(self, spaces: set[str], *, synced: bool) -> None:
        """Begin with some namespaces that have a Deployment each, known or not."""
        for space in sorted(spaces):
            self.create_or_delete_namespace(space)
            self.create((space, "web"), 1)
        if synced:
            self.everything_is_told()

    # What happens in the cluster.

    def next_version(self) -> str:
        """Count on; all resources share the counter."""
        self.version += 1
        return str(self.version)

    def happened(self, change: Put | Deleted) -> None:
        """Queue an event, and remember it."""
        for teller in self.tellers:
            if teller.covers(change.object):
                teller.events.append((self.clock.seconds(), change))
        if isinstance(change.object, Deployment):
            self.past.setdefault(key_of(change.object), []).append(change)
            self.times.setdefault(key_of(change.object), []).append(self.clock.seconds())

    def put(self, key: Key, uid: str, replicas: int) -> None:
        """Store a Deployment."""
        self.deployments[key] = Deployment(*key, uid, self.next_version(), replicas)
        self.happened(Put(self.deployments[key]))

    @rule(namespace=SPACES)
    def create_or_delete_namespace(self, namespace: str) -> None:
        """Somebody creates a namespace, or deletes it: then Kubernetes first deletes what is in it."""
        if namespace not in self.namespaces:
            version = self.next_version()
            self.namespaces[namespace] = Namespace(namespace, f"uid-{version}", version)
            self.happened(Put(self.namespaces[namespace]))
            return
        for key in [key for key in self.deployments if key[0] == namespace]:
            self.delete(key)
        gone = self.namespaces.pop(namespace)
        self.happened(Deleted(Namespace(namespace, gone.uid, self.next_version())))

    def create(self, key: Key, replicas: int) -> None:
        """Create a Deployment."""
        if key[0] in self.namespaces:
            self.put(key, f"uid-{self.version + 1}", replicas)

    def delete(self, key: Key) -> None:
        """Delete a Deployment."""
        gone = self.deployments.pop(key)
        self.happened(Deleted(Deployment(*key, gone.uid, self.next_version(), gone.replicas)))

    @rule(key=KEYS, replicas=COUNTS)
    def create_or_delete(self, key: Key, replicas: int) -> None:
        """Somebody creates a Deployment, or deletes the one that is there."""
        if key in self.deployments:
            self.delete(key)
        else:
            self.create(key, replicas)

    @rule(key=KEYS, replicas=COUNTS)
    def recreate(self, key: Key, replicas: int) -> None:
        """Somebody replaces a Deployment by another of the same name."""
        if key in self.deployments:
            self.delete(key)
        self.create(key, replicas)

    @rule(key=KEYS, replicas=COUNTS)
    def scale(self, key: Key, replicas: int) -> None:
        """Somebody else scales a Deployment; the same count again is no change, and gets no version."""
        known = self.deployments.get(key)
        if known and known.replicas != replicas:
            self.put(key, known.uid, replicas)

    @rule(key=KEYS)
    def spoil(self, key: Key) -> None:
        """Somebody makes of a Deployment what cannot be read."""
        if known := self.deployments.get(key):
            self.deployments[key] = Unreadable(*key, known.uid, self.next_version(), why="it is too large")
            self.happened(Put(self.deployments[key]))

    # What we do, and what we are told.

    @precondition(lambda self: not self.cache.unsynced)
    @rule(key=KEYS, replicas=COUNTS)
    def write(self, key: Key, replicas: int) -> None:
        """We scale a Deployment; the answer is under way."""
        self.scale(key, replicas)
        if known := self.deployments.get(key):
            self.answers.append(known)

    @precondition(lambda self: not self.cache.unsynced)
    @rule(key=KEYS, replicas=COUNTS)
    def write_and_answer(self, key: Key, replicas: int) -> None:
        """We scale a Deployment, and are answered at once: the next read sees it."""
        self.write(key, replicas)
        if known := self.deployments.get(key):
            self.answer(len(self.answers) - 1)
            assert self.cache.deployment(*key) == known

    @precondition(lambda self: self.answers)
    @rule(which=ANY)
    def answer(self, which: int) -> None:
        """The answer to one of our writes arrives, in whatever order."""
        answered = self.answers.pop(which % len(self.answers))
        self.cache.written(answered)
        self.reached(key_of(answered), int(answered.resource_version))

    @rule()
    def time_passes(self) -> None:
        """A second passes; without this rule things happen at the same instant."""
        self.clock.advance(1)

    @rule(which=ANY, count=st.integers(1, 3))
    def tell(self, which: int, count: int) -> None:
        """A watch tells its oldest events, unless its thread is busy with a list; before the first list in vain."""
        teller = self.tellers[which % len(self.tellers)]
        if teller.asked_at is not None:
            return
        changes = [teller.events.popleft()[1] for _ in range(min(count, len(teller.events)))]
        heard_at = teller.events[0][0] if teller.events else self.clock.seconds()
        self.cache.apply(Changed(teller.source, heard_at, changes))
        for change in changes:
            if teller.synced and isinstance(change.object, Deployment):
                self.reached(key_of(change.object), int(change.object.resource_version))

    @rule(which=ANY)
    def go_on_with_list(self, which: int) -> None:
        """A source asks for a list, whatever the reason is, or the cluster takes the snapshot, or it all arrives."""
        teller = self.tellers[which % len(self.tellers)]
        if teller.asked_at is None:
            teller.asked_at = self.clock.seconds()
        elif teller.snapshot is None:
            self.take_snapshot(teller, teller.asked_at)
        else:
            self.deliver(teller, teller.snapshot)

    def take_snapshot(self, teller: Teller, asked_at: float) -> None:
        """Answer a list; what the watch had not told until then it never will."""
        namespaces: dict[str, Namespace] = {}
        deployments: list[Deployment] = []
        if teller.source.resource is Resource.NAMESPACES:
            namespaces = {name: item for name, item in self.namespaces.items() if teller.covers(item)}
        else:
            deployments = [item for item in self.deployments.values() if teller.covers(item)]
        teller.snapshot = Listed(teller.source, str(self.version), asked_at, namespaces, by_name(deployments))
        teller.events.clear()

    def deliver(self, teller: Teller, snapshot: Listed) -> None:
        """Deliver a list."""
        self.cache.apply(snapshot)
        teller.snapshot, teller.asked_at, teller.synced = None, None, True
        if snapshot.source.resource is Resource.DEPLOYMENTS:
            for key, changes in self.past.items():
                versions = [int(change.object.resource_version) for change in changes if teller.covers(change.object)]
                seen = [version for version in versions if version <= int(snapshot.resource_version)]
                self.reached(key, max(seen, default=0))

    def reached(self, key: Key, version: int) -> None:
        """Note that the cache has been told of this state, or of a later one."""
        self.floor[key] = max(version, self.floor.get(key, 0))

    # What must hold.

    @invariant()
    def never_goes_back(self) -> None:
        """Every Deployment is shown in a state it once had, and never in one before what we were told or wrote."""
        for key, changes in self.past.items():
            shown = populated(self.cache).get(key[0], {}).get(key[1])
            floor = self.floor.get(key, 0)
            if shown:
                assert Put(shown) in changes
                assert int(shown.resource_version) >= floor
            else:
                gone = [change for change in changes if isinstance(change, Deleted)]
                assert not floor or any(int(change.object.resource_version) >= floor for change in gone), key

    @invariant()
    def age_says_enough(self) -> None:
        """Every Deployment is shown as it was at some time within the age that is told, or later."""
        for key, changes in self.past.items():
            age = self.cache.ages().get(key[0], self.cache.ages().get(None))
            if age is None:
                continue
            shown = populated(self.cache).get(key[0], {}).get(key[1])
            ends = [*self.times[key][1:], math.inf]
            told = Put(shown) if shown else None
            lasted = [end for change, end in zip(changes, ends, strict=True) if _shows(change, told)]
            if told is None:
                lasted.append(self.times[key][0])  # until then it had never been there
            assert max(lasted) >= self.clock.seconds() - age, (key, shown, age)

    @rule(space=SPACES | st.none(), view=st.sampled_from(VIEWS))
    def lists_are_read(self, space: str | None, view: View) -> None:
        """What was made of lists before, and is kept, is what would be made of them now; now and then somebody asks."""
        for kept, show in zip(self.kept, (names_in, counts_in), strict=True):
            new = ListBodies(self.cache, show, self.slices)
            ours, theirs = (_read(bodies, space, view) for bodies in (kept, new))
            assert ours == theirs

    @rule()
    def everything_is_told(self) -> None:
        """Once everything under way has arrived, the cache is the cluster."""
        while self.answers:
            self.answer(0)
        for which, teller in enumerate(self.tellers):
            while teller.asked_at is not None or not teller.synced:
                self.go_on_with_list(which)
            while teller.events:
                self.tell(which, 1)
        assert self.cache.unsynced == []
        assert populated(self.cache) == by_name(self.deployments.values())
        assert sorted(self.cache.tree()) == sorted(self.namespaces)

    def teardown(self) -> None:
        """Let every history end in this."""
        self.everything_is_told()


class LimitedHistories(Histories):
    """The same with one source for each of two namespaces."""

    SCOPES = ("shop", "bank")
