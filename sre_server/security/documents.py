"""YAML files that operators write by hand: read into typed values, with mistakes named by file and line."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import yaml
from msgspec import inspect

T = TypeVar("T")
Mistake = tuple[str, str]
"""Where something is wrong, as a path such as `.rules[2].names[0]`, and what."""

MAX_BYTES: Final = 2**20
_PLAIN_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `(.*)`")
_INDEX: Final = re.compile(r"\[(\d+)\]")
_PATH_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


class DocumentError(Exception):
    """The file cannot be used; the text is one line that names the file, the line and the mistake."""


class _Loader(yaml.SafeLoader):
    """Reads numbers that are written in plain digits; to YAML 1.1, 010 is 8, and 1:30 is 90."""

    def plain_number(self, node: yaml.ScalarNode) -> int:
        """Read a node of the tag int."""
        if not _PLAIN_NUMBER.fullmatch(node.value):
            problem = f"'{node.value}' is not read as it looks: write numbers in plain digits, and names in quotes"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return int(node.value)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.plain_number)


def load(path: Path, shape: type[T], mistakes: Callable[[T], Iterable[Mistake]] = lambda _: ()) -> T:
    """Read a YAML file into `shape`; raises DocumentError for what cannot be read, is no YAML, or does not fit.

    `mistakes` finds what fits, and makes no sense; the first is told.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DocumentError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(raw, shape, str(path), mistakes)


def parse(raw: bytes, shape: type[T], name: str, mistakes: Callable[[T], Iterable[Mistake]] = lambda _: ()) -> T:
    """Read YAML bytes into `shape`; see `load`.

    Unknown keys, repeated keys, wrong types, and numbers that YAML reads otherwise than they look, are mistakes.
    """
    if len(raw) > MAX_BYTES:
        raise DocumentError(f"{name}: larger than {MAX_BYTES} bytes")
    try:
        node = yaml.compose(raw, Loader=yaml.SafeLoader)
        _refuse_repeated_keys(node, name, set())
        value = yaml.load(raw, Loader=_Loader)  # noqa: S506  # a safe one
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        hint = "; a '*' needs quotes" if "alias" in f"{error.context} {error.problem}" else ""
        raise DocumentError(f"{name}:{line}: {error.problem or error.context}{hint}") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DocumentError(f"{name}:1: {' '.join(str(error).split())}") from error
    try:
        document = msgspec.convert({} if value is None else value, shape)
    except msgspec.ValidationError as error:
        text, _, rest = str(error).partition(" - at `$")
        where, unknown = rest.rstrip("`"), _UNKNOWN_FIELD.search(text)
        line = _line_of(node, where, unknown[1] if unknown else None)
        text += _known(shape, where, is_key=bool(unknown))
        raise DocumentError(f"{name}:{line}: {_field(where)}{text}") from error
    if value is None:  # as a file is for a moment that somebody is writing
        raise DocumentError(f"{name}:1: says nothing; what leaves every default is {{}}")
    for where, text in mistakes(document):
        raise DocumentError(f"{name}:{_line_of(node, where)}: {_field(where)}{text}")
    return document


def _field(path: str) -> str:
    """Write a msgspec path for people, who count from 1, as the audit log does of rules."""
    counted = _INDEX.sub(lambda index: f" #{int(index[1]) + 1}", path)
    return f"{counted.removeprefix('.')}: " if path else ""


def _refuse_repeated_keys(node: yaml.Node | None, name: str, visited: set[int]) -> None:
    """Raise DocumentError for a mapping that has a key twice: YAML would silently keep the last one.

    Each node is visited once, since a few lines of YAML aliases can repeat a node billions of times.
    """
    if id(node) in visited:
        return
    visited.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise DocumentError(f"{name}:{key.start_mark.line + 1}: a key is plain text")
            if key.value in seen:
                raise DocumentError(f"{name}:{key.start_mark.line + 1}: the key '{key.value}' stands here twice")
            seen.add(key.value)
            _refuse_repeated_keys(value, name, visited)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, name, visited)


def _line_of(node: yaml.Node | None, path: str, key_there: str | None = None) -> int:
    """Return the line, counted from 1, of what a msgspec path such as `.rules[2].verbs[0]` points at, or its parent.

    `key_there` is a key of that object, if it is the key that is wrong.
    """
    line = node.start_mark.line if node else 0
    for key, index in _PATH_STEP.findall(path):
        found: yaml.Node | None = None
        if key and isinstance(node, yaml.MappingNode):
            found = next((value for name, value in node.value if name.value == key), None)
        elif index.isdigit() and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
            found = node.value[int(index)]
        if found is None:
            break
        node, line = found, found.start_mark.line
    if key_there is not None and isinstance(node, yaml.MappingNode):
        line = next((key.start_mark.line for key, _ in node.value if key.value == key_there), line)
    return int(line) + 1


def _known(shape: type, path: str, *, is_key: bool) -> str:
    """Say which keys, or which of a few values, may stand at a msgspec path; nothing where it could be anything."""
    types = _plain(inspect.type_info(shape))
    for key, _ in _PATH_STEP.findall(path):
        types = [one for parent in types for one in _inside(parent, key)]
    known: list[object] = []
    for one in types:
        if is_key and isinstance(one, inspect.StructType):
            known += [field.encode_name for field in one.fields]
        elif isinstance(one, inspect.LiteralType):
            known += one.values
    return f"; known are {', '.join(map(repr, known))}" if known else ""


def _inside(parent: inspect.Type, key: str) -> list[inspect.Type]:
    """Return what may stand in an object at this key, or, without one, in a list or a mapping."""
    if isinstance(parent, inspect.StructType):
        return [one for field in parent.fields if field.encode_name == key for one in _plain(field.type)]
    if isinstance(parent, inspect.DictType):
        return _plain(parent.value_type)
    return _plain(parent.item_type) if isinstance(parent, inspect.VarTupleType) else []


def _plain(one: inspect.Type) -> list[inspect.Type]:
    """Return the types of a union, without their bounds."""
    if isinstance(one, inspect.Metadata):
        return _plain(one.type)
    return [part for each in one.types for part in _plain(each)] if isinstance(one, inspect.UnionType) else [one]
