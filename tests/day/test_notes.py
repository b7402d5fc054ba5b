"""Notes of temporary counts as texts: what is written, and what is read of what somebody else wrote."""

from msgspec.structs import replace
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.day.temporary import Note, Temporaries, read_note
from sre_server.model import Notes
from sre_server.news import Changed, Deleted, Listed, Put, Resource, Source
from tests.memory_server import START

STORE = Source(Resource.TEMPORARY, "sre", "temporary")


class NotesTests(SynchronousTestCase):
    """Notes as texts."""

    def test_texts(self) -> None:
        """A text is read as it was written, and has nothing that encoders of JSON write differently."""
        note = Note(
            "shop", "web", 3, 20, START, "spiffe://<é&>", 'a "b" \\ <c> & \u2028 \x7f', "id", before=3, claim="x/1"
        )
        text = note.text()
        self.assertEqual(read_note(text), note)
        self.assertTrue(text.isascii())
        self.assertFalse(set(text) & set("<>&\x7f"))

    def test_nonsense(self) -> None:
        """What somebody else wrote there is no note: neither a name that is none, nor a time of nowhere."""
        note = Note("shop", "web", 3, 20, START, "alice")
        for text in (
            "",
            "{}",
            "[]",
            replace(note, name="../x").text(),
            replace(note, namespace="a/b").text(),
            replace(note, count=-1).text(),
            replace(note, original=2**31).text(),
            note.text().replace("Z", ""),
        ):
            with self.subTest(text):
                self.assertIsNone(read_note(text))

    def test_nonsense_is_told_once(self) -> None:
        """A text that cannot be read is warned of when it is first seen, and not with every change beside it."""
        temporaries = Temporaries(lambda: 0.0, STORE, 1e9)
        with capturedLogs() as logged:
            for version in ("100", "101"):
                notes = Notes("sre", "temporary", "u", version, {"uid-web": "nonsense", "uid-api": version})
                temporaries.applied(Listed(STORE, version, 0.0, others={"sre": {"temporary": notes}}))
        self.assertEqual([event["uid"] for event in logged], ["uid-web", "uid-api", "uid-api"])

    def test_a_config_map_that_is_deleted(self) -> None:
        """There are no temporary counts any more."""
        temporaries = Temporaries(lambda: 0.0, STORE, 1e9)
        notes = Notes("sre", "temporary", "u", "100", {"uid-web": Note("shop", "web", 3, 20, START, "alice").text()})
        temporaries.applied(Listed(STORE, "100", 0.0, others={"sre": {"temporary": notes}}))
        self.assertEqual(temporaries.count, 1)
        temporaries.applied(Changed(STORE, 0.0, [Deleted(replace(notes, resource_version="101"))]))
        self.assertEqual(temporaries.count, 0)

    def test_what_is_newer(self) -> None:
        """What a change has told ahead of the watch stays until there is a newer ConfigMap, or a list begun later.

        It is the version of the ConfigMap that counts: a list may be told with one that is behind it.
        """
        now = 0.0
        temporaries = Temporaries(lambda: now, STORE, 1e9)

        def notes(version: int) -> Notes:
            return Notes("sre", "temporary", "u", str(version), {"uid-web": str(version)})

        def tell_list(of_list: int, item: Notes | None, started_at: float) -> str | None:
            others = {"sre": {"temporary": item}} if item else {}
            temporaries.applied(Listed(STORE, str(of_list), started_at, others=others))
            return temporaries.text("uid-web")

        temporaries.learn(notes(100))
        self.assertEqual(temporaries.text("uid-web"), "100")
        temporaries.learn(notes(99))
        for of_list, version, expected in ((99, 99, "100"), (120, 99, "100"), (99, 101, "101"), (102, 102, "102")):
            self.assertEqual(tell_list(of_list, notes(version), now), expected)
        self.assertEqual(tell_list(101, None, now), "102")
        self.assertIsNone(tell_list(103, None, now))
        temporaries.applied(Changed(STORE, now, [Put(notes(102))]))
        self.assertIsNone(temporaries.text("uid-web"))
        temporaries.applied(Changed(STORE, now, [Put(notes(104))]))
        self.assertEqual(temporaries.text("uid-web"), "104")
        self.assertEqual(tell_list(50, notes(50), now + 1), "50")
