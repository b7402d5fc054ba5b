"""The simulated API's lists, read from the bytes on the wire."""

from sre_server.simulator.kinds import EVENTS
from tests.simulator.memory import ALL, NAMESPACES, SHOP, SimulatorTestCase


class ListTests(SimulatorTestCase):
    """Lists and their pages."""

    def test_typed_list(self) -> None:
        """A list names its kind and version; its items do not."""
        listed = self.wire.get(ALL).json()
        self.assertEqual((listed["kind"], listed["apiVersion"]), ("DeploymentList", "apps/v1"))
        self.assertEqual(listed["metadata"], {"resourceVersion": str(self.cluster.version)})
        self.assertEqual(listed["items"], self.wire.objects())
        self.assertNotIn("kind", listed["items"][0])
        self.assertEqual(self.wire.get(NAMESPACES).json()["kind"], "NamespaceList")

    def test_one_namespace(self) -> None:
        """The list of a namespace holds what is in it, not what is in one whose name begins alike."""
        self.wire.request("POST", NAMESPACES, {"metadata": {"name": "shop-two"}})
        self.wire.create("shop-two", "cart")
        self.assertEqual(self.names(SHOP), ["cart", "catalog", "checkout", "recommendations", "storefront"])
        self.assertEqual(self.names("/apis/apps/v1/namespaces/nowhere/deployments"), [])

    def test_pages_are_one_snapshot(self) -> None:
        """Pages follow each other to the end and show the version of the first, whatever happens in between."""
        before = self.wire.objects()
        page = self.wire.get(f"{ALL}?limit=4").json()
        version, found, pages = page["metadata"]["resourceVersion"], page["items"], 1
        self.wire.scale("shop", "storefront", 1)
        self.wire.create("shop", "aaa")
        self.wire.create("shop", "zzz")
        self.wire.request("DELETE", f"{SHOP}/cart")
        self.wire.request("DELETE", "/apis/apps/v1/namespaces/default/deployments/status-page")
        while "continue" in page["metadata"]:
            page = self.wire.get(f"{ALL}?limit=4&continue={page['metadata']['continue']}").json()
            self.assertEqual(page["metadata"]["resourceVersion"], version)
            found += page["items"]
            pages += 1
        self.assertEqual((found, pages), (before, 3))

    def test_expired_page(self) -> None:
        """A page of a forgotten snapshot is 410 Expired."""
        token = self.wire.get(f"{ALL}?limit=4").json()["metadata"]["continue"]
        self.wire.scale("shop", "storefront", 1)
        self.cluster.compact()
        self.assert_status(self.wire.get(f"{ALL}?limit=4&continue={token}"), 410, "Expired")

    def test_one_name(self) -> None:
        """One object can be selected by its name."""
        self.assertEqual(self.names(f"{ALL}?fieldSelector=metadata.name=cart"), ["cart"])
        self.assertEqual(self.names(f"{NAMESPACES}?fieldSelector=metadata.name%3Dshop&limit=1"), ["shop"])
        self.assertEqual(self.names(f"{ALL}?labelSelector=app.kubernetes.io/name==ledger"), ["ledger"])
        self.assertEqual(self.names(f"{ALL}?labelSelector=app.kubernetes.io/name=ledger,tier=front"), [])
        for name, reason in (("a", "ScaledOnRequest"), ("b", "Killing")):
            event = {"metadata": {"name": name}, "reason": reason, "source": {"component": "sre-server"}}
            self.cluster.create(EVENTS, "shop", event)
        ours = "fieldSelector=source=sre-server,reason=ScaledOnRequest"
        self.assertEqual(self.names(f"/api/v1/events?{ours}"), ["a"])
        stream = self.watch(ours, "/api/v1/events", version=self.cluster.version - 2)
        self.assertEqual([event["object"]["metadata"]["name"] for event in stream.events()], ["a"])

    def test_future(self) -> None:
        """A version that was not reached yet is answered as the API server does when it waited in vain."""
        status = self.assert_status(self.wire.get(f"{ALL}?resourceVersion=999999"), 504, "Timeout")
        self.assertEqual(status["details"]["causes"][0]["reason"], "ResourceVersionTooLarge")
        self.assertEqual(len(self.names(f"{ALL}?resourceVersion=0")), 12)

    def test_refused_options(self) -> None:
        """Options that make no sense, or that are not understood here, are refused, not ignored."""
        for query in (
            "limit=many",
            "resourceVersion=abc",
            "resourceVersion=1000&resourceVersionMatch=Exact",
            "labelSelector=tier!=front",
            "labelSelector=tier",
            "fieldSelector=spec.replicas=1",
            "continue=xyz",
            "continue=e30",
        ):
            self.assert_status(self.wire.get(f"{ALL}?{query}"), 400, "BadRequest")
        self.assert_status(self.wire.get(f"{ALL}?sendInitialEvents=true"), 422, "Invalid")
