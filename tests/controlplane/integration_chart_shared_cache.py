"""The chart with a shared cache: both roles with exactly the tokens that it grants, and switching it on and off."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.functional.daemon import Daemon, Process, environment, twistd
from tests.functional.redis import RedisServer
from tests.functional.sharing import user_of_the_page

from .chart import WAIT
from .daemon import wait_until
from .integration_chart import ReleaseTestCase
from .integration_chart_permissions import AUTOSCALERS, CLIENT, ONE_NAMESPACE, PLANS, RECORD, REVIEWS, SCALE
from .workload import own_cluster

PASSWORDS = {"api": "of-those-that-serve", "watcher": "of-those-that-watch"}
LIST = ("apps", "deployments", ("list", "watch"))
GET = ("apps", "deployments", ("get",))
LIST_NAMESPACES = ("", "namespaces", ("list", "watch"))
LEASES = {("coordination.k8s.io", "leases", verbs) for verbs in (("get", "update"), ("create",))}
API = {GET, SCALE, RECORD, *PLANS, REVIEWS, ONE_NAMESPACE}
WATCH_NOTES = ("", "configmaps", ("list", "watch"))
"""Of one ConfigMap, by its name."""
LIST_EVENTS = ("", "events", ("list", "watch"))
WATCHER = {LIST, LIST_NAMESPACES, LIST_EVENTS, AUTOSCALERS, ONE_NAMESPACE}


class Service:
    """What a Service does for clients: each request goes to one of the pods that are ready; failures are kept."""

    def __init__(self, web: str) -> None:
        """Serve reads and writes of this Deployment's count."""
        self.failures: list[object] = []
        self.answered = 0
        self._web = web
        self._pods: list[Daemon] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._clients = [threading.Thread(target=self._ask, args=(write,)) for write in (False, True)]

    def begin(self) -> None:
        """Let a client read and another one write, over and over."""
        for client in self._clients:
            client.start()

    def end(self) -> None:
        """Let them finish."""
        self._over.set()
        for client in self._clients:
            client.join()

    def add(self, *pods: Daemon) -> None:
        """Send requests there from now on, as these are ready."""
        for pod in pods:
            pod.wait_until_ready()
        with self._lock:
            self._pods += pods

    def remove(self, pod: Daemon) -> None:
        """Send no more requests there; end it once the last one is answered, as the kubelet does."""
        with self._lock:
            self._pods.remove(pod)
        pod.close()

    def _ask(self, write: bool) -> None:
        """Ask one pod after the other, from one of the two threads."""
        count = 3
        while not self._over.is_set():
            with self._lock:  # held until the answer is there, so that no pod ends before
                pod = self._pods[self.answered % len(self._pods)]
                try:
                    answer = pod.put(self._web, {"replicas": count}) if write else pod.get(self._web)
                except Exception as error:  # noqa: BLE001  # whatever it is, a client has seen it
                    self.failures.append(error)
                else:
                    self.failures += [answer] if answer.status != 200 else []
            self.answered += 1
            count = count % 5 + 1
            self._over.wait(0.05)


class SharedCacheTests(ReleaseTestCase):
    """A release, a Redis with the users of docs/scale.md, and processes in the place of pods."""

    def setUp(self) -> None:
        """Start Redis, and make the Secrets."""
        super().setUp()
        self.redis = RedisServer()
        self.redis.start()
        self.addCleanup(self.redis.kill)
        for user, password in PASSWORDS.items():
            self.redis.call("ACL", "SETUSER", *user_of_the_page(user, password))
        self.redis.call("ACL", "SETUSER", "default", "off")
        contents = {"seal": "one key of the tests", **PASSWORDS}
        literals = [f"--from-literal={key}={value}" for key, value in contents.items()]
        self.namespace = f"--namespace={self.release.namespace}"
        self.release.kubectl("create", "secret", "generic", "cache", self.namespace, *literals)
        self.watcher_name = f"{self.release.account}-watcher"
        self.cluster = own_cluster()
        self.served = self.cluster.make_namespace()
        self.addCleanup(self.cluster.kubectl, "delete", "namespace", self.served, "--wait=false")
        self.cluster.kubectl("apply", "--filename=-", input=CLIENT.format(namespace=self.served))
        self.web = f"/deployments/{self.served}/web/replicas"

    def values(self, **more: Any) -> dict[str, Any]:
        """Return values with the shared cache switched on."""
        users = {role: {"user": role, "password": {"secretName": "cache", "key": role}} for role in PASSWORDS}
        cache = {"enabled": True, "url": self.redis.url, "seal": {"secretName": "cache"}, **users}
        return {"sharedCache": cache, **more}

    def serve(self, options: Sequence[str]) -> Daemon:
        """Run a process in the place of a pod that serves."""
        daemon = Daemon(self.release.folder, *options, authority=self.release.authority)
        self.addCleanup(daemon.close)
        return daemon

    def watch(self) -> Process:
        """Run a process in the place of a watcher's pod."""
        options = [*self.release.server_options(self.watcher_name), "--ops-listen=tcp:0:interface=127.0.0.1"]
        watcher = Process(twistd("sre-server", *options), environment(), Path(self.release.folder))
        self.addCleanup(watcher.close)
        return watcher

    def granted(self, account: str) -> set[Any]:
        """Return what an account may do in a namespace that is served."""
        return self.release.granted(self.served, account)

    def status(self, account: str, method: str, path: str) -> int:
        """Return what the apiserver answers to one request with the account's token; a PATCH sets a count."""
        token = self.release.plane.service_account_token(self.release.namespace, account)
        body, merge = b'{"spec": {"replicas": 6}}' if method == "PATCH" else None, "application/merge-patch+json"
        status, _ = self.release.plane.request(method, path, token=token, body=body, content_type=merge)
        return status

    def test_both_roles(self) -> None:
        """Each does its whole job with the token that the chart grants it, and is refused what is the other's."""
        self.release.helm("install", self.values(guardrails={"maximum": 50}), *WAIT)
        wait_until(lambda: self.release.may_be_disrupted(self.watcher_name), "no watcher may be disrupted")
        api = self.serve(self.release.server_options())
        self.assertEqual(api.ops("/readyz").status, 503)
        watcher = self.watch()
        watcher.wait_for_line("publishing from the start")
        api.wait_until_ready()
        self.assertEqual(api.get(self.web).json["replicas"], 3)
        self.assertEqual(api.put(self.web, {"replicas": 51}).status, 422)
        # A condition that the cache does not fit is judged on what a GET of this one Deployment says.
        stale = api.put(self.web, {"replicas": 4}, **{"If-Match": '"another"'})
        self.assertEqual(stale.status, 412)
        self.assertEqual(api.put(self.web, {"replicas": 5}).status, 200)
        events = ("get", "events", f"--namespace={self.served}", "--field-selector=reason=ScaledOnRequest")
        message = "--output=jsonpath={.items[*].message}"
        api.wait_for(lambda: self.cluster.kubectl(*events, message) == "alice scaled this from 3 to 5", "an Event")
        self.cluster.scale(self.served, "web", 6)
        api.wait_for(lambda: api.get(self.web).json["replicas"] == 6, "showing what the watcher heard")
        holder = self.release.get("lease", self.watcher_name)["spec"]["holderIdentity"]
        self.assertTrue(holder)
        for process in (api, watcher):
            self.assertNotRegex(process.said(), "[Ff]orbidden|Traceback|could not be left|no permissions")

        self.assertEqual(self.granted(self.release.account), API)
        self.assertEqual(self.granted(self.watcher_name), WATCHER)
        own = self.release.granted(self.release.namespace, self.watcher_name)
        self.assertEqual(own, WATCHER | LEASES | {WATCH_NOTES})
        deployments = f"/apis/apps/v1/namespaces/{self.served}/deployments"
        leases = f"/apis/coordination.k8s.io/v1/namespaces/{self.release.namespace}/leases"
        for what, (asked, by_api, by_watcher) in {
            "list all": (("GET", "/apis/apps/v1/deployments"), 403, 200),
            "list some": (("GET", deployments), 403, 200),
            "watch": (("GET", f"{deployments}?watch=true&timeoutSeconds=1"), 403, 200),
            "get one": (("GET", f"{deployments}/web"), 200, 403),
            "scale": (("PATCH", f"{deployments}/web/scale"), 200, 403),
            "list namespaces": (("GET", "/api/v1/namespaces"), 403, 200),
            "get its name": (("GET", "/api/v1/namespaces/kube-system"), 200, 200),
            "get another": (("GET", f"/api/v1/namespaces/{self.served}"), 403, 403),
            "get the Lease": (("GET", f"{leases}/{self.watcher_name}"), 403, 200),
            "get another Lease": (("GET", f"{leases}/other"), 403, 403),
            "delete the Lease": (("DELETE", f"{leases}/{self.watcher_name}"), 403, 403),
            "read Secrets": (("GET", f"/api/v1/namespaces/{self.release.namespace}/secrets/cache"), 403, 403),
        }.items():
            answered = [self.status(account, *asked) for account in (self.release.account, self.watcher_name)]
            self.assertEqual(answered, [by_api, by_watcher], what)

    def test_rights_of_pods_of_before(self) -> None:
        """List and watch stay with pods that run by them until the rollout is done, and go with the upgrade after."""
        self.release.helm("install", {}, *WAIT)
        self.release.helm("upgrade", self.values(minReadySeconds=300))
        self.assertIn(("apps", "deployments", ("get", "list", "watch")), self.granted(self.release.account))
        self.release.helm("upgrade", self.values(minReadySeconds=300, podAnnotations={"a": "b"}))
        self.assertIn(("apps", "deployments", ("get", "list", "watch")), self.granted(self.release.account))
        told = self.release.helm("upgrade", self.values(), *WAIT)
        self.assertIn("may go on listing and watching", told)
        self.assertNotIn("may go on listing", self.release.helm("upgrade", self.values(), *WAIT))
        wait_until(lambda: self.granted(self.release.account) == API, "more is granted than is needed, or less")

    def test_switched_on_and_off(self) -> None:
        """While pods are replaced by those of the other kind, in the order of the chart, no read and no write fails."""
        self.release.helm("install", {}, *WAIT)
        uid = self.release.get("deployment")["metadata"]["uid"]
        available = self.release.follow(self, "{.status.availableReplicas}")
        service = Service(self.web)
        alone = [self.serve(self.release.server_options()) for _ in range(2)]
        service.add(*alone)
        service.begin()
        self.addCleanup(service.end)

        self.release.helm("upgrade", self.values(), *WAIT)
        sharing = [self.serve(self.release.server_options())]
        self.assertEqual(sharing[0].ops("/readyz").status, 503)
        watchers = [self.watch()]
        watchers[0].wait_for_line("publishing from the start")
        watchers.append(self.watch())
        watchers[1].wait_for_line("deployments: listed")
        service.add(*sharing)
        service.remove(alone[0])
        sharing.append(self.serve(self.release.server_options()))
        service.add(sharing[1])
        service.remove(alone[1])

        self.release.helm("upgrade", {"sharedCache": {"enabled": False}}, *WAIT)
        new = [self.serve(self.release.server_options()) for _ in sharing]
        for watcher in watchers:
            watcher.close()
        for one, old in zip(new, sharing, strict=True):
            service.add(one)
            service.remove(old)
        service.end()
        self.assertEqual(service.failures, [])
        self.assertGreater(service.answered, 50)
        self.assertEqual(self.release.get("deployment")["metadata"]["uid"], uid)
        self.assertGreaterEqual(min(available()), 2)
        wait_until(lambda: "watcher" not in str(self.release.items("pods")), "watchers are left")
        self.assertNotIn(
            self.watcher_name, self.release.kubectl("get", "deployments,serviceaccounts,roles", self.namespace)
        )
