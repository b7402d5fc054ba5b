"""Globs that operators write (`*`, `?`, `[...]`): those that can match nothing are a mistake, and said to be one.

A rule that protects `Kube-System` would protect nothing, in silence.
"""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from string import ascii_lowercase, digits
from typing import Final

from sre_server.security.documents import Mistake
from sre_server.security.identity import is_identity, is_uri
from sre_server.texts import DEPLOYMENT_RULE, MAX_DEPLOYMENT_NAME, MAX_NAMESPACE_NAME, NAMESPACE_RULE

_PART: Final = re.compile(r"\[!?\]?[^\]]*\]|.", re.DOTALL)
_ALPHANUMERIC: Final = frozenset(ascii_lowercase + digits)
_NAMESPACE: Final = _ALPHANUMERIC | {"-"}
_DEPLOYMENT: Final = _NAMESPACE | {"."}
# A SPIFFE ID's trust domain is lower case (SPIFFE-ID, section 2.1), and a CN that reads as a URI names nobody.
SPIFFE: Final = "spiffe://"
_GLOB: Final = re.compile(r"[*?\[]")
_NO_SPIFFE_ID: Final = re.compile(r"spiffe://[^/*?\[]*[A-Z]")


def mistakes_in_names(path: str, namespaces: Sequence[str], names: Sequence[str]) -> Iterator[Mistake]:
    """Yield what is wrong with the globs of a rule's `namespaces` and `names`; `path` leads to the rule."""
    for field, globs, alphabet, longest, rule in (
        ("namespaces", namespaces, _NAMESPACE, MAX_NAMESPACE_NAME, NAMESPACE_RULE),
        ("names", names, _DEPLOYMENT, MAX_DEPLOYMENT_NAME, DEPLOYMENT_RULE),
    ):
        if not globs:
            yield f"{path}.{field}", f"an empty list of {field} matches nothing; for everything, leave it out"
        what = "namespace" if field == "namespaces" else "Deployment"
        for number, glob in enumerate(globs):
            if not _can_name(glob, alphabet, longest):
                yield f"{path}.{field}[{number}]", f"no {what} can be called '{glob}': names have {rule}"


def mistakes_in_clients(path: str, globs: Sequence[str]) -> Iterator[Mistake]:
    """Yield what is wrong with globs of identities or groups; `path` leads to them."""
    for number, glob in enumerate(globs):
        if glob != glob.strip() or not glob.isprintable() or _NO_SPIFFE_ID.match(glob):
            yield (
                f"{path}[{number}]",
                f"nobody can be called {glob!r}: blanks at the ends, or a trust domain in capitals",
            )


def mistakes_in_identities(path: str, globs: Sequence[str]) -> Iterator[Mistake]:
    """Yield what else is wrong with globs of identities: those that read as URIs, and name no SPIFFE ID."""
    for number, glob in enumerate(globs):
        plain = _GLOB.split(glob)[0]
        if plain == glob:
            possible = is_identity(glob)
        else:
            possible = not is_uri(plain) or plain.startswith(SPIFFE) or SPIFFE.startswith(plain)
        if not possible:
            yield f"{path}[{number}]", f"nobody can be called {glob!r}: that is neither a SPIFFE ID nor a common name"


def _can_name(glob: str, alphabet: frozenset[str], longest: int) -> bool:
    """Tell whether the glob matches any name: dot-separated labels, that begin and end with a letter or a digit.

    What is followed is the kind of the last character: "" for none or a dot, "-", or "a" for a letter or a digit.
    """
    parts: list[str] = _PART.findall(glob)
    kinds = {""}
    for part in parts:
        if part == "*" and kinds:
            kinds |= {"a", "-", *({""} if "." in alphabet else ())}
            continue
        matched = {character for character in alphabet if fnmatchcase(character, part)}
        after: set[str] = set()
        for kind in kinds:
            if matched & _ALPHANUMERIC:
                after.add("a")
            if "-" in matched and kind:
                after.add("-")
            if "." in matched and kind == "a":
                after.add("")
        kinds = after
    return "a" in kinds and len(parts) - parts.count("*") <= longest
