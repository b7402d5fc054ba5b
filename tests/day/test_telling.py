"""What the log and the metrics say of changes."""

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.record import OURS, THROUGH_SCALE, CountChange
from sre_server.day.telling import LOGGED_OF_LIST, WAIT_SECONDS, ChangeLog
from sre_server.model import Author
from sre_server.telemetry.logs import as_json, as_text
from sre_server.telemetry.metrics import Metrics


def change(program: str = "kubectl", *, gap: bool = False) -> CountChange:
    """Make a change."""
    return CountChange(1e9, "shop", "web", "uid-web", "11", 3, 0, program, gap)


class ChangeLogTests(SynchronousTestCase):
    """A log that waits a little for authors."""

    def setUp(self) -> None:
        """Begin."""
        self.clock, self.metrics = Clock(), Metrics()
        self.changes = ChangeLog(self.clock, self.metrics)
        self.changes.startService()

    def logged(self, seconds: float = WAIT_SECONDS) -> list[LogEvent]:
        """Let time pass, and return what is logged."""
        with capturedLogs() as events:
            self.clock.advance(seconds)
        return list(events)

    def told(self, program: str) -> float | None:
        """How many changes the metric has by a kind of program."""
        return self.metrics.registry.get_sample_value("sre_server_count_changes_total", {"program": program})

    def test_one_line_each(self) -> None:
        """A change is one line, once its author may be known, in both formats."""
        told = change(THROUGH_SCALE)
        self.changes.note(told)
        self.assertEqual(self.logged(WAIT_SECONDS / 2), [])
        self.changes.note(change())
        told.attribute(Author("alice", "a sale", "r-1"), certain=True)
        (line,) = self.logged(WAIT_SECONDS / 2)
        self.assertIn("count changed: shop/web from 3 to 0 by alice through sre-server\n", as_text(line) or "")
        self.assertEqual(len(self.logged()), 1)

    def test_who_is_not_known(self) -> None:
        """What is known of a 0 that was set through /scale is how it was set."""
        self.changes.note(change(THROUGH_SCALE))
        (line,) = self.logged()
        self.assertIn("from 3 to 0 through /scale, program unknown\n", as_text(line) or "")

    def test_fields(self) -> None:
        """In JSON every part is a field of its own, null where it is not known."""
        self.changes.note(change(gap=True))
        (line,) = self.logged()
        drawn: dict[str, Any] = json.loads(as_json(line))
        self.assertEqual(drawn["message"], "count changed: shop/web from 3 to 0 by kubectl, perhaps in several steps")
        expected = {
            "event": "count changed",
            "namespace": "shop",
            "deployment": "web",
            "before": 3,
            "after": 0,
            "by": None,
            "program": "kubectl",
            "gap": True,
            "because": None,
            "request_id": None,
        }
        self.assertEqual({key: drawn[key] for key in expected}, expected)

    def test_a_flood(self) -> None:
        """After an outage a list may find very many: some are logged, then their number; the watch's are all logged."""
        for _ in range(LOGGED_OF_LIST + 7):
            self.changes.note(change(gap=True))
            self.changes.note(change())
        lines = self.logged()
        self.assertEqual(len(lines), 2 * LOGGED_OF_LIST + 7 + 1)
        self.assertEqual(lines[-1]["more"], 7)
        self.assertEqual(self.told("kubectl"), 2 * LOGGED_OF_LIST + 14)

    def test_at_the_end(self) -> None:
        """What still waits when the service stops is logged then, and not again."""
        self.changes.note(change())
        with capturedLogs() as events:
            self.changes.stopService()
        self.assertEqual(len(events), 1)
        self.assertEqual((self.logged(), self.clock.getDelayedCalls()), ([], []))

    def test_where_others_log(self) -> None:
        """Of processes that hear the same from one, none logs it; each counts it."""
        self.changes = ChangeLog(self.clock, self.metrics, logs=False)
        self.changes.note(change(OURS))
        self.assertEqual((self.logged(), self.told(OURS)), ([], 1))

    def test_few_labels(self) -> None:
        """Programs name themselves: the metric has few kinds of them, each from 0 on."""
        kinds = (OURS, "kube-controller-manager", "kubectl", "other", "unknown")
        self.assertEqual([self.told(kind) for kind in kinds], [0] * 5)
        for program in ("kubectl-client-side-apply", "helm", "x" * 128, THROUGH_SCALE):
            self.changes.note(change(program))
        self.logged()
        self.assertEqual([self.told(kind) for kind in kinds], [0, 0, 1, 2, 1])
