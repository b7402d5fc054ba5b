"""Requests that two readers could take for different ones: each is refused, and nothing after it is read.

The table is what RFC 9112 calls request smuggling, and what Twisted's parser would let through of it. Behind every
row comes a well-formed PUT on the same connection, which must never run. Then come bytes that nobody would think of,
which must break nothing.
"""

from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.fakes import deployment, namespace
from tests.memory_server import MemoryServer

WRITE = b"PUT /namespaces/shop/deployments/web/replica_count/9 HTTP/1.1\r\nHost: a\r\n\r\n"
GET = b"GET /deployments HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /deployments HTTP/1.1\r\nHost: a\r\n"


# tests/api/test_ordinary_again.py runs these once more, in classes of its own.
ARBITRARY = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.differing_executors]
)


def target(text: bytes, method: bytes = b"GET") -> bytes:
    """A request for a target."""
    return method + b" " + text + b" HTTP/1.1\r\nHost: a\r\n\r\n"


LENGTHS = {
    "Content-Length, then chunked": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, then Content-Length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunked and Content-Length: 0": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n",
    "two equal lengths": POST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "two different lengths": POST + b"Content-Length: 1\r\nContent-Length: 0\r\n\r\nx",
    "a list of lengths": POST + b"Content-Length: 1, 1\r\n\r\nx",
    "a length with a sign": POST + b"Content-Length: +1\r\n\r\nx",
    "a negative length": POST + b"Content-Length: -1\r\n\r\nx",
    "a length with an underscore": POST + b"Content-Length: 1_0\r\n\r\n0123456789",
    "a hexadecimal length": POST + b"Content-Length: 0x1\r\n\r\nx",
    "an empty length": POST + b"Content-Length:\r\n\r\n",
    "a length with a vertical tab": POST + b"Content-Length: \x0b1\r\n\r\nx",
}
CODINGS = {
    "gzip": POST + b"Transfer-Encoding: gzip\r\n\r\n",
    "gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked, identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked, chunked": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "identity": GET + b"Transfer-Encoding: identity\r\n\r\n",
    "identity and Content-Length": POST + b"Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx",
    "Content-Length and identity": POST + b"Content-Length: 1\r\nTransfer-Encoding: identity\r\n\r\nx",
    "identity, in capitals": POST + b"TRANSFER-ENCODING: IDENTITY\r\nContent-Length: 1\r\n\r\nx",
    "nothing": POST + b"Transfer-Encoding:\r\n\r\n",
    "xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
}
CHUNKS = {
    "0x1": b"0x1\r\na\r\n0\r\n\r\n",
    "signed": b"+1\r\na\r\n0\r\n\r\n",
    "negative": b"-1\r\na\r\n0\r\n\r\n",
    "underscore": b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n",
    "empty": b"\r\na\r\n0\r\n\r\n",
    "space before": b" 1\r\na\r\n0\r\n\r\n",
    "not hexadecimal": b"g\r\na\r\n0\r\n\r\n",
    "longer than its size": b"1\r\nab\r\n0\r\n\r\n",
}
HEADERS = {
    "no Host": b"GET /deployments HTTP/1.1\r\n\r\n",
    "two Hosts": GET + b"Host: b\r\n\r\n",
    "the same Host twice": GET + b"host: a\r\n\r\n",
    "two Hosts in HTTP/1.0": b"GET /deployments HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
    "folded with a space": GET + b"X-A: 1\r\n 2\r\n\r\n",
    "folded with a tab": GET + b"X-A: 1\r\n\t2\r\n\r\n",
    "folded and empty": GET + b"X-A: 1\r\n \r\n\r\n",
    "space before the first": b"GET /deployments HTTP/1.1\r\n Host: a\r\n\r\n",
    "space before the colon": GET + b"Content-Length : 1\r\n\r\nx",
    "tab before the colon": GET + b"X-A\t: 1\r\n\r\n",
    "no colon": GET + b"nonsense\r\n\r\n",
    "no name": GET + b": x\r\n\r\n",
    "a name that is no token": GET + b"X A: 1\r\n\r\n",
    "a name with NUL": GET + b"X\0A: 1\r\n\r\n",
    "a name beyond ASCII": GET + b"X-\xe9: 1\r\n\r\n",
    "bare CR in a value": GET + b"X-A: 1\rX-B: 2\r\n\r\n",
    "bare LF in a value": GET + b"X-A: 1\nContent-Length: 1\r\n\r\n",
    "NUL in a value": GET + b"X-A: 1\x002\r\n\r\n",
}
REQUEST_LINES = {
    "HTTP/0.9": b"GET /deployments\r\n\r\n",
    "HTTP/0.9 by name": b"GET /deployments HTTP/0.9\r\nHost: a\r\n\r\n",
    "HTTP/1.2": b"GET /deployments HTTP/1.2\r\nHost: a\r\n\r\n",
    "HTTP/2.0": b"GET /deployments HTTP/2.0\r\nHost: a\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "http/1.1 in lower case": b"GET /deployments http/1.1\r\nHost: a\r\n\r\n",
    "two spaces": b"GET  /deployments HTTP/1.1\r\nHost: a\r\n\r\n",
    "a tab for a space": b"GET\t/deployments HTTP/1.1\r\nHost: a\r\n\r\n",
    "a space at the end": b"GET /deployments HTTP/1.1 \r\nHost: a\r\n\r\n",
    "a space before": b" GET /deployments HTTP/1.1\r\nHost: a\r\n\r\n",
    "ended by a bare LF": b"GET /deployments HTTP/1.1\nHost: a\r\n\r\n",
    "a bare CR": b"GET /deployments\rx HTTP/1.1\r\nHost: a\r\n\r\n",
    "two empty lines before": b"\r\n\r\n" + GET + b"\r\n",
    "TLS instead of HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a lower-case method": target(b"/deployments", b"get"),
    "a method in mixed case": target(b"/deployments", b"Get"),
    "a method with a digit": target(b"/deployments", b"GET2"),
    "a method with a dash": target(b"/deployments", b"M-SEARCH"),
    "CONNECT": target(b"example.com:443", b"CONNECT"),
    "a target in absolute form": target(b"http://example.com/deployments"),
    "a target in asterisk form": target(b"*", b"OPTIONS"),
    "a target without a slash": target(b"deployments"),
    "a target that begins with a query": target(b"?x=/deployments"),
    "an empty target": target(b""),
    "DEL in the path": target(b"/deployments\x7f"),
    "0x80 in the path": target(b"/deployments\x80"),
    "0xB0 in the path": target(b"/deployments\xb0"),
    "0xFF in the path": target(b"/deployments\xff"),
    "NUL in the path": target(b"/deployments\0"),
    "a backslash in the path": target(b"/deployments\\shop"),
    "an encoded slash": target(b"/deployments%2fshop"),
    "an encoded NUL": target(b"/deployments%00"),
    "an encoded CR LF": target(b"/deployments%0d%0aHost:%20b"),
    "a dot segment": target(b"/namespaces/../deployments"),
    "an encoded dot segment": target(b"/namespaces/%2E%2e/deployments"),
    "an empty segment": target(b"//deployments"),
    "DEL in the query": target(b"/deployments?a=\x7f"),
    "0x80 in the query": target(b"/deployments?a=\x80"),
}
NAMES = (
    b"Accept-Encoding Authorization Cache-Control Connection Content-Encoding Content-Length Content-Type Cookie "
    b"Expect Host Range Trailer Transfer-Encoding Upgrade X-Request-Id"
).split()
VALUES = (
    b"a a..b 0 3 4097 chunked identity gzip 100-continue close keep-alive max-stale=5 application/json "
    b"application/x-www-form-urlencoded multipart/form-data;boundary=x"
).split()
TARGETS = (
    b"/deployments /deployments/shop/web/replicas /namespaces /namespaces/ANY/deployments/ANY/replica_count /livez "
    b"/namespaces/shop/deployments/web/replica_count/3 * // /%ff /deployments/%2e%2e"
).split()


class AmbiguityTests(SynchronousTestCase):
    """One answer, 400 or as the row says, then the end."""

    def assert_refused(self, rows: dict[str, bytes]) -> None:
        """Check that each row gets one 400 in JSON, a close, and no request after it."""
        wrong = {}
        for name, request in rows.items():
            for pieces in ([request + WRITE], [request, WRITE], [bytes([byte]) for byte in request + WRITE]):
                server = MemoryServer().sync(namespace("shop"), deployment())
                wire = server.connect()
                for piece in pieces:
                    wire.write(piece)
                answers = [(answer.check().status, answer.header("Connection")) for answer in wire.answers()]
                outcome = (answers, wire.closing, server.writes)
                if outcome != ([(400, "close")], True, []):
                    wrong[name] = outcome
        self.assertEqual(wrong, {})
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_lengths(self) -> None:
        """A body whose length could be read in two ways is refused."""
        self.assert_refused(LENGTHS)

    def test_transfer_codings(self) -> None:
        """The one transfer coding is `chunked`, once, alone, and in HTTP/1.1."""
        self.assert_refused(CODINGS)

    def test_chunks(self) -> None:
        """Chunk sizes are hexadecimal digits and nothing else."""
        head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        self.assert_refused({name: head + chunks for name, chunks in CHUNKS.items()})

    def test_headers(self) -> None:
        """One Host, no folding, no white space where a name is, no control characters."""
        self.assert_refused(HEADERS)

    def test_request_lines(self) -> None:
        """A method in capitals, a target that is a path of visible ASCII, and a version that there is."""
        self.assert_refused(REQUEST_LINES)

    def test_a_length_of_thousands_of_digits(self) -> None:
        """A number that Python itself would not read is refused, and breaks nothing."""
        server = MemoryServer().sync(namespace("shop"), deployment())
        wire = server.connect()
        (answer,) = wire.send(POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + WRITE)
        self.assertIn(answer.check().status, (400, 413))
        self.assertEqual((wire.closing, server.writes), (True, []))
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_forms_with_types_that_are_none(self) -> None:
        """The type of a POST's body is nobody's business here: it is refused for its method, and breaks nothing."""
        for media_type in (b"a\x0cb", b"a\x85b", b"multipart/form-data", b"multipart/form-data; boundary=x", b";"):
            server = MemoryServer().sync(namespace("shop"), deployment())
            head = POST + b"Content-Type: " + media_type + b"\r\nContent-Length: 3\r\n\r\n"
            (answer,) = server.connect().send(head + b"a=b")
            self.assertEqual(answer.check().status, 405, media_type)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_what_is_not_ambiguous_is_served(self) -> None:
        """The table refuses no more than it must: here both requests of a connection are answered."""
        chunked = POST.replace(b"POST /deployments", b"PUT /namespaces/shop/deployments/web/replica_count/8")
        chunked += b"Transfer-Encoding: Chunked\r\n\r\n"
        for name, request in {
            "one empty line before": b"\r\n" + GET + b"\r\n",
            "an empty Host": b"GET /deployments HTTP/1.1\r\nHost:\r\n\r\n",
            "an empty header": GET + b"X-A:\r\n\r\n",
            "Latin-1 in a value": GET + b"X-A: \xe9\r\n\r\n",
            "a length with zeros": GET + b"Content-Length: 000\r\n\r\n",
            "a percent-encoded letter": target(b"/%64eployments"),
            "a query": target(b"/deployments?a=%00&b=//"),
            "chunk extensions": chunked + b"1;a=b\r\nx\r\n0\r\n\r\n",
            "trailers": chunked + b"1\r\nx\r\n0\r\nX-A: 1\r\n\r\n",
            "500 headers": GET + b"a:b\r\n" * 499 + b"\r\n",
        }.items():
            server = MemoryServer().sync(namespace("shop"), deployment())
            statuses = [answer.check().status for answer in server.connect().send(request + WRITE)]
            self.assertEqual(statuses, [200, 200], name)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Draw something like a request, right or wrong in any of its parts; never HEAD, whose answers have no body."""
    noise = st.binary(max_size=12)
    # Hypothesis draws what it finds in the source, too, "HEAD" among it.
    method = draw(st.sampled_from([b"GET", b"PUT", b"POST", b"DELETE", b"OPTIONS"]) | noise.filter(b"HEAD".__ne__))
    target = draw(st.sampled_from(TARGETS) | noise.map(lambda tail: b"/" + tail) | noise)
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"]) | noise)
    lines = [method + b" " + target + b" " + version]
    if draw(st.integers(0, 4)):
        lines.append(b"Host: a")
    value = st.sampled_from(VALUES) | noise | st.integers(0, 10**9).map(b"%d".__mod__)
    lines += [draw(st.sampled_from(NAMES)) + b": " + draw(value) for _ in range(draw(st.integers(0, 4)))]
    body = draw(st.sampled_from([b"", b'{"replicas":3}', b"3\r\nabc\r\n0\r\n\r\n", b" " * 5000]) | noise)
    return draw(st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n"])).join([*lines, b"", body])


class ArbitraryBytesTests(SynchronousTestCase):
    """The channel against bytes that nobody would think of."""

    def converse(self, pieces: list[bytes]) -> None:
        """Check that the channel survives: no exception, no failure in the log, JSON answers, nothing left behind."""
        server = MemoryServer().sync(namespace("shop"), deployment())
        wire = server.connect()
        with capturedLogs() as events:
            for piece in pieces:
                wire.write(piece)
            server.clock.advance(3)
            answers = wire.answers()
            server.clock.advance(10)
            wire.hang_up()
        self.flushLoggedErrors()
        self.assertEqual([str(event["log_failure"]) for event in events if "log_failure" in event], [])
        for answer in answers:
            if answer.status != 100:
                answer.check()
        self.assertNotIn(500, [answer.status for answer in answers])
        server.site.access.flush()
        self.assertEqual(server.clock.getDelayedCalls(), [])
        self.assertEqual(server.site.open, 0)

    @settings(ARBITRARY, max_examples=300)
    @given(st.lists(requests(), min_size=1, max_size=3), st.lists(st.integers(0, 400), max_size=5))
    def test_something_like_requests(self, made: list[bytes], cuts: list[int]) -> None:
        """Requests with anything wrong in them, cut into pieces anywhere."""
        data = b"".join(made)
        edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
        self.converse([data[begin:end] for begin, end in pairwise(edges)])

    @settings(ARBITRARY)
    @given(st.lists(st.binary(max_size=100), max_size=6))
    def test_anything(self, pieces: list[bytes]) -> None:
        """Bytes without any form."""
        self.converse(pieces)

    @settings(ARBITRARY)
    @given(st.sampled_from(NAMES), st.binary(max_size=40))
    def test_any_header_value(self, name: bytes, value: bytes) -> None:
        """A proper request with one header that may hold anything."""
        for method in (b"PUT", b"POST"):
            head = method + b" /deployments/shop/web/replicas HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n"
            self.converse([head + name + b": " + value + b'\r\n\r\n{"replicas":3}'])

    @settings(ARBITRARY)
    @given(st.binary(max_size=60))
    def test_any_body(self, body: bytes) -> None:
        """A proper PUT whose body may hold anything."""
        head = b"PUT /deployments/shop/web/replicas HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.converse([head + body])

    @settings(ARBITRARY)
    @given(st.text(max_size=30), st.booleans())
    def test_any_path(self, text: str, escaped: bool) -> None:
        """A proper GET of any path, percent-encoded or not."""
        raw = text.encode("utf-8", "surrogatepass")
        path = b"".join(b"%%%02x" % byte for byte in raw) if escaped else raw
        self.converse([b"GET /deployments/" + path + b" HTTP/1.1\r\nHost: a\r\n\r\n"])
