"""A master, a replica and a sentinel of one test, all with passwords, and the user of docs/scale.md for sentinels."""

from pathlib import Path

from redis import RedisError
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.redis import RedisServer, Sentinel, free_port, wait_until
from tests.functional.sharing import PASSWORD, user_of_the_page

SENTINEL_PASSWORD = "another-password-of-the-tests"


class Replicated:
    """All three, running; `options` say where they are, by two sentinels of which one is there."""

    def __init__(self, test: SynchronousTestCase, folder: Path, program: str = "redis-server") -> None:
        user = user_of_the_page("sentinel", SENTINEL_PASSWORD)
        replicating = ("--masterauth", PASSWORD, "--user", *user)
        self.master = RedisServer(*replicating, password=PASSWORD, program=program)
        where = f"127.0.0.1 {self.master.port}"
        self.replica = RedisServer("--replicaof", where, *replicating, password=PASSWORD, program=program)
        secret = ("sentinel auth-user main sentinel", f"sentinel auth-pass main {SENTINEL_PASSWORD}")
        watched = f"sentinel monitor main {where} 1"
        self.sentinel = Sentinel(folder, watched, *secret, password=SENTINEL_PASSWORD, program=program)
        for server in (self.master, self.replica, self.sentinel):
            server.start()
            test.addCleanup(server.kill)
        self.sentinel.wait_for_replica()
        file = folder / "sentinel-password"
        file.write_text(SENTINEL_PASSWORD)
        url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{self.sentinel.port}/main"
        self.options = [f"--cache={url}", f"--cache-sentinel-password-file={file}"]

    def wait_for_failover(self) -> None:
        """Wait until the replica is the master."""
        wait_until(lambda: self.sentinel.master() == self.replica.port, "another master", 120)

    def wait_for_demotion(self) -> None:
        """Wait until the old master is a replica."""

        def demoted() -> bool:
            try:
                return bool(self.master.call("ROLE")[0] == b"slave")
            except RedisError:  # all its clients are cut off at that moment
                return False

        wait_until(demoted, "replicating", 120)
