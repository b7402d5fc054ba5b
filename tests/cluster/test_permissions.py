"""What the cluster refuses the server: told once, as a warning, in the log and to the metrics, until it is granted."""

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.permissions import (
    CREATE_REVIEWS,
    PATCH_SCALE,
    Permissions,
    Told,
    check_permitted,
    permission,
    untold,
)
from sre_server.errors import (
    ClusterRefused,
    ClusterTimedOut,
    ClusterUnreachable,
    Expired,
    Unavailable,
)
from sre_server.news import Resource, Source
from tests.fakes import FakeReply, FakeTransport
from tests.wire import refusal

FORBIDDEN = ClusterRefused("The cluster refused (403): deployments.apps is forbidden", 403)


class PermissionsTests(SynchronousTestCase):
    """Permissions of a server that needs reviews."""

    def setUp(self) -> None:
        """Lack nothing."""
        self.clock = Clock()
        self.metric: list[tuple[str, bool]] = []
        self.permissions = Permissions(
            [CREATE_REVIEWS], lambda what, missing: self.metric.append((what, missing)), self.clock.seconds
        )

    def test_missing(self) -> None:
        """A 403 makes the permission missing: a warning that says what the cluster said."""
        self.permissions.told(PATCH_SCALE, FORBIDDEN)
        (warning,) = self.permissions.warnings()
        self.assertIn("patch deployments/scale", warning)
        self.assertIn("deployments.apps is forbidden", warning)
        self.assertTrue(self.permissions.lacks(PATCH_SCALE))
        self.assertEqual(self.metric, [(PATCH_SCALE, True)])

    def test_last_refusal_counts(self) -> None:
        """Of many refusals the last is what is told."""
        self.permissions.told(PATCH_SCALE, FORBIDDEN)
        self.permissions.told(PATCH_SCALE, ClusterRefused("The cluster refused (403): not today", 403))
        (warning,) = self.permissions.warnings()
        self.assertIn("not today", warning)

    def test_granted(self) -> None:
        """What succeeds is no longer missing, and neither is what only the permitted are told to be wrong."""
        for outcome in (None, ClusterRefused("gone", 404), ClusterRefused("conflict", 409), ClusterRefused("no", 422)):
            self.metric.clear()
            self.permissions.told(PATCH_SCALE, FORBIDDEN)
            self.permissions.told(PATCH_SCALE, outcome)
            self.assertEqual(self.permissions.warnings(), [])
            self.assertEqual(self.metric, [(PATCH_SCALE, True), (PATCH_SCALE, False)])

    def test_other_errors_say_nothing(self) -> None:
        """An error that has nothing to do with permissions makes none missing, and grants none."""
        others = [ClusterRefused("busy", status) for status in (401, 429, 500, 503)]
        for error in (*others, ClusterTimedOut("hung"), ClusterUnreachable("refused"), Expired("old"), ValueError()):
            self.permissions.told("watch deployments", error)
            self.permissions.told(PATCH_SCALE, FORBIDDEN)
            self.permissions.told(PATCH_SCALE, error)
            self.assertEqual(len(self.permissions.warnings()), 1)

    def test_each_is_told_apart(self) -> None:
        """One permission says nothing of another, sorted by what they are for."""
        for name in ("shop", "bank"):
            self.permissions.told(permission("list", Source(Resource.DEPLOYMENTS, name)), FORBIDDEN)
        self.permissions.told(permission("list", Source(Resource.DEPLOYMENTS, "staff")), None)
        first, second = self.permissions.warnings()
        self.assertIn("list deployments in bank", first)
        self.assertIn("list deployments in shop", second)

    def test_logged_once(self) -> None:
        """However often it is refused, also with a success in between, the log has one line an hour."""
        with capturedLogs() as logged:
            for _ in range(1000):
                self.permissions.told(PATCH_SCALE, FORBIDDEN)
                self.permissions.told(PATCH_SCALE, None)
            self.clock.advance(3600)
            self.permissions.told(PATCH_SCALE, FORBIDDEN)
        self.assertEqual([event["log_level"] for event in logged], [LogLevel.warn] * 2)

    def test_pause(self) -> None:
        """What was refused need not be asked for again for 10 s."""
        self.assertFalse(self.permissions.pauses(PATCH_SCALE))
        self.permissions.told(PATCH_SCALE, FORBIDDEN)
        self.assertTrue(self.permissions.pauses(PATCH_SCALE))
        self.clock.advance(10)
        self.assertFalse(self.permissions.pauses(PATCH_SCALE))
        self.assertTrue(self.permissions.lacks(PATCH_SCALE))

    def test_needed(self) -> None:
        """Without a permission that everybody's requests rest on, nobody can be served; without others, they can."""
        self.permissions.told(CREATE_REVIEWS, None)
        self.permissions.told(PATCH_SCALE, FORBIDDEN)
        self.permissions.check_needed()
        self.permissions.told(CREATE_REVIEWS, FORBIDDEN)
        with self.assertRaises(Unavailable) as raised:
            self.permissions.check_needed()
        self.assertIn("create subjectaccessreviews", str(raised.exception))
        self.assertIn("is forbidden", str(raised.exception))
        self.permissions.told(CREATE_REVIEWS, None)
        self.permissions.check_needed()

    def test_needed_is_tried_first(self) -> None:
        """Nobody is sent here before it is known, which an error does not tell that has nothing to do with it."""
        permissions = Permissions([CREATE_REVIEWS])
        for what, outcome in ((PATCH_SCALE, None), (CREATE_REVIEWS, ClusterTimedOut("hung"))):
            permissions.told(what, outcome)
            with self.assertRaises(Unavailable) as raised:
                permissions.check_needed()
            self.assertIn("find out whether it may create subjectaccessreviews", str(raised.exception))
        permissions.told(CREATE_REVIEWS, None)
        permissions.check_needed()


class CheckTests(SynchronousTestCase):
    """Answers that are checked, and told of."""

    def test_check(self) -> None:
        """A refusal is raised as ever, and told before; so is that there was none."""
        told: list[tuple[str, Exception | None]] = []
        cluster = FakeTransport([FakeReply(), refusal(403), FakeReply()])

        def check(what: str, tell: Told) -> None:
            check_permitted(cluster.request("GET", "/", {}, read_timeout=1), what, tell)

        check("this", lambda *each: told.append(each))
        refused = self.assertRaises(ClusterRefused, check, "that", lambda *each: told.append(each))
        self.assertEqual(told, [("this", None), ("that", refused)])
        check("nobody's business", untold)
