"""What may happen around a shared cache: nothing there yet, a network that is cut, a watcher of a later release."""

import time
from functools import partial
from typing import Final

from tests.functional.daemon import Process, environment, twistd
from tests.functional.load import report, together
from tests.functional.network import Network
from tests.functional.redis import RedisServer
from tests.functional.sharing import CART, PASSWORD, SharedTestCase
from tests.functional.test_attacks import MARGIN

DETECTED_SECONDS: Final = 5.0

# As a later release might: one column more in each record and each row, and a row of a kind of its own.
LATER: Final = """
import msgspec
from sre_server.store import records

class Encoder:
    def encode(self, record):
        columns = msgspec.to_builtins(record)
        if not isinstance(record, records.Head):
            rows = record.__struct_fields__.index("rows")
            kind = [99, "shop", "cart", "uid", "5", 7, None, "later"]
            columns[rows] = [*([*row, "later"] for row in columns[rows]), kind]
        return msgspec.msgpack.encode([*columns, "later"])

records._encoder = Encoder()
"""


class StartTests(SharedTestCase):
    """Before there is anything to follow."""

    def start_redis(self) -> list[str]:
        """Have a Redis that is not started yet."""
        self.redis = RedisServer(password=PASSWORD)
        self.addCleanup(self.redis.kill)
        return [f"--cache={self.redis.url}"]

    def wait_until_settled(self) -> None:
        """There is nothing to wait for."""

    def test_nothing_is_there(self) -> None:
        """Without Redis reads and writes are 503, and readyz says why; the process lives, and begins with Redis."""
        self.api.wait_for_line("following redis://.*cannot be reached.*Next try")
        self.assertEqual(self.api.get(CART).status, 503)
        self.assertEqual(self.api.ops("/livez").status, 200)
        ready = self.api.ops("/readyz?verbose")
        self.assertEqual((ready.status, "cannot be reached" in str(ready.json)), (503, True))
        self.assertEqual(self.api.put(CART, {"replicas": 12}).status, 503)
        self.redis.start()
        self.follows(12)
        self.assertNotIn("cannot be reached", str(self.api.ops("/readyz?verbose").json))


class LaterReleaseTests(SharedTestCase):
    """Who watches was updated first."""

    def watch(self) -> Process:
        """Start a watcher of a later release."""
        options = ("--role=watcher", "--lease=default/sre-server", *self.options)
        *python, script = twistd("sre-server", *options)[:3]
        watcher = Process([*python, LATER + script, *twistd("sre-server", *options)[3:]], environment(), self.folder)
        self.addCleanup(watcher.close)
        watcher.wait_for_line("deployments: listed")
        return watcher

    def test_a_later_release(self) -> None:
        """What an older process does not know it passes over; what is in a format of its own, it does not see."""
        for kind, name in (("SET", "head"), ("SET", "log"), ("SET", "c:0")):
            key = self.key("sre:1:*:head").decode().replace("sre:1:", "sre:2:").replace("head", name)
            self.redis.call(kind, key, "another format")
        self.follows(13)
        late = self.serve()
        late.wait_until_ready()
        self.assertEqual(late.get(CART).json["replicas"], 13)
        self.assertIn(b"later", self.redis.call("XREVRANGE", self.key("sre:1:*:log"), "+", "-", "COUNT", 1)[0][1][1])
        self.assertNotIn("loaded again", self.api.said())


class LinkTests(SharedTestCase):
    """A Redis at the end of a link."""

    def start_redis(self) -> list[str]:
        """Start Redis in a network namespace."""
        self.network = Network()
        self.network.open()
        self.addCleanup(self.network.close)
        self.redis = RedisServer(password=PASSWORD, host=self.network.there, inside=self.network.inside())
        self.redis.start()
        self.addCleanup(self.redis.kill)
        return [f"--cache={self.redis.url}"]

    def test_the_link_goes_down(self) -> None:
        """Nobody is told, and everybody notices: age grows, reads and writes go on; all does once it is up again."""
        self.follows(14)
        failures = self.metric("sre_server_store_failures_total")
        self.network.unplug()
        cut_at = time.monotonic()

        def notices(process: Process) -> float:
            process.wait_for_line("redis://198.18.*(did not answer in time|cannot be reached).*Next try")
            return time.monotonic() - cut_at

        taken = together(partial(notices, self.api), partial(notices, self.watcher))
        for name, seconds in zip(("api", "watcher"), taken, strict=True):
            report(f"Redis, its peer dead, seen by the {name}: {seconds:.1f} s of {DETECTED_SECONDS:.0f} s")
            self.assertLess(seconds, DETECTED_SECONDS + MARGIN, name)
        self.assertGreaterEqual(self.age(), 5)
        self.assertGreater(self.metric("sre_server_store_failures_total"), failures)
        self.assertEqual(self.api.put(CART, {"replicas": 15}).status, 200)
        self.network.plug()
        self.follows(16)
        self.assertNotIn("loaded again", self.api.said())
