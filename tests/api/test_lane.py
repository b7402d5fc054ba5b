"""The fast lane against the ordinary way: the same answers, counts and lines, and nothing that only one would take."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.logger import capturedLogs

from sre_server.api import lane
from sre_server.api.lane import KEPT_HEADS, FastLane, plain_head
from sre_server.errors import NotIdentified
from sre_server.model import Unreadable, Written
from sre_server.news import Changed, Put, sources_of
from sre_server.security.limits import Rate
from sre_server.security.policy import Policy, PolicyDocument, Rule
from tests.api.lanes import FIELDS, READS, LaneTests, get
from tests.fakes import deployment, namespace
from tests.memory_server import ALICE


class SameAnswersTests(LaneTests):
    """What clients see."""

    def test_every_read(self) -> None:
        """Every read of both families is served by the lane, and is what the ordinary way answers."""
        self.serve()
        for path in READS:
            self.assert_same(get(path))
        self.assertEqual(self.served, len(READS))

    def test_with_all_kinds_of_fields(self) -> None:
        """Whatever a client sends besides, the answer is the same; that it has the answer already, too."""
        self.serve()
        for path in (*READS, "/livez", "/nowhere", "/deployments/none/web/replicas", "/deployments/shop/none/replicas"):
            for field in FIELDS:
                self.assert_same(get(path, field))
            for coding in ("", "Accept-Encoding: gzip\r\n"):
                etag = self.both(get(path, coding))[0][0].header("ETag")
                if etag is not None:
                    self.assert_same(get(path, coding, f"If-None-Match: {etag}\r\n"))
                    self.assert_same(get(path, coding, f'If-None-Match: "a", W/{etag}\r\n'))
        self.assertGreater(self.served, len(READS) * 8)

    def test_what_clients_of_any_kind_send(self) -> None:
        """What says nothing more than a plain read does is served by the lane, keep-alive of HTTP/1.0 days as well."""
        self.serve()
        for field in (*FIELDS[:1], *FIELDS[2:8], "CONNECTION: Keep-Alive\r\n"):
            self.served = 0
            self.assert_same(get(READS[3], field))
            self.assertEqual(self.served, 1, field)

    def test_age(self) -> None:
        """Both round the age up, and refuse at the same bound."""
        self.serve()
        for seconds in (0.25, 0.75, 0.5, 118.5, 0.25, 4.75, 0.25):
            for server in (self.ordinary, self.fast):
                server.clock.advance(seconds)
            for path in READS:
                for field in ("", "Cache-Control: max-stale=5\r\n", "Cache-Control: max-stale\r\n"):
                    self.assert_same(get(path, field))
        self.assertGreater(self.served, len(READS) * 3 * 4)

    def test_unreadable(self) -> None:
        """What cannot be read is left out of lists, which say so in whatever form they come; by name it is 503."""
        self.serve()
        for server in (self.ordinary, self.fast):
            spoilt = Unreadable("shop", "web", "uid-shop-web", "11", why="it is too large")
            server.cache.apply(Changed(server.sources[1], 0, [Put(spoilt)]))
        for path in (*READS, "/deployments/shop/web/replicas"):
            for field in ("", "Accept-Encoding: gzip\r\n", "If-None-Match: *\r\n"):
                self.assert_same(get(path, field))
        ((listed,), (single,)) = (self.both(get(path))[1] for path in ("/deployments", READS[3]))
        self.assertEqual(listed.header("Warning"), '199 sre-server "what cannot be read is left out: shop/web"')
        self.assertNotIn(b'"web"', listed.body)
        self.assertEqual((single.status, "it is too large" in single.json()["message"]), (503, True))

    def test_scopes(self) -> None:
        """Both tell the age of the namespace that is asked of, and refuse what is too old of it, and of it alone."""
        self.serve(namespaces=["shop", "bank", "empty"])
        for server in (self.ordinary, self.fast):
            server.clock.advance(119.5)
            for source in sources_of(["shop"]):
                server.cache.apply(Changed(source, server.clock.seconds()))
            server.clock.advance(2)
        for path in (*READS, "/deployments/bank", "/deployments/other", "/namespaces/bank/deployments"):
            for field in ("", "Cache-Control: max-stale=1\r\n", "Cache-Control: max-stale\r\n"):
                self.assert_same(get(path, field))
        self.assertGreater(self.served, 12)

    def test_missing_scopes(self) -> None:
        """What was never read is missing from lists of all, and both say so to who accepts that."""
        self.serve(namespaces=["shop", "empty", "bank"], unread=["bank"])
        for path in (*READS, "/deployments/bank"):
            for field in ("", "Cache-Control: max-stale=1000\r\n", "Cache-Control: max-stale\r\n"):
                self.assert_same(get(path, field))
        (strict,), (content,) = self.both(get("/deployments"))[1], self.both(get("/deployments", field))[1]
        self.assertEqual((strict.status, "deployments in bank" in strict.json()["message"]), (503, True))
        self.assertEqual(content.header("Warning"), '199 sre-server "what was not read yet is left out: bank"')
        self.assertIn(b'"web"', content.body)

    def test_compressed_lists(self) -> None:
        """A long list is compressed by both in the same way, under a tag of its own."""
        self.serve()
        gzip = "Accept-Encoding: gzip\r\n"
        for path in ("/deployments", "/namespaces/ANY/deployments/ANY/replica_count"):
            (plain,), (fast,) = self.both(get(path))[0], self.both(get(path, gzip))[1]
            self.assertEqual(fast.header("Content-Encoding"), "gzip")
            self.assertEqual(fast.header("ETag"), f'{(plain.header("ETag") or "")[:-1]}-gzip"')
            self.assertLess(len(fast.body), len(plain.body))
            self.assert_same(get(path, gzip))

    def test_under_a_policy(self) -> None:
        """The lane serves what is allowed, as a whole or in part; what is refused is the same as ever."""
        for names in ("*", "w*", "web", "none"):
            rules = (Rule(identities=("alice",), verbs=("read",), namespaces=("shop",), names=(names,)),)
            self.serve(Policy(PolicyDocument(rules)))
            for path in READS:
                self.assert_same(get(path))
            self.assertGreaterEqual(self.served, sum("ANY" in path for path in READS))

    def test_a_certificate_that_ends_soon(self) -> None:
        """Clients of the lane are told, and counted."""
        self.serve()
        for server in (self.ordinary, self.fast):
            server.clients.who = replace(ALICE, not_after=datetime.now(UTC) + timedelta(hours=1))
        self.assert_same(get(READS[0]))
        self.assertEqual(self.served, 1)
        self.assert_same_counts()

    def test_the_age(self) -> None:
        """The age is that of the ordinary way, and past the bound the lane has nothing to say."""
        self.serve()
        for seconds in (0, 1, 119, 1, 4, 3):
            for server in (self.ordinary, self.fast):
                server.clock.advance(seconds)
            for fields in ("", "Cache-Control: max-stale\r\n", "Cache-Control: max-stale=5\r\n"):
                self.assert_same(get(READS[3], fields))

    def test_the_limit(self) -> None:
        """The lane takes from the same bucket, and leaves the refusal to the ordinary way."""
        self.serve(limit=Rate(1, 4))
        for path in READS[:6]:
            self.assert_same(get(path))
        self.assertEqual(self.served, 4)

    def test_what_is_too_long_for_the_lane(self) -> None:
        """It is left to the ordinary way, and costs what it costs there, once; what is only long is served."""
        self.serve()
        self.patch(lane, "LONG_BYTES", 100)
        self.assert_same(get(READS[0]))
        self.assertEqual(self.served, 1)
        self.patch(lane, "WHOLE_BYTES", 100)
        for _ in range(3):
            self.assert_same(get(READS[0]))
        self.assertEqual(self.served, 1)

    def test_whoever_is_nobody_by_now(self) -> None:
        """A client whose certificate is no longer good is not served by the lane either."""
        self.serve()
        wire = self.fast.connect()
        self.assertEqual([answer.status for answer in wire.send(get(READS[0]))], [200])
        self.fast.clients.who = NotIdentified("The client certificate has been revoked.")
        self.assertEqual([answer.status for answer in wire.send(get(READS[0]))], [200, 401])
        self.assertTrue(wire.closing)

    def assert_same_counts(self) -> None:
        """Both servers' metrics have the same values."""
        counts = [
            {
                (sample.name, tuple(sample.labels.items())): sample.value
                for metric in server.metrics.registry.collect()
                for sample in metric.samples
                if sample.name.startswith("sre_server_http_") and not sample.name.endswith("_created") and sample.value
            }
            for server in (self.ordinary, self.fast)
        ]
        self.assertEqual(counts[1], counts[0])

    def test_metrics_and_access_lines(self) -> None:
        """Both ways count and log the same: reads, answers that were not new, and what the lane leaves alone."""
        self.serve()
        with capturedLogs() as events:
            for path in (*READS, "/nowhere", "/livez"):
                for fields in ("X-Request-Id: r-17\r\n", "X-Request-Id: r-17\r\nIf-None-Match: *\r\n"):
                    self.assert_same(get(path, fields))
            self.assert_same_counts()
            self.ordinary.site.access.flush()
            self.fast.site.access.flush()
        ordinary, fast = ([str(line) for line in event["access_lines"]] for event in events if "access_lines" in event)
        self.assertEqual(fast, ordinary)

    def test_what_changes_is_seen(self) -> None:
        """Every change of the cluster is in the very next answer: counts, new ones, deleted ones, a whole new list."""
        self.serve()
        wire = self.fast.connect()
        path = "/namespaces/ANY/deployments/ANY/replica_count"

        def counts() -> dict[str, int]:
            listed = wire.send(get(path))[-1].json()
            return {item["deployment"]: item["replica_count"] for part in listed for item in part["deployments"]}

        before = counts()
        self.fast.cache.written(deployment("web", "shop", replicas=9, version="900"))
        self.assertEqual(counts(), {**before, "web": 9})
        self.fast.cache.written(deployment("new", "empty", replicas=2, version="901"))
        self.assertEqual(counts(), {**before, "web": 9, "new": 2})
        self.fast.clock.advance(1)
        self.fast.sync(namespace("shop"), deployment("only", "shop", replicas=4))
        self.assertEqual(counts(), {"only": 4})
        self.assertEqual(wire.send(get("/namespaces"))[-1].json(), {"namespaces": ["shop"]})


class PlainTests(LaneTests):
    """What the lane does not touch."""

    def test_what_is_not_plain(self) -> None:
        """Anything but one whole plain GET goes the ordinary way, and what it comes to is the same."""
        self.serve()
        whole = get(READS[3])
        for data in (
            whole.replace(b"GET", b"HEAD"),
            whole.replace(b"HTTP/1.1", b"HTTP/1.0"),
            whole.replace(b"/replicas", b"/replicas?a=b"),
            whole.replace(b"/shop", b"/%73hop"),
            whole.replace(b"\r\nHost", b"\nHost"),
            whole.replace(b"Host: localhost", b"Host: local host"),
            whole.replace(b"Host: localhost", b"X: y"),
            whole.replace(b"Host: localhost", b"Host : localhost"),
            whole.replace(b"Host: localhost\r\n", b"Host: a\r\nHost: a\r\n"),
            whole.replace(b"Host: localhost\r\n", b"Host: a\r\n folded\r\n"),
            whole.replace(b"\r\n\r\n", b"\r\nUser-Agent: caf\xe9\r\n\r\n"),
            whole.replace(b"\r\n\r\n", b"\r\nUser-Agent: " + b"x" * 1024 + b"\r\n\r\n"),
            whole.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            whole.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"),
            whole.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
            whole * 2,
            whole + b"GET",
            b"\r\n" + whole,
            b"X" + whole,
        ):
            self.assert_same(data)
            self.assertEqual(self.served, 0, data)

    def test_a_request_in_pieces(self) -> None:
        """What comes in pieces is no business of the lane, until the connection is idle again."""
        self.serve()
        wire = self.fast.connect()
        wire.write(get(READS[0])[:20])
        wire.write(get(READS[0])[20:])
        self.assertEqual(self.served, 0)
        self.assertEqual([answer.status for answer in wire.send(get(READS[0]))], [200, 200])
        self.assertEqual(self.served, 1)

    def test_behind_a_slow_write(self) -> None:
        """A read that comes while a write is under way waits for it, in order."""
        self.serve()
        self.fast.outcome = pending = self.fast.pending()
        wire = self.fast.connect()
        wire.write(b"PUT /namespaces/shop/deployments/web/replica_count/9 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(wire.send(get(READS[3])), [])
        pending.callback(Written(deployment("web", "shop", replicas=9)))
        self.assertEqual([max(answer.json()) for answer in wire.answers()], ["replica_count", "replicas"])

    def test_a_peer_that_does_not_read(self) -> None:
        """Nothing more is answered to a client that has yet to read."""
        self.serve()
        wire = self.fast.connect()
        wire.stop_reading()
        wire.write(get(READS[0]))
        self.assertEqual(self.served, 0)

    def test_while_the_server_stops(self) -> None:
        """Answers say that the connection closes."""
        self.serve()
        wire = self.fast.connect()
        self.fast.site.draining = True
        self.assertEqual(wire.send(get(READS[0]))[0].header("Connection"), "close")

    def test_the_first_request(self) -> None:
        """A connection's first request takes the lane, too: the handshake has told whose it is."""
        self.serve()
        wire = self.fast.connect()
        for served in (1, 2):
            self.assertEqual(wire.send(get(READS[0]))[-1].status, 200)
            self.assertEqual(self.served, served)

    @settings(deadline=None, max_examples=300)
    @given(
        st.lists(st.sampled_from([*FIELDS, "a b: c\r\n", "Host: x\r\n", "\r\n", "x\n", "If-Match: *\r\n"]), max_size=4)
    )
    def test_arbitrary_heads(self, fields: Iterable[str]) -> None:
        """Whatever heads are made of, both ways say the same."""
        self.serve()
        self.assert_same(f"GET {READS[3]} HTTP/1.1\r\n{''.join(fields)}\r\n".encode())

    def test_heads_that_are_kept(self) -> None:
        """Heads that were read are kept, but for those that never come back, and not without end."""
        self.serve()
        lane = self.fast.site.lane
        assert isinstance(lane, FastLane)
        for number in range(KEPT_HEADS * 3):
            self.fast.connect().write(get(READS[0], f"User-Agent: {number}\r\n"))
            self.fast.connect().write(get(READS[0], f"X-Request-Id: {number}\r\n"))
        self.assertEqual(self.served, KEPT_HEADS * 6)
        self.assertLessEqual(len(lane._heads), KEPT_HEADS)
        self.assertFalse([head for head in lane._heads.values() if head.request_id])

    def test_a_plain_head(self) -> None:
        """Names are read in any case, and values without the spaces around them."""
        head = plain_head(b'HOST:a\r\nif-none-match: "x"\r\nAccept-Encoding: gzip\r\nCache-Control: max-stale\r\n\r\n')
        assert head is not None
        self.assertEqual((head.if_none_match, head.gzip, head.max_stale), (b'"x"', True, float("inf")))
