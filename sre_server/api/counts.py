"""What a request to write says: the count, read strictly, and what its client confirms."""

import json
import re
from datetime import timedelta
from typing import Final
from urllib.parse import parse_qsl

from werkzeug.http import parse_options_header

from sre_server.errors import Malformed, UnsupportedMediaType
from sre_server.model import MAX_REPLICAS
from sre_server.security.guardrails import CONFIRMATIONS
from sre_server.web.request import APIRequest

_RANGE: Final = f"0..{MAX_REPLICAS}"
_SHAPE: Final = f'The body must be a JSON object with exactly one integer "replicas" in {_RANGE}'
_TEMPORARY: Final = (
    f'The body must be a JSON object with exactly an integer "replicas" in {_RANGE}, and "for", '
    "a text of a number and s, m, h or d, from 1s to 30d"
)
_FOR_A_TIME: Final = "a count for a time goes to .../temporary"
_SPAN: Final = re.compile(r"[1-9][0-9]{0,6}[smhd]", re.ASCII)
_UNITS: Final = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
SHORTEST: Final = timedelta(seconds=1)
LONGEST: Final = timedelta(days=30)
_WHOLE_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_UTF_8: Final = frozenset({"utf-8", "utf8"})


def confirmed_in(request: APIRequest) -> frozenset[str]:
    """Read what `?confirm=` confirms; raises Malformed for any other parameter, as that may be a mistyped one."""
    query = request.uri.partition(b"?")[2].decode("ascii")
    given = parse_qsl(query, keep_blank_values=True)
    if unknown := sorted({name for name, _ in given} - {"confirm"}):
        raise Malformed(
            f"A write knows the query parameter 'confirm', and not '{unknown[0][:80]}'; nothing was changed."
        )
    confirmed = frozenset(value for _, value in given)
    if unknown := sorted(confirmed - CONFIRMATIONS):
        known = ", ".join(f"'{value}'" for value in sorted(CONFIRMATIONS))
        raise Malformed(f"'confirm' is one of {known}, and not '{unknown[0][:80]}'; nothing was changed.")
    return confirmed


def replicas_in_path(text: str) -> int:
    """Read the count that ends a URL of family B; raises Malformed for all but plain decimal digits in range."""
    if not _WHOLE_NUMBER.fullmatch(text) or int(text) > MAX_REPLICAS:
        raise Malformed(
            f"The replica count must be a whole number in {_RANGE}, with no zeros before it, not '{text[:80]}'."
        )
    return int(text)


def replicas_in_body(request: APIRequest) -> int:
    """Read the count from a body of family A; raises Malformed, or UnsupportedMediaType if it is not sent as JSON."""
    return _count(_fields(request, _SHAPE, ["replicas"])["replicas"], _SHAPE)


def temporary_in_body(request: APIRequest) -> tuple[int, timedelta]:
    """Read a count and for how long it is to be, as `{"replicas": 20, "for": "2h"}` says it; raises as the other one.

    Of the two keys either may come first.
    """
    fields = _fields(request, _TEMPORARY, ["for", "replicas"])
    given, span = fields["for"], None
    if isinstance(given, str) and _SPAN.fullmatch(given):
        span = int(given[:-1]) * _UNITS[given[-1]]
    if span is None or not SHORTEST <= span <= LONGEST:
        raise Malformed(f"{_TEMPORARY}; here it is {_shown(given)}.")
    return _count(fields["replicas"], _TEMPORARY), span


def _fields(request: APIRequest, shape: str, keys: list[str]) -> dict[str, object]:
    """Read a JSON object that has exactly these keys, which are in order; `shape` says so in words."""
    if not _is_json(request.getHeader(b"content-type")) or request.getHeader(b"content-encoding"):
        raise UnsupportedMediaType("The body must be plain UTF-8 JSON, sent with 'Content-Type: application/json'.")
    try:
        body = request.content.read()
        pairs = json.loads(body.decode("utf-8"), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{shape}; {'this is not JSON' if body else 'there is none'}.") from error
    if not isinstance(pairs, _Pairs):
        raise Malformed(f"{shape}; here it is no object.")
    given = [key for key, _ in pairs]
    if sorted(given) != keys:
        raise Malformed(f"{shape}; {_wrong_keys(given, keys)}.")
    return dict(pairs)


def _wrong_keys(given: list[str], keys: list[str]) -> str:
    wrong = {
        "missing": [key for key in keys if key not in given],
        "unknown": sorted(set(given).difference(keys)),
        "there more than once": [key for key in keys if given.count(key) > 1],
    }
    said = [f"{', '.join(map(_shown, names[:3]))}: {what}" for what, names in wrong.items() if names]
    return "; ".join([*said, *([_FOR_A_TIME] if "for" in wrong["unknown"] else [])])


def _shown(value: object) -> str:
    return "something else" if isinstance(value, list) else json.dumps(value)[:80]


def _count(replicas: object, shape: str) -> int:
    if type(replicas) is not int or not 0 <= replicas <= MAX_REPLICAS:
        raise Malformed(f"{shape}; here it is {_shown(replicas)}.")
    return replicas


def _is_json(content_type: bytes | None) -> bool:
    """Tell whether a body is sent as JSON, which is what it is taken for where nothing is said."""
    if content_type is None:
        return True
    media_type, parameters = parse_options_header(content_type.decode("latin-1"))
    charset = parameters.pop("charset", "utf-8").lower()
    return content_type.isascii() and media_type.lower() == "application/json" and not parameters and charset in _UTF_8


class _Pairs(list[tuple[str, object]]):
    """A JSON object with its repeated keys."""
