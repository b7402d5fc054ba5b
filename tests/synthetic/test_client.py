"""Whom the synthetic query believes to be the server; the handshakes are in memory."""

import ssl

from twisted.trial.unittest import SynchronousTestCase

from sre_server.synthetic.client import tls_context
from tests.certificates import Authority, Flaw
from tests.fakes import temporary_folder
from tests.handshakes import server_context, shake_hands


class TrustTests(SynchronousTestCase):
    """Its TLS is like that of other clients, on every Python."""

    def setUp(self) -> None:
        """Make a folder for certificates."""
        self.folder = temporary_folder(self)

    def check(self, authority: Authority, name: str) -> None:
        """Shake hands with a server of this name that an authority vouches for; raises ssl.SSLError."""
        pair = authority.issue("sre.example.org")
        shake_hands(tls_context(*pair, authority.file), server_context(pair), name)

    def test_authorities(self) -> None:
        """A CA that lacks what strict clients ask for is trusted, as curl and the like trust it."""
        for flaws in ((), *((flaw,) for flaw in Flaw)):
            with self.subTest(flaws):
                self.check(Authority(self.folder, f"CA {flaws}", flaws=flaws), "sre.example.org")

    def test_the_same_on_any_python(self) -> None:
        """Python's own contexts are strict from 3.13 on; this one is not, and takes partial chains before that, too."""
        authority = Authority(self.folder)
        context = tls_context(*authority.issue("alice"), authority.file)
        self.assertFalse(context.verify_flags & ssl.VERIFY_X509_STRICT)
        self.assertTrue(context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN)
        self.assertIs(context.minimum_version, ssl.TLSVersion.TLSv1_3)

    def test_another_name(self) -> None:
        """The server's name counts all the same."""
        self.assertRaises(ssl.SSLCertVerificationError, self.check, Authority(self.folder), "else.example.org")
