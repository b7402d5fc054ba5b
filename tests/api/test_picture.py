"""`GET /deployments/{ns}/{name}`: all that is known of one Deployment."""

from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.model import Autoscaler, Owners, Progress
from tests.day.test_autoscalers import listed
from tests.fakes import deployment, namespace
from tests.memory_server import MemoryServer

PICTURE = "/deployments/shop/web"
SCALER = Autoscaler("shop", "web-scaler", "uid-hpa", "41", "web", 3, 10)
SETTLED = Progress(generation=2, observed=2, total=3, ready=3, available=3, updated=3)
WEB = replace(deployment(replicas=3), progress=SETTLED)


class PictureTests(SynchronousTestCase):
    """The picture, and how fast it follows."""

    def setUp(self) -> None:
        """Serve a settled Deployment, autoscalers known."""
        self.server = MemoryServer()
        self.server.sync(namespace(), WEB)
        self.server.cache.apply(listed())

    def test_whole(self) -> None:
        """Every key is there, in the order that the documentation shows."""
        self.server.cache.apply(listed(SCALER))
        owned = replace(WEB, owners=Owners(controller="Kafka main"))
        self.server.tell(owned)
        answer = self.server.call("GET", PICTURE)
        self.assertEqual(
            list(answer.json().items()),
            [
                ("namespace", "shop"),
                ("deployment", "web"),
                ("replicas", 3),
                ("ready", 3),
                ("available", 3),
                ("updated", 3),
                ("rollout", "steady"),
                ("reason", None),
                ("paused", False),
                (
                    "autoscaler",
                    {"kind": "HorizontalPodAutoscaler", "name": "web-scaler", "min": 3, "max": 10, "active": True},
                ),
                ("managed_by", ["HorizontalPodAutoscaler web-scaler", "Kafka main"]),
                ("temporary", None),
                ("last_change", None),
                ("not_known", []),
            ],
        )

    def picture(self, **changed: Any) -> dict[str, Any]:
        """Read the picture once the Deployment's progress has changed."""
        self.server.tell(replace(WEB, resource_version="11", progress=replace(SETTLED, **changed)))
        answer: dict[str, Any] = self.server.call("GET", PICTURE).json()
        return answer

    def test_trouble(self) -> None:
        """What the controller complains of is told in its own words."""
        told = self.picture(trouble="FailedCreate: exceeded quota")
        self.assertEqual((told["rollout"], told["reason"]), ("stuck", "FailedCreate: exceeded quota"))
        self.assertEqual(self.picture(paused=True)["rollout"], "paused")

    def test_what_is_not_known(self) -> None:
        """What could not be found out is null, and said to be unknown: nobody takes it for an absence."""
        server = MemoryServer().sync(namespace(), deployment())
        told = server.call("GET", PICTURE).json()
        self.assertEqual([told[name] for name in ("ready", "available", "updated", "rollout", "paused")], 5 * [None])
        self.assertEqual(told["not_known"], ["status", "autoscaler"])

    def test_after_a_write(self) -> None:
        """The status of the old count is not taken for that of the new one, which no controller has seen."""
        self.assertEqual(self.server.put(f"{PICTURE}/replicas", 3).status, 200)
        self.assertEqual(self.server.call("GET", PICTURE).json()["rollout"], "steady")
        self.assertEqual(self.server.put(f"{PICTURE}/replicas", 5).status, 200)
        told = self.server.call("GET", PICTURE).json()
        self.assertEqual((told["replicas"], told["ready"], told["rollout"]), (5, 3, "settling"))

    def test_conditional(self) -> None:
        """The tag is the content's: it changes with anything that is shown, and with nothing else."""
        tag = self.server.call("GET", PICTURE).header("ETag") or ""
        self.assertEqual(self.server.call("GET", PICTURE, headers={"If-None-Match": tag}).status, 304)
        self.server.tell(replace(WEB, resource_version="11"))
        self.assertEqual(self.server.call("GET", PICTURE, headers={"If-None-Match": tag}).status, 304)
        self.server.tell(replace(WEB, resource_version="12", progress=replace(SETTLED, available=2)))
        self.assertEqual(self.server.call("GET", PICTURE, headers={"If-None-Match": tag}).status, 200)

    def test_missing(self) -> None:
        """What does not exist is 404, saying which of the two it is."""
        self.assertEqual(self.server.call("GET", "/deployments/shop/api").status, 404)
        self.assertIn("namespace 'bank'", self.server.call("GET", "/deployments/bank/api").json()["message"])

    def test_lists_do_not_change_with_a_status(self) -> None:
        """Lists show counts: their tags stay while a rollout goes on."""
        tag = self.server.call("GET", "/deployments/shop").header("ETag")
        self.picture(available=1)
        self.assertEqual(self.server.call("GET", "/deployments/shop").header("ETag"), tag)
