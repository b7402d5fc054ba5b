"""What the tests of a shared cache in memory share: a watcher that leads, and a pod that follows it."""

from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Deployment
from sre_server.news import Change, Put
from tests.store.memory import Pod, Watcher, World


class SharingTestCase(SynchronousTestCase):
    """One watcher, or two, and a pod. This has no tests of its own."""

    skew = 0.0
    """By so many seconds the wall clock of the second watcher is ahead."""

    def setUp(self) -> None:
        """Have a watcher that leads and has listed, and a pod."""
        self.world = World(self.skew)
        self.world.change("web", 3)
        self.watcher = Watcher(self.world, zero=5000)
        self.world.leader = self.watcher
        self.watcher.list()
        self.pod = Pod(self.world, zero=100)

    def rounds(self, count: int = 3, *watchers: Watcher) -> None:
        """Let heartbeats pass, and the pod read each."""
        for _ in range(count):
            for watcher in watchers or (self.watcher,):
                watcher.step()
            self.pod.step()
            self.world.advance(1)

    def change(self, name: str, replicas: int | None, *watchers: Watcher) -> None:
        """Change the cluster, and let watchers hear it."""
        change = self.world.change(name, replicas)
        for watcher in watchers or (self.watcher,):
            watcher.hear(*([change] if change else []))

    def standby(self) -> Watcher:
        """Have another watcher list."""
        standby = Watcher(self.world, zero=70)
        standby.list()
        return standby

    def standby_behind(self) -> tuple[Watcher, list[Change]]:
        """Have another one that has yet to hear of changes which are published; return it, and them."""
        standby = self.standby()
        self.rounds()
        late = [change for name, count in (("web", 8), ("new", 1)) if (change := self.world.change(name, count))]
        self.watcher.hear(*late)
        self.rounds(2)
        return standby, late

    def write(self, name: str, replicas: int) -> Put:
        """Change the cluster through the pod, which no watcher has heard of yet."""
        change = self.world.change(name, replicas)
        assert isinstance(change, Put)
        assert isinstance(change.object, Deployment)
        self.pod.cache.written(change.object)
        return change

    def restore(self) -> None:
        """Let the cluster be as it was: at an earlier version, and with a count of 1."""
        self.world.version = 50
        self.world.deployments["shop", "web"] = Deployment("shop", "web", "uid-101", "49", 1)

    def reloads(self, *names: str) -> float:
        """How often the pod has loaded everything again, for one of these reasons, or for any."""
        names = names or ("forged", "incomplete")
        value = self.pod.metrics.registry.get_sample_value
        return sum(value("sre_server_store_reloads_total", {"reason": name}) or 0 for name in names)
