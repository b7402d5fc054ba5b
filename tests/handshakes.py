"""TLS handshakes without a socket."""

import ssl
from contextlib import suppress

from tests.certificates import Pair


def server_context(pair: Pair) -> ssl.SSLContext:
    """Make the side of a server that asks clients for nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> bytes | None:
    """Let a client that expects `name` meet a server; return the client's certificate. Raises ssl.SSLError."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asks = client.wrap_bio(to_client, to_server, server_hostname=name)
    answers = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for side in (asks, answers):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return answers.getpeercert(binary_form=True)
