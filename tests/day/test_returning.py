"""Temporary counts are set, and set back once, whatever fails in between."""

from itertools import pairwise

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.ending import CLIENT, End, Ended, Overtaken
from sre_server.day.returning import AT_ONCE
from sre_server.day.temporary import read_note
from sre_server.errors import ClusterTimedOut, ClusterUnreachable, NotPermitted, Unavailable
from sre_server.model import Deployment
from tests.day.temporary_world import UID, Pod, World, ends


class ReturningTests(SynchronousTestCase):
    """Two processes, and a count of 20 for a minute in the place of 3."""

    def setUp(self) -> None:
        """Set the count."""
        self.world = World()
        self.first, self.second = Pod(self.world, "first"), Pod(self.world, "second")
        done = self.first.put(20)
        self.world.settle()
        self.successResultOf(done)
        self.assertEqual(self.world.replicas, 20)
        self.world.writes.clear()
        self.world.clients.clear()

    def until_claimed(self) -> None:
        """Go on until the claim of one of the two is written, and it asks for the count."""
        self.world.advance(61)
        self.world.carry_out()
        self.assertEqual([request.what for request in self.world.requests if request.what == "scale"], ["scale"])

    def claimant(self) -> Pod:
        """The process that has claimed."""
        return next(request.pod for request in self.world.requests if request.what == "scale")

    def test_on_time(self) -> None:
        """Nothing happens before the end; then one of the two, for no client, sets it back, and the note goes."""
        self.world.settle(55)
        self.assertEqual(self.world.writes, [])
        self.world.settle(10)
        self.assertEqual([(before, after) for _, before, after in self.world.writes], [(20, 3)])
        self.assertEqual(ends(self.world), [End.RETURNED])
        self.assertEqual(self.world.told[0].how, Ended(End.RETURNED, 3, Deployment("shop", "cart", UID, "99", 3)))
        self.assertEqual(self.world.data, {})
        self.assertLess(self.world.told[0].late.total_seconds(), 3)
        self.assertEqual(self.world.told[0].uid, UID)
        self.assertEqual(set(self.world.clients), {CLIENT})

    def test_after_downtime(self) -> None:
        """A process that starts past the end sets it back, and knows how late that is."""
        self.first.kill()
        self.second.kill()
        self.world.advance(600)
        Pod(self.world, "third")
        self.world.settle(3)
        self.assertEqual((self.world.replicas, ends(self.world)), (3, [End.RETURNED]))
        self.assertGreaterEqual(self.world.told[0].late.total_seconds(), 540)

    def test_superseded(self) -> None:
        """A count that somebody else has set meanwhile is left alone, and so it is told."""
        self.world.replicas = 7
        self.world.settle(65)
        self.assertEqual((self.world.replicas, self.world.writes, self.world.data), (7, [], {}))
        self.assertEqual(self.world.told[0].how, Ended(End.SUPERSEDED, 7))

    def test_recreated(self) -> None:
        """Another Deployment under the same name is not touched, though it has the very count."""
        self.world.uid = "uid-other"
        self.world.settle(65)
        self.assertEqual((self.world.replicas, self.world.writes, self.world.data), (20, [], {}))
        self.assertEqual(self.world.told[0].how, Ended(End.RECREATED, 20))

    def test_deleted(self) -> None:
        """Of a Deployment that is gone the note goes, too."""
        self.world.exists = False
        self.world.settle(65)
        self.assertEqual((ends(self.world), self.world.data), ([End.DELETED], {}))

    def test_killed_between_claim_and_write(self) -> None:
        """After 30 s somebody else claims, and sets the count back."""
        self.until_claimed()
        self.world.requests.clear()
        self.claimed_by_nobody()
        self.world.settle(20)
        self.assertEqual(self.world.writes, [])
        self.world.settle(20)
        self.assertEqual((self.world.replicas, ends(self.world), self.world.data), (3, [End.RETURNED], {}))

    def claimed_by_nobody(self) -> None:
        """Replace both processes, so that nobody has the claim."""
        self.first.kill()
        self.second.kill()
        Pod(self.world, "third")

    def test_killed_between_write_and_removal(self) -> None:
        """What was set back already is recognised: it is not called superseded."""
        self.until_claimed()
        number = next(n for n, request in enumerate(self.world.requests) if request.what == "scale")
        self.world.requests[number].act()
        self.world.requests.clear()
        self.claimed_by_nobody()
        self.world.settle(40)
        self.assertEqual((self.world.replicas, ends(self.world), self.world.data), (3, [End.ALREADY], {}))
        self.assertEqual(self.world.told[0].how, Ended(End.ALREADY, 3))
        self.assertEqual(len(self.world.writes), 1)

    def test_lost_answer(self) -> None:
        """An attempt whose answer is lost is told as such; the next one finds that it had succeeded."""
        self.until_claimed()
        number = next(n for n, request in enumerate(self.world.requests) if request.what == "scale")
        self.world.carry_out(number, lost=True)
        self.world.settle(10)
        self.assertIsInstance(self.world.told[0].how, ClusterTimedOut)
        self.assertEqual((ends(self.world), len(self.world.writes), self.world.data), ([End.ALREADY], 1, {}))

    def test_not_reached(self) -> None:
        """While the cluster cannot be reached the same process tries again at once, with another claim."""
        self.until_claimed()
        number = next(n for n, request in enumerate(self.world.requests) if request.what == "scale")
        self.world.refuse(number)
        self.world.settle(10)
        self.assertIsInstance(self.world.told[0].how, ClusterUnreachable)
        self.assertEqual((ends(self.world), self.world.replicas), ([End.RETURNED], 3))
        first, second = (told.note.claim for told in self.world.told)
        self.assertNotEqual(first, second)

    def test_many(self) -> None:
        """Those that are due together are set back a few at a time, each as soon as another one has ended."""
        self.second.kill()
        (text,) = self.world.data.values()
        self.world.version += 1
        self.world.data |= {f"uid-{number}": text for number in range(3 * AT_ONCE)}
        self.world.advance(61)
        busy = []
        while self.world.requests:
            busy.append(len(self.world.requests))
            self.world.carry_out()
            self.world.clock.advance(0)
        self.assertEqual((max(busy), self.world.data), (AT_ONCE, {}))

    def test_not_reached_for_long(self) -> None:
        """Each try is put off for about twice as long as the one before, and for a minute at most."""
        self.second.kill()
        self.world.advance(61)
        tried = []
        for second in range(600):
            if self.world.requests:
                tried.append(second)
                self.world.refuse()
            self.world.advance(1)
        gaps = [later - earlier for earlier, later in pairwise(tried)]
        self.assertGreater(len(gaps), 8)
        for number, gap in enumerate(gaps, start=1):
            longest = min(60, 2**number)
            self.assertTrue(longest / 2 - 1 <= gap <= longest + 3, gaps)
        self.world.settle(63)
        self.assertEqual((self.world.replicas, ends(self.world)), (3, [End.RETURNED]))

    def test_note_that_stays(self) -> None:
        """Where the note could not be removed after the end, it is removed later, and nothing is told again."""
        self.until_claimed()
        number = next(n for n, request in enumerate(self.world.requests) if request.what == "scale")
        self.world.carry_out(number)
        removal = next(n for n, request in enumerate(self.world.requests) if request.pod.name == self.world.told[0].pod)
        self.world.refuse(removal)
        self.assertEqual(len(self.world.data), 1)
        self.world.settle(5)
        self.assertEqual((ends(self.world), self.world.data), ([End.RETURNED], {}))

    def test_slow_claim(self) -> None:
        """A claim that took long to be written is not acted upon: somebody else may be about to take it over."""
        self.world.advance(61)
        self.world.advance(11)
        self.world.carry_out()
        self.assertNotIn("scale", [request.what for request in self.world.requests])
        self.world.settle(40)
        self.assertEqual((ends(self.world), self.world.replicas), ([End.RETURNED], 3))

    def test_ended_early(self) -> None:
        """A client may end it now, on its own behalf; nobody else does so at the same moment."""
        known = self.second.temporaries.of(UID)
        assert known is not None
        done, again = (self.second.end(known) for _ in range(2))
        error = self.failureResultOf(again, Overtaken).value
        said = "The temporary count is being changed by somebody else at this moment; try again."
        self.assertEqual(str(error), said)
        self.world.settle(3)
        self.assertEqual(self.successResultOf(done).end, End.RETURNED)
        self.assertEqual((self.world.replicas, self.world.data), (3, {}))
        self.assertEqual(set(self.world.clients), {"bob"})

    def test_ended_early_and_slowly(self) -> None:
        """A client whose claim took long to be written is told to try again."""
        known = self.second.temporaries.of(UID)
        assert known is not None
        done = self.second.end(known)
        self.world.advance(11)
        self.world.carry_out()
        error = self.failureResultOf(done, Unavailable).value
        self.assertEqual((str(error), error.retry_after), ("The claim took too long to be acted upon.", 1))

    def test_ended_early_by_who_may_no_more(self) -> None:
        """A client that is refused once the claim is written ends nothing, and the count comes back when it is due."""
        known = self.second.temporaries.of(UID)
        assert known is not None
        done = self.second.end(known, NotPermitted("no"))
        self.world.settle(3)
        self.failureResultOf(done, NotPermitted)
        self.assertEqual((self.world.replicas, self.world.data), (20, {UID: known.text}))
        self.world.settle(50)
        self.assertEqual((self.world.replicas, self.world.writes), (20, []))
        self.world.settle(10)
        self.assertEqual((self.world.replicas, ends(self.world)), (3, [End.RETURNED]))

    def test_ended_early_by_who_may_no_more_in_vain(self) -> None:
        """Where the claim cannot be given up, the client is told of its refusal, and the log of what may happen."""
        known = self.second.temporaries.of(UID)
        assert known is not None
        done = self.second.end(known, NotPermitted("no"))
        self.world.carry_out()
        with capturedLogs() as logged:
            self.world.refuse(0)
        self.failureResultOf(done, NotPermitted)
        self.assertEqual([event["log_level"] for event in logged], [LogLevel.warn])

    def test_ended_after_a_failure(self) -> None:
        """Who has claimed it in vain may end it at once; for others its claim stands."""
        self.until_claimed()
        claimant = self.claimant()
        (other,) = {self.first, self.second} - {claimant}
        self.world.refuse(next(n for n, request in enumerate(self.world.requests) if request.what == "scale"))
        self.world.watch()
        for pod, changing in ((claimant, False), (other, True)):
            known = pod.temporaries.of(UID)
            assert known is not None
            self.assertEqual(pod.returning.is_being_changed(UID, known), changing)


class SettingTests(SynchronousTestCase):
    """What is left by a count that was to be set, at each point where that can end."""

    def setUp(self) -> None:
        """Begin to set a count; have another process."""
        self.world = World()
        self.first, self.second = Pod(self.world, "first"), Pod(self.world, "second")
        self.done = self.first.put(20, seconds=10)

    def test_killed_before_the_count_was_set(self) -> None:
        """Nothing was set, so nothing is set back; the note goes once the write can no longer come."""
        self.world.carry_out()
        self.first.kill()
        self.world.requests.clear()
        self.world.settle(85)
        self.assertEqual(len(self.world.data), 1)
        self.world.settle(10)
        self.assertEqual((self.world.data, self.world.writes, ends(self.world)), ({}, [], []))

    def test_killed_after_the_count_was_set(self) -> None:
        """It is set back, once it is known that it was set."""
        self.world.carry_out()
        self.world.carry_out()
        self.first.kill()
        self.world.requests.clear()
        self.world.settle(100)
        self.assertEqual((self.world.replicas, self.world.data, ends(self.world)), (3, {}, [End.RETURNED]))

    def test_refused(self) -> None:
        """What the cluster did not take leaves no note; the client is behind all that is asked of the cluster."""
        self.world.carry_out()
        self.world.refuse()
        self.world.settle()
        self.failureResultOf(self.done, ClusterUnreachable)
        self.assertEqual((self.world.data, self.world.clients), ({}, ["alice"] * 3))

    def test_admission(self) -> None:
        """What admission made of the count is what is noted, and what is set back."""
        self.world.admitted = 15
        self.world.settle()
        self.assertEqual(self.successResultOf(self.done).count, 15)
        self.world.admitted = None
        self.world.settle(15)
        self.assertEqual((self.world.replicas, ends(self.world)), (3, [End.RETURNED]))

    def test_changed_before_it_was_confirmed(self) -> None:
        """Where somebody else has changed the note by then, it is there, and the count will be set back."""
        self.world.carry_out()
        self.world.carry_out()
        note = read_note(self.world.data[UID])
        assert note is not None
        self.world.version += 1
        self.world.data[UID] = replace(note, before=None, reason="longer").text()
        self.world.carry_out()
        self.assertEqual(self.successResultOf(self.done).count, 20)

    def test_forgotten_while_others_change_it(self) -> None:
        """A note is forgotten as it is by then; where somebody changes it meanwhile, two attempts are all."""
        self.world.settle()
        for others, forgotten in (("a second", "a third"), False), (("a fourth", None), True):
            done = Deferred.fromCoroutine(self.first.setting.forget(UID, "alice"))
            for text in others:
                self.world.version += 1
                self.world.data[UID] = text or self.world.data[UID]
                self.world.carry_out()
            self.assertEqual((self.successResultOf(done), UID in self.world.data), (forgotten, not forgotten))

    def test_unknown(self) -> None:
        """What may have been set stays noted, and is set back if it was."""
        self.world.carry_out()
        self.world.carry_out(lost=True)
        self.failureResultOf(self.done, ClusterTimedOut)
        self.world.settle(100)
        self.assertEqual((self.world.replicas, ends(self.world)), (3, [End.RETURNED]))

    def test_extended(self) -> None:
        """The first original is kept; an extension that never took place leaves the count that was set before it."""
        self.world.settle()
        self.successResultOf(self.done)
        longer = self.first.put(30, seconds=300)
        self.world.carry_out()
        self.first.kill()
        self.world.requests.clear()
        self.assertNoResult(longer)
        self.world.settle(200)
        note = read_note(self.world.data[UID])
        assert note is not None
        self.assertEqual((note.original, note.count, note.before), (3, 20, None))
        self.world.settle(110)
        self.assertEqual((self.world.replicas, ends(self.world)), (3, [End.RETURNED]))
