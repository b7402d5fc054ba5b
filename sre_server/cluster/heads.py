"""What the beginning of an object says, where the whole cannot be read: what it is called, and where it is.

The API server writes an object's type, then its names, then all that can be large. So the first few kilobytes tell
which object it is that is too large, or of an impossible shape, and it need not keep the others from being served.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from msgspec import Struct

HEAD_BYTES: Final = 64 * 1024
_KEY: Final = re.compile(r'\s*[{,]\s*("(?:[^"\\]|\\.)*")\s*:\s*')
_FIRST_ITEM: Final = re.compile(r"\s*\[\s*")
_scan: Final = json.JSONDecoder().raw_decode


class Head(Struct, frozen=True):
    """The texts at the beginning of an object, each empty where there is none."""

    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str


class ListHead(Struct, frozen=True):
    """What the beginning of a page says: of the list, and of its first object."""

    resource_version: str
    next_token: str
    first: Head


class _Text:
    """JSON of which the end may be missing."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._text = bytes(data[:HEAD_BYTES]).decode("utf-8", "replace")

    def members(self, at: int) -> Mapping[str, int]:
        """Find where the values of the object at this place begin, by key, as far as the text goes."""
        return dict(self._members(at))

    def _members(self, at: int) -> Iterator[tuple[str, int]]:
        with suppress(ValueError, RecursionError):
            while key := _KEY.match(self._text, at):
                yield json.loads(key[1]), key.end()
                _, at = _scan(self._text, key.end())

    def inside(self, members: Mapping[str, int], key: str) -> Mapping[str, int]:
        """Find where the values of the object begin that is one of these members; none if there is no such object."""
        return self.members(members[key]) if key in members else {}

    def text(self, members: Mapping[str, int], key: str) -> str:
        """Read the text that is one of these members, empty if there is none."""
        try:
            value, _ = _scan(self._text, members[key])
        except (KeyError, ValueError, RecursionError):
            return ""
        return value if isinstance(value, str) else ""

    def first_item(self, at: int) -> int:
        """Find where the first item of the array at this place begins."""
        opened = _FIRST_ITEM.match(self._text, at)
        return opened.end() if opened else at

    def head(self, members: Mapping[str, int]) -> Head:
        """Read the head of the object that has these members."""
        metadata = self.inside(members, "metadata")
        return Head(
            self.text(members, "kind"),
            *(self.text(metadata, key) for key in ("namespace", "name", "uid", "resourceVersion")),
        )


def head_of_object(data: bytes | bytearray | memoryview) -> Head:
    """Read the head of an object, such as one of a list."""
    text = _Text(data)
    return text.head(text.members(0))


def head_of_event(line: bytes | bytearray) -> tuple[str, Head]:
    """Read the type of a watch event and the head of its object."""
    text = _Text(line)
    event = text.members(0)
    return text.text(event, "type"), text.head(text.inside(event, "object"))


def head_of_list(body: bytes | bytearray) -> ListHead:
    """Read the head of a list, and that of its first object."""
    text = _Text(body)
    page = text.members(0)
    metadata = text.inside(page, "metadata")
    first = text.members(text.first_item(page["items"])) if "items" in page else {}
    return ListHead(text.text(metadata, "resourceVersion"), text.text(metadata, "continue"), text.head(first))
