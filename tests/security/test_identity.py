"""Who a client is: read from its certificate in one way, or not at all."""

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtensionOID, NameOID
from twisted.trial.unittest import SynchronousTestCase

from sre_server.errors import NotIdentified
from sre_server.security.identity import MAX_GROUPS, MAX_NAME, Identity, identify
from tests.certificates import Authority
from tests.fakes import temporary_folder

CN, O, OU = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME  # noqa: E741
SPIFFE = "spiffe://example.org/ns/shop/sa/deployer"
LONGEST = f"spiffe://{'a' * 255}/".ljust(2048, "b")
STRANGE = {
    "empty": "",
    "blank": "   ",
    "leading space": " alice",
    "trailing space": "alice ",
    "NUL": "alice\0",
    "NUL inside": "alice\0.example.org",
    "newline": "alice\nbob",
    "tab": "alice\tbob",
    "DEL": "alice\x7f",
    "direction override": "alice\u202e",
    "no-break space": "alice\u00a0bob",
    "zero width": "ali\u200bce",
    "overlong": "a" * (MAX_NAME + 1),
}


class IdentityTests(SynchronousTestCase):
    """Certificates of one CA."""

    def setUp(self) -> None:
        """Make the CA."""
        self.authority = Authority(temporary_folder(self))

    def certificate(
        self, names: list[str], groups: list[str] | None = None, uris: list[str] | None = None
    ) -> x509.Certificate:
        """Sign a certificate of these CNs, Os and URI SANs."""
        subject = [*((CN, name) for name in names), *((O, group) for group in groups or [])]
        alternatives = [x509.UniformResourceIdentifier(uri) for uri in uris] if uris is not None else None
        return self.authority.certify(subject, x509.SubjectAlternativeName(alternatives) if alternatives else None)

    def identity(self, names: list[str], groups: list[str] | None = None, uris: list[str] | None = None) -> Identity:
        """Identify such a certificate."""
        return identify(self.certificate(names, groups, uris))

    def refusal(self, names: list[str], groups: list[str] | None = None, uris: list[str] | None = None) -> str:
        """The message that such a certificate gets: one printable sentence."""
        text = str(self.assertRaises(NotIdentified, self.identity, names, groups, uris))
        self.assertTrue(text.endswith(".") and text.isprintable(), text)
        return text


class WordsTests(IdentityTests):
    """What clients are told."""

    def test_whole_sentences(self) -> None:
        """Each says what is wrong with the certificate; all that its holder can do is to get another one."""
        for said, names, groups, uris in (
            ("has more than one common name (CN) and no SPIFFE ID.", ["alice", "bob"], [], None),
            ("has no common name (CN) and no SPIFFE ID.", [], [], None),
            ("has more than one URI name: which of them it is, is ambiguous.", ["alice"], [], [SPIFFE, SPIFFE]),
            ("names more than 64 groups (O).", ["alice"], [f"group-{number}" for number in range(65)], None),
        ):
            self.assertEqual(self.refusal(names, groups, uris), f"The client certificate {said}")
        for said, name, uri in (
            ("URI name is not a SPIFFE ID.", "alice", "https://a"),
            ("common name (CN) reads as a URI, which only a URI name may be.", SPIFFE, None),
            ("subject has an unprintable, blank or overlong value.", "a" * (MAX_NAME + 1), None),
        ):
            self.assertEqual(self.refusal([name], [], [uri] if uri else None), f"The client certificate's {said}")


class NameTests(IdentityTests):
    """The name."""

    def test_a_spiffe_id_comes_before_the_common_name(self) -> None:
        """The one URI name is the identity, whatever the CN says; other kinds of names do not count."""
        self.assertEqual(self.identity(["alice"], uris=[SPIFFE]).name, SPIFFE)
        names = [x509.DNSName("web.example.org"), x509.RFC822Name("a@example.org"), x509.DNSName("other")]
        spiffe = [*names, x509.UniformResourceIdentifier(SPIFFE)]
        self.assertEqual(identify(self.authority.certify([], x509.SubjectAlternativeName(spiffe))).name, SPIFFE)
        certificate = self.authority.certify([(CN, "alice")], x509.SubjectAlternativeName(names))
        self.assertEqual(identify(certificate).name, "alice")

    def test_long_spiffe_ids(self) -> None:
        """Every length that the SPIFFE standard has is served: 2048 bytes, 255 of which may be the trust domain."""
        for uri in (SPIFFE.ljust(300, "a"), LONGEST):
            self.assertEqual(self.identity(["alice"], uris=[uri]).name, uri)

    def test_the_common_name_otherwise(self) -> None:
        """Without a URI name the one CN is the identity, as it stands: case, spaces inside and Unicode are kept."""
        for name in ("alice", "Alice", "Alice Liddell", "système:ünïcode", "system:serviceaccount:shop:web", "a" * 256):
            self.assertEqual(self.identity([name]).name, name)

    def test_a_common_name_that_reads_as_a_uri(self) -> None:
        """URI names have an extension of their own, which name constraints of CAs bind, so it is nobody's."""
        for name in (
            SPIFFE,
            "SPIFFE://example.org/deployer",
            "spiffe:deployer",
            "https://example.org/deployer",
            "urn:uuid:4b8b24c1-5f2d-4a0a-9d5c-5d1c3a2b1a00",
            "mailto:alice@example.org",
        ):
            self.assertIn("reads as a URI", self.refusal([name], ["sre"]))
        plain = ("alice@example.org", "example.org/deployer", "//example.org", "10.0.0.1:8443", "team:alice", ":a")
        for name in plain:
            self.assertEqual(self.identity([name]).name, name)
        self.assertEqual(self.identity([SPIFFE], uris=[SPIFFE]).name, SPIFFE)

    def test_case_makes_another_client(self) -> None:
        """`Alice` is not `alice`."""
        self.assertNotEqual(self.identity(["Alice"]).name, self.identity(["alice"]).name)

    def test_two_names_are_ambiguous(self) -> None:
        """Two CNs, or two URI names, equal ones too, identify nobody."""
        self.assertIn("more than one common name", self.refusal(["alice", "bob"]))
        self.assertIn("more than one common name", self.refusal(["alice", "alice"]))
        for second in (SPIFFE, "spiffe://example.org/other", "https://example.org/"):
            self.assertIn("more than one URI", self.refusal(["alice"], uris=[SPIFFE, second]))

    def test_no_name(self) -> None:
        """A subject with neither identifies nobody, whatever else it says."""
        self.assertIn("no common name", self.refusal([], ["sre"]))
        certificate = self.authority.certify([(OU, "alice")], x509.SubjectAlternativeName([x509.DNSName("alice")]))
        self.assertRaises(NotIdentified, identify, certificate)

    def test_a_uri_that_is_no_spiffe_id_never_falls_back_to_the_common_name(self) -> None:
        """Whoever put the URI there meant something by it that this server does not understand."""
        for uri in (
            "https://example.org/deployer",
            "urn:uuid:4b8b24c1-5f2d-4a0a-9d5c-5d1c3a2b1a00",
            "spiffe:example.org/deployer",
            "spiffe:///deployer",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://Example.org/deployer",
            "spiffe://user@example.org/deployer",
            "spiffe://example.org:443/deployer",
            "spiffe://example.org/deployer?admin=1",
            "spiffe://example.org/deployer#admin",
            "spiffe://[/deployer",
            LONGEST + "a",
            f"spiffe://{'a' * 256}/deployer",
            "deployer",
            "//example.org/deployer",
        ):
            self.assertIn("is not a SPIFFE ID", self.refusal(["alice"], uris=[uri]))

    def test_a_spiffe_id_is_written_in_one_way(self) -> None:
        """What the SPIFFE standard forbids, as two spellings of one client could slip by a rule, is refused."""
        for uri in (
            "SPIFFE://example.org/deployer",
            "spiffe://example.org/deployer?",
            "spiffe://example.org/deployer#",
            "spiffe://example.org/deployer/",
            "spiffe://example.org//deployer",
            "spiffe://example.org/other/../deployer",
            "spiffe://example.org/./deployer",
            "spiffe://example.org/%64eployer",
            "spiffe://example.org/*",
        ):
            self.assertIn("is not a SPIFFE ID", self.refusal(["alice"], uris=[uri]))

    def test_strange_values(self) -> None:
        """What no log line could show, or two names could share, identifies nobody: as CN, as O, beside a SPIFFE ID."""
        for what, value in STRANGE.items():
            said = "The client certificate's subject has an unprintable, blank or overlong value."
            self.assertEqual(self.refusal([value]), said, what)
            self.assertIn("unprintable, blank or overlong", self.refusal(["alice"], [value]), what)
            self.refusal([], ["sre", value], [SPIFFE])
            if value.isascii() and what != "overlong":
                self.refusal(["alice"], uris=["spiffe://example.org/" + value])

    def test_names_that_cannot_be_read(self) -> None:
        """A SAN extension that is broken, or holds what nobody can read, identifies nobody, and is no bug."""
        broken = {
            "cut short": b"\x30\x10\x86\x01",
            "no sequence": b"\x04\x00",
            "an X.400 address": bytes.fromhex("3004a3023000"),
            "not ASCII": b"\x30\x05\x86\x03\xc3\xbc/",
        }
        for what, value in broken.items():
            extension = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, value)
            certificate = self.authority.certify([(CN, "alice")], extension)
            with self.subTest(what):
                error = self.assertRaises(NotIdentified, identify, certificate)
                said = "'s URI name is not a SPIFFE ID" if what == "not ASCII" else " cannot be read: .+"
                self.assertRegex(str(error), rf"\AThe client certificate{said}\.\Z")


class GroupTests(IdentityTests):
    """The groups, and what else an identity holds."""

    def test_groups_are_the_organizations(self) -> None:
        """Each O is a group, once, whatever the order; the OU and the rest of the subject are none."""
        self.assertEqual(self.identity(["alice"]).groups, ())
        self.assertEqual(self.identity(["alice"], ["sre"]).groups, ("sre",))
        groups = self.identity(["alice"], ["sre", "dev", "sre", "Dev"]).groups
        self.assertEqual(sorted(groups), ["Dev", "dev", "sre"])
        self.assertEqual(groups, self.identity(["alice"], ["Dev", "sre", "dev"]).groups)
        self.assertEqual(identify(self.authority.certify([(CN, "alice"), (OU, "sre")])).groups, ())
        self.assertEqual(self.identity([], ["sre"], [SPIFFE]).groups, ("sre",))

    def test_too_many_groups(self) -> None:
        """As many as every question to the cluster can carry, and not one more."""
        groups = [f"group-{number}" for number in range(MAX_GROUPS + 1)]
        self.assertEqual(len(self.identity(["alice"], groups[:-1]).groups), MAX_GROUPS)
        self.assertIn(str(MAX_GROUPS), self.refusal(["alice"], groups))

    def test_the_certificate(self) -> None:
        """The identity carries the SHA-256 of the whole certificate, and its end."""
        certificate = self.certificate(["alice"])
        identity = identify(certificate)
        self.assertEqual(identity.certificate_sha256, certificate.fingerprint(SHA256()).hex())
        self.assertEqual(identity.not_after, certificate.not_valid_after_utc)
        self.assertNotEqual(self.identity(["alice"]).certificate_sha256, identity.certificate_sha256)
