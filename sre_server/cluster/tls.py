"""What TLS with the cluster is made of, and how strict it is: as kubectl, no less and no more (docs/security.md)."""

import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Final, NamedTuple

from twisted.logger import Logger

from sre_server.errors import CredentialsError


class PEM(NamedTuple):
    """Where certificates or a key are: inline, or in a file that may be written anew; `name` is for errors."""

    name: str
    inline: bytes | None = None
    path: Path | None = None

    def read(self) -> bytes | None:
        """Return what is there now, or None if neither was given; raises CredentialsError."""
        if self.inline is not None or self.path is None:
            return self.inline
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise CredentialsError(f"{self.name} {self.path} cannot be read: {error.strerror}.") from error


class TLSMaterial(NamedTuple):
    """The CAs that are trusted (None: the system's), and the client certificate that is presented; names for errors."""

    authorities: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None
    verify: bool = True
    authorities_name: str = "certificate-authority"
    pair_name: str = "client-certificate"

    def context(self) -> ssl.SSLContext:
        """Make a context of it, for one thread; raises CredentialsError.

        Python's own from 3.13 on is stricter than RFC 5280 has been read by those who made the CAs of EKS, MicroK8s and
        many a private one (VERIFY_X509_STRICT). Go, and so kubectl, accepts these; and it takes whatever certificate is
        named as a CA for an anchor, an intermediate one too (VERIFY_X509_PARTIAL_CHAIN).
        """
        from urllib3.util.ssl_ import create_urllib3_context  # noqa: PLC0415  # only when needed

        context = create_urllib3_context(
            cert_reqs=ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE, verify_flags=ssl.VERIFY_X509_PARTIAL_CHAIN
        )
        if self.authorities is not None:
            try:
                context.load_verify_locations(cadata=self.authorities.decode("ascii", "ignore"))
            except (ssl.SSLError, ValueError) as error:
                raise CredentialsError(f"{self.authorities_name} is not a certificate in PEM.") from error
        elif self.verify:
            context.load_default_certs()
        if self.certificate is not None and self.key is not None:
            try:
                with _as_file(self.certificate) as certificate, _as_file(self.key) as key:
                    context.load_cert_chain(certificate, key, password="")  # or OpenSSL would ask a terminal for one
            except (OSError, ValueError) as error:
                raise CredentialsError(
                    f"{self.pair_name} and its key must be PEM, not encrypted, and belong together."
                ) from error
        return context


@contextmanager
def _as_file(pem: bytes) -> Iterator[str]:
    """Put it where OpenSSL, which reads client keys from files only, finds it: in memory, where the system can."""
    file: IO[bytes]
    if hasattr(os, "memfd_create"):
        file = os.fdopen(os.memfd_create("pem"), "wb")
        name = f"/proc/self/fd/{file.fileno()}"
    else:
        file = NamedTemporaryFile()  # noqa: SIM115  # closed below
        name = file.name
    with file:
        file.write(pem)
        file.flush()
        yield name


class TLSFiles:
    """The material of a connection, read anew about every second, as client-go does; the last good one stays in use."""

    REREAD_AFTER: Final = 1.0
    log = Logger()

    def __init__(
        self,
        authorities: PEM | None,
        certificate: PEM | None = None,
        key: PEM | None = None,
        *,
        verify: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pem = (authorities, certificate, key)
        self._names = [pem.name for pem in (authorities, certificate) if pem]
        self._verify = verify
        self._now = now
        self._good: TLSMaterial | None = None
        self._read_at = 0.0
        self._complaint = ""

    def material(self) -> TLSMaterial:
        """Return it; raises CredentialsError only if there has never been a good one."""
        good = self._good
        if good is not None and self._now() - self._read_at < self.REREAD_AFTER:
            return good
        self._read_at = self._now()
        try:
            authorities, certificate, key = (pem and pem.read() for pem in self._pem)
            found = TLSMaterial(authorities, certificate, key, self._verify, *self._names)
            if found != good:
                found.context()
            self._good, self._complaint = found, ""
        except CredentialsError as error:
            if good is None:
                raise
            if str(error) != self._complaint:
                self.log.warn("{error} What was read last stays in use.", error=error)
            self._complaint = str(error)
            return good
        return found
