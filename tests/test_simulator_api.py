"""The simulated API's answers to plain requests, read from the bytes on the wire."""

import struct
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from sre_server.simulator.kinds import Object
from sre_server.simulator.tables import duration
from sre_server.simulator.testtools import Exchange, Wire

DEPLOYMENTS = "/apis/apps/v1/deployments"
SHOP = "/apis/apps/v1/namespaces/shop/deployments"
CART = f"{SHOP}/cart"
SCALE = f"{CART}/scale"
NAMESPACES = "/api/v1/namespaces"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class APITestCase(SynchronousTestCase):
    """Speaks to a cluster in memory."""

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


class GetTests(APITestCase):
    """Single objects, discovery, health."""

    def test_objects(self) -> None:
        """A single object carries its kind and version first."""
        cart = self.wire.get(CART)
        self.assertTrue(cart.body.startswith(b'{"kind":"Deployment","apiVersion":"apps/v1",'))
        self.assertEqual(
            cart.json(), {"kind": "Deployment", "apiVersion": "apps/v1", **self.cluster.deployment("shop", "cart")}
        )
        self.assertEqual(self.wire.get(f"{CART}/status").json(), cart.json())
        self.assertEqual(self.wire.get(f"{NAMESPACES}/shop").json()["kind"], "Namespace")

    def test_missing(self) -> None:
        """What does not exist is a 404 that says what is missing."""
        told = self.assert_status(self.wire.get(f"{SHOP}/nothing"), 404, "NotFound")
        self.assertEqual(told["message"], 'deployments.apps "nothing" not found')
        self.assertEqual(told["details"], {"name": "nothing", "group": "apps", "kind": "deployments"})
        told = self.assert_status(self.wire.get(f"{NAMESPACES}/nothing"), 404, "NotFound")
        self.assertEqual(told["details"], {"name": "nothing", "kind": "namespaces"})

    def test_unroutable(self) -> None:
        """Unknown paths and methods are answered by a Status, too."""
        self.assert_status(self.wire.get("/api/v1/pods"), 404, "NotFound")
        self.assert_status(self.wire.get("/"), 404, "NotFound")
        self.assert_status(self.wire.request("POST", CART), 405, "MethodNotAllowed")
        self.assert_status(self.wire.request("DELETE", DEPLOYMENTS), 405, "MethodNotAllowed")

    def test_head(self) -> None:
        """HEAD is GET without the body."""
        answer = self.wire.request("HEAD", CART)
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertEqual(answer.headers["content-length"], str(len(self.wire.get(CART).body)))

    def test_discovery(self) -> None:
        """Clients find the groups, the resources and the scale subresource."""
        self.assertEqual(self.wire.get("/api").json()["versions"], ["v1"])
        groups = [group["name"] for group in self.wire.get("/apis").json()["groups"]]
        self.assertEqual(groups, ["apps", "authorization.k8s.io"])
        for path in ("/apis/apps", "/apis/autoscaling", "/apis/autoscaling/v1", "/api/v1", "/version", "/openapi/v3"):
            self.assertEqual(self.wire.get(path).status, 200)
        resources = {item["name"]: item for item in self.wire.get("/apis/apps/v1").json()["resources"]}
        self.assertEqual(resources["deployments"]["kind"], "Deployment")
        self.assertEqual(self.verbs("/api/v1")["events"], ["create", "delete", "get", "list", "watch"])
        self.assertEqual(self.verbs("/apis/authorization.k8s.io/v1"), {"subjectaccessreviews": ["create"]})
        self.assertEqual(self.wire.get("/apis/authorization.k8s.io").json()["name"], "authorization.k8s.io")
        scale = resources["deployments/scale"]
        self.assertEqual((scale["group"], scale["version"], scale["kind"]), ("autoscaling", "v1", "Scale"))

    def verbs(self, path: str) -> dict[str, list[str]]:
        """Return what can be done to each resource of a group."""
        return {item["name"]: item["verbs"] for item in self.wire.get(path).json()["resources"]}

    def test_health(self) -> None:
        """The health paths answer ok, in plain text."""
        for path in ("/healthz", "/livez", "/readyz"):
            answer = self.wire.get(path)
            self.assertEqual((answer.status, answer.body), (200, b"ok"))
            self.assertTrue(answer.headers["content-type"].startswith("text/plain"))

    def test_unacceptable(self) -> None:
        """A client that takes only protobuf gets a 406."""
        self.assert_status(self.wire.get(CART, Accept="application/vnd.kubernetes.protobuf"), 406, "NotAcceptable")


class TokenTests(SynchronousTestCase):
    """A cluster that wants a token."""

    def test_token(self) -> None:
        """Only requests with the right bearer token are served, on known and unknown paths alike."""
        wire = Wire(token="sesame")
        self.assertEqual(wire.get(CART, Authorization="Bearer sesame").status, 200)
        self.assertEqual(wire.get(CART, Authorization="bearer sesame").status, 200)
        for path in (CART, "/nowhere", "/version", f"{DEPLOYMENTS}?watch=1"):
            for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "sesame"}):
                answer = wire.get(path, **headers)
                self.assertEqual((answer.status, answer.json()["reason"]), (401, "Unauthorized"))


class ScaleTests(APITestCase):
    """The scale subresource."""

    def replicas(self) -> int:
        """Return what the cluster was asked for."""
        return int(self.cluster.deployment("shop", "cart")["spec"]["replicas"])

    def test_get(self) -> None:
        """A Scale shows the wanted and the present replicas, and the selector as text."""
        self.cluster.scale("shop", "cart", 7)
        scale = self.wire.get(SCALE).json()
        metadata = self.cluster.deployment("shop", "cart")["metadata"]
        self.assertEqual((scale["kind"], scale["apiVersion"]), ("Scale", "autoscaling/v1"))
        fields = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        self.assertEqual(scale["metadata"], {field: metadata[field] for field in fields})
        self.assertEqual(scale["spec"], {"replicas": 7})
        self.assertEqual(scale["status"], {"replicas": 3, "selector": "app.kubernetes.io/name=cart"})

    def test_zero(self) -> None:
        """Zero wanted replicas are left out, as the Go type leaves them out; a present count stays."""
        self.cluster.scale("shop", "cart", 0)
        scale = self.wire.get(SCALE).json()
        self.assertEqual((scale["spec"], scale["status"]["replicas"]), ({}, 3))

    def test_patches(self) -> None:
        """Every patch format sets the replicas."""
        for wanted, (form, body) in enumerate(
            {
                "merge-patch+json": {"spec": {"replicas": 10}},
                "strategic-merge-patch+json": {"spec": {"replicas": 11}},
                "apply-patch+yaml": {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 12}},
                "json-patch+json": [{"op": "replace", "path": "/spec/replicas", "value": 13}],
            }.items(),
            start=10,
        ):
            answer = self.wire.patch(f"{SCALE}?fieldManager=test", body, form)
            self.assertEqual((answer.status, answer.json()["spec"]["replicas"]), (200, wanted))
            self.assertEqual(self.replicas(), wanted)

    def test_put(self) -> None:
        """A Scale that was read, changed and put back is written once, then stale."""
        scale = self.wire.get(SCALE).json()
        scale["spec"]["replicas"] = 8
        self.assertEqual(self.wire.request("PUT", SCALE, scale).status, 200)
        scale["spec"]["replicas"] = 9
        self.assert_status(self.wire.request("PUT", SCALE, scale), 409, "Conflict")
        self.assertEqual(self.replicas(), 8)

    def test_preconditions(self) -> None:
        """A patch that names a version or a UID is refused unless it is the present one."""
        metadata = self.cluster.deployment("shop", "cart")["metadata"]
        right = {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]}
        for wrong in ({**right, "resourceVersion": "1"}, {**right, "uid": "other"}):
            answer = self.wire.patch(SCALE, {"metadata": wrong, "spec": {"replicas": 9}})
            self.assert_status(answer, 409, "Conflict")
        answer = self.wire.patch(SCALE, {"metadata": right, "spec": {"replicas": 9}})
        self.assertEqual((answer.status, self.replicas()), (200, 9))
        self.assertNotEqual(answer.json()["metadata"]["resourceVersion"], right["resourceVersion"])

    def test_json_patch_test(self) -> None:
        """A JSON patch whose test fails changes nothing."""
        steps = [
            {"op": "test", "path": "/spec/replicas", "value": 4},
            {"op": "replace", "path": "/spec/replicas", "value": 9},
        ]
        self.assert_status(self.wire.patch(SCALE, steps, "json-patch+json"), 422, "Invalid")
        steps[0]["value"] = 3
        self.assertEqual(self.wire.patch(SCALE, steps, "json-patch+json").status, 200)

    def test_dry_run(self) -> None:
        """A dry run answers as if, and changes nothing; an unknown directive is invalid."""
        version = self.cluster.version
        answer = self.wire.patch(f"{SCALE}?dryRun=All", {"spec": {"replicas": 9}})
        self.assertEqual((answer.status, answer.json()["spec"]["replicas"]), (200, 9))
        self.assertEqual((self.replicas(), self.cluster.version), (3, version))
        self.assert_status(self.wire.patch(f"{SCALE}?dryRun=Some", {"spec": {"replicas": 9}}), 422, "Invalid")

    def test_invalid(self) -> None:
        """Replicas that are no number, negative or too many, and bodies that are no JSON, are refused."""
        for replicas in (-1, "3", 1.5, True, 2**31, [1]):
            answer = self.wire.patch(SCALE, {"spec": {"replicas": replicas}})
            self.assert_status(answer, 422, "Invalid")
        for body in (b"{", b"[]", b"\xff", b""):
            self.assert_status(self.wire.patch(SCALE, body), 400, "BadRequest")
        for form in ("json", "xml"):
            self.assert_status(self.wire.patch(SCALE, {}, form), 415, "UnsupportedMediaType")
        self.assertEqual(self.replicas(), 3)

    def test_null(self) -> None:
        """A patch that removes the replicas asks for none: the field's absence is zero."""
        self.assertEqual(self.wire.patch(SCALE, {"spec": {"replicas": None}}).status, 200)
        self.assertEqual(self.replicas(), 0)

    def test_missing(self) -> None:
        """The scale of a Deployment that is not there cannot be read or written."""
        self.assert_status(self.wire.get(f"{SHOP}/nothing/scale"), 404, "NotFound")
        self.assert_status(self.wire.patch(f"{SHOP}/nothing/scale", {"spec": {"replicas": 1}}), 404, "NotFound")

    def test_apply_wants_a_manager(self) -> None:
        """An apply without a field manager is invalid."""
        answer = self.wire.patch(SCALE, {"spec": {"replicas": 1}}, "apply-patch+yaml")
        self.assert_status(answer, 422, "Invalid")


class WriteTests(APITestCase):
    """Creating, changing and deleting objects."""

    def manifest(self, name: str, **spec: object) -> Object:
        """Return a Deployment as a user writes it."""
        labels = {"app": name}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "x"}]}},
                **spec,
            },
        }

    def test_create(self) -> None:
        """A created Deployment has what the cluster adds: identity, defaults, a generation."""
        answer = self.wire.request("POST", SHOP, self.manifest("fresh"))
        created = answer.json()
        self.assertEqual((answer.status, created["kind"]), (201, "Deployment"))
        self.assertEqual((created["spec"]["replicas"], created["metadata"]["generation"]), (1, 1))
        self.assertEqual(created["metadata"]["namespace"], "shop")
        self.assertTrue(created["metadata"]["uid"])
        self.assertEqual(self.wire.get(f"{SHOP}/fresh").json(), created)

    def test_create_refused(self) -> None:
        """What exists, what is misnamed and what has nowhere to be is not created."""
        post = self.wire.request
        self.assert_status(post("POST", SHOP, self.manifest("cart")), 409, "AlreadyExists")
        self.assert_status(post("POST", SHOP, self.manifest("Not_A_Name")), 422, "Invalid")
        self.assert_status(post("POST", SHOP, self.manifest("x", replicas=-3)), 422, "Invalid")
        self.assert_status(post("POST", SHOP, self.manifest("x", selector={"matchLabels": {"a": "b"}})), 422, "Invalid")
        self.assert_status(post("POST", SHOP, {"metadata": {"name": "x"}}), 422, "Invalid")
        self.assert_status(post("POST", SHOP, {"kind": "Pod", "metadata": {"name": "x"}}), 400, "BadRequest")
        nowhere = "/apis/apps/v1/namespaces/nowhere/deployments"
        self.assert_status(post("POST", nowhere, self.manifest("x")), 404, "NotFound")
        self.assert_status(post("POST", NAMESPACES, {"metadata": {"name": "a.b"}}), 422, "Invalid")

    def test_create_dry_run(self) -> None:
        """A dry creation answers as if, and creates nothing."""
        self.assertEqual(self.wire.request("POST", f"{SHOP}?dryRun=All", self.manifest("fresh")).status, 201)
        self.assertEqual(self.wire.get(f"{SHOP}/fresh").status, 404)

    def test_put(self) -> None:
        """A replaced Deployment keeps its identity and its status; its generation rises with its spec."""
        before = self.wire.get(CART).json()
        changed = {**before, "spec": {**before["spec"], "replicas": 5}, "status": {"replicas": 99}}
        changed["metadata"] = {**before["metadata"], "labels": {"a": "b"}}
        after = self.wire.request("PUT", CART, changed).json()
        self.assertEqual(after["spec"]["replicas"], 5)
        self.assertEqual(after["metadata"]["labels"], {"a": "b"})
        self.assertEqual(after["metadata"]["generation"], before["metadata"]["generation"] + 1)
        self.assertEqual((after["metadata"]["uid"], after["status"]), (before["metadata"]["uid"], before["status"]))
        self.assert_status(self.wire.request("PUT", CART, changed), 409, "Conflict")

    def test_patch(self) -> None:
        """Deployments are patched by merge, strategic merge and JSON patch; the selector is immutable."""
        self.wire.patch(CART, {"metadata": {"labels": {"x": "y"}}})
        container = {"name": "cart", "image": "other"}
        pod = {"spec": {"template": {"spec": {"containers": [container]}}}}
        self.wire.patch(CART, pod, "strategic-merge-patch+json")
        self.wire.patch(CART, [{"op": "remove", "path": "/metadata/labels/x"}], "json-patch+json")
        after = self.cluster.deployment("shop", "cart")
        found = after["spec"]["template"]["spec"]["containers"]
        self.assertEqual([(item["image"], item["imagePullPolicy"]) for item in found], [("other", "IfNotPresent")])
        self.assertNotIn("x", after["metadata"]["labels"])
        answer = self.wire.patch(CART, {"spec": {"selector": {"matchLabels": {"a": "b"}}}})
        self.assert_status(answer, 422, "Invalid")

    def test_unchanged(self) -> None:
        """A write that changes nothing keeps the version."""
        version = self.cluster.version
        self.assertEqual(self.wire.patch(CART, {"spec": {"replicas": 3}}).status, 200)
        self.assertEqual(self.cluster.version, version)

    def test_apply(self) -> None:
        """An apply changes what exists and creates what does not."""
        path = f"{SHOP}/applied?fieldManager=me"
        self.assertEqual(self.wire.patch(path, self.manifest("applied"), "apply-patch+yaml").status, 201)
        again = self.wire.patch(path, self.manifest("applied", replicas=4), "apply-patch+yaml")
        self.assertEqual((again.status, again.json()["spec"]["replicas"]), (200, 4))

    def test_delete(self) -> None:
        """A deletion says which object went, honours preconditions, and can run dry."""
        uid = self.cluster.deployment("shop", "cart")["metadata"]["uid"]
        self.assert_status(self.wire.request("DELETE", CART, {"preconditions": {"uid": "other"}}), 409, "Conflict")
        self.assertEqual(self.wire.request("DELETE", CART, {"dryRun": ["All"]}).status, 200)
        told = self.wire.request("DELETE", CART, {"preconditions": {"uid": uid}}).json()
        self.assertEqual((told["status"], told["details"]["uid"]), ("Success", uid))
        self.assertEqual(self.wire.get(CART).status, 404)

    def test_namespaces(self) -> None:
        """Namespaces are created, labelled and deleted, with everything in them."""
        self.assertEqual(self.wire.request("POST", NAMESPACES, {"metadata": {"name": "blue"}}).status, 201)
        self.wire.patch(f"{NAMESPACES}/blue", {"metadata": {"labels": {"a": "b"}}})
        self.assertEqual(self.cluster.namespace("blue")["metadata"]["labels"]["a"], "b")
        self.assertEqual(self.wire.request("DELETE", f"{NAMESPACES}/shop").status, 200)
        self.assertEqual(self.wire.get(CART).status, 404)

    def test_too_large(self) -> None:
        """A body beyond three MiB is refused."""
        self.assert_status(
            self.wire.request("POST", NAMESPACES, b" " * (3 * 1024 * 1024 + 1)), 413, "RequestEntityTooLarge"
        )

    def test_protobuf(self) -> None:
        """A Namespace that comes in protobuf, as kubectl sends it, is created."""

        def field(number: int, value: bytes) -> bytes:
            return struct.pack("BB", number << 3 | 2, len(value)) + value

        about = field(1, b"v1") + field(2, b"Namespace")
        label = field(1, b"team") + field(2, b"red")
        metadata = field(1, b"binary") + field(11, label)
        body = b"k8s\0" + field(1, about) + field(2, field(1, metadata) + field(2, b"") + field(3, b""))
        form = {"Content-Type": "application/vnd.kubernetes.protobuf"}
        self.assertEqual(self.wire.request("POST", NAMESPACES, body, headers=form).status, 201)
        self.assertEqual(self.cluster.namespace("binary")["metadata"]["labels"]["team"], "red")
        for damaged in (b"k8s\0", body[:-30], b"other", body[:4] + b"\xff"):
            answer = self.wire.request("POST", NAMESPACES, damaged, headers=form)
            self.assert_status(answer, 400, "BadRequest")


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
