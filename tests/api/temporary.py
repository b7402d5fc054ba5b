"""What the tests of temporary counts share: a server whose cluster has a Deployment, and a ConfigMap for notes."""

from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.temporary import Note, read_note
from sre_server.errors import ClusterTimedOut, SreServerError
from sre_server.model import Expected, Notes, State, Swapped, Written
from sre_server.news import Listed, Resource, Source
from tests.fakes import deployment, namespace
from tests.memory_client import Answer
from tests.memory_server import MemoryServer

STORE = Source(Resource.TEMPORARY, "sre", "temporary")
URL = "/deployments/shop/web/temporary"
WEB = deployment()


class TemporaryTestCase(SynchronousTestCase):
    """A server, a Deployment of 3, and a ConfigMap that is empty at first. This has no tests of its own."""

    def setUp(self) -> None:
        """Serve."""
        self.serve()

    def serve(self, **options: Any) -> None:
        """Serve with these options."""
        self.server = MemoryServer(store=STORE, **options)
        self.server.swap = self.swap
        self.server.scaler = self.scale
        self.data: dict[str, str] = {}
        self.version = 100
        self.present = {"web": WEB}
        self.troubles: list[SreServerError | None] = []
        """What goes wrong with the next changes of notes, each after it was made if it is a timeout."""
        self.server.sync(namespace(), WEB)
        self.list_notes()
        assert self.server.returning is not None
        self.server.returning.startService()
        self.addCleanup(self.server.returning.stopService)

    def list_notes(self, *, exists: bool = True) -> None:
        """Have the ConfigMap listed."""
        others = {"sre": {"temporary": self.notes()}} if exists else {}
        self.server.cache.apply(Listed(STORE, str(self.version), self.server.clock.seconds(), others=others))

    def notes(self) -> Notes:
        """The ConfigMap as it is."""
        return Notes("sre", "temporary", "u", str(self.version), dict(self.data))

    def swap(self, client: str, key: str, before: str | None, after: str | None, *, empty: bool) -> Deferred[Swapped]:
        """Change a note."""
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None and not isinstance(trouble, ClusterTimedOut):
            return fail(trouble)
        self.assertEqual(empty, not self.data)
        done = self.data.get(key) == before
        if done:
            self.version += 1
            self.data.pop(key, None)
            self.data |= {} if after is None else {key: after}
        return fail(trouble) if trouble is not None else succeed((done, self.notes()))

    def scale(
        self, client: str, namespace: str, name: str, replicas: int, expected: Expected
    ) -> Deferred[Written | State]:
        """Set a count, in a cluster that compares."""
        found = self.present[name]
        if self.server.outcome is not None:
            return fail(self.server.outcome) if isinstance(self.server.outcome, Exception) else succeed(WEB)  # type: ignore[arg-type]
        if not expected.fits(State(found.uid, found.replicas)):
            return succeed(State(found.uid, found.replicas))
        self.version += 1
        self.present[name] = replace(found, replicas=replicas, resource_version=str(self.version))
        return succeed(Written(self.present[name]))

    def set(self, replicas: int = 20, span: str = "2h", query: str = "", **headers: str) -> Answer:
        """Set a count for a time."""
        body = b'{"replicas":%d,"for":"%s"}' % (replicas, span.encode())
        return self.server.call("PUT", URL + query, body, {name.replace("_", "-"): to for name, to in headers.items()})

    def note(self) -> Note:
        """The one note that there is."""
        (text,) = self.data.values()
        note = read_note(text)
        assert note is not None
        return note

    def pass_time(self, seconds: int) -> None:
        """Let time pass, the cluster being heard of all the while."""
        for _ in range(seconds):
            self.server.clock.advance(1)
            self.list_notes()
