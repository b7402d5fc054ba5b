"""A watcher and an api process that share a cache in a real Redis, on the simulated cluster."""

from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon, Process, environment, twistd
from tests.functional.redis import RedisServer
from tests.functional.simulated import Simulator

CART = "/deployments/shop/cart/replicas"
PASSWORD = "a password of the tests"


def user_of_the_page(name: str, password: str) -> list[str]:
    """Return what docs/scale.md says of a user, from its name on."""
    page = (Path(__file__).parents[2] / "docs/scale.md").read_text(encoding="utf-8")
    (line,) = (line for line in page.splitlines() if line.startswith(f"ACL SETUSER {name} "))
    return line.removeprefix("ACL SETUSER ").replace(">...", f">{password}").split()


class Watcher(Process):
    """A watcher as its users run it."""

    def __init__(self, folder: Path, *options: str) -> None:
        command = twistd("sre-server", "--role=watcher", "--ops-listen=tcp:0:interface=127.0.0.1", *options)
        super().__init__(command, environment(), folder)


class SharedTestCase(SynchronousTestCase):
    """One watcher and one api process that have settled. This has no tests of its own."""

    program: ClassVar = "redis-server"
    make_authority: ClassVar[type[Authority]] = Authority

    def setUp(self) -> None:
        """Start everything."""
        self.folder = temporary_folder(self)
        (self.folder / "seal").write_text("one key of the tests\n")
        (self.folder / "password").write_text(PASSWORD)
        redis = self.start_redis()
        self.simulator = Simulator(self.folder)
        self.addCleanup(self.simulator.close)
        seal = f"--cache-seal={self.folder / 'seal'}"
        password = f"--cache-password-file={self.folder / 'password'}"
        self.options = [f"--kubeconfig={self.simulator.kubeconfig}", seal, password, *redis]
        self.watcher = self.watch()
        self.api = self.serve()
        self.wait_until_settled()

    def start_redis(self) -> list[str]:
        """Start what the cache is in; return the options that say where that is."""
        self.redis = RedisServer(password=PASSWORD, program=self.program)
        self.redis.start()
        self.addCleanup(self.redis.kill)
        return [f"--cache={self.redis.url}"]

    def wait_until_settled(self) -> None:
        """Wait until reads are answered."""
        self.api.wait_until_ready()

    def watch(self) -> Process:
        """Start a watcher, and wait until it watches."""
        watcher = Watcher(self.folder, "--lease=default/sre-server", *self.options)
        self.addCleanup(watcher.close)
        watcher.wait_for_line("deployments: listed")
        return watcher

    def serve(self, *options: str) -> Daemon:
        """Start an api process; later options count."""
        authority = self.api.authority if hasattr(self, "api") else self.make_authority(self.folder)
        api = Daemon(self.folder, "--role=api", *self.options, *options, authority=authority)
        self.addCleanup(api.close)
        return api

    def follows(self, replicas: int) -> None:
        """Scale behind everybody's back, and wait until the api process shows it."""
        self.simulator.scale("shop", "cart", replicas)
        self.shows(replicas)

    def shows(self, replicas: int) -> None:
        """Wait until the api process answers so."""
        self.api.wait_for(lambda: self.api.get(CART).json.get("replicas") == replicas, f"showing {replicas}")

    def age(self) -> int:
        """How old the api process says that its knowledge is."""
        return int(self.api.get(CART).headers["age"])

    def metric(self, name: str) -> float:
        """The sum of a metric's series at the api process."""
        with closing(HTTPConnection("127.0.0.1", self.api.ops_port, timeout=20)) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def key(self, pattern: str) -> bytes:
        """Find a key in Redis."""
        found = self.redis.call("KEYS", pattern)
        self.assertTrue(found)
        key: bytes = found[0]
        return key
