"""Starting and stopping in order, with services and endpoints that misbehave, on a clock that the test moves."""

import signal
import sys

from twisted.application.service import Service
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from sre_server.daemon.lifecycle import OrderedServices, Unreadiness
from sre_server.web.service import SiteService
from tests.memory_server import MemoryServer
from tests.web.test_service import FakeEndpoint, FakePort

PUT = b"PUT /namespaces/shop/deployments/web/replica_count/9 HTTP/1.1\r\nHost: a\r\n\r\n"


class Recorded(Service):
    """A service that writes down what happens to it, and stops when the test says so."""

    def __init__(self, label: str, journal: list[str], stopping: Deferred[None] | Exception | None = None) -> None:
        self._label = label
        self._journal = journal
        self._stopping = stopping

    def privilegedStartService(self) -> None:
        """Write it down."""
        self._journal.append(f"bind {self._label}")

    def startService(self) -> None:
        """Write it down."""
        super().startService()
        self._journal.append(f"start {self._label}")

    def stopService(self) -> Deferred[None] | None:
        """Write it down, and end as told."""
        super().stopService()
        self._journal.append(f"stop {self._label}")
        if isinstance(self._stopping, Exception):
            raise self._stopping
        return self._stopping


class OrderedServicesTests(SynchronousTestCase):
    """One after the other."""

    def setUp(self) -> None:
        """Have a clock and a journal."""
        self.clock = Clock()
        self.journal: list[str] = []

    def test_starts_in_order(self) -> None:
        """Everything is bound before anything is started, first to last."""
        services = OrderedServices(self.clock, [Recorded("a", self.journal), Recorded("b", self.journal)])
        services.privilegedStartService()
        services.startService()
        self.assertEqual(self.journal, ["bind a", "bind b", "start a", "start b"])

    def test_stops_last_first_and_waits_for_each(self) -> None:
        """A service is told to stop when the one after it has stopped, and not before."""
        last, first = Deferred[None](), Deferred[None]()
        services = OrderedServices(
            self.clock,
            [Recorded("a", self.journal, first), Recorded("b", self.journal), Recorded("c", self.journal, last)],
        )
        services.startService()
        self.journal.clear()
        stopped = services.stopService()
        self.assertEqual(self.journal, ["stop c"])
        last.callback(None)
        self.assertEqual(self.journal, ["stop c", "stop b", "stop a"])
        self.assertNoResult(stopped)
        first.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertFalse(services.running)

    def test_a_failing_service_does_not_keep_the_others_from_stopping(self) -> None:
        """Whether it raises or its Deferred fails, the failure is logged with its name, and the rest is stopped."""
        services = OrderedServices(
            self.clock,
            [
                Recorded("a", self.journal),
                Recorded("b", self.journal, RuntimeError("raised")),
                Recorded("c", self.journal, fail(RuntimeError("failed"))),
            ],
        )
        with capturedLogs() as events:
            self.successResultOf(services.stopService())
        self.assertEqual(self.journal, ["stop c", "stop b", "stop a"])
        self.assertEqual([formatEvent(event) for event in events], ["Recorded did not stop in order"] * 2)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_a_hanging_service_is_left_behind(self) -> None:
        """8 s are what a service gets: its own 5 s and 3 more; then the others are stopped."""
        services = OrderedServices(self.clock, [Recorded("a", self.journal), Recorded("b", self.journal, Deferred())])
        stopped = services.stopService()
        self.clock.advance(7.9)
        self.assertEqual(self.journal, ["stop b"])
        self.clock.advance(0.1)
        self.assertEqual(self.journal, ["stop b", "stop a"])
        self.successResultOf(stopped)
        self.assertEqual(len(self.flushLoggedErrors()), 1)


class HangupTests(SynchronousTestCase):
    """SIGHUP, of which Twisted's reactor says nothing."""

    def handler(self, *, terminal: bool, before: object = signal.SIG_DFL) -> object:
        """What is called upon one, once services are started with or without a terminal."""

        class Terminal:
            def isatty(self) -> bool:
                return terminal

        class StoppingClock(Clock):
            sigInt = "stop"

        handlers = {signal.SIGHUP: before}
        self.patch(signal, "getsignal", handlers.get)
        self.patch(signal, "signal", handlers.__setitem__)
        self.patch(sys, "stdin", Terminal())
        services = OrderedServices(StoppingClock(), [])
        services.startService()
        handler = handlers[signal.SIGHUP]
        self.successResultOf(services.stopService())
        self.stopping = handlers[signal.SIGHUP]
        return handler

    def test_a_daemon(self) -> None:
        """It goes on."""
        handler = self.handler(terminal=False)
        assert callable(handler)
        self.assertIsNone(handler(signal.SIGHUP, None))

    def test_a_terminal_that_has_gone(self) -> None:
        """What was started from it stops, as upon Ctrl-C."""
        self.assertEqual(self.handler(terminal=True), "stop")
        assert callable(self.stopping)
        self.assertIsNone(self.stopping(signal.SIGHUP, None))

    def test_what_somebody_else_decided(self) -> None:
        """A signal that is ignored, as by nohup, stays so."""
        self.assertEqual(self.handler(terminal=True, before=signal.SIG_IGN), signal.SIG_IGN)


class UnreadinessTests(SynchronousTestCase):
    """The first to stop."""

    def test_readyz_turns_first(self) -> None:
        """Load balancers hear of the stop before the port closes."""
        server = MemoryServer().sync()
        ready: list[int] = []

        class Port(FakePort):
            def stopListening(self) -> Deferred[None]:
                ready.append(server.get("/readyz").status)
                return super().stopListening()

        service = SiteService(server.clock, FakeEndpoint(Port()), server.site, "API", "--listen")
        services = OrderedServices(server.clock, [service, Unreadiness(server.health)])
        services.privilegedStartService()
        services.startService()
        self.assertEqual(server.get("/readyz").status, 200)
        services.stopService()
        self.assertEqual(ready, [503])
