"""What is told of a library's error: never its text, which may quote what was sent."""

import socket
import ssl

from twisted.trial.unittest import SynchronousTestCase
from urllib3.exceptions import NewConnectionError, ProtocolError
from urllib3.exceptions import SSLError as WrappedSSLError

from sre_server.cluster.pool import reason

SECRET = "Invalid header value b'Bearer secret'"


def after(cause: Exception, error: Exception) -> Exception:
    """Make an error that was raised while another was handled."""
    error.__context__ = cause
    return error


class ReasonTests(SynchronousTestCase):
    """Words for errors."""

    def test_no_text_of_a_library(self) -> None:
        """Of what is not known to be clean, only the kind of the innermost error is told."""
        for error, told in (
            (ValueError(SECRET), "ValueError"),
            (OSError(SECRET), "OSError"),
            (ProtocolError(SECRET, ConnectionResetError(SECRET)), "ConnectionResetError"),
            (after(UnicodeError(SECRET), ProtocolError(SECRET)), "UnicodeError"),
        ):
            with self.subTest(told):
                self.assertEqual(reason(error), told)

    def test_words_of_the_system(self) -> None:
        """The system's own words are told, wherever the library has put its error."""
        refused = ConnectionRefusedError(111, "Connection refused")
        failed = NewConnectionError(None, SECRET)  # type: ignore[arg-type]
        for error, told in (
            (refused, "Connection refused"),
            (ProtocolError(SECRET, refused), "Connection refused"),
            (after(refused, failed), "Connection refused"),
            (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
            (TimeoutError(SECRET), "timed out"),
            (OSError("Tunnel connection failed: 407 secret"), "the proxy answered 407"),
        ):
            with self.subTest(told):
                self.assertEqual(reason(error), told)

    def test_words_of_openssl(self) -> None:
        """OpenSSL says what is wrong with a certificate, or which alert it got."""
        untrusted = ssl.SSLCertVerificationError(1, SECRET)
        untrusted.verify_message = "self-signed certificate."
        self.assertEqual(reason(WrappedSSLError(untrusted)), "self-signed certificate")
        alert = ssl.SSLError(1, SECRET)
        alert.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        self.assertEqual(reason(WrappedSSLError(alert)), "TLS: tlsv13 alert certificate required")
