"""What a client prefers, as far as this server does such things: `Prefer: wait=N` (RFC 7240, section 4.3)."""

from typing import Final

from werkzeug.http import parse_list_header, parse_options_header, unquote_header_value

MAX_SECONDS: Final = 300
"""Longer waits are cut to this: proxies and clients give up on an answer at some point."""
APPLIED: Final = b"Preference-Applied"


def wait_in(prefer: bytes | None) -> int | None:
    """Return how many seconds a client would wait, at most 300; None if it does not say, or not in whole seconds.

    Of a preference that is there twice, the first one counts. Others, and what makes no sense, are ignored.
    """
    for preference in parse_list_header((prefer or b"").decode("latin-1")):
        name, _, value = parse_options_header(preference)[0].partition("=")
        if name.strip().lower() == "wait":
            seconds = unquote_header_value(value.strip())
            if not (seconds.isascii() and seconds.isdecimal()):
                return None
            return min(int(seconds.lstrip("0")[:9] or "0"), MAX_SECONDS)
    return None


def applied(seconds: int) -> bytes:
    """Return the value of the field that tells a client that it was waited so long, or would have been."""
    return b"wait=%d" % seconds
