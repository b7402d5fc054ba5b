"""What the tests of the simulated API share: a cluster in memory, spoken to in bytes, and where its things are."""

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator.kinds import Object
from sre_server.simulator.testtools import Exchange, Wire

DEPLOYMENTS: Final = "/apis/apps/v1/deployments"
SHOP: Final = "/apis/apps/v1/namespaces/shop/deployments"
CART: Final = f"{SHOP}/cart"
NAMESPACES: Final = "/api/v1/namespaces"


class APITestCase(SynchronousTestCase):
    """Speaks to a simulated cluster in memory. This has no tests of its own."""

    def setUp(self) -> None:
        """Start a cluster."""
        self.wire = Wire()
        self.cluster = self.wire.cluster

    def assert_status(self, exchange: Exchange, code: int, reason: str) -> Object:
        """Return the Status of a refused request, complete in every field that clients read."""
        told: Object = exchange.json()
        self.assertEqual(
            (exchange.status, told["kind"], told["apiVersion"], told["status"], told["code"], told["reason"]),
            (code, "Status", "v1", "Failure", code, reason),
        )
        self.assertEqual(exchange.headers["content-type"], "application/json")
        self.assertIn("metadata", told)
        self.assertTrue(told["message"])
        return told
