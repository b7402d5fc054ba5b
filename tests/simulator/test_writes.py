"""What the simulated API makes of writes, of a scale or of an object, read from the bytes on the wire."""

import struct

from sre_server.simulator.kinds import Object
from tests.simulating import CART, NAMESPACES, SHOP, APITestCase

SCALE = f"{CART}/scale"


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
