"""Answers that fit into one piece: what they hold, and how they are sent."""

import msgspec
from twisted.web.iweb import IRequest

from sre_server.simulator.collection import Stored
from sre_server.simulator.kinds import NAMESPACES, Kind, Object


class Answer(msgspec.Struct, frozen=True):
    """The JSON of an answer, and its status code."""

    body: bytes
    code: int = 200


def json(value: Object, code: int = 200) -> Answer:
    """Return the answer that is this object."""
    return Answer(msgspec.json.encode(value), code)


def deleted(kind: Kind, name: str, stored: Stored) -> Answer:
    """Return the answer to a deletion: a Namespace that is ending, or which object went."""
    if kind is NAMESPACES:
        return Answer(kind.heading + stored.body[1:])
    details = {"name": name, "group": kind.group, "kind": kind.plural, "uid": stored.uid}
    return json({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})


def sent(request: IRequest, answer: Answer) -> bytes:
    """Set the status and the headers of an answer; return its body."""
    request.setResponseCode(answer.code)
    request.setHeader("content-type", "application/json")
    request.setHeader("cache-control", "no-cache, private")
    request.setHeader("content-length", str(len(answer.body)))
    return answer.body
