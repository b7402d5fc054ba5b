"""Temporary counts over HTTP: set, seen, extended, ended, and what is told of them."""

import re
from datetime import timedelta

from msgspec.structs import replace

from sre_server.api.openapi import document
from sre_server.day.temporary import Note
from sre_server.errors import ClusterRefused, ClusterTimedOut, Unavailable
from sre_server.security.authorization import AnyClient, Decision, Verb
from sre_server.security.guardrails import Guardrails
from sre_server.security.identity import Identity
from tests.api.temporary import STORE, URL, WEB, TemporaryTestCase
from tests.fakes import deployment, namespace
from tests.memory_server import ALICE, START, MemoryServer

# Set, and seen.


class TemporaryTests(TemporaryTestCase):
    """What may be set, and what is answered."""

    def test_set(self) -> None:
        """A count that is set for a time is noted, written once, and shown."""
        answer = self.set(X_Reason="sale", X_Request_Id="request-1")
        self.assertEqual(answer.status, 201)
        shown = {
            "replicas": 20,
            "original": 3,
            "until": "2026-11-26T05:00:00Z",
            "by": "alice",
            "reason": "sale",
            "state": "in force",
        }
        self.assertLessEqual(shown.items(), answer.json().items())
        self.assertEqual(self.present["web"].replicas, 20)
        expected = Note("shop", "web", 3, 20, START + timedelta(hours=2), "alice", "sale", "request-1")
        self.assertEqual(self.note(), expected)
        one = {"namespace": "shop", "deployment": "web", **shown}
        self.assertEqual(self.server.get(URL).json(), one)
        self.assertEqual(self.server.get("/temporary").json(), {"temporary": [one]})
        self.assertEqual(self.server.get("/deployments/shop/web").json()["temporary"], shown)
        self.assertEqual(self.server.get("/deployments/shop/web/replicas").json()["replicas"], 20)
        (line,) = self.server.audit.records
        self.assertEqual((line.action, line.outcome, line.old_replicas, line.new_replicas), ("scale", "changed", 3, 20))
        self.assertEqual([(told[1], told[2].before) for told in self.server.told], [(20, 3)])

    def test_superseded(self) -> None:
        """Once somebody has set another count, that is said wherever it is shown."""
        self.set()
        self.server.tell(deployment(replicas=4, version="900"))
        seen = self.server.get(URL).json()
        self.assertEqual((seen["replicas"], seen["state"]), (20, "superseded"))
        plan = self.server.call("POST", "/deployments/shop/web/plan", b'{"replicas":6}').json()
        self.assertNotIn("temporary", [finding["about"] for finding in plan["findings"]])
        self.assertEqual(self.server.get("/temporary").json(), {"temporary": [seen]})
        self.assertEqual(self.server.get("/deployments/shop/web").json()["temporary"]["state"], "superseded")

    def test_none(self) -> None:
        """Without one there is nothing to see, or to end; a Deployment that does not exist is another matter."""
        self.assertEqual(self.server.get("/temporary").json(), {"temporary": []})
        self.assertIn("has no temporary count", self.server.get(URL).json()["message"])
        self.assertEqual([self.server.get(URL).status, self.server.call("DELETE", URL).status], [404, 404])
        self.assertIn("'api' does not exist", self.server.get("/deployments/shop/api/temporary").json()["message"])

    def test_bodies(self) -> None:
        """Whatever is not exactly a count and a span is refused."""
        for body in (
            b'{"replicas":20}',
            b'{"replicas":20,"for":"2h","more":1}',
            b'{"replicas":20,"for":2}',
            b'{"replicas":20,"for":"2"}',
            b'{"replicas":20,"for":"0s"}',
            b'{"replicas":20,"for":"-2h"}',
            b'{"replicas":20,"for":"2h","for":"2h"}',
            b'{"replicas":20,"for":"31d"}',
            b'{"replicas":-1,"for":"2h"}',
            b'{"replicas":true,"for":"2h"}',
            b"[]",
            b"x",
        ):
            with self.subTest(body):
                self.assertEqual(self.server.call("PUT", URL, body).status, 400)
        self.assertEqual(self.server.call("PUT", URL + "?confrim=zero", b'{"replicas":2,"for":"2h"}').status, 400)
        self.assertEqual(self.server.call("DELETE", URL + "?confrim=zero").status, 400)
        self.assertEqual(self.data, {})
        self.assertEqual(self.server.call("PUT", URL, b'{"for":"30d","replicas":20}').status, 201)

    def test_the_message_says_what_is_wrong(self) -> None:
        """The key that is missing or unknown is named, and a span that is none is shown."""
        for body, what in {
            b'{"for":"2h"}': '"replicas": missing',
            b'{"replicas":10}': '"for": missing',
            b"{}": '"for", "replicas": missing',
            b'{"replicas":10,"until":"2h"}': '"for": missing; "until": unknown',
            b'{"replicas":10,"for":"2hours"}': 'here it is "2hours"',
            b'{"replicas":10,"for":"90d"}': 'here it is "90d"',
            b'{"replicas":10,"for":"1h30m"}': 'here it is "1h30m"',
            b'{"replicas":10,"for":7200}': "here it is 7200",
            b'{"replicas":10,"for":["2h"]}': "here it is something else",
        }.items():
            message = self.server.call("PUT", URL, body).json()["message"]
            self.assertTrue(message.endswith(f"from 1s to 30d; {what}."), message)

    def test_longest(self) -> None:
        """30 days, in whatever unit: what the document allows is what is taken."""
        put = document()["paths"]["/deployments/{namespace}/{deployment}/temporary"]["put"]
        span = put["requestBody"]["content"]["application/json"]["schema"]["properties"]["for"]["pattern"]
        for longest, unit in ((2_592_000, "s"), (43_200, "m"), (720, "h"), (30, "d")):
            for number in (0, 1, longest, longest + 1, 10 * longest):
                answer = self.server.call("PUT", URL, b'{"replicas":20,"for":"%d%s"}' % (number, unit.encode()))
                self.assertEqual(answer.status != 400, 0 < number <= longest)
                self.assertEqual(bool(re.search(span, f"{number}{unit}")), 0 < number <= longest)

    def test_guardrails(self) -> None:
        """They hold for the way there, and for the way back."""
        self.serve(guardrails=Guardrails(zero_needs_confirmation=True, maximum=50))
        self.assertEqual(self.set(51).status, 422)
        self.assertEqual(self.set(0).status, 422)
        self.present["web"] = replace(WEB, replicas=0, resource_version="800")
        self.server.tell(self.present["web"])
        answer = self.set()
        self.assertEqual(answer.status, 422)
        self.assertRegex(answer.json()["message"], "^It could not come back.*confirm=zero")
        self.assertEqual(self.data, {})
        self.assertEqual(self.server.audit.records[-1].rule, "zero")
        self.assertEqual(self.set(query="?confirm=zero").status, 201)

    def test_conditions(self) -> None:
        """If-Match binds it to an earlier read, as any write."""
        tag = self.server.get("/deployments/shop/web/replicas").header("ETag") or ""
        self.assertEqual(self.set(If_Match='"9-other"').status, 412)
        self.assertEqual(self.set(If_Match=tag).status, 201)
        self.assertEqual(self.server.call("DELETE", URL, headers={"If-Match": tag}).status, 412)
        self.assertEqual(self.present["web"].replicas, 20)

    def test_changed_meanwhile(self) -> None:
        """A count that changes at the same moment is not overwritten, as the original would be wrong."""
        self.present["web"] = replace(WEB, replicas=4)
        answer = self.set()
        self.assertEqual(answer.status, 409)
        self.assertEqual((self.present["web"].replicas, self.data), (4, {}))

    def test_too_many(self) -> None:
        """A client has 100 at most, all have 1,000 together; an extension needs no more room."""
        note = Note("shop", "other", 3, 4, START + timedelta(hours=1), "alice")
        self.data = {f"uid-{number}": note.text() for number in range(99)}
        self.version += 1
        self.list_notes()
        self.assertEqual(self.set().status, 201)
        self.data["uid-99"] = note.text()
        self.version += 1
        self.list_notes()
        self.assertEqual(self.set(30).status, 429)
        self.server.clients.who = Identity("bob", (), ALICE.certificate_sha256, ALICE.not_after)
        self.assertEqual(self.set(30).status, 200)
        self.data |= {f"uid-more-{number}": replace(note, author="eve").text() for number in range(1000 - 101)}
        self.version += 1
        self.list_notes()
        self.assertEqual(self.set(31).status, 200)
        del self.data[WEB.uid]
        self.data["uid-last"] = "unreadable"
        self.version += 1
        self.list_notes()
        answer = self.set(31)
        self.assertEqual((answer.status, answer.header("Retry-After")), (429, "60"))

    def test_outcomes(self) -> None:
        """What the cluster refuses leaves no note; what it may have done stays noted, and is 504."""
        self.server.outcome = ClusterRefused("The cluster refused.", 403)
        self.assertEqual(self.set().status, 502)
        self.assertEqual(self.data, {})
        self.server.outcome = ClusterTimedOut("The cluster did not answer in time.")
        self.assertEqual(self.set().status, 504)
        self.assertEqual(self.server.get(URL).json()["state"], "unconfirmed")
        answer = self.set()
        self.assertEqual(answer.status, 409)
        self.assertIn("is being changed by somebody else", answer.json()["message"])
        self.assertEqual(self.server.call("DELETE", URL).status, 409)

    def test_notes_in_trouble(self) -> None:
        """A note that cannot be written keeps the count from being set; one that is not confirmed does not."""
        self.troubles = [Unavailable("The cluster refused to patch the ConfigMap.", 1)]
        answer = self.set()
        self.assertEqual((answer.status, self.present["web"].replicas), (503, 3))
        self.troubles = [None, Unavailable("no", 1)]
        self.assertEqual((self.set().status, self.present["web"].replicas), (201, 20))
        self.pass_time(100)
        self.assertIsNone(self.note().before)

    def test_without_the_option(self) -> None:
        """Without --temporary-store these calls alone are 503, and name it; the picture is whole."""
        server = MemoryServer().sync(namespace(), WEB)
        for method, path, body in (
            ("GET", URL, None),
            ("PUT", URL, b'{"replicas":20,"for":"2h"}'),
            ("DELETE", URL, None),
            ("GET", "/temporary", None),
        ):
            answer = server.call(method, path, body)
            self.assertEqual((answer.status, answer.header("Retry-After")), (503, "60"))
            self.assertIn("--temporary-store NAMESPACE/NAME", answer.json()["message"])
        self.assertIsNone(server.get("/deployments/shop/web").json()["temporary"])
        self.assertNotIn("temporary", server.get("/deployments/shop/web").json()["not_known"])

    def test_not_heard_of(self) -> None:
        """Without the right to it, or when it is gone, these calls alone are 503, and say what to do."""
        server = MemoryServer(store=STORE).sync(namespace(), WEB)
        answer = server.get(URL)
        message = "The ConfigMap of --temporary-store has not been heard of lately: /readyz?verbose says why."
        self.assertEqual((answer.status, answer.json()["message"]), (503, message))
        self.assertIn("temporary", server.get("/deployments/shop/web").json()["not_known"])
        self.assertEqual(server.get("/deployments/shop/web/replicas").status, 200)
        self.assertEqual(server.get("/readyz?verbose").json(), {"warnings": []})
        self.list_notes(exists=False)
        answer = self.server.get(URL)
        self.assertEqual((answer.status, answer.header("Retry-After")), (503, "60"))
        make = "kubectl create configmap temporary --namespace sre"
        expected = f"The ConfigMap 'temporary' of --temporary-store does not exist: {make}"
        self.assertEqual(answer.json()["message"], expected)
        self.assertEqual(self.server.get("/readyz?verbose").json(), {"warnings": [answer.json()["message"]]})

    def test_permissions(self) -> None:
        """Whoever may only read sees it; whoever may not sees none of it."""

        class ReadersOf(AnyClient):
            def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
                return Decision(allowed=verb is Verb.READ, rule="readers")

        self.serve(authorizer=ReadersOf())
        self.assertEqual([self.set().status, self.server.call("DELETE", URL).status], [403, 403])
        self.assertEqual((self.data, self.server.get(URL).status), ({}, 404))

    # Without what it needs.
