"""A Redis with a replica and a sentinel: who follows the log goes on, whichever of the two is the master."""

import signal
import socket
import threading

from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import StoreError, StoreRefused, StoreUnreachable
from sre_server.store.connection import Store
from sre_server.store.interruptible import Interruptible
from sre_server.store.options import StoreOptions, parse_url
from sre_server.store.sentinels import discover
from tests.certificates import Authority
from tests.fakes import temporary_folder
from tests.functional.redis import RedisServer, Sentinel, free_port, wait_until
from tests.functional.replicated import SENTINEL_PASSWORD, Replicated
from tests.functional.sharing import CART, SharedTestCase, user_of_the_page


class SentinelTestCase(SharedTestCase):
    """A watcher and an api process that ask sentinels, of which one is there. This has no tests of its own."""

    def start_redis(self) -> list[str]:
        """Start a master, a replica and a sentinel."""
        self.servers = Replicated(self, self.folder, self.program)
        self.redis, self.replica = self.servers.master, self.servers.replica
        return self.servers.options

    def lose(self, replicas: int) -> None:
        """Have the api process show what the replica, which is to be the master, never hears of."""
        self.replica.kill(signal.SIGSTOP)
        self.redis.call("CLIENT", "KILL", "TYPE", "replica")
        head = self.key("sre:1:*:head")
        heard = int(self.redis.call("HGET", head, "seq"))
        self.follows(replicas)
        self.assertGreater(int(self.redis.call("HGET", head, "seq")), heard)
        self.redis.kill()


class FailoverTests(SentinelTestCase):
    """The master dies."""

    def test_the_master_is_killed(self) -> None:
        """Reads and writes go on meanwhile, and all goes on from the replica, without a reload."""
        self.follows(20)
        self.redis.kill()
        self.assertEqual(self.api.get(CART).status, 200)
        self.assertEqual(self.api.put(CART, {"replicas": 21}).status, 200)
        self.servers.wait_for_failover()
        self.follows(22)
        self.assertNotIn("loaded again", self.api.said())
        self.assertNotIn("from the start", self.watcher.said().replace("from the start, in", "", 1))

    def test_writes_are_lost(self) -> None:
        """What the next master never heard of is appended there again: readers notice nothing."""
        self.lose(25)
        self.replica.kill(signal.SIGCONT)
        self.servers.wait_for_failover()
        self.follows(26)
        self.assertNotIn("loaded again", self.api.said())


class ValkeyFailoverTests(FailoverTests):
    """The same with Valkey."""

    program = "valkey-server"


class OtherFailoverTests(SentinelTestCase):
    """It ends in good order, with a watcher, or for a while."""

    def test_a_graceful_failover(self) -> None:
        """The same when the operator asks for another master."""
        self.servers.sentinel.call("SENTINEL", "FAILOVER", "main")
        self.servers.wait_for_failover()
        self.follows(23)
        self.servers.wait_for_demotion()
        self.follows(24)
        self.assertNotIn("loaded again", self.api.said())

    def test_writes_are_lost_with_who_wrote_them(self) -> None:
        """The next watcher does not know what readers have seen: they load again, and are not taken back."""
        standby = self.watch()
        self.lose(27)
        self.watcher.send_signal(signal.SIGTERM)
        self.watcher.wait()
        self.replica.kill(signal.SIGCONT)
        self.servers.wait_for_failover()
        standby.wait_for_line("publishing from .* on", 30)
        seen = set()

        def loaded() -> bool:
            seen.add(self.api.get(CART).json["replicas"])
            return "loaded again" in self.api.said()

        self.api.wait_for(loaded, "loading again")
        self.follows(28)
        self.assertEqual(seen, {27})

    def test_the_old_master_comes_back(self) -> None:
        """One that stood still while another became the master is nobody's any more."""
        self.redis.kill(signal.SIGSTOP)
        self.servers.wait_for_failover()
        self.follows(29)
        self.redis.kill(signal.SIGCONT)
        self.servers.wait_for_demotion()
        self.follows(30)
        self.assertNotIn("loaded again", self.api.said())


class DiscoveryTests(SynchronousTestCase):
    """A sentinel of a master, asked directly."""

    def setUp(self) -> None:
        """Start both."""
        self.folder = temporary_folder(self)
        (self.folder / "password").write_text(SENTINEL_PASSWORD)
        (self.folder / "wrong").write_text("wrong")
        self.redis = RedisServer()
        watched = f"sentinel monitor main 127.0.0.1 {self.redis.port} 1"
        self.sentinel = Sentinel(self.folder, watched, password=SENTINEL_PASSWORD)
        for server in (self.redis, self.sentinel):
            server.start()
            self.addCleanup(server.kill)

    def discover(self, *ports: int, name: str = "main", file: str | None = "password", user: str = "") -> int:
        """Ask, with the password of a file, and return the port of the master."""
        servers = ",".join(f"127.0.0.1:{port}" for port in ports or (self.sentinel.port,))
        options = StoreOptions(
            address=parse_url(f"redis+sentinel://{servers}/{name}"),
            seal=self.folder / "seal",
            sentinel_user=user or None,
            sentinel_password_file=None if file is None else self.folder / file,
        )
        return discover(options, Interruptible())[1]

    def refusal(self, kind: type[StoreError], *ports: int, **given: str | None) -> str:
        """The one line of an error."""
        text = str(self.assertRaises(kind, self.discover, *ports, **given))
        self.assertEqual(len(text.splitlines()), 1)
        return text

    def test_sentinels_that_do_not_answer(self) -> None:
        """One that is not there, one that stands still, one that lets nobody in: the next one is asked."""
        still = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(still.close)
        strict = Sentinel(self.folder, f"sentinel monitor main 127.0.0.1 {self.redis.port} 1", password="x")
        strict.start()
        self.addCleanup(strict.kill)
        ports = free_port(), still.getsockname()[1], strict.port, self.sentinel.port
        self.assertEqual(self.discover(*ports), self.redis.port)

    def test_what_is_to_be_mended(self) -> None:
        """A wrong password, no password, a wrong name, nobody there: each is one line."""
        for file, user in (("wrong", ""), (None, ""), ("password", "nobody")):
            text = self.refusal(StoreRefused, file=file, user=user)
            self.assertIn("see --cache-sentinel-user, --cache-sentinel-password-file", text)
        self.assertIn("watches no 'other', but main: see --cache", self.refusal(StoreRefused, name="other"))
        text = f"127.0.0.1:{self.redis.port} is no sentinel, but a Redis: name the sentinels with --cache."
        self.assertEqual(self.refusal(StoreRefused, self.redis.port, file=None), text)
        self.assertIn("No sentinel of 127.0.0.1:", self.refusal(StoreUnreachable, free_port()))
        self.sentinel.call("ACL", "SETUSER", "default", "-@all", "+auth")
        self.assertIn("no permissions", self.refusal(StoreRefused))

    def test_user_of_the_page(self) -> None:
        """The user that docs/scale.md gives may ask where the master is, and no more."""
        self.sentinel.call("ACL", "SETUSER", *user_of_the_page("sre-server", SENTINEL_PASSWORD))
        self.assertEqual(self.discover(user="sre-server"), self.redis.port)

    def test_the_master_is_down(self) -> None:
        """While there is none, that is said."""
        self.redis.kill()
        wait_until(lambda: b"o_down" in self.sentinel.call("SENTINEL", "MASTER", "main")[9], "down")
        self.assertIn("say that the master 'main' is down", self.refusal(StoreUnreachable))

    def test_interrupted(self) -> None:
        """The end of the server ends what waits for sentinels that stand still, and asks none after it."""
        still = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(still.close)
        many = ",".join([f"127.0.0.1:{still.getsockname()[1]}"] * 100)
        options = StoreOptions(address=parse_url(f"redis+sentinel://{many}/main"), seal=self.folder / "seal")
        interruptible, errors = Interruptible(), []

        def ask() -> None:
            try:
                discover(options, interruptible)
            except StoreError as error:
                errors.append(str(error))

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        accepted, _ = still.accept()
        self.addCleanup(accepted.close)
        accepted.recv(1000)
        interruptible.interrupt()
        thread.join(20)
        self.assertEqual(errors, ["The server is shutting down."])


class EncryptedTests(SynchronousTestCase):
    """A sentinel and a master that speak TLS, and know each other by name."""

    def test_whom_to_trust(self) -> None:
        """With the right CA a connection is made by way of the sentinel; with another one it is not."""
        folder = temporary_folder(self)
        authority, stranger = Authority(folder), Authority(temporary_folder(self))
        pair, ours = authority.issue("localhost"), authority.issue("watcher")
        files = {"tls-cert-file": pair.certificate, "tls-key-file": pair.key, "tls-ca-cert-file": authority.file}
        port, sentinel_port = free_port(), free_port()
        arguments = [text for name, path in files.items() for text in (f"--{name}", str(path))]
        redis = RedisServer("--tls-port", str(port), *arguments)
        lines = [
            *(f"{name} {path}" for name, path in files.items()),
            f"tls-port {sentinel_port}",
            "tls-replication yes",
            "sentinel resolve-hostnames yes",
            "sentinel announce-hostnames yes",
            f"sentinel monitor main localhost {port} 1",
        ]
        for server in (redis, Sentinel(folder, *lines)):
            server.start()
            self.addCleanup(server.kill)
        for trusted in (authority, stranger):
            options = StoreOptions(
                address=parse_url(f"rediss+sentinel://localhost:{sentinel_port}/main"),
                seal=folder / "seal",
                ca=trusted.file,
                certificate=ours.certificate,
                private_key=ours.key,
            )
            if trusted is authority:
                with Store(options, Interruptible()) as store:
                    self.assertEqual(store.call("PING"), b"PONG")
            else:
                error = self.assertRaises(StoreUnreachable, Store, options, Interruptible())
                self.assertIn("certificate verify failed", str(error))
