"""Files that change while the server runs: taken over when they make sense, and when they do not, said so once."""

from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotIdentified
from sre_server.security.pem import TLSFilesError
from sre_server.security.reloading import LOOK_SECONDS, LOOKS_TO_RETRY, Reloading, Watched
from sre_server.security.tls import ServerTLS, TLSFiles
from sre_server.telemetry.metrics import Metrics
from tests.certificates import CLIENT, Authority, load
from tests.fakes import namespace, temporary_folder
from tests.memory_server import MemoryServer


class ReloadingTests(SynchronousTestCase):
    """A file that holds a number, and one that takes it over."""

    def setUp(self) -> None:
        """Watch the file."""
        self.clock, self.metrics = Clock(), Metrics()
        self.folder = temporary_folder(self)
        self.path = self.write("number", b"1")
        self.number, self.reloads = 1, 0
        self.watched = Watched("number", [self.path], self.reload)
        self.reloading = self.start(self.watched)

    def write(self, name: str, content: bytes) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(content)
        return path

    def start(self, *watched: Watched) -> Reloading:
        """Look at these until the test is over."""
        reloading = Reloading(self.clock, self.metrics, watched)
        reloading.startService()
        self.addCleanup(reloading.stopService)
        return reloading

    def reload(self) -> None:
        """Take the number over."""
        self.reloads += 1
        self.number = int(self.path.read_bytes())

    def look(self, times: int = 1) -> None:
        """Let the time pass in which so many changes are noticed: each takes two looks that agree."""
        self.clock.pump([LOOK_SECONDS] * 2 * times)

    def counted(self, result: str, what: str = "number") -> float:
        """How many changes came to this, by the metric."""
        return self.metrics.registry.get_sample_value("sre_server_reloads_total", {"what": what, "result": result}) or 0

    def failing(self, what: str = "number") -> float | None:
        """What the gauge says."""
        return self.metrics.registry.get_sample_value("sre_server_reload_failing", {"what": what})


class ChangeTests(ReloadingTests):
    """What is done about a change."""

    def test_nothing_changes(self) -> None:
        """A file that is as it was is not read in again, though somebody touched it or wrote the same anew."""
        self.look(5)
        self.path.touch()
        self.write("number", b"1")
        self.look(5)
        self.assertEqual((self.reloads, self.reloading.warnings(), self.failing()), (0, [], None))

    def test_a_change_is_taken_over_within_ten_seconds(self) -> None:
        """The bound that was promised, whenever in the meantime the change is made; it is taken over once."""
        self.assertLessEqual(3 * LOOK_SECONDS, 10)
        self.clock.advance(LOOK_SECONDS / 2)
        self.write("number", b"2")
        self.look(3)
        self.assertEqual((self.number, self.reloads), (2, 1))
        self.assertEqual((self.counted("taken"), self.failing()), (1, 0))

    def test_other_ways_to_change_a_file(self) -> None:
        """A file renamed into place, and a link that points elsewhere, as a projected volume does, are changes too."""
        self.write("new", b"2").replace(self.path)
        self.look()
        self.assertEqual(self.number, 2)
        elsewhere = self.write("elsewhere", b"3")
        self.path.unlink()
        self.path.symlink_to(elsewhere)
        self.look()
        self.assertEqual(self.number, 3)

    def test_a_half_written_file(self) -> None:
        """The last good state is kept while a file makes no sense; that is said once; when it does, it counts."""
        self.write("number", b"")
        with capturedLogs() as events:
            self.look(4)
        errors = [event for event in events if event["log_level"] is LogLevel.error]
        self.assertEqual(len(errors), 1, errors)
        self.assertEqual((self.number, self.reloads, self.counted("refused"), self.failing()), (1, 1, 1, 1))
        (warning,) = self.reloading.warnings()
        self.assertTrue(warning.startswith("number: invalid literal"), warning)
        self.write("number", b"12")
        self.look()
        self.assertEqual((self.number, self.reloading.warnings(), self.failing()), (12, [], 0))
        self.assertEqual((self.counted("refused"), self.counted("taken")), (1, 1))

    def test_each_bad_state_is_said_once(self) -> None:
        """Another mistake is another change, and takes the place of the first in the warnings."""
        for text in (b"two", b"three"):
            self.write("number", text)
            self.look(2)
        self.assertEqual(self.counted("refused"), 2)
        (warning,) = self.reloading.warnings()
        self.assertIn("three", warning)

    def test_what_makes_sense_later(self) -> None:
        """A file that was refused is tried again by itself, without another word while it is refused on."""
        refusing = True

        def reload() -> None:
            if refusing:
                raise ValueError("it is of the future")
            self.reload()

        self.reloading.stopService()
        reloading = self.start(Watched("number", [self.path], reload))
        self.write("number", b"2")
        with capturedLogs() as events:
            self.look(2 * LOOKS_TO_RETRY)
        errors = [event for event in events if event["log_level"] is LogLevel.error]
        self.assertEqual((len(errors), self.counted("refused"), self.failing()), (1, 1, 1))
        refusing = False
        self.look(LOOKS_TO_RETRY)
        self.assertEqual((self.number, self.reloads, reloading.warnings(), self.failing()), (2, 1, [], 0))

    def test_back_to_what_it_was(self) -> None:
        """A change that is taken back ends the warning."""
        self.write("number", b"two")
        self.look()
        self.write("number", b"1")
        self.look()
        self.assertEqual((self.number, self.reloading.warnings(), self.failing()), (1, [], 0))

    def test_a_file_that_goes_away_for_a_while(self) -> None:
        """A file that cannot be read is a change that makes no sense; when it is back, all is well."""
        self.path.unlink()
        self.look(2)
        self.assertEqual((self.number, self.counted("refused"), len(self.reloading.warnings())), (1, 1, 1))
        self.write("number", b"1")
        self.look()
        self.assertEqual((self.number, self.reloading.warnings()), (1, []))

    def test_a_bug_in_one_group_does_not_stop_the_others(self) -> None:
        """Whatever one group raises, the next is looked at, at this time and at every other."""

        def fail() -> None:
            raise ZeroDivisionError("a bug")

        self.reloading.stopService()
        broken = self.write("broken", b"1")
        reloading = self.start(Watched("broken", [broken], fail), Watched("number", [self.path], self.reload))
        for number in (2, 3):
            self.write("broken", b"%d" % number)
            self.write("number", b"%d" % number)
            self.look()
            self.assertEqual((self.number, reloading.warnings()), (number, ["broken: a bug"]))
        self.assertEqual((self.failing("broken"), self.failing()), (1, 0))

    def test_it_stops(self) -> None:
        """A service that was stopped looks no more, and leaves nothing pending."""
        self.reloading.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.write("number", b"2")
        self.look(5)
        self.assertEqual(self.number, 1)


class GroupTests(ReloadingTests):
    """Files that make sense together, and where their trouble is told."""

    def tls(self) -> tuple[ServerTLS, TLSFiles, Authority]:
        """A server's files, watched."""
        authority = Authority(self.folder)
        pair = authority.issue("localhost")
        files = TLSFiles(self.folder / "tls.crt", self.folder / "tls.key", authority.file)
        files.certificate.write_bytes(pair.certificate.read_bytes())
        files.private_key.write_bytes(pair.key.read_bytes())
        return ServerTLS(files), files, authority

    def test_a_half_written_pair(self) -> None:
        """A new certificate with the old key is refused, and served once its own key is there too."""
        server, files, authority = self.tls()
        before = server.policy
        reloading = self.start(Watched("server pair", files.of_pair(), server.reload_pair))
        new = authority.issue("localhost")
        files.certificate.write_bytes(new.certificate.read_bytes())
        self.look(2)
        self.assertIs(server.policy, before)
        self.assertIn("does not belong to", "".join(reloading.warnings()))
        self.assertEqual((self.counted("refused", "server pair"), self.failing("server pair")), (1, 1))
        files.private_key.write_bytes(new.key.read_bytes())
        self.look()
        self.assertIsNot(server.policy.context, before.context)
        self.assertEqual((reloading.warnings(), self.failing("server pair")), ([], 0))

    def test_a_pair_that_is_not_valid(self) -> None:
        """It does not take the place of one that is, but of any other; readyz tells why clients refuse the server."""
        server, files, authority = self.tls()
        reloading, before = self.start(Watched("server pair", files.of_pair(), server.reload_pair)), server.policy
        pairs = (
            (authority.issue("localhost", valid_until=timedelta(seconds=-1)), "has expired"),
            (authority.issue("localhost", valid_from=timedelta(hours=1)), "is not valid yet"),
        )
        for pair, why in pairs:
            files.certificate.write_bytes(pair.certificate.read_bytes())
            files.private_key.write_bytes(pair.key.read_bytes())
            self.look(2)
            self.assertIs(server.policy, before)
            self.assertIn(f"the certificate {files.certificate} {why}", "".join(reloading.warnings()))
            self.assertEqual(server.warnings(), [])
            started = ServerTLS(files)
            self.assertEqual(started.warnings(), [f"the server's certificate {files.certificate} {why}"])
            new = authority.issue("localhost", valid_from=timedelta(hours=2))
            files.certificate.write_bytes(new.certificate.read_bytes())
            files.private_key.write_bytes(new.key.read_bytes())
            started.reload_pair()
            self.assertEqual(started.policy.pair.certificate, load(new.certificate))

    def test_trust_does_not_wait_for_a_pair(self) -> None:
        """A pair that is half written, or is for clients, is kept back alone: revocations count meanwhile."""
        _, files, authority = self.tls()
        files = replace(files, crl=self.write("crl.pem", authority.revocation_list(number=1)))
        server = ServerTLS(files)
        pair = Watched("server pair", files.of_pair(), server.reload_pair)
        reloading = self.start(pair, Watched("client CAs and CRLs", files.of_trust(), server.reload_trust))
        served, bad = server.policy.pair, authority.issue("localhost", usages=[CLIENT])
        chain = [load(authority.issue("alice").certificate)]
        server.trust().check(chain)
        files.certificate.write_bytes(bad.certificate.read_bytes())
        self.look()
        self.write("crl.pem", authority.revocation_list(chain[0].serial_number, number=2))
        self.look()
        for key, why in ((b"", "is not a usable PEM file"), (bad.key.read_bytes(), "is not one for servers")):
            files.private_key.write_bytes(key)
            self.look()
            (warning,) = reloading.warnings()
            self.assertIn(why, warning)
            self.assertIs(server.policy.pair, served)
            self.assertRaises(NotIdentified, server.trust().check, chain)
        self.assertEqual((self.failing("server pair"), self.failing("client CAs and CRLs")), (1, 0))

    def test_a_pair_does_not_wait_for_trust(self) -> None:
        """Where a list of revocations cannot be used, a new pair is taken over all the same."""
        _, files, authority = self.tls()
        files = replace(files, crl=self.write("crl.pem", authority.revocation_list(number=2)))
        server, new = ServerTLS(files), authority.issue("localhost")
        trust = server.trust()
        self.write("crl.pem", authority.revocation_list(number=1))
        files.certificate.write_bytes(new.certificate.read_bytes())
        files.private_key.write_bytes(new.key.read_bytes())
        server.reload_pair()
        self.assertRaises(TLSFilesError, server.reload_trust)
        self.assertEqual(server.policy.pair.certificate, load(new.certificate))
        self.assertIs(server.trust(), trust)

    def test_an_expired_ca(self) -> None:
        """Its clients are refused, and readyz tells why."""
        _, files, _ = self.tls()
        old = Authority(self.folder, "Old CA", valid_until=timedelta(seconds=-1))
        files = replace(files, client_ca=old.file)
        self.assertEqual(ServerTLS(files).warnings(), ["the client CA CN=Old CA has expired"])

    def test_a_file_cut_anywhere(self) -> None:
        """However far the writer has come, the last good state serves on."""
        server, files, _ = self.tls()
        before = server.policy
        reloads = dict.fromkeys(files.of_pair(), server.reload_pair)
        for path, reload in (reloads | dict.fromkeys(files.of_trust(), server.reload_trust)).items():
            whole = path.read_bytes()
            for length in range(0, len(whole) - 30, 97):
                path.write_bytes(whole[:length])
                self.assertRaises(TLSFilesError, reload)
                self.assertIs(server.policy, before)
            path.write_bytes(whole)

    def test_readyz_tells(self) -> None:
        """The warnings are readyz's details for who asks for them; they do not make it unready."""
        server = MemoryServer().sync(namespace("shop"))
        server.warnings = self.reloading.warnings()
        self.assertEqual(server.get("/readyz?verbose").json(), {"warnings": []})
        self.write("number", b"two")
        self.look()
        server.warnings = self.reloading.warnings()
        answer = server.get("/readyz?verbose")
        self.assertEqual((answer.status, len(answer.json()["warnings"])), (200, 1))
        self.assertIn("number", answer.json()["warnings"][0])
        self.assertEqual(server.get("/readyz").json(), {})
