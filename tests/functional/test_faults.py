"""What the daemon makes of a cluster that misbehaves: reads go on, writes say what is known, the watch comes back."""

import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import temporary_folder
from tests.functional.daemon import Daemon
from tests.functional.simulated import SimulatedTestCase, Simulator

CART = "/deployments/shop/cart/replicas"


class FaultTests(SimulatedTestCase):
    """A daemon of a simulator whose faults are switched on one at a time."""

    def _cart(self) -> int:
        replicas: int = self.daemon.get(CART).json["replicas"]
        return replicas

    def _follows(self, replicas: int) -> None:
        """Scale behind the daemon's back, and wait until it shows."""
        self.simulator.scale("shop", "cart", replicas)
        self.daemon.wait_for(lambda: self._cart() == replicas, f"showing {replicas} replicas")

    def test_reads_cost_nothing(self) -> None:
        """A thousand reads of every kind cause no request to the cluster."""
        watched = {f"watch {what}" for what in ("namespaces", "deployments", "horizontalpodautoscalers", "events")}
        self.daemon.wait_for(lambda: watched <= set(self.simulator.counts()), "watching all that it watches")
        before = self.simulator.counts()
        connection = self.daemon.connect()
        self.addCleanup(connection.close)
        for _ in range(250):
            for path in ("/deployments", CART, "/namespaces", "/namespaces/ANY/deployments/ANY/replica_count"):
                self.assertEqual(self.daemon.request("GET", path, connection=connection).status, 200)
        self.assertEqual(self.simulator.counts(), before)

    def test_watch_recovers(self) -> None:
        """Whatever ends or spoils a watch, a change made by somebody else shows up soon after."""
        faults: list[dict[str, object]] = [
            {"kind": "cut", "reset": True},
            {"kind": "oversized", "size": 5 * 2**20},
            {"kind": "error-event", "code": 410},
        ]
        for replicas, fault in enumerate(faults, start=20):
            self.simulator.faults({**fault, "verb": "watch", "resource": "deployments", "times": 1})
            self._follows(replicas)
        self.assertNotIn("Traceback", "\n".join(self.daemon.lines))

    def test_cluster_away(self) -> None:
        """While the cluster refuses connections reads go on and a write answers 502; then all is as before."""
        known = self._cart()
        self.simulator.unplug(15)
        self.assertEqual(self._cart(), known)
        written = self.daemon.put(CART, {"replicas": 40})
        self.assertEqual(written.status, 502)
        self.assertIn("cannot be reached", written.json["message"])
        self.daemon.wait_for(lambda: self.daemon.put(CART, {"replicas": 41}).status == 200, "writing again", 60)
        self._follows(42)

    def test_lost_answer(self) -> None:
        """A write whose answer is lost is tried once, answered 502 as of unknown outcome, and the watch tells of it."""
        before = self.simulator.counts().get("patch scale", 0)
        self.simulator.faults({"kind": "drop-after-apply", "verb": "patch", "times": 1})
        written = self.daemon.put(CART, {"replicas": 43})
        self.assertEqual(written.status, 502)
        self.assertIn("unknown", written.json["message"])
        self.assertEqual(self.simulator.counts()["patch scale"], before + 1)
        self.daemon.wait_for(lambda: self._cart() == 43, "showing what was written")

    def test_no_answer(self) -> None:
        """A write that the cluster never answers is 504, says that the outcome is unknown, and was tried once."""
        self.simulator.faults({"kind": "hang-after-apply", "verb": "patch"})
        written = self.daemon.request("PUT", "/namespaces/shop/deployments/cart/replica_count/44")
        self.assertEqual(written.status, 504)
        self.assertIn("unknown", written.json["message"])
        self.assertEqual(self.simulator.counts()["patch scale"], 1)

    def test_refused_write(self) -> None:
        """Whatever code admission chose, it is 422 in the cluster's words, with If-Match too, and changes nothing."""
        known = self.daemon.get(CART)
        for code in (400, 403, 404, 409, 422):
            self.simulator.faults({"kind": "status", "code": code, "message": "not so many", "verb": "patch"})
            for fields in ({}, {"If-Match": known.headers["etag"]}):
                refused = self.daemon.put(CART, {"replicas": 45}, **fields)
                self.assertEqual((refused.status, "not so many" in refused.json["message"]), (422, True), code)
        self.simulator.faults()
        self.assertEqual(self._cart(), known.json["replicas"])

    def test_forbidden_write(self) -> None:
        """What the server itself may not do is 502, and no fault of the client's."""
        self.simulator.call("PUT", "/simulator/reviews", {"rules": []})
        self.simulator.faults({"kind": "status", "code": 403, "message": "not for you", "verb": "patch"})
        refused = self.daemon.put(CART, {"replicas": 45})
        self.assertEqual((refused.status, "not for you" in refused.json["message"]), (502, True))

    def test_throttled_write(self) -> None:
        """A cluster that is asked too often is 503, when to come again; a conflict is 409."""
        self.simulator.faults({"kind": "status", "code": 429, "retryAfter": 7, "verb": "patch", "times": 1})
        throttled = self.daemon.put(CART, {"replicas": 45})
        self.assertEqual((throttled.status, throttled.headers["retry-after"]), (503, "7"))
        about = {"details": {"kind": "deployments", "name": "cart"}}
        self.simulator.faults({"kind": "status", "code": 409, "verb": "patch", "times": 1, **about})
        self.assertEqual(self.daemon.put(CART, {"replicas": 45}).status, 409)

    def test_admission(self) -> None:
        """What admission made of a count is what is said, and read; what it warns of is passed on."""
        self.simulator.faults(
            {"kind": "mutate", "resource": "scale", "replicas": 3},
            {"kind": "warn", "resource": "scale", "message": "three is enough"},
        )
        written = self.daemon.put(CART, {"replicas": 9})
        self.assertTrue(written.json["message"].endswith(", admission made it 3"), written.json)
        self.assertEqual(
            (written.status, written.headers["warning"], self._cart()), (200, '299 - "three is enough"', 3)
        )
        version = written.headers["x-resource-version"]
        path = "/apis/apps/v1/namespaces/shop/deployments/cart/scale"
        self.assertLessEqual(int(version), int(self.simulator.call("GET", path)["metadata"]["resourceVersion"]))

    def test_behind_the_cluster(self) -> None:
        """While every event is held back, the cluster is asked where a condition, or a new Deployment, is judged."""
        etag = self.daemon.get(CART).headers["etag"]
        self.simulator.faults({"kind": "delay-events", "seconds": 30})
        self.simulator.scale("shop", "cart", 30)
        late = self.daemon.put(CART, {"replicas": 31}, **{"If-Match": etag})
        self.assertEqual((late.status, late.headers["etag"].startswith('"30-')), (412, True))
        self.assertEqual(self.daemon.put(CART, {"replicas": 31}, **{"If-Match": late.headers["etag"]}).status, 200)
        metadata = {"name": "news", "annotations": {"sre-server/max-replicas": "5"}}
        news = {"metadata": metadata, "spec": {"replicas": 1, "selector": {}, "template": {}}}
        self.simulator.call("POST", "/apis/apps/v1/namespaces/shop/deployments", news)
        path = "/namespaces/shop/deployments/news/replica_count"
        statuses = [self.daemon.request("PUT", f"{path}/{count}").status for count in (6, 5)]
        self.assertEqual(statuses, [422, 200])
        self.assertEqual(self.daemon.put("/deployments/shop/nothing/replicas", {"replicas": 1}).status, 404)
        self.simulator.faults()

    def test_read_your_write(self) -> None:
        """With every event held back, the next read after a 200 shows what was written."""
        self.simulator.faults({"kind": "delay-events", "seconds": 30})
        for replicas in (46, 47, 0, 48):
            self.assertEqual(self.daemon.put(CART, {"replicas": replicas}).status, 200)
            self.assertEqual(self._cart(), replicas)
        self.simulator.faults()

    def test_expired_list(self) -> None:
        """A list that expires between two pages is read again whole, and one that is throttled later."""
        self.simulator.faults(
            {"kind": "error-event", "code": 410, "verb": "watch", "resource": "deployments", "times": 1},
            {"kind": "status", "code": 429, "retryAfter": 1, "verb": "list", "times": 1},
        )
        self._follows(49)


class SilenceTests(SimulatedTestCase):
    """Watches that stay open and bring nothing; a bookmark and a half is what they have time for."""

    def test_restored_and_held_back(self) -> None:
        """A cluster that was restored, or is behind a proxy that passes nothing on, is believed within two minutes."""
        known = self.daemon.get(CART).json["replicas"]
        version = self.simulator.call("GET", "/api/v1/namespaces")["metadata"]["resourceVersion"]
        self._write_much()
        self.simulator.faults({"kind": "silent", "verb": "watch", "resource": "namespaces"})
        self.simulator.call("POST", "/api/v1/namespaces", {"metadata": {"name": "late"}})
        self.simulator.call("POST", "/simulator/restore", {"resourceVersion": version})
        self.simulator.call("POST", "/api/v1/namespaces", {"metadata": {"name": "restored"}})
        self.daemon.wait_for(lambda: self.daemon.get(CART).json["replicas"] == known, "believing it", 120)
        self.daemon.wait_for(lambda: "restored" in self.daemon.get("/namespaces").json["namespaces"], "listing", 30)
        for source in ("deployments", "namespaces"):
            self.daemon.wait_for_line(rf"{source}: listed \d+ \(silence\)")
        self.assertNotIn("late", self.daemon.get("/namespaces").json["namespaces"])
        self.assertEqual(self.daemon.ops("/readyz").status, 200)

    def _write_much(self) -> None:
        """Bring the cluster's version far on, and see it."""
        for replicas in range(50, 80):
            self.simulator.scale("shop", "cart", replicas)
        self.daemon.wait_for(lambda: bool(self.daemon.get(CART).json["replicas"] == 79), "showing 79")


class PermissionTests(SynchronousTestCase):
    """A daemon that may not do what it needs to."""

    def serve(self, fault: dict[str, object], *options: str) -> None:
        """Start one whose cluster says 403 to some of what it asks."""
        folder = temporary_folder(self)
        self.simulator = Simulator(folder)
        self.addCleanup(self.simulator.close)
        self.simulator.faults({"kind": "status", "code": 403, "message": "not for you", **fault})
        self.daemon = Daemon(folder, f"--kubeconfig={self.simulator.kubeconfig}", "--cluster=kubeconfig", *options)
        self.addCleanup(self.daemon.close)

    def check_cause(self, what: str) -> None:
        """Check that the daemon does not get ready, says why, and does as soon as it may."""

        def told() -> bool:
            answer = self.daemon.ops("/readyz")
            return answer.status == 503 and f"{what}: The cluster refused (403): not for you" in answer.json["message"]

        self.daemon.wait_for(told, f"missing {what}")
        self.daemon.wait_for_line(f"lacks the permission to {what}")
        self.simulator.faults()
        self.daemon.wait_for(lambda: self.daemon.ops("/readyz").status == 200, "ready", 60)
        self.assertEqual(self.daemon.ops("/readyz?verbose").json, {"warnings": []})

    def test_watch(self) -> None:
        """Without `watch` it is not ready, and names that."""
        self.serve({"verb": "watch", "resource": "deployments"})
        self.check_cause("watch deployments")

    def test_reviews(self) -> None:
        """Where the cluster decides who may what, a server that may not ask is not ready, before anybody needs it."""
        self.serve({"resource": "subjectaccessreviews"}, "--authorization=kubernetes")
        self.check_cause("create subjectaccessreviews")


class StartTests(SynchronousTestCase):
    """A daemon whose cluster is not there yet."""

    def test_cluster_away_at_start(self) -> None:
        """Before the first list is in, data answers 503 with Retry-After, livez 200 readyz 503; later all is well."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        simulator = Simulator(Path(folder.name))
        self.addCleanup(simulator.close)
        simulator.faults({"kind": "refuse"})
        daemon = Daemon(Path(folder.name), f"--kubeconfig={simulator.kubeconfig}", "--cluster=kubeconfig")
        self.addCleanup(daemon.close)
        for path in ("/deployments", "/deployments/shop", CART, "/namespaces"):
            answer = daemon.get(path)
            self.assertEqual((answer.status, answer.headers["retry-after"]), (503, "2"), path)
        self.assertEqual(daemon.request("PUT", "/namespaces/shop/deployments/cart/replica_count/1").status, 503)
        self.assertEqual((daemon.get("/livez").status, daemon.get("/readyz").status), (200, 503))
        simulator.faults()
        daemon.wait_until_ready()
        self.assertEqual(daemon.get("/deployments").status, 200)


class StreamedListTests(SynchronousTestCase):
    """How a daemon reads its first list, by what the simulator was asked."""

    def start(self, *faults: dict[str, object]) -> dict[str, int]:
        """Start a simulator with faults, and a daemon; return what lists and watches of Deployments it was asked."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        simulator = Simulator(Path(folder.name))
        self.addCleanup(simulator.close)
        simulator.faults(*faults)
        daemon = Daemon(Path(folder.name), f"--kubeconfig={simulator.kubeconfig}", "--cluster=kubeconfig")
        self.addCleanup(daemon.close)
        daemon.wait_until_ready()
        simulator.scale("shop", "cart", 40)
        daemon.wait_for(lambda: daemon.get(CART).json["replicas"] == 40, "showing a change")
        counts = simulator.counts()
        return {verb: counts.get(f"{verb} deployments", 0) for verb in ("list", "watch")}

    def test_streamed(self) -> None:
        """One request tells the list and goes on as the watch."""
        self.assertEqual(self.start(), {"list": 0, "watch": 1})

    def test_streams_are_off(self) -> None:
        """A cluster that refuses to stream is asked for a list, and then for a watch."""
        self.assertEqual(self.start({"kind": "no-streams"}), {"list": 1, "watch": 2})

    def test_stream_breaks(self) -> None:
        """A stream that is cut before the list is whole is followed by a list."""
        where: dict[str, object] = {"verb": "watch", "resource": "deployments", "times": 1}
        counts = self.start({"kind": "no-end", **where}, {"kind": "cut", **where})
        self.assertEqual(counts, {"list": 1, "watch": 2})
