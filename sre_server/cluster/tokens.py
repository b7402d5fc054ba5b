"""Bearer tokens that somebody rewrites under us, and what may stand in a header at all.

The rules are client-go's (transport/token_source.go): a file is read again after a minute and after a 401, white space
around the token is not part of it, and a file that cannot be read leaves the last good token in use.
"""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from twisted.logger import Logger

from sre_server.errors import CredentialsError

_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def header_value(name: str, text: str) -> str:
    """Return what `http.client` sends as this text in UTF-8; raises CredentialsError, which names only the `name`."""
    if _CONTROL.search(text):
        raise CredentialsError(f"{name} holds a line break, or another control character.")
    return text.strip(" \t").encode("utf-8", "surrogateescape").decode("latin-1")


class TokenFile:
    """A file with a token; `name` is for errors and the log."""

    REREAD_AFTER: Final = 60.0
    log = Logger()

    def __init__(
        self,
        path: Path,
        now: Callable[[], float] = time.monotonic,
        *,
        name: str = "The service-account token file",
        otherwise: str | None = None,
    ) -> None:
        """Read `path`; `otherwise` is the token for as long as nothing could be read there."""
        self._path = path
        self._now = now
        self._name = f"{name} {path}"
        self._token = otherwise
        self._read_at: float | None = None

    def token(self) -> str:
        """The current token; raises CredentialsError only if there has never been one."""
        if self._read_at is None or self._now() - self._read_at >= self.REREAD_AFTER:
            try:
                self._token = self._read()
                self._read_at = self._now()
            except CredentialsError as error:
                if self._token is None:
                    raise
                self.log.warn("{error} The last token stays in use.", error=error)
        return self._token or ""

    def forget(self) -> None:
        """Read the file again before the next use; the old token stays for the case that it cannot be read."""
        self._read_at = None

    def _read(self) -> str:
        try:
            token = self._path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise CredentialsError(f"{self._name} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError:
            raise CredentialsError(f"{self._name} is not plain text.") from None
        if not token:
            raise CredentialsError(f"{self._name} is empty.")
        return token
