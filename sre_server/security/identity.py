"""Who a client is, from its certificate: read once per connection, and refused where it could be read in two ways.

A SPIFFE ID (SPIFFE X.509-SVID, section 2: exactly one URI SAN) names the client, else the subject's one CN; the
subject's O values are its groups, as Kubernetes reads them (authentication by X.509 client certificates).
"""

import re
import warnings
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID, ObjectIdentifier
from msgspec import Struct

from sre_server.errors import NotIdentified

MAX_NAME: Final = 256
MAX_GROUPS: Final = 64
# SPIFFE-ID, section 2: one spelling of each. A trust domain is lower case; no segment is empty, "." or "..".
_SPIFFE_ID: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+", re.ASCII)


class Identity(Struct, frozen=True):
    """A client: its name, its groups, and the certificate that says so (SHA-256 in hex, and when it ends)."""

    name: str
    groups: tuple[str, ...]
    certificate_sha256: str
    not_after: datetime


def identify(certificate: x509.Certificate) -> Identity:
    """Read the identity of a verified certificate; raises NotIdentified if it has none, or more than one."""
    try:
        subject = _subject(certificate)
        name = _spiffe_id(certificate) or _common_name(subject)
        groups = tuple(sorted(set(_attributes(subject, NameOID.ORGANIZATION_NAME))))
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise NotIdentified(f"The client certificate cannot be read: {error}.") from error
    if len(groups) > MAX_GROUPS:
        raise NotIdentified(f"The client certificate names more than {MAX_GROUPS} groups (O).")
    return Identity(name, groups, certificate.fingerprint(SHA256()).hex(), certificate.not_valid_after_utc)


def _spiffe_id(certificate: x509.Certificate) -> str | None:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if not uris:
        return None
    if len(uris) > 1:
        raise NotIdentified("The client certificate has more than one URI name: which of them it is, is ambiguous.")
    uri = uris[0]
    if not _SPIFFE_ID.fullmatch(uri) or not _is_plain(uri):
        raise NotIdentified("The client certificate's URI name is not a SPIFFE ID.")
    return uri


def _subject(certificate: x509.Certificate) -> x509.Name:
    """Read the subject; cryptography's warning of lengths is not wanted, as `_is_plain` has bounds of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return certificate.subject


def _common_name(subject: x509.Name) -> str:
    names = _attributes(subject, NameOID.COMMON_NAME)
    if len(names) != 1:
        how_many = "more than one" if names else "no"
        raise NotIdentified(f"The client certificate has {how_many} common name (CN) and no SPIFFE ID.")
    return names[0]


def _attributes(subject: x509.Name, kind: ObjectIdentifier) -> list[str]:
    """Return the non-blank values of one kind in the subject; raises NotIdentified for what no log line could show."""
    values = [str(attribute.value) for attribute in subject.get_attributes_for_oid(kind)]
    if not all(_is_plain(value) for value in values):
        raise NotIdentified("The client certificate's subject has an unprintable, blank or overlong value.")
    return values


def _is_plain(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isprintable() and text == text.strip()
