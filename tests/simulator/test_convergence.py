"""A client that follows the rules of list and watch always ends with the cluster's own state, whatever happens."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator.faults import Fault
from sre_server.simulator.kinds import DEPLOYMENTS, NAMESPACES, Object
from sre_server.simulator.statuses import Refusal
from tests.simulator.memory import ALL, Exchange, Wire

NAMES = st.sampled_from(["cart", "catalog", "a", "b", "z"])
SPACES = st.sampled_from(["shop", "shop-2", "payments"])


class Follower:
    """A client: it lists page by page, then watches; it trusts nothing but what came over the wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._pages: dict[str, Object] = {}
        self._token = ""
        self._stream: Exchange | None = None
        self._version = ""
        self.world: dict[str, Object] = {}

    def step(self) -> None:
        """Do the next thing: fetch a page, open a watch, or apply what came."""
        if self._stream is not None:
            self._apply(self._stream)
        elif self._version:
            self._stream = self._wire.get(f"{ALL}?watch=1&resourceVersion={self._version}")
        else:
            self._fetch()

    def catch_up(self) -> None:
        """Go on until the watch is open and everything that came is applied."""
        for _ in range(50):
            self.step()
        if self._stream is None or self._stream.complete:
            raise AssertionError("the client does not come to rest")

    def cut(self) -> None:
        """Lose the connection, with whatever was on its way; the next watch goes on from what was applied."""
        if self._stream is not None:
            self._stream.hang_up()
            self._stream = None

    def stall(self, stalled: bool) -> None:
        """Stop reading, or read again."""
        if self._stream is not None and not self._stream.complete:
            if stalled:
                self._stream.stall()
            else:
                self._stream.drain()

    def _fetch(self) -> None:
        answer = self._wire.get(f"{ALL}?limit=3&continue={self._token}")
        if answer.status == 410:
            self._pages, self._token = {}, ""
            return
        page = answer.json()
        self._pages |= {item["metadata"]["uid"]: item for item in page["items"]}
        self._token = page["metadata"].get("continue", "")
        if not self._token:
            self.world, self._pages = self._pages, {}
            self._version = page["metadata"]["resourceVersion"]

    def _apply(self, stream: Exchange) -> None:
        for event in stream.events():
            value = event["object"]
            if event["type"] == "ERROR":
                self._version = ""
                break
            self._version = value["metadata"]["resourceVersion"]
            if event["type"] == "DELETED":
                del self.world[value["metadata"]["uid"]]
            else:
                del value["kind"], value["apiVersion"]
                self.world[value["metadata"]["uid"]] = value
        if stream.complete:
            self._stream = None


class Convergence(RuleBasedStateMachine):
    """Changes of every sort, interleaved with the steps of two clients."""

    def __init__(self) -> None:
        super().__init__()
        self.wire = Wire(deployments=8, history=8)
        self.cluster = self.wire.cluster
        self.cluster.create(NAMESPACES, "", {"metadata": {"name": "shop-2"}})
        self.followers = [Follower(self.wire), Follower(self.wire)]
        self.followers[0].catch_up()

    @rule(namespace=SPACES, name=NAMES, replicas=st.integers(0, 9))
    def create_or_scale(self, namespace: str, name: str, replicas: int) -> None:
        """Create a Deployment, or scale it if it exists."""
        try:
            self.wire.create(namespace, name, replicas)
        except Refusal as refusal:
            if refusal.status["reason"] == "AlreadyExists":
                self.wire.scale(namespace, name, replicas)

    @rule(namespace=SPACES, name=NAMES)
    def delete(self, namespace: str, name: str) -> None:
        """Delete a Deployment, if it exists."""
        try:
            self.cluster.delete(DEPLOYMENTS, namespace, name)
        except Refusal as refusal:
            if refusal.code != 404:
                raise

    @rule(namespace=SPACES)
    def recreate_namespace(self, namespace: str) -> None:
        """Delete a namespace with everything in it, and create it again."""
        self.cluster.delete(NAMESPACES, "", namespace)
        self.cluster.create(NAMESPACES, "", {"metadata": {"name": namespace}})

    @rule()
    def compact(self) -> None:
        """Forget all history."""
        self.cluster.compact()

    @rule(seconds=st.sampled_from([0.3, 1.0, 65.0]))
    def wait(self, seconds: float) -> None:
        """Let rollouts move."""
        self.wire.clock.advance(seconds)

    @rule(which=st.integers(0, 1), steps=st.integers(1, 4))
    def step(self, which: int, steps: int) -> None:
        """Let a client do something."""
        for _ in range(steps):
            self.followers[which].step()

    @rule(which=st.integers(0, 1))
    def cut(self, which: int) -> None:
        """Take a client's connection away."""
        self.followers[which].cut()

    @rule(which=st.integers(0, 1), stalled=st.booleans())
    def stall(self, which: int, stalled: bool) -> None:
        """Let a client stop reading, or read again."""
        self.followers[which].stall(stalled)

    @rule(which=st.integers(0, 1), replicas=st.lists(st.integers(0, 9), max_size=12), compact=st.booleans())
    def fall_behind(self, which: int, replicas: list[int], compact: bool) -> None:
        """Let a client read nothing while much happens."""
        self.followers[which].stall(True)
        for count in replicas:
            self.create_or_scale("shop", "cart", count)
        if compact:
            self.cluster.compact()
        self.followers[which].stall(False)

    @rule(kind=st.sampled_from(["close", "error-event"]))
    def strike(self, kind: str) -> None:
        """End a stream from the server's side, if one is open."""
        if self.wire.api.open_watches:
            self.wire.faults.replace(Fault(kind=kind, times=1, code=410))  # type: ignore[arg-type]

    @invariant()
    def versions_are_unique(self) -> None:
        """No two objects ever share a version."""
        versions = [item["metadata"]["resourceVersion"] for item in self.wire.objects()]
        assert len(set(versions)) == len(versions)

    def teardown(self) -> None:
        """In the end, both clients hold what the cluster holds, and nothing is left running."""
        for follower in self.followers:
            follower.stall(False)
            follower.catch_up()
            assert follower.world == {item["metadata"]["uid"]: item for item in self.wire.objects()}
        self.cluster.stop()
        self.wire.api.stop()
        assert self.wire.clock.getDelayedCalls() == []


class ConvergenceTests(SynchronousTestCase):
    """The machine above, run many times."""

    def test_convergence(self) -> None:
        """After any interleaving of changes, compactions and broken streams, a client ends with the truth."""
        chosen = settings(max_examples=100, stateful_step_count=40, deadline=None)
        run_state_machine_as_test(Convergence, settings=chosen)
