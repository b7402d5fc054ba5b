"""Looks at pods: how often, for whom, and when what they find is certain."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.causes import FIRST_SECONDS, LOOK_SECONDS, PERSISTS_SECONDS, Causes
from sre_server.day.waits import Key
from sre_server.errors import Unavailable
from sre_server.model import PodFault

WEB, API = ("shop", "web"), ("shop", "api")
IMAGE = PodFault("web-1", "image", "container 'web': ImagePullBackOff: Back-off pulling image")
OTHER = PodFault("web-2", "image", "container 'web': ErrImagePull: not found")
CRASHING = PodFault("web-3", "crashing", "container 'web': CrashLoopBackOff: back-off 10s")
ODD = PodFault("web-4", "", "container 'web': CreateContainerConfigError: secret not found")


class CausesTests(SynchronousTestCase):
    """Causes on a clock."""

    def setUp(self) -> None:
        """Find nothing at first."""
        self.clock = Clock()
        self.looks: list[Key] = []
        self.changed: list[Key] = []
        self.found: Sequence[PodFault] | Exception = []
        self.pending: Deferred[Sequence[PodFault]] | None = None
        self.causes = Causes(self.clock, self._look, self.changed.append)

    def _look(self, namespace: str, name: str) -> Deferred[Sequence[PodFault]]:
        self.looks.append((namespace, name))
        if self.pending is not None:
            return self.pending
        return fail(self.found) if isinstance(self.found, Exception) else succeed(self.found)

    def pass_looks(self, count: int) -> None:
        """Let so much time pass, beginning with a first look."""
        self.clock.pump([FIRST_SECONDS, *[LOOK_SECONDS] * (count - 1)])

    def test_how_often(self) -> None:
        """One Deployment is looked at every few seconds, however many wait for it, and as long as somebody does."""
        for key in (WEB, WEB, API):
            self.causes.watch(key)
        self.assertEqual(self.looks, [])
        self.pass_looks(3)
        self.assertEqual(sorted(self.looks), 3 * [API] + 3 * [WEB])
        self.assertEqual(self.changed, self.looks)
        for key in (WEB, API):
            self.causes.leave(key)
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.looks[-1:], [WEB])
        self.causes.leave(WEB)
        self.causes.leave(WEB)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_certain(self) -> None:
        """A pod's trouble counts once it was there for long enough, in other words each time, and all with the same."""
        self.causes.watch(WEB)
        self.found = [IMAGE, OTHER, CRASHING, ODD]
        self.pass_looks(2)
        self.assertEqual(self.causes.certain(WEB, 0), [])
        self.found = [OTHER, PodFault("web-1", "image", "in other words"), CRASHING]
        self.clock.advance(PERSISTS_SECONDS - LOOK_SECONDS)
        self.assertEqual({fault.pod for fault in self.causes.certain(WEB, 0)}, {"web-1", "web-2"})
        self.assertEqual(self.causes.certain(API, 0), [])

    def test_not_for_long(self) -> None:
        """What was missed once begins anew, and so it does for who began to wait later."""
        self.causes.watch(WEB)
        self.found = [IMAGE]
        self.pass_looks(2)
        self.found = []
        self.clock.advance(LOOK_SECONDS)
        self.found = [IMAGE]
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.causes.certain(WEB, 0), [])
        self.clock.pump([LOOK_SECONDS] * 2)
        self.assertEqual(self.causes.certain(WEB, 0), [IMAGE])
        self.assertEqual(self.causes.certain(WEB, self.clock.seconds() - PERSISTS_SECONDS + 1), [])

    def test_no_word_for_it(self) -> None:
        """A trouble that no outcome is for is never certain, and told all the same."""
        self.causes.watch(WEB)
        self.found = [ODD, OTHER]
        self.pass_looks(1)
        self.found = [ODD]
        self.clock.pump([LOOK_SECONDS] * 5)
        self.assertEqual(self.causes.certain(WEB, 0), [])
        self.assertEqual(self.causes.known(WEB), f"pod 'web-4': {ODD.said}")

    def test_words(self) -> None:
        """One pod stands for all, and how many more there are is said."""
        self.causes.watch(WEB)
        self.assertEqual(self.causes.known(WEB), "")
        self.found = [IMAGE, OTHER, CRASHING]
        self.pass_looks(1)
        self.assertEqual(self.causes.known(WEB), f"pod 'web-1' and 2 more: {IMAGE.said}")
        self.assertEqual(self.causes.known(API), "")

    def test_not_to_be_known(self) -> None:
        """Why pods cannot be looked at is told, and it is tried again; what was seen before neither counts nor ends."""
        self.causes.watch(WEB)
        self.found = [IMAGE]
        self.pass_looks(1)
        self.found = Unavailable("the server lacks the permission to list pods", 5)
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(
            self.causes.known(WEB), "what keeps its pods is not known: the server lacks the permission to list pods"
        )
        self.assertEqual(self.causes.certain(WEB, 0), [])
        self.found = [IMAGE]
        self.clock.advance(LOOK_SECONDS)
        self.assertEqual(self.causes.certain(WEB, 0), [IMAGE])

    def test_a_bug(self) -> None:
        """A look that fails for another reason is logged, and ends nothing."""
        self.causes.watch(WEB)
        self.found = ZeroDivisionError()
        self.pass_looks(2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.assertEqual(self.causes.known(WEB), "what keeps its pods is not known")

    def test_leaving_amid_a_look(self) -> None:
        """A look that nobody waits for any more is given up; who comes next has looks of their own."""
        self.pending = Deferred()
        self.causes.watch(WEB)
        self.pass_looks(1)
        self.clock.advance(60)
        self.assertEqual(self.looks, [WEB])
        self.causes.leave(WEB)
        self.assertTrue(self.pending.called)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pending = None
        self.causes.watch(WEB)
        self.pass_looks(1)
        self.assertEqual((self.looks, self.changed), ([WEB, WEB], [WEB]))

    def test_without(self) -> None:
        """Without the means to look nobody looks, and nothing is said."""
        causes = Causes(self.clock, None, self.changed.append)
        causes.watch(WEB)
        self.clock.advance(60)
        self.assertEqual((causes.known(WEB), causes.certain(WEB, 0), self.changed), ("", [], []))
        causes.leave(WEB)
