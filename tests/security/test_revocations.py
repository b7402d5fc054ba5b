"""Revocation lists that OpenSSL would not enforce are not taken over; those that are taken over, it enforces."""

import shutil
import subprocess
from datetime import timedelta
from ssl import DER_cert_to_PEM_cert

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ObjectIdentifier

from sre_server.security.pem import TLSFilesError
from tests.certificates import Authority, PrivateKey, load, pem_of
from tests.fakes import temporary_folder
from tests.security.test_revocation_handshake import GOOD, REVOKED, RevocationTests

Extensions = tuple[tuple[x509.ExtensionType, bool], ...]
_UNKNOWN = x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
_SOMEWHERE = [x509.UniformResourceIdentifier("http://crl.example.org/1.crl")]


def part(
    *,
    users: bool = False,
    authorities: bool = False,
    attributes: bool = False,
    indirect: bool = False,
    reasons: frozenset[x509.ReasonFlags] | None = None,
    point: list[x509.UniformResourceIdentifier] | None = None,
) -> tuple[x509.ExtensionType, bool]:
    """Return the extension that says which certificates a list is about."""
    scope = x509.IssuingDistributionPoint(point, None, users, authorities, reasons, indirect, attributes)
    return scope, True


UNENFORCEABLE: dict[str, Extensions] = {
    "a delta list": ((x509.DeltaCRLIndicator(1), True),),
    "a delta list that does not call itself critical": ((x509.DeltaCRLIndicator(1), False),),
    "an unknown critical extension": ((_UNKNOWN, True),),
    "an indirect list": (part(indirect=True),),
    "a list for some reasons": (part(reasons=frozenset({x509.ReasonFlags.key_compromise})),),
    "a list of attribute certificates": (part(attributes=True),),
    "a list of one distribution point": (part(point=_SOMEWHERE),),
}
ENFORCEABLE: dict[str, Extensions] = {
    "a plain list": (),
    "an unknown extension": ((_UNKNOWN, False),),
    "a list of clients": (part(users=True),),
}


class EnforcementTests(RevocationTests):
    """Lists of every kind, between two OpenSSL ends."""

    def refusal(self, *lists: bytes) -> str:
        """The one line that a server refuses to start with."""
        text = str(self.assertRaises(TLSFilesError, self.server, *lists))
        self.assertTrue(text.isprintable(), text)
        return text

    def test_what_is_taken_over_is_enforced(self) -> None:
        """A list that is taken over lets the good client in, and refuses the revoked one in the handshake."""
        for what, extensions in ENFORCEABLE.items():
            server = self.server(self.authority.revocation_list(self.serial, extensions=extensions))
            self.assertEqual(self.outcome(server, self.good), GOOD, what)
            self.assertEqual(self.outcome(server, self.bad), REVOKED, what)

    def test_what_cannot_be_enforced_is_not_taken_over(self) -> None:
        """Neither at the start nor later on: the last good list stays, and goes on to be enforced."""
        for what, extensions in UNENFORCEABLE.items():
            listing = self.authority.revocation_list(self.serial, number=9, extensions=extensions)
            self.assertIn("OpenSSL cannot enforce", self.refusal(listing), what)
            server = self.server(self.authority.revocation_list(self.serial))
            before = server.policy
            for lists in ([listing], [self.authority.revocation_list(self.serial, number=8), listing]):
                self.file("crl.pem", *lists)
                self.assertIn(
                    "OpenSSL cannot enforce", str(self.assertRaises(TLSFilesError, server.reload_trust)), what
                )
                self.assertIs(server.policy, before)
            self.assertEqual(self.outcome(server, self.good), GOOD, what)
            self.assertEqual(self.outcome(server, self.bad), REVOKED, what)

    def test_whole_sentences(self) -> None:
        """The line says which file it is, which CA, and what is wrong with its list."""
        file, mine = self.folder / "crl.pem", self.authority
        delta = mine.revocation_list(extensions=UNENFORCEABLE["a delta list"])
        refused = self.refusal(delta).removeprefix(
            f"OpenSSL cannot enforce what the CRL file {file} has of CN=Test CA: "
        )
        self.assertRegex(refused, "^[a-zA-Z ]+$")
        other = Authority(temporary_folder(self), "Other CA")
        self.assertEqual(
            self.refusal(other.revocation_list()), f"the CRL file {file} has a list that no client CA has signed"
        )
        both = self.file("both.pem", mine.file.read_bytes(), other.file.read_bytes())
        error = self.assertRaises(TLSFilesError, self.server, mine.revocation_list(), ca=both)
        self.assertEqual(str(error), f"the CRL file {file} has no list of the client CA CN=Other CA")
        future = mine.revocation_list(issued=timedelta(seconds=30), next_update=timedelta(days=1))
        self.assertRegex(
            self.refusal(future).removeprefix(f"the CRL file {file} has a list of CN=Test CA that is dated in the "),
            r"^future \(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)$",
        )
        self.assertEqual(
            self.refusal(b"nothing"),
            f"the CRL file {file} is not a usable PEM file: it holds no PEM block, where X509 CRL is expected",
        )
        server = self.server(mine.revocation_list(number=9))
        self.file("crl.pem", mine.revocation_list(number=8))
        error = self.assertRaises(TLSFilesError, server.reload_trust)
        older = str(error).removeprefix(f"the CRL file {file} is older than the one in use ")
        self.assertRegex(older, r"^\(\d{4}-\d\d-\d\d \d\d:\d\d\)$")

    def test_entries_that_cannot_be_enforced(self) -> None:
        """An entry of another issuer's certificate, or with an unknown critical extension, spoils its list."""
        issuer = x509.CertificateIssuer([x509.DirectoryName(self.authority.certificate.subject)])
        has = f"OpenSSL cannot enforce what the CRL file {self.folder / 'crl.pem'} has of CN=Test CA"
        for extension, said in ((issuer, "it cannot be parsed"), (_UNKNOWN, "unhandled critical CRL extension")):
            listing = self.authority.revocation_list(self.serial, entry_extension=extension)
            self.assertEqual(self.refusal(listing), f"{has}: {said}")

    def test_an_issuer_that_cannot_be_read(self) -> None:
        """It is one line that says which file that is, as for all that cannot be parsed."""
        listing = x509.load_pem_x509_crl(self.authority.revocation_list()).public_bytes(Encoding.DER)
        broken = DER_cert_to_PEM_cert(listing.replace(b"Test CA", b"Test \xff\xff")).replace("CERTIFICATE", "X509 CRL")
        self.assertIn("crl.pem is not a usable PEM file", self.refusal(broken.encode()))

    def test_an_extension_twice(self) -> None:
        """It is refused for what it is, and so is a list that begins and does not end."""
        extensions = [(x509.UnrecognizedExtension(ObjectIdentifier(f"1.2.3.{n}"), b"\x05\x00"), False) for n in (1, 2)]
        listing = x509.load_pem_x509_crl(self.authority.revocation_list(extensions=extensions))
        twice = listing.public_bytes(Encoding.DER).replace(b"\x06\x03\x2a\x03\x02", b"\x06\x03\x2a\x03\x01")
        pem = DER_cert_to_PEM_cert(twice).replace("CERTIFICATE", "X509 CRL").encode()
        for text, said in (
            (pem, "Duplicate 1.2.3.1 extension found"),
            (pem[: pem.index(b"-----END")], "it holds no CRL"),
        ):
            unusable = f"the CRL file {self.folder / 'crl.pem'} is not a usable PEM file"
            self.assertEqual(self.refusal(text), f"{unusable}: {said}")

    def test_a_version_that_there_is_not(self) -> None:
        """A list of version 4, of which no parser knows what it means, is refused as any that cannot be parsed."""
        listing = x509.load_pem_x509_crl(self.authority.revocation_list()).public_bytes(Encoding.DER)
        strange = listing.replace(b"\x02\x01\x01", b"\x02\x01\x03", 1)
        pem = DER_cert_to_PEM_cert(strange).replace("CERTIFICATE", "X509 CRL")
        self.assertIn(f"the CRL file {self.folder / 'crl.pem'} is not a usable PEM file", self.refusal(pem.encode()))

    def test_a_list_of_the_future(self) -> None:
        """It would end every handshake until its time comes."""
        listing = self.authority.revocation_list(issued=timedelta(seconds=30), next_update=timedelta(days=1))
        self.assertIn("CN=Test CA that is dated in the future", self.refusal(listing))

    def test_every_kind_of_key(self) -> None:
        """What can be enforced does not depend on the algorithm of the CA's key."""
        keys: list[PrivateKey] = [generate_private_key(65537, 2048), Ed25519PrivateKey.generate()]
        for key in keys:
            self.authority = Authority(self.folder, "Keyed CA", key=key)
            self.pair = self.authority.issue("localhost")
            self.good, self.bad = self.authority.issue("good"), self.authority.issue("bad")
            serial = load(self.bad.certificate).serial_number
            self.refusal(self.authority.revocation_list(serial, extensions=UNENFORCEABLE["a delta list"]))
            server = self.server(self.authority.revocation_list(serial))
            self.assertEqual((self.outcome(server, self.good), self.outcome(server, self.bad)), (GOOD, REVOKED))

    def test_one_list_of_clients_and_one_of_authorities(self) -> None:
        """Two lists may share a CA's certificates; each has numbers of its own, and none is older for the other's."""
        users = self.authority.revocation_list(self.serial, number=9, extensions=[part(users=True)])
        server = self.server(users, self.authority.revocation_list(number=2, extensions=[part(authorities=True)]))
        self.assertEqual((self.outcome(server, self.good), self.outcome(server, self.bad)), (GOOD, REVOKED))
        self.file("crl.pem", users, self.authority.revocation_list(number=3, extensions=[part(authorities=True)]))
        server.reload_trust()
        self.file("crl.pem", users, self.authority.revocation_list(number=2, extensions=[part(authorities=True)]))
        self.assertIn("older", str(self.assertRaises(TLSFilesError, server.reload_trust)))

    def test_a_list_of_authorities_alone(self) -> None:
        """Where no CA is below this one, it would shut all clients out."""
        self.assertIn(
            "OpenSSL cannot", self.refusal(self.authority.revocation_list(extensions=[part(authorities=True)]))
        )

    def test_the_list_of_a_ca_that_issues_no_clients(self) -> None:
        """A root's list of CAs is enforced where the CA below is in the file, with a list of its own."""
        middle = Authority(self.folder, "Middle CA", self.authority)
        client, revoked = middle.issue("good"), middle.issue("bad")
        for pair in (client, revoked):
            pair.certificate.write_bytes(pair.certificate.read_bytes() + middle.file.read_bytes())
        ca = self.file("both.pem", self.authority.file.read_bytes(), middle.file.read_bytes())
        lists = [
            self.authority.revocation_list(extensions=[part(authorities=True)]),
            middle.revocation_list(load(revoked.certificate).serial_number),
        ]
        server = self.server(*lists, ca=ca)
        self.assertEqual((self.outcome(server, client), self.outcome(server, revoked)), (GOOD, REVOKED))
        lists[0] = self.authority.revocation_list(extensions=[part(users=True)])
        error = self.assertRaises(TLSFilesError, self.server, *lists, ca=ca)
        self.assertIn("CN=Test CA: different CRL scope", str(error))

    def test_two_authorities_of_one_name(self) -> None:
        """Each needs a list that its own key has signed, which says so, as its clients are told apart by that alone."""
        other = Authority(temporary_folder(self))
        ca = self.file("both.pem", self.authority.file.read_bytes(), other.file.read_bytes())
        error = self.assertRaises(TLSFilesError, self.server, self.authority.revocation_list(), ca=ca)
        self.assertIn("no list of the client CA CN=Test CA", str(error))
        lists = [self.authority.revocation_list(self.serial), other.revocation_list()]
        error = self.assertRaises(TLSFilesError, self.server, *lists, ca=ca)
        self.assertIn("CRL signature failure", str(error))

    def test_weak_signatures(self) -> None:
        """A list that SHA-1 or MD5 stands for is refused, and the line says why."""
        openssl = shutil.which("openssl")
        if openssl is None:
            self.skipTest("openssl is not installed (apt-get install openssl)")
        self.authority = Authority(self.folder, "Weak CA", key=generate_private_key(65537, 2048))
        key = self.file("ca.key", pem_of(self.authority.key))
        self.file("index.txt")
        self.file("number", b"02\n")
        config = "[ca]\ndefault_ca=one\n[one]\ndatabase=index.txt\ncrlnumber=number\ndefault_crl_days=9\n"
        signing = [openssl, "ca", "-config", str(self.file("ca.cnf", config.encode())), "-gencrl", "-keyfile", str(key)]
        for algorithm in ("sha1", "md5"):
            command = [*signing, "-cert", str(self.authority.file), "-md", algorithm]
            made = subprocess.run(command, cwd=self.folder, capture_output=True, check=False)
            if made.returncode:
                self.skipTest(f"this openssl does not sign with {algorithm} any more")
            self.assertIn(f"signed with {algorithm}, which is too weak", self.refusal(made.stdout))
