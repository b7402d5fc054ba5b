"""YAML and JSON as Kubernetes' clients read them, with errors that quote nothing: there are tokens in these files."""

import re
from typing import Final, TypeVar

import msgspec
import yaml

from sre_server.errors import CredentialsError

T = TypeVar("T")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""What an escape such as `\\ud800` leaves of a character, if the other half does not follow."""


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a date is text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_document(raw: bytes, shape: type[T]) -> T:
    """Read JSON, or the first document of YAML; raises CredentialsError, whose text goes after "it" and quotes nothing.

    What is null counts as not there, and what is unknown is passed over.
    """
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        try:
            document = next(yaml.load_all(raw, _Loader), None)
        except yaml.MarkedYAMLError as error:
            line = f", see line {error.problem_mark.line + 1}" if error.problem_mark else ""
            raise CredentialsError(f"is no YAML{line}") from error
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise CredentialsError("is no YAML") from error
    try:
        return msgspec.convert(_without_nulls({} if document is None else document), shape)
    except (msgspec.ValidationError, RecursionError) as error:
        # Its text has types and the names of fields, never a value.
        raise CredentialsError(f"does not fit: {error}") from error


def _without_nulls(node: object) -> object:
    if isinstance(node, dict):
        return {_without_nulls(key): _without_nulls(value) for key, value in node.items() if value is not None}
    if isinstance(node, str) and "\0" in node:
        raise CredentialsError("has a text with a NUL in it")  # which is the end of a path, or of an argument
    if isinstance(node, str) and _SURROGATE.search(node):
        raise CredentialsError("has a text with half a character in it")  # which nothing can be sent as
    return [_without_nulls(value) for value in node] if isinstance(node, list) else node
