"""`POST /deployments/{ns}/{name}/plan`, and writes that hold to a plan."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotFound, Unavailable
from sre_server.model import Autoscaler, Guards, Limit, Owners, Progress, Quota, Surroundings
from sre_server.security.authorization import Verb
from sre_server.security.guardrails import Guardrails, Mass, Protected
from sre_server.security.limits import Rate
from sre_server.security.policy import Policy, PolicyDocument, Rule
from tests.day.test_autoscalers import listed
from tests.fakes import deployment, namespace
from tests.memory_client import Answer
from tests.memory_server import MemoryServer

WEB = "/deployments/shop/web"
PLAN, PUT = f"{WEB}/plan", f"{WEB}/replicas"
SETTLED = Progress(generation=2, observed=2, total=3, ready=3, available=3, updated=3)
DEPLOYMENT = replace(deployment(replicas=3), progress=SETTLED)
SCALER = Autoscaler("shop", "web-scaler", "uid-hpa", "41", "web", 3, 6)
NEEDS = {"pods": Decimal(1)}


def around(hard: int | None = None, used: int = 3) -> Surroundings:
    """Have a quota of so many pods, if any."""
    limit = None if hard is None else Limit("pods", str(hard), str(used), Decimal(hard), Decimal(hard - used))
    quotas = (Quota("q", str(hard), (limit,)),) if limit else ()
    return Surroundings(DEPLOYMENT.uid, 3, NEEDS, quotas, ())


class PlanTestCase(SynchronousTestCase):
    """A Deployment of three. It has no tests itself."""

    def setUp(self) -> None:
        """Serve it."""
        self.serve()

    def serve(self, guardrails: Guardrails = Guardrails(), scaler: Autoscaler | None = None) -> None:  # noqa: B008
        """Serve it, with nothing around."""
        self.server = MemoryServer(guardrails=guardrails).sync(namespace(), DEPLOYMENT)
        self.server.around = around()
        self.scaled_by(scaler)

    def scaled_by(self, scaler: Autoscaler | None) -> None:
        """Have an autoscaler, or none."""
        self.server.cache.apply(listed(*([scaler] if scaler else []), at=self.server.clock.seconds()))

    def plan(self, count: int, query: str = "") -> Answer:
        """Ask for a plan, which changes nothing."""
        before = len(self.server.writes), len(self.server.audit.records)
        answer = self.server.call("POST", PLAN + query, b'{"replicas":%d}' % count)
        self.assertEqual((len(self.server.writes), len(self.server.audit.records)), before)
        return answer

    def verdict(self, count: int, query: str = "") -> tuple[str, list[str]]:
        """The verdict, and what the findings are about."""
        body = self.plan(count, query).json()
        return body["verdict"], [finding["about"] for finding in body["findings"]]

    def put(self, count: int, tag: str, query: str = "") -> Answer:
        """Write on condition of a tag."""
        return self.server.put(PUT + query, count, {"If-Match": tag})

    def tag(self, count: int, query: str = "") -> str:
        """The tag of a plan."""
        return self.plan(count, query).header("ETag") or ""


class PlanTests(PlanTestCase):
    """What is answered."""

    def test_all_is_well(self) -> None:
        """The counts, the verdict, and nothing found."""
        answer = self.plan(6)
        expected: dict[str, Any] = {"from": 3, "to": 6, "verdict": "will hold", "findings": []}
        self.assertEqual((answer.status, answer.json(), answer.header("Cache-Control")), (200, expected, "no-store"))
        self.assertEqual(self.server.surveyed, [("alice", "shop", "web")])

    def test_autoscaler(self) -> None:
        """What it undoes is refused, and, confirmed, does not hold; in its bounds it may not; 0 switches it off."""
        self.serve(scaler=SCALER)
        for count in (1, 20):
            self.assertEqual(self.verdict(count), ("is refused", ["guardrail", "autoscaler"]))
            self.assertEqual(self.verdict(count, "?confirm=autoscaler"), ("will not hold", ["autoscaler"]))
        self.assertEqual(self.verdict(5), ("may not hold", ["autoscaler"]))
        self.assertEqual(self.verdict(0), ("will hold", ["autoscaler"]))
        message = self.plan(1, "?confirm=autoscaler").json()["findings"][0]["message"]
        said = "HorizontalPodAutoscaler web-scaler (3..6) puts it back to 3 within about 15 s."
        self.assertEqual(message, said)
        self.scaled_by(replace(SCALER, minimum=0))
        self.assertEqual(self.verdict(0), ("may not hold", ["autoscaler"]))
        self.scaled_by(replace(SCALER, minimum=6))
        self.assertEqual(self.verdict(6), ("will hold", ["autoscaler"]))
        self.assertIn("keeps it there", str(self.plan(6).json()))

    def test_what_is_around(self) -> None:
        """A quota is looked at each time; owners are told with it."""
        self.server.around = around(4)
        self.assertEqual(self.verdict(9), ("will not hold", ["quota"]))
        self.server.tell(replace(DEPLOYMENT, resource_version="11", owners=Owners(controller="Kafka main")))
        self.assertEqual(self.verdict(9), ("will not hold", ["controller", "quota"]))

    def test_what_is_not_known(self) -> None:
        """It is said, and a count is not said to hold for want of knowledge."""
        server = self.server = MemoryServer().sync(namespace(), deployment(replicas=3))
        self.assertEqual(self.verdict(6), ("may not hold", ["not known"] * 4))
        self.assertEqual(server.surveyed, [("alice", "shop", "web")])

    def test_what_cannot_be_planned(self) -> None:
        """404 for what is not there, also for the cluster; 503 where too little is known; 400, 415 as for a write."""
        self.assertEqual(self.server.call("POST", "/deployments/shop/no/plan", b'{"replicas":1}').status, 404)
        self.server.around = NotFound("The Deployment 'web' does not exist in the namespace 'shop'.")
        self.assertEqual(self.plan(4).status, 404)
        self.server.around = Unavailable("It cannot be told.", 2)
        self.assertEqual((self.plan(4).status, self.plan(4).header("Retry-After")), (503, "2"))
        for query in ("?confrim=zero", "?confirm=all", "?x"):
            self.assertEqual(self.plan(4, query).status, 400)
        self.assertEqual(self.server.call("POST", PLAN, b"{}").status, 400)
        self.assertEqual(self.server.call("POST", PLAN, b"{}", {"Content-Type": "text/plain"}).status, 415)
        self.assertEqual(self.server.call("PUT", PLAN, b'{"replicas":1}').status, 405)
        self.server.clock.advance(121)
        asked = len(self.server.surveyed)
        self.assertEqual((self.plan(4).status, len(self.server.surveyed)), (503, asked))

    def test_who_may(self) -> None:
        """Who may only read may not plan; a plan takes a token of both kinds."""
        rules = (Rule(identities=("*",), verbs=("read",), namespaces=("*",)),)
        self.server = MemoryServer(authorizer=Policy(PolicyDocument(rules))).sync(namespace(), DEPLOYMENT)
        self.assertEqual(self.server.call("POST", PLAN, b'{"replicas":4}').status, 403)
        self.assertEqual(self.server.audit.records[0].outcome, "not permitted")
        limits = {Verb.READ: Rate(1, 9), Verb.SCALE: Rate(1, 1)}
        self.server = MemoryServer(limits=limits).sync(namespace(), DEPLOYMENT)
        answer = self.server.call("POST", PLAN, b'{"replicas":4}')
        self.assertEqual((answer.status, answer.header("RateLimit")), (200, '"read";r=8;t=0, "scale";r=0;t=0'))
        self.assertEqual(self.server.call("POST", PLAN, b'{"replicas":4}').status, 429)


class HoldingTests(PlanTestCase):
    """A write with the tag of a plan."""

    def test_nothing_has_changed(self) -> None:
        """It is done, once, on the count and the UID of the plan; whatever is in use by then."""
        for count in (6, 0, 3):
            self.serve(scaler=SCALER)
            self.server.around = around(20)
            tag = self.tag(count)
            self.server.around = around(20, used=19)
            self.server.tell(replace(DEPLOYMENT, resource_version="11", progress=replace(SETTLED, ready=1)))
            self.assertEqual(self.put(count, tag).status, 200, tag)
            assert self.server.expected is not None
            self.assertEqual((self.server.expected.replicas, self.server.expected.uid), (3, DEPLOYMENT.uid))

    def test_family_b(self) -> None:
        """It takes the tag, too."""
        path, tag = "/namespaces/shop/deployments/web/replica_count/6", self.tag(6)
        self.assertEqual(self.server.call("PUT", path, headers={"If-Match": tag}).status, 200)
        self.assertEqual(self.server.call("PUT", path, headers={"If-Match": tag}).status, 412)

    def refused(self, count: int, tag: str) -> str:
        """Write, and have it refused; return why."""
        answer = self.put(count, tag)
        self.assertEqual((answer.status, self.server.writes), (412, []), answer)
        self.assertEqual(answer.header("ETag"), f'"3-{DEPLOYMENT.uid}"')
        self.assertEqual(self.server.audit.records[-1].status, 412)
        return str(answer.json()["message"])

    def test_what_has_changed(self) -> None:
        """It is refused, and the message names what has changed."""
        tag = self.tag(6)
        self.scaled_by(SCALER)
        self.assertIn("the autoscaler or its bounds changed since", self.refused(6, tag))
        tag = self.tag(6)
        self.server.around = around(20)
        self.assertIn("what the quotas allow changed since", self.refused(6, tag))
        self.scaled_by(None)
        message = self.refused(6, tag)
        self.assertIn("the autoscaler or its bounds, what the quotas allow changed since", message)
        tag = self.tag(6)
        self.server.tell(replace(DEPLOYMENT, resource_version="11", guards=Guards(maximum="9")))
        self.assertIn("the guardrails changed since", self.refused(6, tag))
        self.server.around = None
        self.assertIn("what the quotas allow", self.refused(6, tag))

    def test_another_count(self) -> None:
        """A plan is for one count, and for no other."""
        self.assertIn("the plan was for 6", self.refused(60, self.tag(6)))

    def test_the_count_has_changed(self) -> None:
        """The cluster compares it with the one that was planned from, as for any tag."""
        tag = self.tag(6)
        self.server.tell(replace(DEPLOYMENT, resource_version="11", replicas=4))
        answer = self.put(6, tag)
        self.assertEqual((answer.status, answer.header("ETag")), (412, f'"4-{DEPLOYMENT.uid}"'))
        self.assertIn("its count is 4 now", answer.json()["message"])
        anew = replace(DEPLOYMENT, uid="another", resource_version="12")
        self.server.tell(anew)
        self.assertEqual((self.put(6, tag).status, self.server.writes), (412, []))

    def test_among_other_tags(self) -> None:
        """One that fits is enough, of a plan or of a count; what looks like a plan and is none fits nothing."""
        tag = self.tag(6)
        self.scaled_by(SCALER)
        for fields, status in (
            (f'{tag}, "3-{DEPLOYMENT.uid}"', 200),
            (f'{tag}, "9-{DEPLOYMENT.uid}"', 412),
            (f"{tag}, {self.tag(6)}", 200),
            (f"*, {tag}", 400),
            (tag.replace(".", ","), 412),
            (tag[:-3] + '"', 412),
            (f"W/{self.tag(6)}", 412),
        ):
            self.serve(scaler=SCALER)
            self.assertEqual(self.put(6, fields).status, status, fields)

    def test_what_it_costs(self) -> None:
        """The quotas are listed again for a plan's tag, and for no other."""
        tag = self.tag(6)
        self.assertEqual(self.put(6, f'"3-{DEPLOYMENT.uid}"').status, 200)
        self.assertEqual(len(self.server.surveyed), 1)
        self.put(6, tag)
        self.assertEqual(len(self.server.surveyed), 2)

    def test_what_cannot_be_verified(self) -> None:
        """503, and nothing is written, where the cluster does not say or what is known is too old."""
        tag = self.tag(6)
        self.server.around = Unavailable("It cannot be told.", 2)
        self.assertEqual(self.put(6, tag).status, 503)
        self.server.around = around()
        self.server.clock.advance(121)
        self.assertEqual((self.put(6, tag).status, self.server.writes), (503, []))

    def test_any_server(self) -> None:
        """Another process that knows the same takes the tag: nothing of it is kept."""
        tag = self.tag(6)
        self.serve()
        self.assertEqual(self.put(6, tag).status, 200)


counts = st.integers(0, 30)
rails = st.builds(
    Guardrails,
    minimum=st.integers(0, 2),
    maximum=st.integers(3, 25),
    largest_step=st.none() | st.integers(1, 20),
    zero_needs_confirmation=st.booleans(),
    protected=st.just(()) | st.just((Protected(("shop",)),)),
    autoscaler=st.sampled_from(["refuse", "warn", "off"]),
    mass=st.builds(Mass, count=st.integers(1, 2)),
)
words = st.sets(st.sampled_from(["zero", "step", "autoscaler", "mass"]))
guards = st.builds(
    Guards,
    minimum=st.sampled_from(["", "2", "x"]),
    maximum=st.sampled_from(["", "9"]),
    protected=st.sampled_from(["", "true", "false"]),
)


class AgreementTests(PlanTestCase):
    """A plan says what the write is answered."""

    @given(rails, guards, counts, counts, words, st.none() | st.tuples(st.integers(0, 5), st.integers(5, 10)))
    @settings(max_examples=200, deadline=None)
    def test_refusals(
        self,
        guardrails: Guardrails,
        own: Guards,
        before: int,
        after: int,
        confirmed: set[str],
        bounds: tuple[int, int] | None,
    ) -> None:
        """It is refused in the plan if, and only if, the same write is 422, for the same reason; else it is done."""
        scaler = replace(SCALER, minimum=bounds[0], maximum=bounds[1]) if bounds else None
        self.serve(guardrails, scaler)
        for name in ("one", "two"):
            self.server.tell(deployment(name))
            self.server.put(f"/deployments/shop/{name}/replicas?confirm=zero&confirm=step", 0)
        self.server.tell(replace(DEPLOYMENT, replicas=before, guards=own, resource_version="11"))
        query = "".join(f"&confirm={word}" for word in sorted(confirmed)).replace("&", "?", 1)
        planned = self.plan(after, query)
        body = planned.json()
        answer = self.put(after, planned.header("ETag") or "", query)
        self.assertEqual((answer.status == 422), body["verdict"] == "is refused", (body, answer))
        if answer.status == 422:
            self.assertEqual(answer.json()["message"], body["findings"][0]["message"])
        else:
            self.assertEqual(answer.status, 200)
