"""A watcher, api processes and a real Redis, with whatever may happen to the latter, on the simulated cluster."""

import signal

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.certificates import Authority
from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon
from tests.functional.redis import RedisServer, free_port
from tests.functional.sharing import CART, PASSWORD, SharedTestCase, Watcher, user_of_the_page
from tests.functional.simulated import Simulator

PICTURE = "/deployments/shop/cart"


class RedisTests(SharedTestCase):
    """Whatever may happen to Redis, and to what is in it."""

    def test_reads_and_writes(self) -> None:
        """What the cluster does shows up; a write goes to the cluster itself; nothing is listed for the api process."""
        self.follows(20)
        self.assertEqual(self.api.put(CART, {"replicas": 21}).status, 200)
        self.shows(21)
        self.assertEqual(self.simulator.counts()["patch scale"], 2)
        self.assertEqual(self.simulator.counts()["watch deployments"], 1)

    def test_waits(self) -> None:
        """A write waits for what comes of it as everywhere; nothing is watched for the api process."""
        answer = self.api.put(CART, {"replicas": 9}, Prefer="wait=50")
        self.assertEqual((answer.status, answer.json["outcome"], answer.json["replicas"]), (200, "available", 9))
        tag = self.api.get(PICTURE).headers["etag"]
        waiting = self.api.connect(60)
        self.addCleanup(waiting.close)
        waiting.request("GET", PICTURE, headers={"If-None-Match": tag, "Prefer": "wait=50"})
        self.simulator.scale("shop", "cart", 7)
        response = waiting.getresponse()
        self.assertEqual((response.status, msgspec.json.decode(response.read())["replicas"]), (200, 7))
        self.assertEqual(self.simulator.counts()["watch deployments"], 1)

    def test_who_changed_what(self) -> None:
        """Another api process learns by the log who wrote, though it is without autoscalers; the watcher logs it."""
        other = self.serve("--without=autoscalers")
        other.wait_until_ready()
        self.watcher.wait_for_line("events: listed")
        self.assertEqual(self.api.put(CART, {"replicas": 0}).status, 200)

        def authors() -> list[str | None]:
            return [change["by"] for change in other.get(f"{PICTURE}/changes").json["changes"]]

        other.wait_for(lambda: authors() == ["alice"], "knowing the author")
        self.watcher.wait_for_line("count changed: shop/cart from .* to 0 by alice through sre-server")
        self.assertEqual(self.simulator.counts().get("watch events"), 1)
        for api in (self.api, other):
            self.assertNotIn("count changed", api.said())
            self.assertNotIn("loaded again", api.said())

    def test_redis_restarts_empty(self) -> None:
        """After kill -9 reads and writes go on; after a start without data everything is published anew."""
        self.redis.kill()
        self.api.wait_for_line("following redis://.*Next try")
        self.assertEqual(self.api.get(CART).status, 200)
        self.assertEqual(self.api.put(CART, {"replicas": 31}).status, 200)
        self.redis.start()
        self.follows(32)

    def test_redis_stands_still(self) -> None:
        """A Redis that does not answer is noticed within 5 s; age grows; afterwards all goes on without a reload."""
        self.redis.kill(signal.SIGSTOP)
        self.api.wait_for_line("did not answer in time")
        self.assertGreaterEqual(self.age(), 5)
        self.simulator.scale("shop", "cart", 33)
        self.redis.kill(signal.SIGCONT)
        self.shows(33)
        self.assertNotIn("loaded again", self.api.said())

    def test_flushall(self) -> None:
        """Everything is published anew, and read again."""
        self.redis.call("FLUSHALL")
        self.api.wait_for_line("Everything is loaded again")
        self.follows(34)

    def test_an_entry_is_deleted(self) -> None:
        """A hole in the log is found, and everything read again."""
        log = self.key("sre:1:*:log")
        length = self.redis.call("XLEN", log)
        self.api.send_signal(signal.SIGSTOP)
        self.simulator.scale("shop", "cart", 35)
        self.api.wait_for(lambda: self.redis.call("XLEN", log) > length + 2, "more entries")
        for identifier, _ in self.redis.call("XREVRANGE", log, "+", "-", "COUNT", 2)[1:]:
            self.redis.call("XDEL", log, identifier)
        self.api.send_signal(signal.SIGCONT)
        self.api.wait_for_line("has a hole.*loaded again")
        self.shows(35)

    def test_a_forged_entry(self) -> None:
        """What is not sealed is believed by nobody, and what it is in the way of begins anew."""
        self.redis.call("XADD", self.key("sre:1:*:log"), "9999999999999999-1", "r", b"?" * 60)
        self.api.wait_for_line("is not sealed with a key of --cache-seal.*loaded again")
        self.follows(44)

    def test_garbage(self) -> None:
        """Whatever else somebody writes there is in the way for a while, and is no bug of ours."""
        log, head = self.key("sre:1:*:log"), self.key("sre:1:*:head")
        last = 2**64 - 1
        for number, (name, *command) in enumerate(
            (
                ("SET", log, "x"),
                ("SET", head, "x"),
                ("HSET", head, "seq", "abc"),
                ("HSET", head, "epoch", "inf"),
                ("XADD", log, f"{last}-{last}", "r", "x"),
            )
        ):
            self.redis.call(name, *command)
            self.follows(50 + number)
        self.assertNotIn("Traceback", self.watcher.said() + self.api.said())

    def test_wrong_password(self) -> None:
        """It is one line, and everything else goes on; the file is read again for the next try."""
        (self.folder / "password").write_text("wrong")
        self.redis.kill()
        self.redis.start()
        self.api.wait_for_line("does not let us in")
        self.assertEqual(self.api.get(CART).status, 200)
        (self.folder / "password").write_text(PASSWORD)
        self.follows(37)

    def test_users_of_the_page(self) -> None:
        """The users that docs/scale.md gives may do what their role does; an api process's may not write."""
        for name in ("watcher", "api"):
            self.redis.call("ACL", "SETUSER", *user_of_the_page(name, "secret"))
        (self.folder / "secret").write_text("secret")
        options = [f"--cache-password-file={self.folder / 'secret'}", "--cache-name=users"]
        watcher = Watcher(self.folder, *self.options, "--cache-user=watcher", *options)
        self.addCleanup(watcher.close)
        watcher.wait_for_line("publishing from the start")
        self.serve("--cache-user=api", *options).wait_until_ready()
        wrong = Watcher(self.folder, *self.options, "--cache-user=api", *options)
        self.addCleanup(wrong.close)
        wrong.wait_for_line("no permissions")

    def test_redis_is_full(self) -> None:
        """While Redis takes nothing age grows; afterwards what waited is published."""
        self.redis.call("CONFIG", "SET", "maxmemory", 1)
        self.watcher.wait_for_line("refused")
        self.simulator.scale("shop", "cart", 43)
        self.redis.call("CONFIG", "SET", "maxmemory", 0)
        self.shows(43)


class ValkeyTests(RedisTests):
    """The same with Valkey."""

    program = "valkey-server"


class ProcessTests(SharedTestCase):
    """Several watchers and api processes."""

    def test_own_write_on_another_pod(self) -> None:
        """A read that carries the version of a write shows it on whatever pod; one that nobody has heard of is 503."""
        other = self.serve()
        other.wait_until_ready()
        for replicas in range(21, 31):
            version = self.api.put(CART, {"replicas": replicas}).headers["x-resource-version"]
            read = other.get(CART, **{"X-Min-Resource-Version": version})
            while read.status == 503:  # as Retry-After says, on a machine that takes more than the 3 s of a request
                read = other.get(CART, **{"X-Min-Resource-Version": version})
            self.assertEqual((read.status, read.json["replicas"]), (200, replicas))
        unheard = other.get(CART, **{"X-Min-Resource-Version": "9" * 18})
        self.assertEqual((unheard.status, unheard.headers["retry-after"]), (503, "1"))

    def test_a_chunk_is_deleted(self) -> None:
        """Whoever follows does not care; a process that starts waits for the rotation."""
        self.redis.call("DEL", self.key("sre:1:*:c:7"))
        self.follows(36)
        late = self.serve()
        late.wait_for(lambda: late.ops("/readyz").status == 200, "ready", 90)
        self.assertEqual(late.get(CART).json["replicas"], 36)

    def test_another_seal(self) -> None:
        """A process with another key serves nothing, and says what to mend."""
        (self.folder / "other").write_text("another key of the tests")
        other = self.serve(f"--cache-seal={self.folder / 'other'}")
        other.wait_for_line("is not sealed with a key of --cache-seal")
        self.assertEqual(other.get(CART).status, 503)
        self.assertEqual(other.ops("/livez").status, 200)

    def test_another_scope(self) -> None:
        """A process that serves other namespaces than the watcher publishes serves nothing, and says so."""
        other = self.serve("--namespace=shop")
        other.wait_for_line("give watchers and api pods the same --namespace")
        self.assertEqual(other.get(CART).status, 503)

    def test_takeover(self) -> None:
        """A second watcher waits; when the first one is told to end it takes over, and followers load nothing again."""
        standby = self.watch()
        self.watcher.send_signal(signal.SIGTERM)
        self.watcher.wait()
        standby.wait_for_line("publishing from .* on")
        self.follows(38)
        self.assertNotIn("loaded again", self.api.said())

    def test_a_watcher_is_killed(self) -> None:
        """The next one takes over once the Lease has run out."""
        standby = self.watch()
        self.watcher.send_signal(signal.SIGKILL)
        standby.wait_for_line("publishing from .* on")
        self.follows(39)

    def test_no_watcher_is_left(self) -> None:
        """An api pod says so while nobody publishes, whoever asks first: readyz or the log."""
        self.watcher.send_signal(signal.SIGKILL)
        self.api.wait_for_line("is a watcher up", seconds=60)
        self.assertIn("is a watcher up?", str(self.api.get("/readyz?verbose").json["warnings"]))
        self.watch()
        self.api.wait_for_line("A watcher publishes again", seconds=60)
        self.assertEqual(self.api.get("/readyz?verbose").json["warnings"], [])

    def test_a_watcher_is_paused_past_its_lease(self) -> None:
        """When it wakes up, another one leads: it publishes nothing, and readers are none the wiser."""
        standby = self.watch()
        self.watcher.send_signal(signal.SIGSTOP)
        standby.wait_for_line("publishing from .* on")
        self.follows(40)
        self.watcher.send_signal(signal.SIGCONT)
        self.watcher.wait_for_line("no longer leads|Another watcher publishes")
        self.follows(41)
        self.assertNotIn("loaded again", self.api.said())

    def test_the_seal_is_changed(self) -> None:
        """By the steps of docs/scale.md a new key replaces the old one; pods serve on, and load once at most."""
        file = self.folder / "seal"
        old, new = file.read_text().strip(), "another key of the tests"
        file.write_text(f"{old}\n{new}\n")
        file.write_text(f"{new}\n{old}\n")
        self.watcher.send_signal(signal.SIGTERM)
        self.watcher.wait()
        self.watch().wait_for_line("publishing from .* on")
        self.follows(44)
        self.assertEqual(self.api.ops("/readyz").status, 200)
        self.assertLessEqual(self.api.said().count("loaded again"), 1)
        file.write_text(f"{new}\n")
        self.follows(45)


class EncryptedTests(SynchronousTestCase):
    """A Redis that speaks TLS."""

    def test_whom_to_trust(self) -> None:
        """With the right CA the roles work; with another one it is a line that says so, and nothing is served."""
        folder = temporary_folder(self)
        authority, stranger = Authority(folder), Authority(temporary_folder(self))
        pair = authority.issue("localhost")
        files = ("--tls-cert-file", str(pair.certificate), "--tls-key-file", str(pair.key))
        port = free_port()
        trusted = ("--tls-ca-cert-file", str(authority.file))
        redis = RedisServer("--tls-port", str(port), *files, *trusted)
        redis.start()
        self.addCleanup(redis.kill)
        simulator = Simulator(folder)
        self.addCleanup(simulator.close)
        (folder / "seal").write_text("one key of the tests")
        ours = authority.issue("watcher")
        shared = [
            f"--kubeconfig={simulator.kubeconfig}",
            f"--cache=rediss://localhost:{port}",
            f"--cache-seal={folder / 'seal'}",
            f"--cache-certificate={ours.certificate}",
            f"--cache-private-key={ours.key}",
        ]
        watcher = Watcher(folder, f"--cache-ca={authority.file}", *shared)
        self.addCleanup(watcher.close)
        watcher.wait_for_line("publishing from the start")
        api = Daemon(folder, "--role=api", f"--cache-ca={authority.file}", *shared, authority=authority)
        self.addCleanup(api.close)
        api.wait_until_ready()
        wrong = Daemon(folder, "--role=api", f"--cache-ca={stranger.file}", *shared, authority=authority)
        self.addCleanup(wrong.close)
        wrong.wait_for_line("rediss://localhost:.* cannot be reached: .*certificate")
        self.assertEqual(wrong.get(CART).status, 503)
