"""Reading PEM files, with a one-line error that names the file."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import InvalidVersion

T = TypeVar("T")
_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----")


class TLSFilesError(Exception):
    """A certificate, key, CA or CRL file cannot be used; the text is one line that names the file and says why."""


def read_pem(path: Path, what: str, label: bytes, load: Callable[[bytes], T]) -> T:
    """Read one file by `load`; raises TLSFilesError for what cannot be read or parsed, or has no block so labelled.

    A label may have more before it, as in `EC PRIVATE KEY`.
    """
    try:
        pem = path.read_bytes()
    except OSError as error:
        raise TLSFilesError(f"the {what} file {path} cannot be read: {error.strerror}") from error
    unusable, labels = f"the {what} file {path} is not a usable PEM file", dict.fromkeys(_LABEL.findall(pem))
    if not any(found.endswith(label) for found in labels):
        holds = b", ".join(labels) or b"no PEM block"
        raise TLSFilesError(f"{unusable}: it holds {holds.decode()}, where {label.decode()} is expected")
    try:
        return load(pem)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidVersion) as error:
        raise TLSFilesError(f"{unusable}: {' '.join(str(error).split())}") from error
