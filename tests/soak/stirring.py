"""Everything that goes on in a cluster and around a server, all the time, from threads."""

import random
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.certificates import Authority, Pair
from tests.functional.daemon import Daemon, Process, environment, twistd
from tests.functional.redis import RedisServer
from tests.functional.simulated import Simulator

DEPLOYMENTS: Final = 2000
POLICY: Final = 'rules: [{identities: ["*"], verbs: [read, scale]}]\n'
PATHS: Final = (
    "/deployments/shop/cart/replicas",
    "/deployments/shop/cart",
    "/deployments/team-001",
    "/namespaces/team-002/deployments/ANY/replica_count",
    "/deployments",
)


def replace(path: Path, data: bytes) -> None:
    """Replace a file in one step, as the kubelet does."""
    beside = path.with_suffix(".new")
    beside.write_bytes(data)
    beside.replace(path)


class Stirring:
    """Two servers, one of them on a shared cache, and all that happens to them, in a `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self.redis = RedisServer()
        self.requests: dict[str, int] = {}
        self.servers: dict[str, Daemon] = {}

    def __enter__(self) -> Self:
        """Start everything."""
        folder = self._folder
        self.authority = Authority(folder)
        self.simulator = Simulator(folder, f"--deployments={DEPLOYMENTS}")
        self._stack.callback(self.simulator.close)
        self.redis.start()
        self._stack.callback(self.redis.kill)
        (folder / "seal").write_text("one key of the soak\n")
        shared = [f"--kubeconfig={self.simulator.kubeconfig}", f"--cache={self.redis.url}"]
        shared.append(f"--cache-seal={folder / 'seal'}")
        command = twistd("sre-server", "--role=watcher", "--lease=default/soak", *shared)
        self.watcher = Process(command, environment(), folder)
        self._stack.callback(self.watcher.close)
        self.servers["all"] = self._serve("all", f"--kubeconfig={self.simulator.kubeconfig}", "--cluster=kubeconfig")
        self.servers["api"] = self._serve("api", "--role=api", *shared)
        for server in self.servers.values():
            server.wait_until_ready()
        for name in self.servers:
            self._keep(self._read, name)
            self._keep(self._write, name)
            self._keep(self._rotate, name)
            self._keep(self._linger, name)
        self._keep(self._scale)
        self._keep(self._recreate)
        self._keep(self._expire)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(60)
        self._stack.close()

    def _serve(self, name: str, *options: str) -> Daemon:
        own = self._folder / name
        own.mkdir()
        issued = self.authority.issue("localhost")
        pair = Pair(own / "server.pem", own / "server.key")
        for to, of in zip(pair, issued, strict=True):
            to.write_bytes(of.read_bytes())
        (own / "clients.pem").write_bytes(self.authority.file.read_bytes())
        (own / "crl.pem").write_bytes(self.authority.revocation_list())
        (own / "policy.yaml").write_text(POLICY)
        (own / "guardrails.yaml").write_text("maximum: 500\n")
        server = Daemon(
            self._folder,
            *options,
            f"--tls-crl={own / 'crl.pem'}",
            f"--authorization=policy:{own / 'policy.yaml'}",
            f"--guardrails={own / 'guardrails.yaml'}",
            f"--audit-log={own / 'audit.log'}",
            server=pair,
            client_ca=own / "clients.pem",
            authority=self.authority,
        )
        self._stack.callback(server.close)
        self.requests[name] = 0
        return server

    def _keep(self, step: Callable[..., object], *arguments: str) -> None:
        """Do a step over and over in a thread of its own; it says how many seconds to wait before the next one."""

        def run() -> None:
            chance = random.Random(str(arguments))  # noqa: S311  # a choice, no secret
            wait: object = 0.0
            while not self._stopped.wait(float(str(wait))):
                wait = 1.0
                with suppress(OSError, HTTPException):
                    wait = step(chance, *arguments)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _read(self, chance: random.Random, name: str) -> float:
        """Read a few times on one connection, sometimes what is known already."""
        server, tags = self.servers[name], dict[str, str]()
        connection = server.connect()
        try:
            for _ in range(chance.randint(1, 40)):
                path = chance.choice(PATHS)
                headers = {"If-None-Match": tags[path]} if path in tags and chance.random() < 0.5 else {}
                tags[path] = server.request("GET", path, headers=headers, connection=connection).headers.get("etag", "")
                self.requests[name] += 1
        finally:
            connection.close()
        return 0.2

    def _write(self, chance: random.Random, name: str) -> float:
        server = self.servers[name]
        server.put("/deployments/shop/cart/replicas", {"replicas": chance.randint(1, 9)})
        self.requests[name] += 1
        return 0.5

    def _linger(self, chance: random.Random, name: str) -> float:
        """Open a connection, say half of something, and be gone."""
        connection = self.servers[name].connect()
        connection.connect()
        connection.sock.sendall(b"GET /deployments HTTP/1.1\r\nHost: local")
        self._stopped.wait(chance.random())
        connection.close()
        return 1.0

    def _rotate(self, chance: random.Random, name: str) -> float:
        """Replace every file, by another one that says the same, or nearly."""
        own, new = self._folder / name, self.authority.issue("localhost")
        replace(own / "server.pem", new.certificate.read_bytes())
        replace(own / "server.key", new.key.read_bytes())
        for file in new:
            file.unlink()
        replace(
            own / "crl.pem", self.authority.revocation_list(chance.randint(1, 10**9), number=chance.randint(2, 10**9))
        )
        replace(own / "guardrails.yaml", f"maximum: {chance.randint(400, 500)}\n".encode())
        replace(own / "policy.yaml", POLICY.encode() + b"# %d\n" % chance.randint(1, 10**9))
        return 10.0

    def _scale(self, chance: random.Random) -> float:
        """Scale one of the first Deployments behind the servers' backs."""
        namespace, name = chance.choice((("shop", "storefront"), ("payments", "ledger"), ("shop", "catalog")))
        self.simulator.scale(namespace, name, chance.randint(1, 20))
        return 0.05

    def _recreate(self, chance: random.Random) -> float:
        """Create a Deployment, and delete it."""
        path, name = "/apis/apps/v1/namespaces/staging/deployments", f"passing-{chance.randint(1, 10**9)}"
        labels = {"app": "passing"}
        template = {"metadata": {"labels": labels}}
        spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        self.simulator.call("POST", path, {"metadata": {"name": name}, "spec": spec})
        self._stopped.wait(0.2)
        self.simulator.call("DELETE", f"{path}/{name}")
        return 0.3

    def _expire(self, chance: random.Random) -> float:
        """Tell every watch that it is too old, so that lists follow."""
        self.simulator.faults({"kind": "error-event", "code": 410})
        self._stopped.wait(0.5)
        self.simulator.faults()
        return 20.0 + 10 * chance.random()
