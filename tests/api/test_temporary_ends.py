"""What becomes of temporary counts that are set, and of those that somebody else changes."""

from datetime import timedelta

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent

from sre_server.day.ending import Overtaken
from sre_server.errors import ClusterUnreachable, Unavailable
from sre_server.model import Expected, State, Written
from tests.api.temporary import URL, WEB, TemporaryTestCase
from tests.memory_server import START


class EndTests(TemporaryTestCase):
    """What becomes of one that is set: it ends on time, late, early, or with somebody else's count."""

    def test_returns(self) -> None:
        """At its end the count is set back on behalf of its author, and that is told."""
        self.set(span="1m", X_Reason="sale")
        self.server.told.clear()
        self.pass_time(55)
        self.assertEqual(self.present["web"].replicas, 20)
        with capturedLogs() as events:
            self.pass_time(8)
        (ended,) = [text for text in map(formatEvent, events) if text.startswith("temporary count of")]
        self.assertRegex(ended, r"^temporary count of shop/web: 20 until \S+T\S+Z, then 3: changed, the count is 3$")
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

    def test_on_whose_behalf(self) -> None:
        """Whatever a client's request has the cluster asked for takes threads of that client."""
        for _ in range(2):
            self.assertIn(self.set(20).status, (200, 201))
        self.server.call("POST", "/deployments/shop/web/plan", b'{"replicas":5}')
        self.assertEqual(self.server.call("DELETE", URL).status, 200)
        self.set(20)
        self.assertEqual(self.server.put("/deployments/shop/web/replicas", 5).status, 200)
        self.server.clock.advance(1000)
        self.assertEqual(self.server.put("/deployments/shop/web/replicas", 6).status, 200)
        self.assertEqual((len(self.server.looked), self.server.behind), (1, {"alice"}))

    def test_overruled_in_vain(self) -> None:
        """Where the note could not be removed, the write has succeeded all the same, and a warning tells."""
        self.set()
        self.troubles = [Unavailable("no", 1)]
        answer = self.server.put("/deployments/shop/web/replicas", 5)
        self.assertEqual(answer.status, 200)
        self.assertIn("3 may come back 2026-11-26T05:00:00Z", answer.header("Warning") or "")

    # Refused.

    def test_ends_that_come_to_nothing(self) -> None:
        """Each is a line in the audit log, of an end, and the count stays."""
        self.set()
        for headers, trouble, status, outcome in (
            ({"If-Match": '"7-other"'}, None, 412, "PreconditionFailed"),
            ({}, ClusterUnreachable("away"), 502, "ClusterUnreachable"),
            ({}, Overtaken(), 409, "Conflict"),
        ):
            self.server.audit.records.clear()
            self.troubles.append(trouble)
            self.assertEqual(self.server.call("DELETE", URL, headers=headers).status, status)
            (line,) = self.server.audit.records
            self.assertEqual((line.action, line.outcome, line.status), ("revert", outcome, status))
            self.troubles.clear()
            self.assertEqual((self.present["web"].replicas, len(self.data)), (20, 1))

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
        self.assertEqual(answer.status, 409)
        self.assertIn("will not be set back", answer.json()["message"])
