"""Whether a cluster streams lists, by its version: an old one might ignore that it was asked to.

KEP-3157 (WatchList) is on by default from Kubernetes 1.34 on. An API server from before 1.27 ignores the query
parameters that ask for it, and the list that never ends would be given up only after a minute.
"""

import re
from typing import Final

import msgspec
from msgspec import Struct

from sre_server.cluster.decoding import decode_status
from sre_server.cluster.permissions import GET_VERSION, Told, untold
from sre_server.cluster.transport import STATUS_BYTES, Transport, refusal
from sre_server.errors import BadAnswer, ClusterBroke, ClusterTimedOut

STREAMS_SINCE: Final = (1, 34)
READ_TIMEOUT: Final = 10.0
_BUSY: Final = frozenset({429, 503})
_DIGITS: Final = re.compile(r"\d{1,4}")


class _Version(Struct):
    """What `/version` answers; a minor version may have a `+` behind it."""

    major: str = ""
    minor: str = ""


def streams_lists(transport: Transport, told: Told = untold) -> bool | None:
    """Ask the cluster for its version; None if it does not say, so that it has to be asked again; blocks, for a thread.

    Raises ClusterUnreachable, or ClusterRefused where the cluster is busy: a list would fare no better.
    """
    try:
        with transport.request("GET", "/version", {}, read_timeout=READ_TIMEOUT) as reply:
            answer = reply.read(STATUS_BYTES, READ_TIMEOUT)
            refused = None if reply.status == 200 else refusal(reply, decode_status(answer).message)
            told(GET_VERSION, refused)
            if reply.status in _BUSY and refused is not None:
                raise refused
            if refused is not None:
                return None
            version = msgspec.json.decode(answer, type=_Version)
    except (ClusterBroke, ClusterTimedOut, BadAnswer, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    numbers = [_DIGITS.match(text) for text in (version.major, version.minor)]
    return tuple(int(number[0]) if number else 0 for number in numbers) >= STREAMS_SINCE
