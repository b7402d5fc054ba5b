"""The simulated API's answers to plain requests, read from the bytes on the wire."""

from sre_server.simulator.kinds import DEPLOYMENTS, EVENTS, NAMESPACES, Object
from tests.simulator import memory
from tests.simulator.memory import ALL, CART, SCALE, SHOP, SimulatorTestCase


class GetTests(SimulatorTestCase):
    """Single objects and discovery."""

    def test_objects(self) -> None:
        """A single object carries its kind and version first."""
        cart = self.wire.get(CART)
        self.assertTrue(cart.body.startswith(b'{"kind":"Deployment","apiVersion":"apps/v1",'))
        self.assertEqual(
            cart.json(), {"kind": "Deployment", "apiVersion": "apps/v1", **self.wire.deployment("shop", "cart")}
        )
        self.assertEqual(self.wire.get(f"{memory.NAMESPACES}/shop").json()["kind"], "Namespace")

    def test_missing(self) -> None:
        """What does not exist is a 404 that says what is missing."""
        status = self.assert_status(self.wire.get(f"{SHOP}/nothing"), 404, "NotFound")
        self.assertEqual(status["message"], 'deployments.apps "nothing" not found')
        self.assertEqual(status["details"], {"name": "nothing", "group": "apps", "kind": "deployments"})
        status = self.assert_status(self.wire.get(f"{memory.NAMESPACES}/nothing"), 404, "NotFound")
        self.assertEqual(status["details"], {"name": "nothing", "kind": "namespaces"})
        self.assert_status(self.wire.patch(f"{SHOP}/nothing/scale", {"spec": {"replicas": 1}}), 404, "NotFound")

    def test_unroutable(self) -> None:
        """Unknown paths and methods are answered by a Status, too."""
        for path in ("/", "/api/v1/services", "/apis/apps/v2/deployments", "/api/v1/namespaces/shop/namespaces"):
            self.assert_status(self.wire.get(path), 404, "NotFound")
        self.assert_status(self.wire.request("POST", CART), 405, "MethodNotAllowed")
        self.assert_status(self.wire.request("DELETE", ALL), 405, "MethodNotAllowed")

    def test_discovery(self) -> None:
        """Clients find the version, the groups, the resources and the scale subresource."""
        self.assertEqual(self.wire.get("/version").json()["major"], "1")
        self.assertEqual(self.wire.get("/api").json()["versions"], ["v1"])
        groups = [group["name"] for group in self.wire.get("/apis").json()["groups"]]
        self.assertEqual(groups, ["apps", "coordination.k8s.io", "autoscaling", "policy", "authorization.k8s.io"])
        resources = {item["name"]: item for item in self.wire.get("/apis/apps/v1").json()["resources"]}
        self.assertEqual(resources["deployments"]["kind"], "Deployment")
        scale = resources["deployments/scale"]
        self.assertEqual((scale["group"], scale["version"], scale["kind"]), ("autoscaling", "v1", "Scale"))
        core = self.wire.get("/api/v1").json()
        self.assertEqual((core["groupVersion"], len(core["resources"])), ("v1", 5))


class LeaseTests(SimulatorTestCase):
    """Leases, which are made and replaced."""

    def test_replacing(self) -> None:
        """The version that was read must still be the one there is; of other kinds nothing is replaced."""
        leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
        made = self.wire.request(
            "POST", leases, {"metadata": {"name": "watch"}, "spec": {"holderIdentity": "a"}}
        ).json()
        self.assertEqual((made["kind"], made["spec"]), ("Lease", {"holderIdentity": "a"}))
        taken = self.wire.request("PUT", f"{leases}/watch", {**made, "spec": {"holderIdentity": "b"}})
        self.assertEqual(taken.json()["spec"], {"holderIdentity": "b"})
        self.assertNotEqual(taken.json()["metadata"]["resourceVersion"], made["metadata"]["resourceVersion"])
        self.assert_status(self.wire.request("PUT", f"{leases}/watch", made), 409, "Conflict")
        self.assertEqual(self.wire.get(f"{leases}/watch").json()["spec"], {"holderIdentity": "b"})
        self.assert_status(self.wire.request("PUT", CART, made), 405, "MethodNotAllowed")


class ConfigMapTests(SimulatorTestCase):
    """ConfigMaps, which are patched."""

    def test_claiming(self) -> None:
        """A JSON patch whose test holds changes the data; another one changes nothing, and neither does a dry run."""
        maps = f"{memory.NAMESPACES}/default/configmaps"
        self.assertEqual(self.wire.request("POST", maps, {"metadata": {"name": "kept"}, "data": {}}).status, 201)
        self.assertNotIn("data", self.wire.get(f"{maps}/kept").json())
        begun = self.wire.patch(f"{maps}/kept", {"data": {"b": "other"}}).json()
        self.assertEqual(begun["data"], {"b": "other"})
        steps = [{"op": "test", "path": "/data/a", "value": None}, {"op": "add", "path": "/data/a", "value": "mine"}]
        self.assertEqual(self.wire.patch(f"{maps}/kept?dryRun=All", steps, "json-patch+json").status, 200)
        patched = self.wire.patch(f"{maps}/kept", steps, "json-patch+json").json()
        self.assertEqual((patched["kind"], patched["data"]), ("ConfigMap", {"a": "mine", "b": "other"}))
        self.assert_status(self.wire.patch(f"{maps}/kept", steps, "json-patch+json"), 422, "Invalid")
        stale = {"metadata": {"resourceVersion": "1"}, "data": {"a": None}}
        self.assert_status(self.wire.patch(f"{maps}/kept", stale), 409, "Conflict")
        self.assertEqual(self.wire.get(f"{maps}/kept").json()["data"], {"a": "mine", "b": "other"})
        self.assertNotIn("data", self.wire.patch(f"{maps}/kept", {"data": {"a": None, "b": None}}).json())
        self.assert_status(self.wire.patch(CART, {"spec": {"replicas": 9}}), 405, "MethodNotAllowed")


class ScaleTests(SimulatorTestCase):
    """The scale subresource."""

    def replicas(self) -> int:
        """Return what the cluster was asked for."""
        return int(self.wire.deployment("shop", "cart")["spec"]["replicas"])

    def test_get(self) -> None:
        """A Scale shows the wanted and the present replicas, and the selector as text."""
        self.wire.scale("shop", "cart", 7)
        scale = self.wire.get(SCALE).json()
        metadata = self.wire.deployment("shop", "cart")["metadata"]
        self.assertEqual((scale["kind"], scale["apiVersion"]), ("Scale", "autoscaling/v1"))
        fields = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        self.assertEqual(scale["metadata"], {field: metadata[field] for field in fields})
        self.assertEqual(scale["spec"], {"replicas": 7})
        self.assertEqual(scale["status"], {"replicas": 3, "selector": "app.kubernetes.io/name=cart"})

    def test_zero(self) -> None:
        """Zero wanted replicas are left out, as the Go type leaves them out; their absence asks for zero."""
        self.assertEqual(self.wire.patch(SCALE, {"spec": {"replicas": None}}).status, 200)
        scale = self.wire.get(SCALE).json()
        self.assertEqual((scale["spec"], scale["status"]["replicas"], self.replicas()), ({}, 3, 0))

    def test_patches(self) -> None:
        """Both patch formats set the replicas; a JSON patch whose test fails changes nothing."""
        answer = self.wire.patch(f"{SCALE}?fieldManager=test", {"spec": {"replicas": 10}})
        self.assertEqual((answer.status, answer.json()["spec"]["replicas"], self.replicas()), (200, 10, 10))
        steps: list[Object] = [
            {"op": "test", "path": "/spec/replicas", "value": 4},
            {"op": "replace", "path": "/spec/replicas", "value": 11},
        ]
        self.assert_status(self.wire.patch(SCALE, steps, "json-patch+json"), 422, "Invalid")
        steps[0]["value"] = 10
        self.assertEqual(self.wire.patch(SCALE, steps, "json-patch+json").status, 200)
        self.assertEqual(self.replicas(), 11)

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
        metadata = self.wire.deployment("shop", "cart")["metadata"]
        right = {"resourceVersion": metadata["resourceVersion"], "uid": metadata["uid"]}
        for wrong in ({**right, "resourceVersion": "1"}, {**right, "uid": "other"}):
            answer = self.wire.patch(SCALE, {"metadata": wrong, "spec": {"replicas": 9}})
            self.assert_status(answer, 409, "Conflict")
        answer = self.wire.patch(SCALE, {"metadata": right, "spec": {"replicas": 9}})
        self.assertEqual((answer.status, self.replicas()), (200, 9))
        self.assertNotEqual(answer.json()["metadata"]["resourceVersion"], right["resourceVersion"])

    def test_dry_run(self) -> None:
        """A dry run answers as if, and changes nothing; an unknown directive is refused."""
        version = self.cluster.version
        answer = self.wire.patch(f"{SCALE}?dryRun=All", {"spec": {"replicas": 9}})
        self.assertEqual((answer.status, answer.json()["spec"]["replicas"]), (200, 9))
        self.assertEqual((self.replicas(), self.cluster.version), (3, version))
        self.assert_status(self.wire.patch(f"{SCALE}?dryRun=Some", {"spec": {"replicas": 9}}), 400, "BadRequest")

    def test_invalid(self) -> None:
        """Replicas that are no number or negative, and bodies that are no patch, are refused."""
        self.assert_status(self.wire.patch(SCALE, {"spec": {"replicas": -1}}), 422, "Invalid")
        for replicas in ("3", 1.5, True, [1]):
            self.assert_status(self.wire.patch(SCALE, {"spec": {"replicas": replicas}}), 400, "BadRequest")
        for body in (b"{", b"[]", b"\xff", b""):
            self.assert_status(self.wire.patch(SCALE, body), 400, "BadRequest")
        self.assert_status(self.wire.patch(SCALE, {}, "strategic-merge-patch+json"), 415, "UnsupportedMediaType")
        self.assertEqual(self.replicas(), 3)

    def test_head(self) -> None:
        """HEAD is GET without the body."""
        answer = self.wire.request("HEAD", SCALE)
        self.assertEqual((answer.status, answer.body), (200, b""))


class WriteTests(SimulatorTestCase):
    """Creating and deleting objects."""

    def test_event(self) -> None:
        """An Event is stored as written, with what the cluster adds, and answered with 201."""
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": "cart.", "namespace": "shop"},
            "involvedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "namespace": "shop", "name": "cart"},
            "reason": "Scaled",
            "count": 1,
        }
        answer = self.wire.request("POST", memory.EVENTS, event)
        created = answer.json()
        self.assertEqual((answer.status, created), (201, {**created, **event, "metadata": created["metadata"]}))
        self.assertEqual(created["metadata"]["creationTimestamp"], "2026-01-01T12:00:00Z")
        self.assertEqual(created["metadata"]["resourceVersion"], str(self.cluster.version))
        self.assertRegex(created["metadata"]["uid"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        self.assertEqual(self.wire.get(f"{memory.EVENTS}/{created['metadata']['name']}").json(), created)
        self.assertEqual(self.names("/api/v1/events"), [created["metadata"]["name"]])

    def test_deployment(self) -> None:
        """A created Deployment has one replica unless it says otherwise, and can be scaled."""
        answer = self.wire.request("POST", SHOP, {"metadata": {"name": "fresh"}})
        self.assertEqual((answer.status, answer.json()["spec"]["replicas"]), (201, 1))
        self.assertEqual(self.wire.patch(f"{SHOP}/fresh/scale", {"spec": {"replicas": 2}}).status, 200)

    def test_refused(self) -> None:
        """What exists, what is of another kind or namespace, and what has no name is not created."""
        for written, code, reason in (
            ({"metadata": {"name": "cart"}}, 409, "AlreadyExists"),
            ({"kind": "Pod", "metadata": {"name": "x"}}, 400, "BadRequest"),
            ({"metadata": {"name": "x", "namespace": "payments"}}, 400, "BadRequest"),
            ({"metadata": []}, 400, "BadRequest"),
            ({}, 422, "Invalid"),
        ):
            self.assert_status(self.wire.request("POST", SHOP, written), code, reason)
        self.assert_status(self.wire.request("POST", ALL, {"metadata": {"name": "x"}}), 404, "NotFound")

    def test_dry_run(self) -> None:
        """A dry creation or deletion answers as if, and changes nothing."""
        self.assertEqual(
            self.wire.request("POST", f"{memory.EVENTS}?dryRun=All", {"metadata": {"name": "e"}}).status, 201
        )
        self.assertEqual(self.wire.request("DELETE", f"{CART}?dryRun=All").status, 200)
        self.assertEqual((self.wire.objects(EVENTS), len(self.wire.objects(DEPLOYMENTS))), ([], 12))

    def test_delete(self) -> None:
        """What is deleted is gone; a Namespace goes with everything in it."""
        self.assertEqual(self.wire.request("DELETE", CART).status, 200)
        self.assertEqual(self.wire.get(CART).status, 404)
        self.assertEqual(self.wire.request("DELETE", f"{memory.NAMESPACES}/shop").status, 200)
        self.assertEqual(self.names(SHOP), [])
        self.assertNotIn("shop", [item["metadata"]["name"] for item in self.wire.objects(NAMESPACES)])
