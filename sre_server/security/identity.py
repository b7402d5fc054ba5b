"""Who a client is, from its certificate: read once per connection, and refused where it could be read in two ways.

A SPIFFE ID (SPIFFE X.509-SVID, section 2: exactly one URI SAN) names the client, else the subject's one CN; the
subject's O values are its groups, as Kubernetes reads them (authentication by X.509 client certificates). A CN that
reads as a URI names nobody: a CA's name constraints bind URI names (RFC 5280, 4.2.1.10), and would not bind it.
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
MAX_SPIFFE_ID: Final = 2048  # SPIFFE-ID, section 2.3
MAX_GROUPS: Final = 64
# SPIFFE-ID, section 2: one spelling of each. A trust domain is lower case; no segment is empty, "." or "..".
_SPIFFE_ID: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._-]+)+", re.ASCII)
# RFC 3986, section 3: a scheme with an authority, or one that has none; `team:alice` and `host:8443` are names.
_URI: Final = re.compile(r"[a-z][a-z0-9+.-]*://|(?:spiffe|urn|mailto|did):", re.ASCII | re.IGNORECASE)


class Identity(Struct, frozen=True):
    """A client: its name, its groups, and the certificate that says so, by its SHA-256 in hex.

    At `not_after` the certificate ends, or the first of those that vouch for it.
    """

    name: str
    groups: tuple[str, ...]
    certificate_sha256: str
    not_after: datetime


def identify(certificate: x509.Certificate, *issuers: x509.Certificate) -> Identity:
    """Read the identity of a verified certificate; raises NotIdentified if it has none, or more than one.

    `issuers` are those that vouch for it, up to the CA.
    """
    try:
        subject = _subject(certificate)
        name = _spiffe_id(certificate) or _common_name(subject)
        groups = tuple(sorted(set(_attributes(subject, NameOID.ORGANIZATION_NAME))))
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise NotIdentified(f"The client certificate cannot be read: {error}.") from error
    if len(groups) > MAX_GROUPS:
        raise NotIdentified(f"The client certificate names more than {MAX_GROUPS} groups (O).")
    ends = min(link.not_valid_after_utc for link in (certificate, *issuers))
    return Identity(name, groups, fingerprint_of(certificate), ends)


def is_identity(text: str) -> bool:
    """Tell whether a client can be called this, by a SPIFFE ID or by a common name."""
    return _is_spiffe_id(text) or (_is_plain(text) and not is_uri(text))


def is_uri(text: str) -> bool:
    """Tell whether a text reads as a URI, as no common name may."""
    return _URI.match(text) is not None


def fingerprint_of(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate, in hex."""
    return certificate.fingerprint(SHA256()).hex()


def _is_spiffe_id(uri: str) -> bool:
    return len(uri) <= MAX_SPIFFE_ID and _SPIFFE_ID.fullmatch(uri) is not None


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
    if not _is_spiffe_id(uri):
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
    if is_uri(names[0]):
        raise NotIdentified("The client certificate's common name (CN) reads as a URI, which only a URI name may be.")
    return names[0]


def _attributes(subject: x509.Name, kind: ObjectIdentifier) -> list[str]:
    """Return the values of one attribute of the subject; raises NotIdentified for one that is not plain text."""
    values = [str(attribute.value) for attribute in subject.get_attributes_for_oid(kind)]
    if not all(_is_plain(value) for value in values):
        raise NotIdentified("The client certificate's subject has an unprintable, blank or overlong value.")
    return values


def _is_plain(text: str) -> bool:
    """Tell whether a text is printable, neither blank nor overlong, and has no space around it."""
    return 0 < len(text) <= MAX_NAME and text.isprintable() and text == text.strip()
