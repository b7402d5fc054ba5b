"""Temporary counts over HTTP: set, seen, extended, ended, and what is told of them."""

import re
from datetime import timedelta
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.api.openapi import document
from sre_server.day.temporary import Note, Temporaries, read_note
from sre_server.errors import ClusterRefused, ClusterTimedOut, ClusterUnreachable, SreServerError, Unavailable
from sre_server.model import Expected, Notes, State, Swapped, Written
from sre_server.news import Listed, Resource, Source
from sre_server.security.authorization import AnyClient, Decision, Verb
from sre_server.security.guardrails import Guardrails
from sre_server.security.identity import Identity
from tests.fakes import deployment, namespace
from tests.memory_server import ALICE, START, Answer, MemoryServer

STORE = Source(Resource.TEMPORARY, "sre", "temporary")
URL = "/deployments/shop/web/temporary"
WEB = deployment()


class TemporaryTests(SynchronousTestCase):
    """A server, a Deployment of 3, and a ConfigMap that is empty at first."""

    def setUp(self) -> None:
        """Serve."""
        self.serve()

    def serve(self, **options: Any) -> None:
        """Serve with these options."""
        self.server = MemoryServer(store=STORE, **options)
        self.server.swap = self.swap
        self.server.scaler = self.scale
        self.data: dict[str, str] = {}
        self.version = 100
        self.present = {"web": WEB}
        self.troubles: list[SreServerError | None] = []
        """What goes wrong with the next changes of notes, each after it was made if it is a timeout."""
        self.server.sync(namespace(), WEB)
        self.list_notes()
        assert self.server.returning is not None
        self.server.returning.startService()
        self.addCleanup(self.server.returning.stopService)

    def list_notes(self, *, exists: bool = True) -> None:
        """Have the ConfigMap listed."""
        others = {"sre": {"temporary": self.notes()}} if exists else {}
        self.server.cache.apply(Listed(STORE, str(self.version), self.server.clock.seconds(), others=others))

    def notes(self) -> Notes:
        """The ConfigMap as it is."""
        return Notes("sre", "temporary", "u", str(self.version), dict(self.data))

    def swap(self, client: str, key: str, before: str | None, after: str | None, *, empty: bool) -> Deferred[Swapped]:
        """Change a note."""
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None and not isinstance(trouble, ClusterTimedOut):
            return fail(trouble)
        self.assertEqual(empty, not self.data)
        done = self.data.get(key) == before
        if done:
            self.version += 1
            self.data.pop(key, None)
            self.data |= {} if after is None else {key: after}
        return fail(trouble) if trouble is not None else succeed((done, self.notes()))

    def scale(
        self, client: str, namespace: str, name: str, replicas: int, expected: Expected
    ) -> Deferred[Written | State]:
        """Set a count, in a cluster that compares."""
        found = self.present[name]
        if self.server.outcome is not None:
            return fail(self.server.outcome) if isinstance(self.server.outcome, Exception) else succeed(WEB)  # type: ignore[arg-type]
        if not expected.fits(State(found.uid, found.replicas)):
            return succeed(State(found.uid, found.replicas))
        self.version += 1
        self.present[name] = replace(found, replicas=replicas, resource_version=str(self.version))
        return succeed(Written(self.present[name]))

    def set(self, replicas: int = 20, span: str = "2h", query: str = "", **headers: str) -> Answer:
        """Set a count for a time."""
        body = b'{"replicas":%d,"for":"%s"}' % (replicas, span.encode())
        return self.server.call("PUT", URL + query, body, {name.replace("_", "-"): to for name, to in headers.items()})

    def note(self) -> Note:
        """The one note that there is."""
        (text,) = self.data.values()
        note = read_note(text)
        assert note is not None
        return note

    def pass_time(self, seconds: int) -> None:
        """Let time pass, the cluster being heard of all the while."""
        for _ in range(seconds):
            self.server.clock.advance(1)
            self.list_notes()

    # Set, and seen.

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

    def test_none(self) -> None:
        """Without one there is nothing to see, or to end; a Deployment that does not exist is another matter."""
        self.assertEqual(self.server.get("/temporary").json(), {"temporary": []})
        self.assertIn("has no temporary count", self.server.get(URL).json()["message"])
        self.assertEqual([self.server.get(URL).status, self.server.call("DELETE", URL).status], [404, 404])
        self.assertIn("'api' does not exist", self.server.get("/deployments/shop/api/temporary").json()["message"])

    def test_returns(self) -> None:
        """At its end the count is set back on behalf of its author, and that is told."""
        self.set(span="1m", X_Reason="sale")
        self.server.told.clear()
        self.pass_time(55)
        self.assertEqual(self.present["web"].replicas, 20)
        self.pass_time(8)
        self.assertEqual((self.present["web"].replicas, self.data), (3, {}))
        line = self.server.audit.records[-1]
        self.assertEqual((line.action, line.identity, line.reason, line.rule), ("revert", "alice", "sale", None))
        self.assertEqual((line.outcome, line.old_replicas, line.new_replicas), ("changed", 20, 3))
        (told,) = self.server.told
        self.assertEqual(told[1], 3)
        self.assertEqual((told[2].identity, told[2].before), ("alice", 20))
        self.assertEqual(told[2].reason, "the end of a temporary count: sale")
        self.assertEqual(self.server.get("/deployments/shop/web/replicas").json()["replicas"], 3)

    def test_late(self) -> None:
        """A return that is late says so, and by how much."""
        self.set(span="10s")
        self.server.outcome = ClusterUnreachable("The cluster cannot be reached.")
        self.pass_time(60)
        self.server.outcome = None
        self.pass_time(60)
        line = self.server.audit.records[-1]
        self.assertEqual(line.outcome, "changed")
        self.assertRegex(line.rule or "", r"^[0-9]+ s late$")
        self.assertRegex(self.server.told[-1][2].reason or "", "the end of a temporary count, [0-9]+ s late")

    def test_superseded(self) -> None:
        """A count that is no longer ours stays; who set it is told as far as it is known, and it is counted."""
        self.set(span="10s")
        self.present["web"] = replace(WEB, replicas=7)
        self.pass_time(15)
        self.assertEqual((self.present["web"].replicas, self.data), (7, {}))
        line = self.server.audit.records[-1]
        self.assertEqual((line.outcome, line.new_replicas, line.rule), ("superseded", 7, "by somebody else"))
        self.assertEqual(self.server.metrics.registry.get_sample_value("sre_server_temporary_superseded_total"), 1)

    # Extended.

    def test_extended(self) -> None:
        """Another one while it is in force extends it, and keeps the first original."""
        self.set()
        answer = self.set(30, "3h")
        self.assertEqual((answer.status, answer.json()["original"], answer.json()["replicas"]), (200, 3, 30))
        self.assertEqual(self.present["web"].replicas, 30)
        self.assertEqual(self.note().until, START + timedelta(hours=3))

    def test_not_extended(self) -> None:
        """Where somebody has set another count meanwhile, a new one begins from that."""
        self.set()
        self.present["web"] = replace(WEB, replicas=7, resource_version="900")
        self.server.tell(self.present["web"])
        answer = self.set(30)
        self.assertEqual((answer.status, answer.json()["original"]), (201, 7))

    # Ended.

    def test_ended(self) -> None:
        """DELETE sets the count back now, as the client's own write."""
        self.set()
        answer = self.server.call("DELETE", URL)
        self.assertEqual((answer.status, answer.json()["replicas"]), (200, 3))
        self.assertEqual((self.present["web"].replicas, self.data), (3, {}))
        line = self.server.audit.records[-1]
        self.assertEqual((line.action, line.identity, line.outcome, line.status), ("revert", "alice", "changed", 200))
        self.assertEqual(self.server.call("DELETE", URL).status, 404)

    def test_ended_too_late(self) -> None:
        """A count that is no longer ours is not touched: 409, and the message says what it is."""
        self.set()
        self.present["web"] = replace(WEB, replicas=7)
        answer = self.server.call("DELETE", URL)
        self.assertEqual(answer.status, 409)
        self.assertIn("it is 7, set by somebody else", answer.json()["message"])
        self.assertEqual((self.present["web"].replicas, self.data), (7, {}))

    def test_overruled(self) -> None:
        """A count that is set for good ends it without a return, in either family."""
        for path, body in (
            ("/deployments/shop/web/replicas", b'{"replicas":20}'),
            ("/namespaces/shop/deployments/web/replica_count/20", None),
        ):
            self.set()
            self.assertEqual(self.server.call("PUT", path, body).status, 200)
            self.assertEqual(self.data, {})
            self.pass_time(3)
            self.assertEqual(self.present["web"].replicas, 20)
            self.present["web"] = replace(WEB, resource_version="5000")
            self.version = 5000
            self.server.tell(self.present["web"])

    def test_overruled_in_vain(self) -> None:
        """Where the note could not be removed, the write has succeeded all the same, and a warning tells."""
        self.set()
        self.troubles = [Unavailable("no", 1)]
        answer = self.server.put("/deployments/shop/web/replicas", 5)
        self.assertEqual(answer.status, 200)
        self.assertIn("3 may come back 2026-11-26T05:00:00Z", answer.header("Warning") or "")

    # Refused.

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

    def test_note_removed_by_hand(self) -> None:
        """Nobody is told that a count comes back of which somebody has removed the note."""

        def scale(
            client: str, namespace: str, name: str, replicas: int, expected: Expected
        ) -> Deferred[Written | State]:
            self.data.clear()
            self.version += 1
            self.list_notes()
            return self.scale(client, namespace, name, replicas, expected)

        self.server.scaler = scale
        answer = self.set()
        self.assertEqual(answer.status, 502)
        self.assertIn("will not be set back", answer.json()["message"])

    # Without what it needs.

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
        self.list_notes(exists=False)
        answer = self.server.get(URL)
        self.assertEqual((answer.status, answer.header("Retry-After")), (503, "60"))
        self.assertIn("kubectl create configmap temporary --namespace sre", answer.json()["message"])

    def test_permissions(self) -> None:
        """Whoever may only read sees it; whoever may not sees none of it."""

        class ReadersOf(AnyClient):
            def decide(self, identity: Identity, verb: Verb, namespace: str, name: str) -> Decision:
                return Decision(allowed=verb is Verb.READ, rule="readers")

        self.serve(authorizer=ReadersOf())
        self.assertEqual([self.set().status, self.server.call("DELETE", URL).status], [403, 403])
        self.assertEqual((self.data, self.server.get(URL).status), ({}, 404))


class ShownTests(SynchronousTestCase):
    """Notes as texts."""

    def test_texts(self) -> None:
        """A text is read as it was written, and has nothing that encoders of JSON write differently."""
        note = Note(
            "shop", "web", 3, 20, START, "spiffe://<é&>", 'a "b" \\ <c> & \u2028 \x7f', "id", before=3, claim="x/1"
        )
        text = note.text()
        self.assertEqual(read_note(text), note)
        self.assertTrue(text.isascii())
        self.assertFalse(set(text) & set("<>&\x7f"))

    def test_nonsense(self) -> None:
        """What somebody else wrote there is no note: neither a name that is none, nor a time of nowhere."""
        note = Note("shop", "web", 3, 20, START, "alice")
        for text in (
            "",
            "{}",
            "[]",
            replace(note, name="../x").text(),
            replace(note, namespace="a/b").text(),
            replace(note, count=-1).text(),
            replace(note, original=2**31).text(),
            note.text().replace("Z", ""),
        ):
            with self.subTest(text):
                self.assertIsNone(read_note(text))

    def test_nonsense_is_told_once(self) -> None:
        """A text that cannot be read is warned of when it is first seen, and not with every change beside it."""
        temporaries = Temporaries(lambda: 0.0, STORE, 1e9)
        with capturedLogs() as logged:
            for version in ("100", "101"):
                notes = Notes("sre", "temporary", "u", version, {"uid-web": "nonsense", "uid-api": version})
                temporaries.applied(Listed(STORE, version, 0.0, others={"sre": {"temporary": notes}}))
        self.assertEqual([event["uid"] for event in logged], ["uid-web", "uid-api", "uid-api"])
