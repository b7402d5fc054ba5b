"""What the tests of waits share: a settled Deployment, and clients that wait for what becomes of it."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import (
    Deployment,
    Progress,
)
from sre_server.security.authorization import AnyClient, Decision, Verb
from sre_server.security.identity import Identity
from tests.day.test_autoscalers import listed
from tests.fakes import deployment, namespace
from tests.memory_client import Wire
from tests.memory_server import MemoryServer

REPLICAS = "/deployments/shop/web/replicas"
UPDATED = "Successfully updated the replica count for the deployment"
WEB = replace(deployment(replicas=3), progress=Progress(2, 2, 3, 3, 3, 3))
REFUSED = (
    'FailedCreate: pods "web-1" is forbidden: exceeded quota: four, requested: pods=1, used: pods=4, limited: pods=4'
)
UNOWNED = "through /scale, program unknown (HorizontalPodAutoscaler 'web-scaler' sets it, too)"
SLOW = 'ProgressDeadlineExceeded: ReplicaSet "web-1" has timed out progressing.'


def at(version: int, replicas: int, total: int, **more: Any) -> Deployment:
    """Make what the watch tells at a version: a count of which so many pods are there, available, and observed."""
    progress = Progress(3, 3, total, total, total, total)
    fields = {name: more.pop(name) for name in list(more) if name in Progress.__struct_fields__}
    seen = replace(WEB, resource_version=str(version), replicas=replicas, progress=replace(progress, **fields))
    return replace(seen, **more)


class Fickle(AnyClient):
    """Lets everybody do everything, until it does not."""

    allows = True

    def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
        """See `Authorizer.decide`."""
        return Decision(self.allows, "a whim")

    preview = decide

    def known_to_read(self, identity: Identity, namespace: str, name: str) -> bool:
        """See `Authorizer.known_to_read`."""
        return self.allows


class WaitingTestCase(SynchronousTestCase):
    """A settled Deployment of 3, whose writes succeed at version 1000. This has no tests of its own."""

    def setUp(self) -> None:
        """Serve it, on a clock that has run for a while."""
        self.server = MemoryServer()
        self.server.clock.advance(5)
        self.server.sync(namespace(), WEB)
        self.server.cache.apply(listed())

    def put(self, replicas: int, prefer: str | None = "wait=60", headers: Mapping[str, str] | None = None) -> Wire:
        """Send a PUT, and return the connection on which its answer is to come."""
        fields = {**(headers or {}), **({"Prefer": prefer} if prefer is not None else {})}
        return self.server.send("PUT", REPLICAS, b'{"replicas":%d}' % replicas, fields)

    def told(self, wire: Wire) -> dict[str, Any] | None:
        """Return what is answered beside the message, checked for what every such answer has; None before it comes."""
        answers = wire.answers()
        if not answers:
            return None
        (answer,) = answers
        self.assertEqual((answer.check().status, answer.header("Preference-Applied")), (200, "wait=60"))
        body = answer.json()
        self.assertEqual(body.pop("message"), UPDATED)
        self.assertEqual(list(body)[:3], ["outcome", "replicas", "after"])
        return {name: value for name, value in body.items() if name != "after"}

    def metrics(self) -> list[str]:
        """Return the lines of all metrics."""
        (answer,) = self.server.connect().send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return answer.body.decode().splitlines()

    def assert_waits(self, count: int) -> None:
        """Check how many wait, by the metric."""
        self.assertIn(f"sre_server_waits {count}.0", self.metrics())
