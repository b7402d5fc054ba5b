"""Arbitrary bytes in the place of Kubernetes' answers."""

import contextlib
import json
from collections.abc import Callable
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sre_server.cluster.decoding import decode_namespace, decode_status
from sre_server.cluster.lines import Cut
from sre_server.cluster.single import decode_scale, decode_state
from sre_server.cluster.unpacking import decode_cut_page, decode_line, decode_page
from sre_server.errors import BadAnswer, Expired
from sre_server.news import Resource
from tests.fakes import deployment
from tests.wire import error_line, event_line, list_page, scale_body

DEPLOYMENTS, NAMESPACES = Resource.DEPLOYMENTS, Resource.NAMESPACES
DEEP: Final = b'{"type":"ADDED","metadata":{"resourceVersion":"1"},"items":[],"object":' + b"[" * 100_000

_DECODERS: Final[list[Callable[[bytes], object]]] = [
    lambda body: decode_page(DEPLOYMENTS, body),
    lambda body: decode_page(NAMESPACES, body),
    lambda body: decode_line(DEPLOYMENTS, body),
    lambda body: decode_line(NAMESPACES, body),
    lambda body: decode_line(DEPLOYMENTS, Cut(body)),
    lambda body: decode_cut_page(DEPLOYMENTS, body),
    decode_namespace,
    decode_scale,
    decode_state,
    decode_status,
]
_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "object", "metadata", "items", "spec", "replicas", "name", "uid", "namespace"])
            | st.sampled_from(["resourceVersion", "continue", "kind", "code", "message", "reason"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@st.composite
def _mangled(draw: st.DrawFn) -> bytes:
    """Take a good answer and change some of its bytes."""
    good = [event_line("ADDED", deployment()), list_page(deployment()), scale_body(deployment()), error_line(410)]
    body = bytearray(draw(st.sampled_from(good)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body) - 1))
        body[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(body)


class ArbitraryTests(SynchronousTestCase):
    """Whatever a cluster, or what stands in its place, sends is a value or an error of ours."""

    def check(self, body: bytes) -> None:
        """Try every decoder."""
        for decode in _DECODERS:
            with contextlib.suppress(BadAnswer, Expired):
                decode(body)

    @settings(derandomize=True, deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
    @given(st.binary() | _mangled() | _JSON.map(lambda value: json.dumps(value).encode()))
    def test_arbitrary_bytes(self, body: bytes) -> None:
        """No bytes make a decoder raise anything but BadAnswer or Expired."""
        self.check(body)

    def test_deep_nesting(self) -> None:
        """JSON that is nested deeper than any object of Kubernetes is a bad answer, not a RecursionError."""
        for body in (DEEP, b"[" * 200_000, DEEP.replace(b'"object":', b'"metadata":')):
            self.check(body)
