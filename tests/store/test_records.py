"""What stands in Redis is read as it was written, by its own reader and by an older one, and not as anything else."""

import hmac
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import StoreForged, StoreRefused
from sre_server.model import (
    Author,
    Autoscaler,
    Deployment,
    Guards,
    Namespace,
    Notes,
    Object,
    Owners,
    Progress,
    ScaledEvent,
    Unreadable,
)
from sre_server.news import Deleted, Put, Resource, Source
from sre_server.store.contents import Contents
from sre_server.store.options import Address, parse_url
from sre_server.store.records import Chunk, Entry, Keys, Position, Row, Seal, bucket_of, object_of, place_of, row_of
from tests.fakes import deployment, namespace, temporary_folder
from tests.store.memory import SOURCES

TEXTS = st.text(max_size=20)
GUARDS = st.none() | st.builds(Guards, TEXTS, TEXTS, TEXTS)
COUNTS = st.integers(0, 2**31 - 1)
PROGRESS = st.none() | st.builds(Progress, *[COUNTS] * 6, st.booleans(), TEXTS)
OWNERS = st.none() | st.builds(
    Owners, TEXTS, TEXTS, TEXTS, st.lists(TEXTS, max_size=2).map(tuple), st.booleans(), TEXTS
)
OBJECTS = st.one_of(
    st.builds(Namespace, TEXTS, TEXTS, TEXTS),
    st.builds(Unreadable, TEXTS, TEXTS, TEXTS, TEXTS, guards=GUARDS, why=TEXTS),
    st.builds(Deployment, TEXTS, TEXTS, TEXTS, TEXTS, COUNTS, GUARDS, PROGRESS, OWNERS),
    st.builds(
        ScaledEvent,
        *[TEXTS] * 6,
        st.builds(Author, TEXTS, st.none() | TEXTS, st.none() | TEXTS, st.none() | COUNTS),
    ),
    st.builds(Autoscaler, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, COUNTS, COUNTS, st.booleans(), TEXTS),
    st.builds(Notes, TEXTS, TEXTS, TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=3)),
)


class RecordTests(SynchronousTestCase):
    """Rows, entries and seals."""

    def setUp(self) -> None:
        """Have two keys."""
        self.old, self.new = b"the key of before", b"the key of today"
        self.seal = Seal([self.new, self.old])

    @settings(deadline=None)
    @given(st.lists(OBJECTS, max_size=5))
    def test_objects(self, items: list[Object]) -> None:
        """Every object comes out of a chunk as it went in, guards and all."""
        seal = Seal([b"a key of the tests"])
        sealed = seal.close("c:1", Chunk((7, 8), [row_of(item) for item in items]))
        self.assertEqual([object_of(row) for row in seal.open("c:1", sealed, Chunk).rows], items)

    def test_the_format(self) -> None:
        """Rows are what earlier releases read, and watchers and pods of two releases share."""
        row = msgspec.to_builtins(row_of(Deployment("shop", "web", "u", "5", 3, Guards("1", "9", ""))))
        self.assertEqual(row, [1, "shop", "web", "u", "5", 3, ("1", "9", ""), "", None, None, (), False])
        row = msgspec.to_builtins(row_of(Unreadable("shop", "web", "u", "5", why="it is too large"), deleted=True))
        self.assertEqual(row, [-1, "shop", "web", "u", "5", -1, None, "it is too large", None, None, (), False])
        scaling = ScaledEvent("shop", "web", "u", "5", "api", "4", Author("alice", "why", "r-1", 2))
        others: list[tuple[Object, int, str, Sequence[Any]]] = [
            (Namespace("web", "u", "5"), 2, "", ()),
            (Autoscaler("shop", "web", "u", "5", "api", 1, 9, False, "a"), 3, "shop", ("api", 1, 9, False, "a")),
            (scaling, 4, "shop", ("api", "4", "alice", "why", "r-1", 2)),
            (Notes("shop", "web", "u", "5", {"key": "text"}), 5, "shop", (("key", "text"),)),
        ]
        for item, kind, where, more in others:
            for sign in (1, -1):
                row = msgspec.to_builtins(row_of(item, deleted=sign < 0))
                self.assertEqual(row, [sign * kind, where, "web", "u", "5", 0, None, "", None, None, more, False])

    def test_where_objects_are(self) -> None:
        """A watcher of another release looks for the same object in the same chunk; each kind has places of its own."""
        items: list[tuple[Object, str, int]] = [
            (Namespace("web", "u", "5"), "", 311),
            (Deployment("shop", "web", "u", "5", 3), "shop", 243),
            (Autoscaler("shop", "web", "u", "5", "api", 1, 9), "horizontalpodautoscalers/shop", 144),
            (ScaledEvent("shop", "web", "u", "5", "api", "4", Author("alice")), "events/shop", 805),
            (Notes("shop", "web", "u", "5", {}), "configmaps/shop", 411),
        ]
        for item, where, number in items:
            self.assertEqual((place_of(item), bucket_of(place_of(item))), ((where, "web"), number))

    def test_equal_owners_are_one_object(self) -> None:
        """A hundred thousand Deployments that one manager applies have its name once."""
        row = row_of(Deployment("shop", "web", "u", "5", 3, owners=Owners("flux", "Apply", appliers=("flux",))))
        read = [object_of(msgspec.msgpack.decode(msgspec.msgpack.encode(row), type=Row)) for _ in range(2)]
        owners = [item.owners for item in read if isinstance(item, Deployment)]
        self.assertIs(owners[0], owners[1])

    def test_what_makes_no_sense(self) -> None:
        """A record that is sealed well, and cannot be read, is refused as one, and not as a bug of ours."""
        text = self.seal.close("c:1", Chunk((7, 8), [Row(1, "shop", "w" * 9, "u", "5")]))
        for body in (text[32:].replace(b"w" * 9, b"\xff" * 9), b"\0", b"\0\x93\x01"):
            with self.subTest(body):
                mac = hmac.digest(self.new, b"c:1\n" + body, "sha256")
                error = self.assertRaises(StoreRefused, self.seal.open, "c:1", mac + body, Chunk)
                self.assertRegex(str(error), "^'c:1' in Redis cannot be read: .")
        error = self.assertRaises(StoreRefused, object_of, Row(5, "shop", "web", "u", "5", more=[("a", "b", "c")]))
        self.assertRegex(str(error), r"\A'shop/web' in Redis cannot be read: .+\.\Z")
        for more in ((), ("web", 1, "three", True, ""), ("web", 1)):
            with self.subTest(more):
                self.assertRaises(StoreRefused, object_of, Row(3, "shop", "web", "u", "5", more=more))

    def test_another_format(self) -> None:
        """What a newer release has written in another way is refused, and the message says what to do."""
        body = b"\1whatever"
        sealed = hmac.digest(self.new, b"c:1\n" + body, "sha256") + body
        error = self.assertRaises(StoreRefused, self.seal.open, "c:1", sealed, Chunk)
        self.assertEqual(str(error), "'c:1' in Redis is of a newer format: update this server.")

    def test_later_releases(self) -> None:
        """Columns and kinds of a later release are passed over."""
        scaler = Autoscaler("shop", "web", "u", "5", "web", 1, 3)
        later = [*msgspec.to_builtins(row_of(scaler))[:-2], ["web", 1, 3, True, "", "later"], False, 7]
        self.assertEqual(object_of(msgspec.msgpack.decode(msgspec.msgpack.encode(later), type=Row)), scaler)
        row = msgspec.msgpack.decode(msgspec.msgpack.encode([1, "shop", "web", "u", "5", 3, None, "later"]), type=Row)
        self.assertEqual(object_of(row), Deployment("shop", "web", "u", "5", 3))
        contents = Contents(SOURCES)
        self.assertIsNone(contents.take(Row(9, "shop", "web", "u", "5")))
        self.assertEqual(list(contents), [])

    def test_keys_change(self) -> None:
        """The first key seals, each of them opens, and no other does."""
        entry = Entry((1, 2), 3.0, None, [1.0], ["7"], [0])
        for keys in ([self.old], [self.new]):
            self.assertEqual(self.seal.open("log 1-3", Seal(keys).close("log 1-3", entry), Entry).before, (1, 2))
        sealed = self.seal.close("log 1-3", entry)
        self.assertRaises(StoreForged, Seal([self.old]).open, "log 1-3", sealed, Entry)

    def test_forgeries(self) -> None:
        """A record in another place, with a bit changed, cut off or empty is refused."""
        sealed = self.seal.close("log 1-3", Entry((1, 2), 3.0, None, [1.0], ["7"], [0]))
        for place, body in (
            ("log 1-4", sealed),
            ("log 1-3", sealed[:-1]),
            ("log 1-3", b""),
            ("log 1-3", b"?" + sealed),
        ):
            self.assertRaises(StoreForged, self.seal.open, place, body, Entry)

    def test_key_files(self) -> None:
        """A key stands on a line of its own; one that is short, missing or unreadable is none."""
        path = temporary_folder(self) / "seal"
        error = self.assertRaises(StoreRefused, Seal.read, path)
        self.assertRegex(str(error), r"\A--cache-seal cannot be read: .+\.\Z")
        path.write_text("short\n")
        error = self.assertRaises(StoreRefused, Seal.read, path)
        self.assertEqual(str(error), f"--cache-seal: {path} needs a key of at least 16 characters on each line.")
        path.write_bytes(self.new + b"\n\n" + self.old + b"\n")
        head = Chunk((1, 2), [])
        self.assertEqual(Seal.read(path).close("c:1", head), self.seal.close("c:1", head))

    def test_positions_and_keys(self) -> None:
        """Later is greater, and everything of one cluster is in one slot of its own."""
        self.assertGreater(Position(2, 0), Position(1, 99))
        keys = Keys("uid", "blue")
        self.assertEqual((keys.head, keys.log), ("sre:1:{uid:blue}:head", "sre:1:{uid:blue}:log"))
        self.assertEqual(keys.chunks, [f"sre:1:{{uid:blue}}:c:{number}" for number in range(1024)])


class ContentsTests(SynchronousTestCase):
    """Objects by bucket."""

    def test_rows(self) -> None:
        """A row puts or deletes; what was deleted and made again is not deleted by what is late."""
        contents = Contents(SOURCES)
        self.assertEqual(contents.take(row_of(deployment())), Put(deployment()))
        self.assertEqual(contents.take(row_of(namespace())), Put(namespace()))
        self.assertEqual(contents.counts, [1, 1])
        self.assertIsNone(contents.take(row_of(deployment(uid="another"), deleted=True)))
        self.assertEqual(contents.take(row_of(deployment(), deleted=True)), Deleted(deployment()))
        self.assertEqual(contents.counts, [1, 0])

    def test_scopes(self) -> None:
        """What is of no source is not taken in."""
        contents = Contents([Source(Resource.DEPLOYMENTS, "shop")])
        for item in (deployment(), deployment(namespace="staff"), namespace()):
            contents.take(row_of(item))
        self.assertEqual([item for _, item in contents], [deployment()])


class AddressTests(SynchronousTestCase):
    """`--cache`."""

    def test_urls(self) -> None:
        """Host, port, database and TLS; for sentinels several hosts, and the name of the master."""
        for url, address in {
            "redis://r": Address((("r", 6379),), 0, encrypted=False),
            "rediss://r:7/3": Address((("r", 7),), 3, encrypted=True),
            "redis://[::1]:7/": Address((("::1", 7),), 0, encrypted=False),
            "redis+sentinel://a:1,b,[::1]/main": Address(
                (("a", 1), ("b", 26379), ("::1", 26379)), 0, encrypted=False, master="main"
            ),
            "rediss+sentinel://a/main/2": Address((("a", 26379),), 2, encrypted=True, master="main"),
        }.items():
            self.assertEqual(parse_url(url), address)
            self.assertEqual(parse_url(str(address)), address)

    def test_what_is_none(self) -> None:
        """No password, no query, no other scheme; a name of the master for sentinels, and for them alone."""
        for url in ("redis://:p@r", "redis://r?db=1", "http://r", "redis://", "redis://r/x", "redis://r:x", "r:6379"):
            self.assertRaises(ValueError, parse_url, url)
        for url in ("a", "a/", "a//1", "a/main/x", "a/main/1/2", ",a/main", "::1/main", "a, b/main"):
            self.assertRaises(ValueError, parse_url, f"redis+sentinel://{url}")
        self.assertRaises(ValueError, parse_url, "redis://a,b")
