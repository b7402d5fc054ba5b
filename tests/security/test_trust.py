"""Whom we trust to vouch for clients: what a revocation list must be, and that it never goes back."""

from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL.crypto import X509, X509Store
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotIdentified
from sre_server.security.pem import TLSFilesError
from sre_server.security.tls import ServerTLS, TLSFiles
from sre_server.security.trust import Trust, load_trust
from tests.certificates import Authority, load
from tests.fakes import temporary_folder


class TrustTests(SynchronousTestCase):
    """Two CAs, and the revocation lists of theirs that a test writes."""

    def setUp(self) -> None:
        """Make the CAs."""
        self.folder = temporary_folder(self)
        self.authority, self.other = Authority(self.folder), Authority(self.folder, "Other CA")
        self.crl = self.folder / "crl.pem"
        self.client = self.authority.issue("alice")
        self.serial = load(self.client.certificate).serial_number

    def file(self, name: str, *parts: bytes) -> Path:
        """Write a file."""
        path = self.folder / name
        path.write_bytes(b"".join(parts))
        return path

    def load(self, *lists: bytes, before: Trust | None = None, ca: Path | None = None) -> Trust:
        """Read the CA, or `ca`, with these lists."""
        return load_trust(ca or self.authority.file, self.file("crl.pem", *lists), before)

    def refusal(self, *lists: bytes, before: Trust | None = None, ca: Path | None = None) -> str:
        """The one line that these lists are refused with; it names the file."""
        text = str(self.assertRaises(TLSFilesError, self.load, *lists, before=before, ca=ca))
        self.assertIn(str(self.crl), text)
        self.assertEqual(len(text.splitlines()), 1, text)
        return text

    def both(self) -> Path:
        """A file of both CAs."""
        return self.file("both.pem", self.authority.file.read_bytes(), self.other.file.read_bytes())


class RevocationListTests(TrustTests):
    """What a file of revocation lists must be."""

    def test_a_list_of_the_authority(self) -> None:
        """What it names is revoked, and nothing else."""
        trust = self.load(self.authority.revocation_list(self.serial, 4711))
        error = self.assertRaises(NotIdentified, trust.check, [load(self.client.certificate)])
        self.assertEqual(str(error), "The client certificate has been revoked.")
        trust.check([load(self.authority.issue("bob").certificate)])

    def test_files_that_hold_no_list(self) -> None:
        """An empty file, garbage, a certificate, half a list: each is refused."""
        good = self.authority.revocation_list()
        self.assertIn("holds no PEM block", self.refusal(b""))
        for content in (b"\n", b"garbage", self.authority.file.read_bytes(), good[:-40], good[:200] + good[240:]):
            self.assertIn("not a usable PEM file", self.refusal(content))
        error = self.assertRaises(TLSFilesError, load_trust, self.authority.file, self.folder / "nowhere")
        self.assertIn("cannot be read", str(error))

    def test_a_list_that_no_authority_signed(self) -> None:
        """Another CA's list, one that another signed in its name, and one with a changed byte are refused."""
        forged = self.authority.revocation_list(signed_by=self.other)
        der = bytearray(x509.load_pem_x509_crl(self.authority.revocation_list(self.serial)).public_bytes(Encoding.DER))
        der[-1] ^= 1
        changed = x509.load_der_x509_crl(bytes(der)).public_bytes(Encoding.PEM)
        for content in (self.other.revocation_list(), forged, changed):
            self.assertIn("no client CA has signed", self.refusal(self.authority.revocation_list(), content))

    def test_every_authority_needs_a_list(self) -> None:
        """A CA without a list would be one whose revocations nobody sees; the line names it."""
        self.assertIn("Other CA", self.refusal(self.authority.revocation_list(), ca=self.both()))
        self.assertIn("Test CA", self.refusal(self.other.revocation_list(), ca=self.both()))
        trust = self.load(self.other.revocation_list(), self.authority.revocation_list(self.serial), ca=self.both())
        self.assertRaises(NotIdentified, trust.check, [load(self.client.certificate)])
        trust.check([load(self.other.issue("alice").certificate)])

    def test_text_around_the_lists(self) -> None:
        """Files that `openssl crl -text` wrote are read too."""
        listing = self.authority.revocation_list(self.serial)
        trust = self.load(b"Certificate Revocation List (CRL):\n    Version 2\n", listing, b"\n# the end\n")
        self.assertRaises(NotIdentified, trust.check, [load(self.client.certificate)])

    def test_an_expired_list_is_used_and_named(self) -> None:
        """What is past its next update still revokes, still vouches for the rest, and is named for readyz."""
        issued, ended = timedelta(days=-3), timedelta(days=-1)
        lists = [
            self.authority.revocation_list(self.serial, issued=issued, next_update=ended),
            self.other.revocation_list(),
        ]
        trust = self.load(*lists, ca=self.both())
        self.assertRaises(NotIdentified, trust.check, [load(self.client.certificate)])
        trust.check([load(self.authority.issue("bob").certificate)])
        self.assertEqual(trust.expired_revocations(), ["CN=Test CA"])
        self.assertEqual(self.load(self.authority.revocation_list()).expired_revocations(), [])

    def test_an_empty_chain(self) -> None:
        """No certificate is nobody's."""
        error = self.assertRaises(NotIdentified, load_trust(self.authority.file, None).check, [])
        self.assertEqual(str(error), "The connection has no client certificate.")

    def test_a_chain_by_an_intermediate_authority(self) -> None:
        """A chain is followed to a CA of ours, and a revoked link in it ends it."""
        middle = Authority(self.folder, "Middle CA", self.authority)
        leaf = load(middle.issue("alice").certificate)
        chain = [leaf, middle.certificate, self.authority.certificate]
        load_trust(self.authority.file, None).check(chain)
        self.assertRaises(NotIdentified, load_trust(self.authority.file, None).check, [leaf])
        trust = self.load(self.authority.revocation_list(middle.certificate.serial_number))
        self.assertIn("revoked", str(self.assertRaises(NotIdentified, trust.check, chain)))


class AuthorityTests(TrustTests):
    """What a file of client CAs must be."""

    def test_what_lets_nobody_in(self) -> None:
        """A client's own certificate, or an intermediate CA, leads to no root: OpenSSL refuses all whom it issued."""
        middle = Authority(self.folder, "Middle CA", self.authority)
        alice, bob = self.client.certificate, middle.issue("bob").certificate
        for name, wrong, client in (("alice", alice, alice), ("Middle CA", middle.file, bob)):
            store = X509Store()
            store.add_cert(X509.from_cryptography(load(wrong)))
            chain = [load(client), middle.certificate, self.authority.certificate]
            self.assertRaises(NotIdentified, Trust((load(wrong),), (), store, {}).check, chain)
            self.assertEqual(
                str(self.assertRaises(TLSFilesError, load_trust, wrong, None)),
                f"the client CA file {wrong} has no root CA for CN={name}, which lets nobody in by itself: "
                "add the CA that issued it, CN=Test CA",
            )

    def test_what_lets_somebody_in(self) -> None:
        """Beside a root whatever else there is does no harm: a leaf, an intermediate CA, a cross-signed root."""
        middle = Authority(self.folder, "Middle CA", self.authority)
        root, leaf = self.authority.file.read_bytes(), self.client.certificate.read_bytes()
        crossed = Authority(self.folder, "Test CA", self.other, key=self.authority.key).file.read_bytes()
        ended = Authority(self.folder, "Old CA", valid_until=timedelta(days=-1))
        for parts in (
            [leaf, root],
            [middle.file.read_bytes(), root],
            [root, crossed],
            [ended.file.read_bytes()],
            [crossed, ended.file.read_bytes()],
        ):
            load_trust(self.file("fine.pem", *parts), None)

    def test_a_reload_keeps_the_authorities_in_use(self) -> None:
        """A leaf that is written over the CA is refused, and the CA stays."""
        pair, ca = self.authority.issue("localhost"), self.file("ca.pem", self.authority.file.read_bytes())
        server = ServerTLS(TLSFiles(pair.certificate, pair.key, ca))
        self.file("ca.pem", self.client.certificate.read_bytes())
        self.assertRaises(TLSFilesError, server.reload_trust)
        server.trust().check([load(self.client.certificate)])


class NeverBackTests(TrustTests):
    """A list that was in use is never replaced by an older one, which would forgive what was revoked in between."""

    def test_an_older_number_or_an_older_date(self) -> None:
        """The number decides, then the date; a list without a number is older than any with one."""
        day, hour = timedelta(days=-1), timedelta(hours=-1)
        listing = self.authority.revocation_list
        before = self.load(listing(number=7, issued=hour))
        for older in (listing(number=6, issued=hour / 2), listing(number=7, issued=day), listing(number=None)):
            self.assertIn("older than the one in use", self.refusal(older, before=before))
        for newer in (
            listing(number=8, issued=day),
            listing(number=7, issued=hour / 2),
            listing(number=7, issued=hour),
        ):
            self.load(newer, before=before)
        before = self.load(listing(number=None, issued=hour))
        self.assertIn("older than the one in use", self.refusal(listing(number=None, issued=day), before=before))
        self.load(listing(number=1, issued=day), before=before)

    def test_each_authority_counts_for_itself(self) -> None:
        """A low number of one CA is no step back from a high one of another; its own step back is."""
        ca = self.both()
        before = self.load(self.authority.revocation_list(number=9), self.other.revocation_list(number=2), ca=ca)
        self.load(self.authority.revocation_list(number=9), self.other.revocation_list(number=3), before=before, ca=ca)
        lists = [self.authority.revocation_list(number=10), self.other.revocation_list(number=1)]
        self.assertIn("older", self.refusal(*lists, before=before, ca=ca))

    def test_older_lists_beside_the_newest(self) -> None:
        """A file that keeps a CA's older lists beside its newest can be read again, as it is, whatever else changed."""
        lists = [self.authority.revocation_list(number=1), self.authority.revocation_list(self.serial, number=2)]
        before = self.load(*lists)
        self.assertRaises(NotIdentified, self.load(*lists, before=before).check, [load(self.client.certificate)])
        self.assertIn("older", self.refusal(lists[0], before=before))

    def test_a_reload_keeps_what_it_refuses_to_replace(self) -> None:
        """The server goes on with the last good state, whole, when the list goes back or its file breaks."""
        listing = self.authority.revocation_list(self.serial, number=2)
        pair = self.authority.issue("localhost")
        files = TLSFiles(pair.certificate, pair.key, self.authority.file, self.file("crl.pem", listing))
        server = ServerTLS(files)
        before = server.policy
        for bad in (self.authority.revocation_list(number=1), b"", listing[:100]):
            self.file("crl.pem", bad)
            self.assertRaises(TLSFilesError, server.reload_trust)
            self.assertIs(server.policy, before)
        self.file("crl.pem", self.authority.revocation_list(number=3))
        server.reload_trust()
        server.trust().check([load(self.client.certificate)])
        self.assertIsNot(server.policy.context, before.context)
