"""Reading PEM files, with a one-line error that names the file."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import InvalidVersion

T = TypeVar("T")


class TLSFilesError(Exception):
    """A certificate, key, CA or CRL file cannot be used; the text is one line that names the file and says why."""


def read_pem(path: Path, what: str, load: Callable[[bytes], T]) -> T:
    """Read one file by `load`; raises TLSFilesError for what cannot be read or parsed."""
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise TLSFilesError(f"the {what} file {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidVersion) as error:
        text = " ".join(str(error).split())
        raise TLSFilesError(f"the {what} file {path} is not a usable PEM file: {text}") from error
