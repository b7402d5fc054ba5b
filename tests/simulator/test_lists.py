"""The simulated API's lists: versions, pages, selectors, and tables, read from the bytes on the wire."""

from urllib.parse import quote

from sre_server.simulator.tables import duration
from tests.simulating import CART, DEPLOYMENTS, NAMESPACES, SHOP, APITestCase

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class ListTests(APITestCase):
    """Lists and their pages."""

    def names(self, path: str) -> list[str]:
        """Return the names in a list."""
        return [item["metadata"]["name"] for item in self.wire.get(path).json()["items"]]

    def test_typed_list(self) -> None:
        """A list names its kind and version; its items do not."""
        listed = self.wire.get(DEPLOYMENTS).json()
        self.assertEqual((listed["kind"], listed["apiVersion"]), ("DeploymentList", "apps/v1"))
        self.assertEqual(listed["metadata"], {"resourceVersion": str(self.cluster.version)})
        self.assertEqual(listed["items"], self.cluster.deployments())
        self.assertNotIn("kind", listed["items"][0])

    def test_namespaces(self) -> None:
        """Namespaces are listed in the same manner."""
        listed = self.wire.get(NAMESPACES).json()
        self.assertEqual((listed["kind"], listed["apiVersion"]), ("NamespaceList", "v1"))
        self.assertEqual(listed["items"], self.cluster.namespaces())

    def test_one_namespace(self) -> None:
        """The list of a namespace holds what is in it, not what is in one whose name begins alike."""
        self.cluster.create_namespace("shop-two")
        self.cluster.create_deployment("shop-two", "cart")
        self.assertEqual(self.names(SHOP), ["cart", "catalog", "checkout", "recommendations", "storefront"])
        self.assertEqual(self.names("/apis/apps/v1/namespaces/nowhere/deployments"), [])

    def test_pages(self) -> None:
        """Pages follow each other to the end, each saying how much is left."""
        found: list[str] = []
        remaining: list[int | None] = []
        token = ""
        while True:
            listed = self.wire.get(f"{DEPLOYMENTS}?limit=5&continue={token}").json()
            found += [item["metadata"]["uid"] for item in listed["items"]]
            remaining.append(listed["metadata"].get("remainingItemCount"))
            token = listed["metadata"].get("continue", "")
            if not token:
                break
        self.assertEqual(found, [item["metadata"]["uid"] for item in self.cluster.deployments()])
        self.assertEqual(remaining, [7, 2, None])

    def test_pages_are_one_snapshot(self) -> None:
        """Later pages show the version of the first one, whatever happened in between."""
        before = self.cluster.deployments()
        page = self.wire.get(f"{DEPLOYMENTS}?limit=4").json()
        first = page["metadata"]["resourceVersion"]
        found = page["items"]
        self.cluster.scale("shop", "storefront", 1)
        self.cluster.delete_deployment("shop", "cart")
        self.cluster.create_deployment("shop", "aaa")
        self.cluster.create_deployment("shop", "zzz")
        self.cluster.delete_deployment("default", "status-page")
        while "continue" in page["metadata"]:
            page = self.wire.get(f"{DEPLOYMENTS}?limit=4&continue={page['metadata']['continue']}").json()
            self.assertEqual(page["metadata"]["resourceVersion"], first)
            found += page["items"]
        self.assertEqual(found, before)

    def test_expired_page(self) -> None:
        """A page of a forgotten snapshot is 410 Expired, with a token that goes on inconsistently."""
        token = self.wire.get(f"{DEPLOYMENTS}?limit=4").json()["metadata"]["continue"]
        self.cluster.scale("shop", "storefront", 1)
        self.cluster.compact()
        told = self.assert_status(self.wire.get(f"{DEPLOYMENTS}?limit=4&continue={token}"), 410, "Expired")
        rest = self.wire.get(f"{DEPLOYMENTS}?continue={told['metadata']['continue']}").json()
        self.assertEqual(rest["items"], self.cluster.deployments()[4:])
        self.assertEqual(rest["metadata"], {"resourceVersion": str(self.cluster.version)})

    def test_bad_token(self) -> None:
        """A continue token that was never given is a bad request."""
        for token in ("xyz", "e30", "%00"):
            self.assert_status(self.wire.get(f"{DEPLOYMENTS}?continue={token}"), 400, "BadRequest")

    def test_label_selectors(self) -> None:
        """Equality, set and existence selectors select what they say."""
        self.cluster.create_deployment("shop", "a", labels={"tier": "front", "zone": "eu"})
        self.cluster.create_deployment("shop", "b", labels={"tier": "back"})
        for selector, expected in {
            "tier=front": ["a"],
            "tier==front,zone=eu": ["a"],
            "tier=front,zone!=eu": [],
            "tier in (front, back)": ["a", "b"],
            "tier in (back),!zone": ["b"],
            "tier,zone notin (eu)": ["b"],
            "app.kubernetes.io/name=cart": ["cart"],
        }.items():
            self.assertEqual(self.names(f"{SHOP}?labelSelector={quote(selector)}"), expected, selector)
        self.assertEqual(len(self.names(f"{SHOP}?labelSelector={quote('!tier')}")), 5)

    def test_selected_pages(self) -> None:
        """A selected list is cut into full pages too, without a count of what remains."""
        page = self.wire.get(f"{DEPLOYMENTS}?limit=2&labelSelector={quote('app.kubernetes.io/name!=coredns')}").json()
        self.assertEqual(len(page["items"]), 2)
        self.assertNotIn("remainingItemCount", page["metadata"])

    def test_field_selectors(self) -> None:
        """Objects are selected by name and by namespace."""
        self.assertEqual(self.names(f"{DEPLOYMENTS}?fieldSelector=metadata.name=cart"), ["cart"])
        self.assertEqual(
            self.names(f"{DEPLOYMENTS}?fieldSelector=metadata.namespace=payments,metadata.name!=ledger"),
            ["fraud-check", "gateway"],
        )
        self.assertEqual(self.names(f"{NAMESPACES}?fieldSelector=metadata.name=shop"), ["shop"])
        self.assert_status(self.wire.get(f"{DEPLOYMENTS}?fieldSelector=spec.replicas=1"), 400, "BadRequest")

    def test_versions(self) -> None:
        """A list shows the present, unless it asks for exactly one known version."""
        old = self.cluster.version
        self.cluster.scale("shop", "cart", 9)

        def replicas(query: str) -> int:
            items = self.wire.get(f"{DEPLOYMENTS}?fieldSelector=metadata.name=cart&{query}").json()["items"]
            return int(items[0]["spec"]["replicas"])

        self.assertEqual(replicas("resourceVersion=0"), 9)
        self.assertEqual(replicas(f"resourceVersion={old}"), 9)
        self.assertEqual(replicas(f"resourceVersion={old}&resourceVersionMatch=NotOlderThan"), 9)
        self.assertEqual(replicas(f"resourceVersion={old}&resourceVersionMatch=Exact"), 3)
        self.assertEqual(replicas(f"resourceVersion={old}&limit=50"), 3)
        self.cluster.compact()
        gone = self.wire.get(f"{DEPLOYMENTS}?resourceVersion={old}&resourceVersionMatch=Exact")
        self.assert_status(gone, 410, "Expired")

    def test_any_version_is_never_paged(self) -> None:
        """A list at any version comes whole, as from the watch cache of the API server."""
        self.assertEqual(len(self.names(f"{DEPLOYMENTS}?resourceVersion=0&limit=3")), 12)

    def test_future(self) -> None:
        """A version that was not reached yet is answered as the API server does when it waited in vain."""
        told = self.assert_status(self.wire.get(f"{DEPLOYMENTS}?resourceVersion=999999"), 504, "Timeout")
        self.assertEqual(told["details"]["causes"][0]["reason"], "ResourceVersionTooLarge")
        self.assertEqual(
            told["message"], f"Timeout: Too large resource version: 999999, current: {self.cluster.version}"
        )

    def test_malformed_options(self) -> None:
        """Options that make no sense are refused."""
        for query, code, reason in (
            ("limit=many", 400, "BadRequest"),
            ("resourceVersion=abc", 400, "BadRequest"),
            ("resourceVersionMatch=Exact", 422, "Invalid"),
            ("resourceVersion=1&resourceVersionMatch=Odd", 422, "Invalid"),
            ("resourceVersion=0&resourceVersionMatch=Exact", 422, "Invalid"),
            ("sendInitialEvents=true", 422, "Invalid"),
            ("continue=e30&resourceVersion=5", 400, "BadRequest"),
            ("labelSelector=a%20b%20c", 400, "BadRequest"),
        ):
            self.assert_status(self.wire.get(f"{DEPLOYMENTS}?{query}"), code, reason)


class TableTests(APITestCase):
    """What kubectl prints."""

    def test_deployments(self) -> None:
        """Deployments are shown with the columns and cells that kubectl users know."""
        table = self.wire.get(SHOP, Accept=TABLE).json()
        shown = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
        self.assertEqual((table["kind"], table["apiVersion"]), ("Table", "meta.k8s.io/v1"))
        self.assertEqual(shown, ["Name", "Ready", "Up-to-date", "Available", "Age"])
        cells = table["rows"][0]["cells"]
        self.assertEqual(cells[:4], ["cart", "3/3", 3, 3])
        self.assertRegex(cells[4], r"^\d+d$")
        self.assertEqual(len(cells), len(table["columnDefinitions"]))

    def test_row_objects(self) -> None:
        """A row carries the metadata of its object, the whole of it, or nothing, as asked."""
        row = self.wire.get(CART, Accept=TABLE).json()["rows"][0]
        self.assertEqual(row["object"]["kind"], "PartialObjectMetadata")
        self.assertEqual(row["object"]["metadata"]["namespace"], "shop")
        row = self.wire.get(f"{CART}?includeObject=Object", Accept=TABLE).json()["rows"][0]
        self.assertEqual(row["object"]["spec"]["replicas"], 3)
        row = self.wire.get(f"{CART}?includeObject=None", Accept=TABLE).json()["rows"][0]
        self.assertNotIn("object", row)

    def test_namespaces(self) -> None:
        """Namespaces are shown with status and age, page by page."""
        table = self.wire.get(f"{NAMESPACES}?limit=1", Accept=TABLE).json()
        self.assertEqual([column["name"] for column in table["columnDefinitions"]], ["Name", "Status", "Age"])
        self.assertEqual(table["rows"][0]["cells"][:2], ["default", "Active"])
        self.assertIn("continue", table["metadata"])

    def test_durations(self) -> None:
        """Ages are as short as kubectl makes them."""
        for seconds, text in {
            0: "0s",
            119: "119s",
            120: "2m",
            601: "10m",
            599: "9m59s",
            3 * 3600: "3h",
            3 * 3600 + 61: "3h1m",
            9 * 3600 + 61: "9h",
            2 * 86400: "2d",
            2 * 86400 + 3600: "2d1h",
            9 * 86400 + 3600: "9d",
            3 * 365 * 86400: "3y",
            -1: "0s",
            -60: "<invalid>",
        }.items():
            self.assertEqual(duration(seconds), text)
