"""How a count is read, strictly, and what becomes of a write whose client does not wait for it."""

import gc
import json

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.api.writing import shielded
from sre_server.cluster.scaling import BOUNDS, Scaling
from sre_server.cluster.workers import ConnectedWorkers
from sre_server.errors import NotFound
from sre_server.model import Deployment, Expected, State, Written
from tests.fakes import FakeReactor, FakeReply, FakeTransport, InlinePool, deployment, namespace
from tests.memory_client import Wire
from tests.memory_server import MemoryServer
from tests.wire import refusal

REPLICAS = "/deployments/shop/web/replicas"


def scale(replicas: int, version: str) -> bytes:
    """Draw the Scale that Kubernetes answers a write with."""
    metadata = {"name": "web", "namespace": "shop", "uid": "uid-shop-web", "resourceVersion": version}
    return json.dumps({"kind": "Scale", "metadata": metadata, "spec": {"replicas": replicas}}).encode()


class BodyTests(SynchronousTestCase):
    """The body of family A's PUT: a JSON object with exactly one integer `replicas`, and nothing else."""

    def setUp(self) -> None:
        """Fill a cache."""
        self.server = MemoryServer().sync(namespace("shop"), deployment("web", "shop"))

    def status(self, body: bytes, **headers: str | bytes) -> int:
        """The status that a body gets; header names are written with underscores."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.call("PUT", REPLICAS, body, fields).status

    def test_what_is_a_count(self) -> None:
        """White space and escapes are JSON's own business."""
        for body in (b'{"replicas":20}', b' {\r\n\t"replicas" : 20 } \n', rb'{"\u0072eplicas":20}'):
            self.assertEqual(self.status(body), 200, body)
        self.assertEqual([count for *_, count in self.server.writes], [20, 20, 20])

    def test_what_is_no_count(self) -> None:
        """Everything else is 400, and never reaches the cluster."""
        for name, body in {
            "empty": b"",
            "white space": b"  ",
            "true": b'{"replicas":true}',
            "false": b'{"replicas":false}',
            "float": b'{"replicas":20.0}',
            "exponent": b'{"replicas":1e2}',
            "string": b'{"replicas":"20"}',
            "null": b'{"replicas":null}',
            "array": b'{"replicas":[20]}',
            "object": b'{"replicas":{"replicas":20}}',
            "negative": b'{"replicas":-1}',
            "too big": b'{"replicas":2147483648}',
            "thousands of digits": b'{"replicas":' + b"9" * 4000 + b"}",
            "not a number": b'{"replicas":NaN}',
            "infinity": b'{"replicas":Infinity}',
            "plus": b'{"replicas":+1}',
            "leading zero": b'{"replicas":007}',
            "hexadecimal": b'{"replicas":0x10}',
            "underscore": b'{"replicas":1_0}',
            "Arabic digit": '{"replicas":٣}'.encode(),
            "no key": b"{}",
            "another key": b'{"count":20}',
            "another case": b'{"Replicas":20}',
            "extra key": b'{"replicas":20,"force":true}',
            "repeated key": b'{"replicas":20,"replicas":20}',
            "repeated key, escaped": rb'{"replicas":20,"\u0072eplicas":30}',
            "a bare number": b"20",
            "a bare string": b'"replicas"',
            "a list of pairs": b'[["replicas",20]]',
            "a list": b'[{"replicas":20}]',
            "null alone": b"null",
            "two values": b'{"replicas":20}{"replicas":30}',
            "trailing comma": b'{"replicas":20,}',
            "comment": b'{"replicas":20} // all',
            "single quotes": b"{'replicas':20}",
            "cut short": b'{"replicas":20',
            "form": b"replicas=20",
            "BOM": b'\xef\xbb\xbf{"replicas":20}',
            "UTF-16": '{"replicas":20}'.encode("utf-16"),
            "UTF-16 without a BOM": '{"replicas":20}'.encode("utf-16-le"),
            "not UTF-8": b'{"replicas":20,"\xff":1}',
            "NUL": b'{"replicas":20}\0',
            "deep nesting": b"[" * 4096,
            "deep objects": b'{"replicas":' * 300 + b"1" + b"}" * 300,
        }.items():
            self.assertEqual(self.status(body), 400, name)
        self.assertEqual(self.server.writes, [])

    def test_the_message_says_what_to_send(self) -> None:
        """The refusal shows the shape, the range and what was sent instead, but for what may be long."""
        shape = 'The body must be a JSON object with exactly one integer "replicas" in 0..2147483647; here it is '
        for sent, shown in (
            (b'"20"', '"20"'),
            (b"2.5", "2.5"),
            (b"-1", "-1"),
            (b"null", "null"),
            (b"[1]", "something else"),
            (b'"%s"' % (b"9" * 200), '"' + "9" * 79),
        ):
            message = self.server.call("PUT", REPLICAS, b'{"replicas":%s}' % sent).json()["message"]
            self.assertEqual(message, f"{shape}{shown}.")

    def test_the_message_says_which_key_is_wrong(self) -> None:
        """A key that is missing, unknown or there twice is named; a count for a time has a place of its own."""
        shape = 'The body must be a JSON object with exactly one integer "replicas" in 0..2147483647'
        for body, what in {
            b"{}": '"replicas": missing',
            b'{"replica":5}': '"replicas": missing; "replica": unknown',
            b'{"replicas":5,"force":true,"\\u00e9":1}': r'"force", "\u00e9": unknown',
            b'{"replicas":5,"%s":1}' % (b"x" * 200): f'"{"x" * 79}: unknown',
            b'{"replicas":5,"a":1,"b":1,"c":1,"d":1}': '"a", "b", "c": unknown',
            b'{"replicas":5,"replicas":5}': '"replicas": there more than once',
            b"[]": "here it is no object",
            b"{": "this is not JSON",
            b"": "there is none",
            b'{"replicas":5,"for":"1h"}': '"for": unknown; a count for a time goes to .../temporary',
        }.items():
            for method, path in (("PUT", REPLICAS), ("POST", "/deployments/shop/web/plan")):
                message = self.server.call(method, path, body).json()["message"]
                self.assertEqual(message, f"{shape}; {what}.", body)

    def test_types_that_are_json(self) -> None:
        """`application/json` in any case, with no charset or with UTF-8."""
        for media_type in (
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            'application/json; charset="utf-8"',
            "application/json ; charset = utf8",
        ):
            self.assertEqual(self.status(b'{"replicas":1}', Content_Type=media_type), 200, media_type)

    def test_types_that_are_not(self) -> None:
        """Any other type, and any content coding, is 415 without a look at the body."""
        for media_type in (
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/merge-patch+json",
            "text/application/json",
            "application/json; charset=utf-16",
            "application/json; charset=latin-1",
            "application/json; version=2",
            "application/json, application/json",
            b"application/json; charset=\xff",
            b"\xff",
        ):
            self.assertEqual(self.status(b'{"replicas":1}', Content_Type=media_type), 415, repr(media_type))
        for coding in ("gzip", "deflate", "br", b"\xff"):
            self.assertEqual(self.status(b'{"replicas":1}', Content_Encoding=coding), 415, repr(coding))
        self.assertEqual(self.server.writes, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_missing_type_is_json(self) -> None:
        """A client that does not say what it sends means JSON."""
        body = b'{"replicas":8}'
        wire = self.server.connect()
        wire.send(b"PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (REPLICAS.encode(), len(body), body))
        self.assertEqual([answer.status for answer in wire.answers()], [200])

    def test_a_chunked_body_is_a_body(self) -> None:
        """How the body is framed does not matter."""
        head = b"PUT %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % REPLICAS.encode()
        (answer,) = self.server.connect().send(head + b'5\r\n{"rep\r\n9\r\nlicas":8}\r\n0\r\n\r\n')
        self.assertEqual(answer.status, 200)
        self.assertEqual(self.server.writes, [("shop", "web", 8)])

    def test_a_name_is_checked_before_the_body(self) -> None:
        """A malformed URL is what is told first, and a malformed body before what does not exist."""
        self.assertEqual(self.server.call("PUT", "/deployments/shop/Web/replicas", b"x").status, 400)
        self.assertIn("body", self.server.call("PUT", "/deployments/none/x/replicas", b"x").json()["message"])


class DisconnectTests(SynchronousTestCase):
    """A client that leaves while its write is under way."""

    def setUp(self) -> None:
        """Wire the real write path to a cluster that answers when the test says so."""
        self.server = MemoryServer().sync(namespace("shop"), deployment("web", "shop", replicas=3))
        self.reactor = FakeReactor()
        self.pool = InlinePool(inline=False)
        self.transport = FakeTransport()
        workers = ConnectedWorkers(self.reactor, "writes", BOUNDS, lambda: self.transport, self.pool)
        workers.startService()
        self.server.scaler = Scaling(workers).scale
        self.site = self.server.site

    def put(self, wire: Wire, count: int) -> None:
        """Ask for a count."""
        body = b'{"replicas":%d}' % count
        wire.write(b"PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (REPLICAS.encode(), len(body)) + body)

    def cluster_answers(self, reply: FakeReply) -> None:
        """Let the thread of the oldest write run, and its outcome reach the reactor."""
        self.transport.script.append(reply)
        self.pool.run_one()
        self.reactor.advance(0)

    def test_the_write_is_remembered_and_nothing_is_logged(self) -> None:
        """The outcome of an abandoned write is in the cache, and its client's absence is no error."""
        wire = Wire(self.site)
        self.put(wire, 20)
        with capturedLogs() as events:
            wire.hang_up()
            self.cluster_answers(FakeReply(200, [scale(20, "1000")]))
        self.assertEqual(self.server.get(REPLICAS).json()["replicas"], 20)
        self.assertEqual([event for event in events if "log_failure" in event], [])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.site.access.flush()
        self.assertEqual(self.server.clock.getDelayedCalls(), [])

    def test_an_abandoned_write_that_fails_is_no_error_either(self) -> None:
        """Nobody is left to tell, and nothing is wrong with the server."""
        wire = Wire(self.site)
        self.put(wire, 20)
        wire.hang_up()
        self.cluster_answers(refusal(409, "Conflict", about="deployments/web"))
        self.assertEqual(self.server.get(REPLICAS).json()["replicas"], 3)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_one_client_leaving_does_not_disturb_another(self) -> None:
        """Two writes are two requests to the cluster; the one that is still waited for is answered."""
        leaving, staying = Wire(self.site), Wire(self.site)
        self.put(leaving, 20)
        self.put(staying, 30)
        leaving.hang_up()
        self.cluster_answers(FakeReply(200, [scale(20, "1000")]))
        self.assertEqual(staying.answers(), [])
        self.cluster_answers(FakeReply(200, [scale(30, "1001")]))
        self.assertEqual([answer.status for answer in staying.answers()], [200])
        self.assertEqual(self.server.get(REPLICAS).json()["replicas"], 30)

    def test_a_cache_that_fails(self) -> None:
        """A bug in noting a write does not tell its client that it failed; the log has it."""

        def fail(written: Deployment) -> None:
            raise ZeroDivisionError(written)

        self.patch(self.server.cache, "written", fail)
        wire = Wire(self.site)
        self.put(wire, 20)
        self.cluster_answers(FakeReply(200, [scale(20, "1000")]))
        self.assertEqual([answer.status for answer in wire.answers()], [200])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual([record.outcome for record in self.server.audit.records], ["changed"])

    def test_a_scaler_that_fails(self) -> None:
        """A bug in asking the cluster completes the audit line, too, and is a 500."""

        def fail(
            client: str, namespace: str, name: str, replicas: int, expected: Expected
        ) -> Deferred[Written | State]:
            raise ZeroDivisionError

        self.server.scaler = fail
        wire = Wire(self.site)
        self.put(wire, 20)
        self.assertEqual([answer.status for answer in wire.answers()], [500])
        self.assertEqual([record.outcome for record in self.server.audit.records], ["ZeroDivisionError"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ShieldedTests(SynchronousTestCase):
    """Work that goes on although nobody waits for it any more."""

    def setUp(self) -> None:
        """Begin some."""
        self.going_on: Deferred[int] = Deferred()
        self.ended: list[int] = []
        self.waiter = shielded(self.work())

    async def work(self) -> int:
        """Wait, then come to an end."""
        self.ended.append(await self.going_on)
        return self.ended[-1]

    def test_the_result(self) -> None:
        """Who waits gets what the work comes to."""
        self.assertNoResult(self.waiter)
        self.going_on.callback(3)
        self.assertEqual(self.successResultOf(self.waiter), 3)

    def test_a_failure(self) -> None:
        """Who waits gets that as well, and nothing is logged."""
        self.going_on.errback(NotFound("No."))
        self.failureResultOf(self.waiter, NotFound)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_who_leaves(self) -> None:
        """It stops the waiting at once, and not the work."""
        self.waiter.cancel()
        self.failureResultOf(self.waiter, CancelledError)
        self.assertFalse(self.going_on.called)
        self.going_on.callback(3)
        self.assertEqual(self.ended, [3])

    def test_a_failure_that_nobody_waits_for(self) -> None:
        """One that could have been explained to a client is nothing to log; a bug is."""
        for error, logged in ((NotFound("No."), 0), (ZeroDivisionError(), 1)):
            self.setUp()
            self.waiter.cancel()
            self.failureResultOf(self.waiter, CancelledError)
            self.going_on.errback(error)
            gc.collect()
            self.assertEqual(len(self.flushLoggedErrors()), logged)
